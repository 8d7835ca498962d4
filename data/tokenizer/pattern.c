#include "data/tokenizer/pattern.h"

#include <stdlib.h>
#include <string.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "base/mem.h"

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

int pattern_open(const char *text, size_t len, bool literal, const char *where, pattern_t **re, err_t *err) {
    /* ^ and $ are ends of lines to the library whose patterns these are. */
    uint32_t options = PCRE2_UTF | (literal ? PCRE2_LITERAL : PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C);
    size_t n = len;
    char *pattern = literal ? xstrndup(text, len) : spell_out_spaces(text, &n);
    int code;
    PCRE2_SIZE at;
    *re = pcre2_compile((PCRE2_SPTR)pattern, n, options, &code, &at, NULL);
    free(pattern);
    if (!*re && code == PCRE2_ERROR_HEAP_FAILED) mem_checked(NULL, 0);
    if (!*re) {
        PCRE2_UCHAR why[256];
        pcre2_get_error_message(code, why, sizeof why);
        return err_set(err, ERR_USAGE, "%s: the pattern %.*s: %s", where, len > 300 ? 300 : (int)len, text,
                       (char *)why);
    }
    pcre2_jit_compile(*re, PCRE2_JIT_COMPLETE); /* where there is no JIT the interpreter does the same */
    return 0;
}

int pattern_open_json(const json_t *pattern, const char *where, pattern_t **re, err_t *err) {
    const json_t *regex = json_object_get(pattern, "Regex"), *literal = json_object_get(pattern, "String");
    const json_t *text = regex ? regex : literal;
    if (!json_is_string(text) || json_string_length(text) == 0)
        return err_set(err, ERR_USAGE, "%s: pattern: expected {\"Regex\": text} or {\"String\": text}", where);
    return pattern_open(json_string_value(text), json_string_length(text), !regex, where, re, err);
}

void pattern_close(pattern_t *re) { pcre2_code_free(re); }

/* The interpreter may take so much memory for what it might have to go back to, in KiB; its own limit is 20 GB. */
enum { HEAP_LIMIT = 256 << 10 };

struct pattern_match {
    pcre2_match_data *data;
    pcre2_match_context *limits; /* of the interpreter */
};

pattern_match_t *pattern_match_new(void) {
    pattern_match_t *m = xmalloc(sizeof *m);
    m->data = mem_checked(pcre2_match_data_create(1, NULL), 0);
    m->limits = mem_checked(pcre2_match_context_create(NULL), 0);
    pcre2_set_heap_limit(m->limits, HEAP_LIMIT);
    return m;
}

void pattern_match_free(pattern_match_t *m) {
    if (!m) return;
    pcre2_match_context_free(m->limits);
    pcre2_match_data_free(m->data);
    free(m);
}

/* An empty match would be no piece: PCRE2_NOTEMPTY. The text was checked to be UTF-8 once, as a whole. */
int pattern_find(const pattern_t *re, pattern_match_t *m, const char *text, size_t len, size_t at, bool *found,
                 size_t *start, size_t *end, err_t *err) {
    const uint32_t options = PCRE2_NOTEMPTY;
    int rc = pcre2_jit_match(re, (PCRE2_SPTR)text, len, at, options, m->data, NULL);
    /* There may be no JIT, and its stack is small (32 KiB); the interpreter takes its memory from the heap. */
    if (rc == PCRE2_ERROR_JIT_BADOPTION || rc == PCRE2_ERROR_JIT_STACKLIMIT)
        rc = pcre2_match(re, (PCRE2_SPTR)text, len, at, options | PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, m->data,
                         m->limits);
    *found = rc >= 0;
    if (rc == PCRE2_ERROR_NOMATCH) return 0;
    if (rc == PCRE2_ERROR_NOMEMORY) mem_checked(NULL, 0);
    if (rc < 0) {
        PCRE2_UCHAR why[256];
        pcre2_get_error_message(rc, why, sizeof why);
        return err_set(err, ERR_USAGE, "the tokenizer's pattern cannot be applied: %s", (char *)why);
    }
    const PCRE2_SIZE *span = pcre2_get_ovector_pointer(m->data);
    *start = span[0];
    *end = span[1];
    if (*start < at || *end <= *start) return err_set(err, ERR_USAGE, "the tokenizer's pattern moves backwards");
    return 0;
}
