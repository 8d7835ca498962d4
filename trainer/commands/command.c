#include "trainer/commands/command.h"

#include <stdio.h>

#include "base/mem.h"

int command_config(int argc, char **argv, const char *name, const char *help, const option_t *opts, size_t n_opts,
                   config_use_t use, config_t *config, bool *helped, err_t *err) {
    enum { MAX_POS = 256, MAX_OPTS = 16 };
    const char *pos[MAX_POS];
    option_t all[MAX_OPTS];
    size_t n;
    CHECK(n_opts < MAX_OPTS);
    for (size_t i = 0; i < n_opts; i++) all[i] = opts[i];
    all[n_opts] = (option_t){"help", NULL, helped};
    *helped = false;
    if (options_parse(argc, argv, all, n_opts + 1, pos, MAX_POS, &n, err)) return err->code;
    if (*helped) {
        fputs(help, stdout);
        return 0;
    }
    if (n == 0) return err_set(err, ERR_USAGE, "%s: expected CONFIG.yaml (see --help)", name);
    return config_load(pos[0], (char *const *)(pos + 1), n - 1, use, config, err);
}
