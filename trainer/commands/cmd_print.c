/* `qlora-train print`: what other programs want to know of this one, made from its own tables. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "trainer/commands/command.h"
#include "trainer/config/config_json_schema.h"

static void print_schema(void) {
    json_t *schema = config_json_schema();
    char *text = mem_checked(json_dumps(schema, JSON_INDENT(1)), 0);
    puts(text);
    free(text);
    json_decref(schema);
}

static int run_print(int argc, char **argv) {
    args_t args;
    err_t err = {0};
    int rc = command_parse(&command_print, argc, argv, NULL, &args, &err);
    if (rc == 0 && args.helped) return 0;
    if (rc == 0 && (args.n == 0 || strcmp(args.pos[0], "schema") != 0))
        rc = args.n ? err_set(&err, ERR_USAGE, "print: got \"%.60s\"; expected schema", args.pos[0])
                    : err_set(&err, ERR_USAGE, "print: expected schema (see --help)");
    if (rc == 0) print_schema();
    else log_error("%s", err.msg);
    return rc;
}

static const char *const prints[] = {"schema", NULL};
static const positional_t positionals[] = {{"WHAT", ARG_CHOICE, .words = prints}};

const command_t command_print = {
    .name = "print",
    .synopsis = "schema",
    .what = "a JSON Schema of the config, for editors",
    .about =
        "schema: a JSON Schema (draft 7) of a config, with which an editor completes, explains and checks the keys. "
        "With YAML's language server, the first line of a config names it: "
        "`# yaml-language-server: $schema=PREFIX/share/qlora-train/config.schema.json`",
    COMMAND_POSITIONALS(positionals),
    .run = run_print,
};
