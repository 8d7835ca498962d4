#include "data/tokenizer/pretokenizer.h"

#include <stdlib.h>
#include <string.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "base/json.h"
#include "base/mem.h"

#define GPT2_PATTERN "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

enum { MAX_STAGES = 16 };

typedef struct {
    pcre2_code *pattern;
    bool drop_gaps; /* what lies between matches is dropped; otherwise it is a piece as well */
} stage_t;

struct pretokenizer {
    stage_t stages[MAX_STAGES];
    size_t n;
    bool byte_level; /* the list has ended */
};

/* ---- names of GGUF ---- */

#define BYTE_LEVEL(use_regex) \
    "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true,\"use_regex\":" use_regex "}"
#define SEQUENCE(first, second) "{\"type\":\"Sequence\",\"pretokenizers\":[" first "," second "]}"
#define SPLIT(regex) \
    "{\"type\":\"Split\",\"pattern\":{\"Regex\":\"" regex "\"},\"behavior\":\"Isolated\",\"invert\":false}"
/* Llama 3 takes numbers by up to three digits, Qwen 2 digit by digit; else they are the same. */
#define CL100K(digits) \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|\\\\p{N}" digits \
    "| ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+"

static const pretokenizer_preset_t presets[] = {
    {"gpt-2", BYTE_LEVEL("true"), false, false, false},
    {"default", BYTE_LEVEL("true"), false, false, false},
    {"smollm", SEQUENCE("{\"type\":\"Digits\",\"individual_digits\":true}", BYTE_LEVEL("true")), false, false, false},
    {"llama-bpe", SEQUENCE(SPLIT(CL100K("{1,3}")), BYTE_LEVEL("false")), true, false, true},
    {"qwen2", SEQUENCE(SPLIT(CL100K("")), BYTE_LEVEL("false")), false, true, false},
};

int pretokenizer_preset(const char *name, size_t len, const char *where, const pretokenizer_preset_t **preset,
                        err_t *err) {
    strbuf_t known = {0};
    *preset = NULL;
    for (size_t i = 0; i < sizeof presets / sizeof *presets; i++) {
        if (strlen(presets[i].name) == len && memcmp(presets[i].name, name, len) == 0) *preset = &presets[i];
        strbuf_addf(&known, "%s%s", i ? ", " : "", presets[i].name);
    }
    int rc = 0;
    if (!*preset)
        rc = err_set(err, ERR_USAGE, "%s: the pre-tokenizer \"%.*s\" is not supported; expected one of %s", where,
                     len > 100 ? 100 : (int)len, name, known.p);
    free(known.p);
    return rc;
}

/* ---- compiling ---- */

/* \s in the regular expressions of tokenizer.json is Unicode's White_Space. PCRE2's also has U+180E, which
 * left that property in Unicode 6.3, so it is spelt out. (\S inside a class is left: no known model has it.) */
static char *spell_out_spaces(const char *regex, size_t *len) {
    static const char spaces[] = "\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}"
                                 "\\x{202f}\\x{205f}\\x{3000}";
    strbuf_t out = {0};
    bool in_class = false;
    strbuf_adds(&out, "");
    for (const char *p = regex; p < regex + *len; p++) {
        if (*p == '\\' && p + 1 < regex + *len) {
            p++;
            if (*p == 's' && in_class) strbuf_adds(&out, spaces);
            else if (*p == 's') strbuf_addf(&out, "[%s]", spaces);
            else if (*p == 'S' && !in_class) strbuf_addf(&out, "[^%s]", spaces);
            else strbuf_add(&out, p - 1, 2);
            continue;
        }
        if (*p == '[') in_class = true;
        if (*p == ']') in_class = false;
        strbuf_add(&out, p, 1);
    }
    *len = out.len;
    return out.p;
}

static int add_pattern(pretokenizer_t *pre, const char *regex, size_t len, bool literal, bool drop_gaps,
                       const char *where, err_t *err) {
    if (pre->n == MAX_STAGES)
        return err_set(err, ERR_USAGE, "%s: pre_tokenizer: more than %d stages", where, MAX_STAGES);
    uint32_t options = PCRE2_UTF | (literal ? PCRE2_LITERAL : PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C);
    char *text = literal ? xstrndup(regex, len) : spell_out_spaces(regex, &len);
    int code;
    PCRE2_SIZE at;
    pcre2_code *p = pcre2_compile((PCRE2_SPTR)text, len, options, &code, &at, NULL);
    free(text);
    if (!p) {
        PCRE2_UCHAR why[256];
        pcre2_get_error_message(code, why, sizeof why);
        return err_set(err, ERR_USAGE, "%s: pre_tokenizer: the pattern %.*s: %s", where, len > 300 ? 300 : (int)len,
                       regex, (char *)why);
    }
    pcre2_jit_compile(p, PCRE2_JIT_COMPLETE); /* where there is no JIT the interpreter does the same */
    pre->stages[pre->n++] = (stage_t){p, drop_gaps};
    return 0;
}

static int add_split(pretokenizer_t *pre, const json_t *desc, const char *where, err_t *err) {
    const json_t *pattern = json_object_get(desc, "pattern");
    const json_t *regex = json_object_get(pattern, "Regex"), *literal = json_object_get(pattern, "String");
    const json_t *text = regex ? regex : literal;
    const char *behavior = "";
    bool invert = false;
    if (json_opt_string(desc, "behavior", where, &behavior, err)) return err->code;
    if (json_opt_bool(desc, "invert", where, &invert, err)) return err->code;
    if (!json_is_string(text) || json_string_length(text) == 0)
        return err_set(err, ERR_USAGE,
                       "%s: pre_tokenizer: Split: pattern: expected {\"Regex\": text} or "
                       "{\"String\": text}",
                       where);
    bool removed = !strcmp(behavior, "Removed") && invert;
    if (!removed && strcmp(behavior, "Isolated") != 0)
        return err_set(err, ERR_USAGE,
                       "%s: pre_tokenizer: Split: behavior \"%s\"%s is not supported; expected "
                       "Isolated, or Removed with invert",
                       where, behavior, invert ? " with invert" : "");
    return add_pattern(pre, json_string_value(text), json_string_length(text), !regex, removed, where, err);
}

