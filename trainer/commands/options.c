#include "trainer/commands/options.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/mem.h"
#include "base/names.h"

int option_whole(const char *name, const char *text, uint64_t min, uint64_t max, uint64_t *out, err_t *err) {
    uint64_t v = 0;
    size_t i = 0;
    /* What is above max/10 before another digit is above max after it: no overflow. */
    for (; text[i] >= '0' && text[i] <= '9' && v <= max / 10; i++) v = 10 * v + (uint64_t)(text[i] - '0');
    if (i == 0 || text[i] || v < min || v > max)
        return err_set(err, ERR_USAGE,
                       "command line: --%s: got \"%.60s\"; expected a whole number from %" PRIu64 " to %" PRIu64, name,
                       text, min, max);
    *out = v;
    return 0;
}

static int unknown_option(const char *arg, const option_t *opts, size_t n_opts, err_t *err) {
    const char *names[32];
    CHECK(n_opts <= sizeof names / sizeof *names);
    for (size_t i = 0; i < n_opts; i++) names[i] = opts[i].name;
    size_t dashes = strspn(arg, "-"), len = strcspn(arg + dashes, "=");
    char *word = xstrndup(arg + dashes, len);
    const char *near = closest_name(word, names, n_opts);
    free(word);
    if (near) return err_set(err, ERR_USAGE, "command line: unknown option %s; did you mean --%s?", arg, near);
    return err_set(err, ERR_USAGE, "command line: unknown option %s; see --help", arg);
}

static const option_t *find_option(const char *arg, const option_t *opts, size_t n_opts) {
    if (strcmp(arg, "-h") == 0) arg = "--help";
    if (strncmp(arg, "--", 2) != 0) return NULL;
    size_t len = strcspn(arg + 2, "=");
    for (size_t i = 0; i < n_opts; i++)
        if (strlen(opts[i].name) == len && memcmp(opts[i].name, arg + 2, len) == 0) return &opts[i];
    return NULL;
}

/* Takes argv[*i], an option of the table, and the argument after it when that is its value. */
static int take_option(const option_t *o, int argc, char **argv, int *i, err_t *err) {
    const char *equals = strchr(argv[*i], '=');
    if (o->flag) {
        if (equals) return err_set(err, ERR_USAGE, "command line: --%s takes no value", o->name);
        *o->flag = true;
        return 0;
    }
    if (equals) {
        *o->value = equals + 1;
        return 0;
    }
    if (*i + 1 >= argc) return err_set(err, ERR_USAGE, "command line: --%s needs a value", o->name);
    *o->value = argv[++*i];
    return 0;
}

int options_parse(int argc, char **argv, const option_t *opts, size_t n_opts, const char **pos, size_t max_pos,
                  size_t *n_pos, err_t *err) {
    bool options_over = false;
    *n_pos = 0;
    for (int i = 0; i < argc; i++) {
        if (!options_over && strcmp(argv[i], "--") == 0) {
            options_over = true;
        } else if (!options_over && argv[i][0] == '-' && argv[i][1]) {
            const option_t *o = find_option(argv[i], opts, n_opts);
            if (!o) return unknown_option(argv[i], opts, n_opts, err);
            if (take_option(o, argc, argv, &i, err)) return err->code;
        } else if (*n_pos < max_pos) {
            pos[(*n_pos)++] = argv[i];
        } else {
            return err_set(err, ERR_USAGE, "command line: unexpected argument \"%s\"; see --help", argv[i]);
        }
    }
    return 0;
}
