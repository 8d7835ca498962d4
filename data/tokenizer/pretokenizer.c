#include "data/tokenizer/pretokenizer.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "data/tokenizer/ids.h"
#include "data/tokenizer/vocab.h"

typedef enum {
    MATCH_APART,        /* a match is a piece, and so is what lies between matches */
    MATCH_ONLY,         /* what lies between matches is dropped */
    MATCH_ENDS_PIECE,   /* a piece ends after each match */
    MATCH_BEGINS_PIECE, /* a piece begins at each match */
} behavior_t;

typedef struct {
    pattern_t *pattern; /* NULL: nothing is cut */
    behavior_t behavior;
    bool metaspace; /* first spaces become SPACE_MARK, and one is put before as `prefix` says */
    prefix_t prefix;
} stage_t;

struct pretokenizer {
    stage_t stages[PRETOKENIZER_STAGES];
    size_t n;
    bool byte_level; /* the list has ended */
};

/* ---- reading ---- */

static int add_stage(pretokenizer_t *pre, const char *where, stage_t **stage, err_t *err) {
    if (pre->n == PRETOKENIZER_STAGES)
        return err_set(err, ERR_USAGE, "%s: pre_tokenizer: more than %d stages", where, PRETOKENIZER_STAGES);
    *stage = &pre->stages[pre->n++];
    return 0;
}

static int add_regex(pretokenizer_t *pre, const char *regex, const char *where, err_t *err) {
    stage_t *stage = NULL;
    if (add_stage(pre, where, &stage, err)) return err->code;
    return pattern_open(regex, strlen(regex), false, where, &stage->pattern, err);
}

static int add_split(pretokenizer_t *pre, const json_t *desc, const char *where, err_t *err) {
    const char *behavior = "";
    bool invert = false;
    stage_t *stage = NULL;
    if (json_opt_string(desc, "behavior", where, &behavior, err)) return err->code;
    if (json_opt_bool(desc, "invert", where, &invert, err)) return err->code;
    if (add_stage(pre, where, &stage, err)) return err->code;
    if (!strcmp(behavior, "Removed") && invert) stage->behavior = MATCH_ONLY;
    else if (!strcmp(behavior, "MergedWithPrevious") && !invert) stage->behavior = MATCH_ENDS_PIECE;
    else if (strcmp(behavior, "Isolated") != 0)
        return err_set(err, ERR_USAGE,
                       "%s: pre_tokenizer: Split: behavior \"%s\"%s is not supported; expected "
                       "Isolated, MergedWithPrevious, or Removed with invert",
                       where, behavior, invert ? " with invert" : "");
    char *place = xasprintf("%s: pre_tokenizer: Split", where);
    int rc = pattern_open_json(json_object_get(desc, "pattern"), place, &stage->pattern, err);
    free(place);
    return rc;
}

static int add_digits(pretokenizer_t *pre, const json_t *desc, const char *where, err_t *err) {
    bool individual = false;
    if (json_opt_bool(desc, "individual_digits", where, &individual, err)) return err->code;
    return add_regex(pre, individual ? "\\p{N}" : "\\p{N}+", where, err);
}

static int add_byte_level(pretokenizer_t *pre, const json_t *desc, const char *where, err_t *err) {
    bool prefix = true, use_regex = true;
    if (json_opt_bool(desc, "add_prefix_space", where, &prefix, err)) return err->code;
    if (json_opt_bool(desc, "use_regex", where, &use_regex, err)) return err->code;
    if (prefix)
        return err_set(err, ERR_USAGE,
                       "%s: pre_tokenizer: ByteLevel: add_prefix_space is not supported; expected "
                       "false",
                       where);
    pre->byte_level = true;
    return use_regex ? add_regex(pre, GPT2_PATTERN, where, err) : 0;
}

/* Older files say add_prefix_space where newer ones have prepend_scheme. */
static int metaspace_prefix(const json_t *desc, const char *where, prefix_t *prefix, err_t *err) {
    static const char *const schemes[] = {
        [PREFIX_NEVER] = "never", [PREFIX_FIRST] = "first", [PREFIX_ALWAYS] = "always"};
    const char *scheme = NULL;
    bool add = true;
    if (json_opt_string(desc, "prepend_scheme", where, &scheme, err)) return err->code;
    if (json_opt_bool(desc, "add_prefix_space", where, &add, err)) return err->code;
    *prefix = add ? PREFIX_ALWAYS : PREFIX_NEVER;
    if (!scheme) return 0;
    for (int i = 0; i < 3; i++) {
        if (!strcmp(scheme, schemes[i])) return *prefix = (prefix_t)i, 0;
    }
    return err_set(err, ERR_USAGE,
                   "%s: pre_tokenizer: Metaspace: prepend_scheme \"%.100s\" is not supported; expected always, first "
                   "or never",
                   where, scheme);
}

