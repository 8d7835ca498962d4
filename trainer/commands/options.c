#include "trainer/commands/options.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/mem.h"
#include "base/names.h"

/* ---- values --------------------------------------------------------------------------------------------- */

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

static int read_real(const option_t *o, const char *text, double *out, err_t *err) {
    char *end;
    double v = strtod(text, &end);
    if (*end || end == text || !(v >= o->min && v <= o->max))
        return err_set(err, ERR_USAGE, "command line: --%s: got \"%.60s\"; expected a number from %g to %g", o->name,
                       text, o->min, o->max);
    *out = v;
    return 0;
}

static int check_choice(const option_t *o, const char *text, err_t *err) {
    if (name_is_among(text, o->words)) return 0;
    char *list = name_list(o->words, name_count(o->words));
    err_set(err, ERR_USAGE, "command line: --%s: got \"%.60s\"; expected %s", o->name, text, list);
    free(list);
    return err->code;
}

static int refuse_words(const option_t *o, const char *text, err_t *err) {
    strbuf_t list = {0};
    for (size_t i = 0; o->words[i]; i++) strbuf_addf(&list, "%s%s", i ? ", " : "", o->words[i]);
    err_set(err, ERR_USAGE, "command line: --%s: got \"%.60s\"; expected some of %s, with commas between them", o->name,
            text, list.p);
    free(list.p);
    return err->code;
}

static int read_words(const option_t *o, const char *text, unsigned *out, err_t *err) {
    unsigned bits = 0;
    for (const char *p = text;; p++) {
        size_t len = strcspn(p, ","), i = 0;
        while (o->words[i] && (strlen(o->words[i]) != len || memcmp(o->words[i], p, len) != 0)) i++;
        if (!o->words[i]) return refuse_words(o, text, err);
        bits |= 1u << i;
        p += len;
        if (!*p) break;
    }
    *out = bits;
    return 0;
}

static int set_value(const option_t *o, const char *text, void *given, err_t *err) {
    void *field = (char *)given + o->offset;
    switch (o->kind) {
    case ARG_FLAG: break;
    case ARG_WHOLE: return option_whole(o->name, text, (uint64_t)o->min, (uint64_t)o->max, field, err);
    case ARG_REAL: return read_real(o, text, field, err);
    case ARG_WORDS: return read_words(o, text, field, err);
    case ARG_CHOICE:
        if (check_choice(o, text, err)) return err->code;
        *(const char **)field = text;
        return 0;
    case ARG_TEXT:
    case ARG_CONFIG:
    case ARG_FILE:
    case ARG_DIR:
    case ARG_PATH:
    case ARG_KEY: *(const char **)field = text; return 0;
    }
    CHECK(!"a flag has no value");
    return 0;
}

static void set_usual(const option_t *opts, size_t n_opts, void *given) {
    err_t err = {0};
    for (size_t i = 0; i < n_opts; i++)
        if (opts[i].usual) CHECK(set_value(&opts[i], opts[i].usual, given, &err) == 0);
}

/* ---- options -------------------------------------------------------------------------------------------- */

static int unknown_option(const char *arg, const option_t *opts, size_t n_opts, err_t *err) {
    const char *names[32];
    CHECK(n_opts + 1 <= sizeof names / sizeof *names);
    for (size_t i = 0; i < n_opts; i++) names[i] = opts[i].name;
    names[n_opts] = "help";
    size_t dashes = strspn(arg, "-"), len = strcspn(arg + dashes, "=");
    char *word = xstrndup(arg + dashes, len);
    const char *near = closest_name(word, names, n_opts + 1);
    free(word);
    if (near) return err_set(err, ERR_USAGE, "command line: unknown option %s; did you mean --%s?", arg, near);
    return err_set(err, ERR_USAGE, "command line: unknown option %s; see --help", arg);
}

/* Whether the argument is --name or --name=VALUE. */
static bool names_option(const char *arg, const char *name) {
    size_t len = strcspn(arg, "=");
    return len == strlen(name) + 2 && strncmp(arg, "--", 2) == 0 && memcmp(arg + 2, name, len - 2) == 0;
}

static int take_flag(const char *arg, const char *name, bool *flag, err_t *err) {
    if (strchr(arg, '=')) return err_set(err, ERR_USAGE, "command line: --%s takes no value", name);
    *flag = true;
    return 0;
}

/* Takes argv[*i], and the argument after it when that is its value. */
static int take_option(int argc, char **argv, int *i, const option_t *opts, size_t n_opts, void *given, args_t *args,
                       err_t *err) {
    const char *arg = argv[*i], *equals = strchr(arg, '=');
    if (strcmp(arg, "-h") == 0 || names_option(arg, "help")) return take_flag(arg, "help", &args->helped, err);
    const option_t *o = opts;
    while (o < opts + n_opts && !names_option(arg, o->name)) o++;
    if (o == opts + n_opts) return unknown_option(arg, opts, n_opts, err);
    if (o->kind == ARG_FLAG) return take_flag(arg, o->name, (bool *)((char *)given + o->offset), err);
    if (equals) return set_value(o, equals + 1, given, err);
    if (*i + 1 >= argc) return err_set(err, ERR_USAGE, "command line: --%s needs a value", o->name);
    return set_value(o, argv[++*i], given, err);
}

int options_parse(int argc, char **argv, const option_t *opts, size_t n_opts, void *given, args_t *args, size_t max_pos,
                  err_t *err) {
    bool options_over = false;
    CHECK(max_pos <= ARGS_MOST);
    args->n = 0;
    args->helped = false;
    set_usual(opts, n_opts, given);
    for (int i = 0; i < argc; i++) {
        if (!options_over && strcmp(argv[i], "--") == 0) {
            options_over = true;
        } else if (!options_over && argv[i][0] == '-' && argv[i][1]) {
            if (take_option(argc, argv, &i, opts, n_opts, given, args, err)) return err->code;
        } else if (args->n < max_pos) {
            args->pos[args->n++] = argv[i];
        } else {
            return err_set(err, ERR_USAGE, "command line: unexpected argument \"%s\"; see --help", argv[i]);
        }
    }
    return 0;
}
