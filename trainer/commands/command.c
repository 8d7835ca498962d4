#include "trainer/commands/command.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "trainer/commands/help.h"

static size_t most_positionals(const command_t *c) {
    size_t n = 0;
    if (c->overrides) return ARGS_MOST;
    for (size_t i = 0; i < c->n_positionals; i++) n += c->positionals[i].most ? c->positionals[i].most : 1;
    return n;
}

int command_parse(const command_t *c, int argc, char **argv, void *given, args_t *args, err_t *err) {
    CHECK(given || !c->n_options);
    if (options_parse(argc, argv, c->options, c->n_options, given, args, most_positionals(c), err)) return err->code;
    if (!args->helped) return 0;
    strbuf_t text = {0};
    help_command(&text, c);
    fputs(text.p, stdout);
    free(text.p);
    return 0;
}

int command_config(const command_t *c, int argc, char **argv, void *given, config_use_t use, config_t *config,
                   bool *helped, err_t *err) {
    args_t args;
    *helped = false;
    if (command_parse(c, argc, argv, given, &args, err)) return err->code;
    if (args.helped) {
        *helped = true;
        return 0;
    }
    if (args.n == 0) return err_set(err, ERR_USAGE, "%s: expected CONFIG.yaml (see --help)", c->name);
    return config_load(args.pos[0], (char *const *)(args.pos + 1), args.n - 1, use, config, err);
}