static int add_metaspace(pretokenizer_t *pre, const json_t *desc, const char *where, err_t *err) {
    const char *mark = SPACE_MARK;
    bool split = true;
    stage_t *stage = NULL;
    if (json_opt_string(desc, "replacement", where, &mark, err)) return err->code;
    if (json_opt_bool(desc, "split", where, &split, err)) return err->code;
    if (strcmp(mark, SPACE_MARK) != 0)
        return err_set(err, ERR_USAGE,
                       "%s: pre_tokenizer: Metaspace: replacement \"%.100s\" is not supported; expected \"" SPACE_MARK
                       "\"",
                       where, mark);
    if (add_stage(pre, where, &stage, err)) return err->code;
    stage->metaspace = true;
    if (metaspace_prefix(desc, where, &stage->prefix, err)) return err->code;
    stage->behavior = MATCH_BEGINS_PIECE;
    return split ? pattern_open(SPACE_MARK, strlen(SPACE_MARK), true, where, &stage->pattern, err) : 0;
}

static int add_stages(pretokenizer_t *pre, const json_t *desc, const char *where, err_t *err);

static int add_sequence(pretokenizer_t *pre, const json_t *desc, const char *where, err_t *err) {
    const json_t *list = json_object_get(desc, "pretokenizers"), *item;
    size_t i;
    if (!json_is_array(list))
        return err_set(err, ERR_USAGE, "%s: pre_tokenizer: Sequence: pretokenizers: expected a list", where);
    json_array_foreach(list, i, item) {
        if (add_stages(pre, item, where, err)) return err->code;
    }
    return 0;
}

static const struct {
    const char *type;
    int (*add)(pretokenizer_t *, const json_t *, const char *, err_t *);
} kinds[] = {{"Sequence", add_sequence},
             {"Split", add_split},
             {"Digits", add_digits},
             {"Metaspace", add_metaspace},
             {"ByteLevel", add_byte_level}};

static int add_stages(pretokenizer_t *pre, const json_t *desc, const char *where, err_t *err) {
    const char *type;
    if (json_need_string(desc, "type", where, &type, err)) return err_prefix(err, "pre_tokenizer");
    if (pre->byte_level)
        return err_set(err, ERR_USAGE, "%s: pre_tokenizer: %s after ByteLevel; expected ByteLevel last", where, type);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (!strcmp(type, kinds[i].type)) return kinds[i].add(pre, desc, where, err);
    }
    return err_set(err, ERR_USAGE,
                   "%s: pre_tokenizer: type \"%s\" is not supported; expected Split, Digits, Metaspace, "
                   "ByteLevel, a Sequence of them, or null",
                   where, type);
}

int pretokenizer_open(const json_t *desc, const char *where, pretokenizer_t **pre, err_t *err) {
    *pre = xcalloc(1, sizeof **pre);
    return desc && !json_is_null(desc) ? add_stages(*pre, desc, where, err) : 0;
}

void pretokenizer_close(pretokenizer_t *pre) {
    if (!pre) return;
    for (size_t i = 0; i < pre->n; i++) pattern_close(pre->stages[i].pattern);
    free(pre);
}

bool pretokenizer_byte_level(const pretokenizer_t *pre) { return pre->byte_level; }

prefix_t pretokenizer_prefix(const pretokenizer_t *pre) {
    prefix_t prefix = PREFIX_NEVER;
    for (size_t i = 0; i < pre->n; i++) {
        if (pre->stages[i].metaspace && pre->stages[i].prefix > prefix) prefix = pre->stages[i].prefix;
    }
    return prefix;
}

/* ---- splitting ---- */

typedef struct {
    const pretokenizer_t *pre;
    pattern_match_t **match; /* by stage */
    bool tracked;
    pretokenizer_word_fn word;
    void *ctx;
    err_t *err;
} splitter_t;