static int add_digits(pretokenizer_t *pre, const json_t *desc, const char *where, err_t *err) {
    bool individual = false;
    if (json_opt_bool(desc, "individual_digits", where, &individual, err)) return err->code;
    const char *regex = individual ? "\\p{N}" : "\\p{N}+";
    return add_pattern(pre, regex, strlen(regex), false, false, where, err);
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
    return use_regex ? add_pattern(pre, GPT2_PATTERN, strlen(GPT2_PATTERN), false, false, where, err) : 0;
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
} kinds[] = {{"Sequence", add_sequence}, {"Split", add_split}, {"Digits", add_digits}, {"ByteLevel", add_byte_level}};

static int add_stages(pretokenizer_t *pre, const json_t *desc, const char *where, err_t *err) {
    const char *type;
    if (json_need_string(desc, "type", where, &type, err)) return err_prefix(err, "pre_tokenizer");
    if (pre->byte_level)
        return err_set(err, ERR_USAGE, "%s: pre_tokenizer: %s after ByteLevel; expected ByteLevel last", where, type);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (!strcmp(type, kinds[i].type)) return kinds[i].add(pre, desc, where, err);
    }
    return err_set(err, ERR_USAGE,
                   "%s: pre_tokenizer: type \"%s\" is not supported; expected Split, Digits, "
                   "ByteLevel or a Sequence of them",
                   where, type);
}

int pretokenizer_open(const json_t *desc, const char *where, pretokenizer_t **out, err_t *err) {
    pretokenizer_t *pre = xcalloc(1, sizeof *pre);
    int rc = add_stages(pre, desc, where, err);
    if (rc == 0 && !pre->byte_level)
        rc = err_set(err, ERR_USAGE,
                     "%s: pre_tokenizer: there is no ByteLevel; only byte-level BPE is supported "
                     "(or a tokenizer.model)",
                     where);
    if (rc) {
        pretokenizer_close(pre);
        return rc;
    }
    *out = pre;
    return 0;
}

void pretokenizer_close(pretokenizer_t *pre) {
    if (!pre) return;
    for (size_t i = 0; i < pre->n; i++) pcre2_code_free(pre->stages[i].pattern);
    free(pre);
}

/* ---- splitting ---- */

typedef struct {
    const pretokenizer_t *pre;
    pcre2_match_data *match[MAX_STAGES]; /* one per stage: the stages are walked depth first */
    pretokenizer_word_fn word;
    void *ctx;
    err_t *err;
} splitter_t;

/* An empty match would be no piece: PCRE2_NOTEMPTY. The text was checked to be UTF-8 once, as a whole. */
static int match_at(const stage_t *stage, pcre2_match_data *m, const char *p, size_t len, size_t at, err_t *err) {
    uint32_t options = PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY;
    int rc = pcre2_match(stage->pattern, (PCRE2_SPTR)p, len, at, options, m, NULL);
    /* The JIT's stack is small (32 KiB); the interpreter takes its memory from the heap. */
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT)
        rc = pcre2_match(stage->pattern, (PCRE2_SPTR)p, len, at, options | PCRE2_NO_JIT, m, NULL);
    if (rc < 0 && rc != PCRE2_ERROR_NOMATCH) {
        PCRE2_UCHAR why[256];
        pcre2_get_error_message(rc, why, sizeof why);
        err_set(err, ERR_USAGE, "the tokenizer's pattern cannot be applied: %s", (char *)why);
    }
    return rc;
}

static int split_piece(splitter_t *s, size_t depth, const char *p, size_t len) {
    if (len == 0) return 0;
    if (depth == s->pre->n) {
        s->word(s->ctx, p, len);
        return 0;
    }
    const stage_t *stage = &s->pre->stages[depth];
    const PCRE2_SIZE *span = pcre2_get_ovector_pointer(s->match[depth]);
    for (size_t at = 0; at < len;) {
        int rc = match_at(stage, s->match[depth], p, len, at, s->err);
        if (rc < 0 && rc != PCRE2_ERROR_NOMATCH) return s->err->code;
        size_t start = rc < 0 ? len : span[0], end = rc < 0 ? len : span[1];
        if (start < at || end < start || (rc >= 0 && end == start))
            return err_set(s->err, ERR_USAGE, "the tokenizer's pattern moves backwards");
        if (!stage->drop_gaps && split_piece(s, depth + 1, p + at, start - at)) return s->err->code;
        if (split_piece(s, depth + 1, p + start, end - start)) return s->err->code;
        at = end;
    }
    return 0;
}

int pretokenizer_split(const pretokenizer_t *pre, const char *text, size_t len, pretokenizer_word_fn word, void *ctx,
                       err_t *err) {
    splitter_t s = {.pre = pre, .word = word, .ctx = ctx, .err = err};
    for (size_t i = 0; i < pre->n; i++) {
        s.match[i] = pcre2_match_data_create(1, NULL);
        CHECK(s.match[i] != NULL);
    }
    int rc = split_piece(&s, 0, text, len);
    for (size_t i = 0; i < pre->n; i++) pcre2_match_data_free(s.match[i]);
    return rc;
}
