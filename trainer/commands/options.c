#include "trainer/commands/options.h"

#include <string.h>

#include "base/error.h"

/* Names are short; what is longer is no misspelling of one. */
#define NAME_MAX_LEN ((size_t)63)

static char folded(char c) {
    if (c >= 'A' && c <= 'Z') return (char)(c - 'A' + 'a');
    return c == '-' ? '_' : c;
}

static size_t min2(size_t a, size_t b) { return a < b ? a : b; }

/* Damerau-Levenshtein distance in its "optimal string alignment" form: insertion, deletion, substitution and
 * the swap of two neighbours cost 1 each. Case, and '-' against '_', cost nothing. */
static size_t edit_distance(const char *a, size_t n, const char *b, size_t m) {
    size_t rows[3][NAME_MAX_LEN + 1];
    size_t *before = rows[0], *prev = rows[1], *cur = rows[2];
    for (size_t j = 0; j <= m; j++) prev[j] = j;
    for (size_t i = 1; i <= n; i++) {
        cur[0] = i;
        for (size_t j = 1; j <= m; j++) {
            char x = folded(a[i - 1]), y = folded(b[j - 1]);
            size_t d = min2(min2(prev[j], cur[j - 1]) + 1, prev[j - 1] + (x != y));
            if (i > 1 && j > 1 && x == folded(b[j - 2]) && folded(a[i - 2]) == y) d = min2(d, before[j - 2] + 1);
            cur[j] = d;
        }
        size_t *oldest = before;
        before = prev;
        prev = cur;
        cur = oldest;
    }
    return prev[m];
}

const char *closest_name(const char *word, const char *const *names, size_t n) {
    size_t len = strlen(word), best = 0;
    const char *found = NULL;
    if (len == 0 || len > NAME_MAX_LEN) return NULL;
    for (size_t i = 0; i < n; i++) {
        size_t m = strlen(names[i]);
        if (m == 0 || m > NAME_MAX_LEN) continue;
        /* Near: at most a third of the letters differ. Of one or two letters none may, or anything would be near. */
        size_t d = edit_distance(word, len, names[i], m), limit = (len > m ? len : m) / 3;
        if (d <= limit && (!found || d < best)) {
            found = names[i];
            best = d;
        }
    }
    return found;
}

static int unknown_option(const char *arg, const option_t *opts, size_t n_opts, err_t *err) {
    const char *names[32];
    CHECK(n_opts <= sizeof names / sizeof *names);
    for (size_t i = 0; i < n_opts; i++) names[i] = opts[i].name;
    size_t dashes = strspn(arg, "-"), len = strcspn(arg + dashes, "=");
    char word[NAME_MAX_LEN + 1] = "";
    if (len <= NAME_MAX_LEN) memcpy(word, arg + dashes, len);
    const char *near = closest_name(word, names, n_opts);
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