/* A part of the text; with `first`, its beginning. */
typedef struct {
    const char *p;
    size_t len;
    origin_t origin;
    bool first;
} piece_t;

static piece_t piece_part(piece_t x, size_t from, size_t to) {
    return (piece_t){x.p + from, to - from, origin_skip(x.origin, from), x.first && from == 0};
}

static int split_piece(splitter_t *s, size_t depth, piece_t x);

/* The piece with its spaces marked, in a new string; its bytes' origins in `from`, if they are tracked. */
static strbuf_t mark_spaces(const stage_t *stage, piece_t x, places_t *from) {
    const size_t n = strlen(SPACE_MARK);
    strbuf_t b = {0};
    bool marked = x.p[0] == ' ' || (x.len >= n && memcmp(x.p, SPACE_MARK, n) == 0);
    if (!marked && (stage->prefix == PREFIX_ALWAYS || (stage->prefix == PREFIX_FIRST && x.first))) {
        strbuf_adds(&b, SPACE_MARK);
        for (size_t i = 0; from && i < n; i++) places_add(from, origin_of(x.origin, 0));
    }
    for (size_t at = 0; at < x.len; at++) {
        const char *space = memchr(x.p + at, ' ', x.len - at);
        size_t end = space ? (size_t)(space - x.p) : x.len;
        strbuf_add(&b, x.p + at, end - at);
        for (size_t i = at; from && i < end; i++) places_add(from, origin_of(x.origin, i));
        if (space) strbuf_adds(&b, SPACE_MARK);
        for (size_t i = 0; from && space && i < n; i++) places_add(from, origin_of(x.origin, end));
        at = end;
    }
    return b;
}

/* Cuts a piece at the stage's matches; each part goes to the next stage. */
static int cut(splitter_t *s, size_t depth, piece_t x) {
    const stage_t *stage = &s->pre->stages[depth];
    size_t from = 0; /* what was not handed on yet begins here */
    for (size_t at = 0; at < x.len;) {
        bool found;
        size_t start, end;
        if (pattern_find(stage->pattern, s->match[depth], x.p, x.len, at, &found, &start, &end, s->err))
            return s->err->code;
        if (!found) break;
        size_t cuts[2] = {start, end};
        if (stage->behavior == MATCH_ENDS_PIECE) cuts[0] = from;
        if (stage->behavior == MATCH_BEGINS_PIECE) cuts[1] = start;
        for (int i = 0; i < 2; i++) {
            bool dropped = i == 0 && stage->behavior == MATCH_ONLY;
            if (!dropped && split_piece(s, depth + 1, piece_part(x, from, cuts[i]))) return s->err->code;
            from = cuts[i];
        }
        at = end;
    }
    if (stage->behavior == MATCH_ONLY) return 0;
    return split_piece(s, depth + 1, piece_part(x, from, x.len));
}

static int split_piece(splitter_t *s, size_t depth, piece_t x) {
    if (x.len == 0) return 0;
    if (depth == s->pre->n) {
        s->word(s->ctx, x.p, x.len, x.origin);
        return 0;
    }
    const stage_t *stage = &s->pre->stages[depth];
    strbuf_t marked = {0};
    places_t from = {0};
    if (stage->metaspace) {
        marked = mark_spaces(stage, x, s->tracked ? &from : NULL);
        x = (piece_t){marked.p, marked.len, {.at = from.at}, x.first};
    }
    int rc = stage->pattern ? cut(s, depth, x) : split_piece(s, depth + 1, x);
    free(marked.p);
    free(from.at);
    return rc;
}

int pretokenizer_split(const pretokenizer_t *pre, pretokenizer_scratch_t *scratch, const char *text, size_t len,
                       origin_t origin, bool tracked, bool first, pretokenizer_word_fn word, void *ctx, err_t *err) {
    splitter_t s = {.pre = pre, .match = scratch->match, .tracked = tracked, .word = word, .ctx = ctx, .err = err};
    for (size_t i = 0; i < pre->n; i++)
        if (!s.match[i]) s.match[i] = pattern_match_new();
    return split_piece(&s, 0, (piece_t){text, len, origin, first});
}

void pretokenizer_scratch_free(pretokenizer_scratch_t *scratch) {
    for (size_t i = 0; i < PRETOKENIZER_STAGES; i++) pattern_match_free(scratch->match[i]);
    *scratch = (pretokenizer_scratch_t){0};
}
