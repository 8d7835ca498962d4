/* `qlora-train print`: what other programs want to know of this one, made from its own tables. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/names.h"
#include "trainer/commands/command.h"
#include "trainer/commands/completion.h"
#include "trainer/commands/man_page.h"
#include "trainer/config/config_json_schema.h"

static void add_schema(strbuf_t *b) {
    json_t *schema = config_json_schema();
    char *text = mem_checked(json_dumps(schema, JSON_INDENT(1)), 0);
    strbuf_addf(b, "%s\n", text);
    free(text);
    json_decref(schema);
}

enum { PRINTS = 5 };
static const char *const names[PRINTS + 1] = {"schema", "completion-bash", "completion-zsh", "completion-fish", "man"};
static void (*const writers[PRINTS])(strbuf_t *) = {add_schema, completion_bash, completion_zsh, completion_fish,
                                                    man_page};

static int print_named(const char *what, err_t *err) {
    size_t i = 0;
    while (i < PRINTS && strcmp(what, names[i]) != 0) i++;
    if (i == PRINTS) {
        char *list = name_list(names, PRINTS);
        const char *near = closest_name(what, names, PRINTS);
        err_set(err, ERR_USAGE, "print: got \"%.60s\"; expected %s%s%s%s", what, list, near ? "; did you mean " : "",
                near ? near : "", near ? "?" : "");
        free(list);
        return err->code;
    }
    strbuf_t text = {0};
    writers[i](&text);
    fputs(text.p, stdout);
    free(text.p);
    return 0;
}

static int run_print(int argc, char **argv) {
    args_t args;
    err_t err = {0};
    int rc = command_parse(&command_print, argc, argv, NULL, &args, &err);
    if (rc == 0 && args.helped) return 0;
    if (rc == 0) rc = print_named(args.n ? args.pos[0] : "", &err);
    if (rc) log_error("%s", err.msg);
    return rc;
}

static const positional_t positionals[] = {{"WHAT", ARG_CHOICE, .words = names, .help = "%s"}};

const command_t command_print = {
    .name = "print",
    .synopsis = "schema|completion-bash|completion-zsh|completion-fish|man",
    .what = "what editors and shells want to know: a JSON Schema of the config, completion, the manual page",
    .about =
        "Prints what other programs want to know of this one, made from its own tables; all of it is installed too.",
    .notes =
        "schema: a JSON Schema (draft 7) of a config, with which an editor completes, explains and checks the keys. "
        "With YAML's language server, the first line of a config names it: "
        "`# yaml-language-server: $schema=PREFIX/share/qlora-train/config.schema.json`\n"
        "completion-bash, completion-zsh, completion-fish: completion of commands, options, their values, files and "
        "keys of the config. Without installation, `source <(qlora-train print completion-bash)` in bash and "
        "`qlora-train print completion-fish | source` in fish.\n"
        "man: the manual page; `qlora-train print man | man -l -` shows it.",
    COMMAND_POSITIONALS(positionals),
    .run = run_print,
};
