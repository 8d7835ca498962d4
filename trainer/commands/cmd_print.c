/* `qlora-train print`: what other programs want to know of this one, made from its own tables. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "trainer/commands/command.h"
#include "trainer/config/config_json_schema.h"

static const char help[] =
    "usage: qlora-train print schema\n"
    "\n"
    "schema  a JSON Schema (draft 7) of a config, with which an editor completes, explains and checks the keys.\n"
    "        With YAML's language server, the first line of a config names it:\n"
    "        # yaml-language-server: $schema=PREFIX/share/qlora-train/config.schema.json\n";

static void print_schema(void) {
    json_t *schema = config_json_schema();
    char *text = mem_checked(json_dumps(schema, JSON_INDENT(1)), 0);
    puts(text);
    free(text);
    json_decref(schema);
}

int command_print(int argc, char **argv) {
    bool want_help = false;
    const option_t options[] = {{"help", NULL, &want_help}};
    const char *what = NULL;
    size_t n;
    err_t err = {0};
    int rc = options_parse(argc, argv, options, 1, &what, 1, &n, &err);
    if (rc == 0 && want_help) {
        fputs(help, stdout);
        return 0;
    }
    if (rc == 0 && (n == 0 || strcmp(what, "schema") != 0))
        rc = n ? err_set(&err, ERR_USAGE, "print: got \"%.60s\"; expected schema", what)
               : err_set(&err, ERR_USAGE, "print: expected schema (see --help)");
    if (rc == 0) print_schema();
    else log_error("%s", err.msg);
    return rc;
}
