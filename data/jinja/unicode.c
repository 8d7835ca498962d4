/* Characters and their case, as Python's str knows them. */
#include "data/jinja/library.h"
#include "data/jinja/unicode_tables.h"

#include <string.h>
#include <utf8proc.h>

int32_t text_char(const char *p, size_t len, size_t i, size_t *n) {
    int32_t c;
    utf8proc_ssize_t taken = utf8proc_iterate((const utf8proc_uint8_t *)p + i, (utf8proc_ssize_t)(len - i), &c);
    *n = taken > 0 ? (size_t)taken : 1;
    return taken > 0 ? c : (unsigned char)p[i]; /* what is not UTF-8 stays bytes */
}

/* ---- kinds of characters -------------------------------------------------------------------------------- */

#define IN_RANGES(c, ranges) in_ranges(c, ranges, sizeof(ranges) / sizeof *(ranges))
static bool in_ranges(int32_t c, const char_range_t *ranges, size_t n) {
    for (size_t i = 0; i < n && ranges[i].first <= c; i++) {
        if (c <= ranges[i].last) return true;
    }
    return false;
}

bool char_space(int32_t c) {
    return (c >= 0x09 && c <= 0x0d) || (c >= 0x1c && c <= 0x20) || c == 0x85 || c == 0x2028 || c == 0x2029 ||
           (c >= 0x80 && utf8proc_category(c) == UTF8PROC_CATEGORY_ZS);
}

bool char_printable(int32_t c) {
    switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP: return false;
    case UTF8PROC_CATEGORY_ZS: return c == ' ';
    default: return true;
    }
}

bool char_alpha(int32_t c) {
    utf8proc_category_t category = utf8proc_category(c);
    return category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO;
}

bool char_decimal(int32_t c) { return utf8proc_category(c) == UTF8PROC_CATEGORY_ND; }
bool char_digit(int32_t c) { return char_decimal(c) || IN_RANGES(c, other_digit); }

bool char_numeric(int32_t c) {
    utf8proc_category_t category = utf8proc_category(c);
    return (category >= UTF8PROC_CATEGORY_ND && category <= UTF8PROC_CATEGORY_NO) || IN_RANGES(c, other_numeric);
}

static bool char_upper(int32_t c) { return utf8proc_category(c) == UTF8PROC_CATEGORY_LU || IN_RANGES(c, other_upper); }
static bool char_lower(int32_t c) { return utf8proc_category(c) == UTF8PROC_CATEGORY_LL || IN_RANGES(c, other_lower); }
static bool char_title(int32_t c) { return utf8proc_category(c) == UTF8PROC_CATEGORY_LT; }

/* Digits of a script stand together from 0 to 9; a script may have several such rows, one behind the other. */
int char_decimal_value(int32_t c) {
    if (!char_decimal(c)) return -1;
    int32_t zero = c;
    while (char_decimal(zero - 1)) zero--;
    return (c - zero) % 10;
}

/* ---- texts of one kind ---------------------------------------------------------------------------------- */

static bool all_chars(const string_t *s, bool (*is)(int32_t c)) {
    size_t n;
    for (size_t i = 0; i < s->len; i += n) {
        if (!is(text_char(s->p, s->len, i, &n))) return false;
    }
    return s->len > 0;
}

static bool is_alnum(int32_t c) { return char_alpha(c) || char_digit(c) || char_numeric(c); }

bool text_is_alnum(const string_t *s) { return all_chars(s, is_alnum); }
bool text_is_alpha(const string_t *s) { return all_chars(s, char_alpha); }
bool text_is_ascii(const string_t *s) { return s->ascii; }
bool text_is_decimal(const string_t *s) { return all_chars(s, char_decimal); }
bool text_is_digit(const string_t *s) { return all_chars(s, char_digit); }
bool text_is_numeric(const string_t *s) { return all_chars(s, char_numeric); }
bool text_is_printable(const string_t *s) { return s->len == 0 || all_chars(s, char_printable); }
bool text_is_space(const string_t *s) { return all_chars(s, char_space); }

/* Has letters with a case, all of them of this one. */
static bool one_case(const string_t *s, bool (*is)(int32_t c), bool (*is_not)(int32_t c)) {
    bool any = false;
    size_t n;
    for (size_t i = 0; i < s->len; i += n) {
        int32_t c = text_char(s->p, s->len, i, &n);
        if (is_not(c) || char_title(c)) return false;
        any |= is(c);
    }
    return any;
}

bool text_is_lower(const string_t *s) { return one_case(s, char_lower, char_upper); }
bool text_is_upper(const string_t *s) { return one_case(s, char_upper, char_lower); }

bool text_is_title(const string_t *s) {
    bool any = false, in_word = false;
    size_t n;
    for (size_t i = 0; i < s->len; i += n) {
        int32_t c = text_char(s->p, s->len, i, &n);
        bool capital = char_upper(c) || char_title(c), small = !capital && char_lower(c);
        if ((capital && in_word) || (small && !in_word)) return false;
        in_word = capital || small;
        any |= in_word;
    }
    return any;
}

/* ---- case ----------------------------------------------------------------------------------------------- */

enum { MAX_MAPPED = 4 };
enum { CAPITAL_SIGMA = 0x3a3, SMALL_SIGMA = 0x3c3, FINAL_SIGMA = 0x3c2, DOTTED_I = 0x130, COMBINING_DOT = 0x307 };

static bool is_cased(int32_t c) { return char_upper(c) || char_lower(c) || char_title(c); }

/* What stands between letters of a word without ending it, in the rule for the final sigma. */
static bool is_case_ignorable(int32_t c) {
    static const char_range_t marks[] = {{'\'', '\''},     {'.', '.'},       {':', ':'},       {0xb7, 0xb7},
                                         {0x387, 0x387},   {0x55f, 0x55f},   {0x5f4, 0x5f4},   {0x2018, 0x2019},
                                         {0x2024, 0x2024}, {0x2027, 0x2027}, {0xfe13, 0xfe13}, {0xfe52, 0xfe52},
                                         {0xfe55, 0xfe55}, {0xff07, 0xff07}, {0xff0e, 0xff0e}, {0xff1a, 0xff1a}};
    switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_SK: return true;
    default: return IN_RANGES(c, marks);
    }
}

/* Whether the capital sigma at byte i of [from, to) ends a word. */
static bool is_final_sigma(render_t *r, const string_t *s, size_t from, size_t to, size_t i) {
    bool before = false;
    size_t n, at = i;
    while (at > from) {
        at--;
        while (at > from && ((unsigned char)s->p[at] & 0xc0) == 0x80) at--;
        int32_t c = text_char(s->p, s->len, at, &n);
        if (is_case_ignorable(c)) continue;
        before = is_cased(c);
        break;
    }
    jinja_steps(r, 1 + (i - at) / 16);
    if (!before) return false;
    text_char(s->p, s->len, i, &n);
    for (at = i + n; at < to; at += n) {
        int32_t c = text_char(s->p, s->len, at, &n);
        if (!is_case_ignorable(c)) return !is_cased(c);
    }
    return true;
}

static const special_case_t *special_case(int32_t c) {
    for (size_t i = 0; i < sizeof special_cases / sizeof *special_cases; i++) {
        if (special_cases[i].c == c) return &special_cases[i];
    }
    return NULL;
}

static size_t map_special(const int32_t mapped[3], int32_t out[MAX_MAPPED]) {
    size_t n = 0;
    while (n < 3 && mapped[n]) {
        out[n] = mapped[n];
        n++;
    }
    return n;
}

static size_t map_upper(int32_t c, bool title, int32_t out[MAX_MAPPED]) {
    const special_case_t *special = c < 0x80 ? NULL : special_case(c);
    if (special) return map_special(title ? special->title : special->upper, out);
    out[0] = title ? utf8proc_totitle(c) : utf8proc_toupper(c);
    return 1;
}

/* One text, or one word of it, whose case is changed. */
typedef struct {
    const string_t *s;
    size_t from, to;
} stretch_t;

static size_t map_lower(render_t *r, const stretch_t *at, size_t i, int32_t c, int32_t out[MAX_MAPPED]) {
    out[0] = utf8proc_tolower(c);
    if (c == CAPITAL_SIGMA) out[0] = is_final_sigma(r, at->s, at->from, at->to, i) ? FINAL_SIGMA : SMALL_SIGMA;
    if (c != DOTTED_I) return 1;
    out[0] = 'i';
    out[1] = COMBINING_DOT;
    return 2;
}

static size_t map_fold(int32_t c, int32_t out[MAX_MAPPED]) {
    int boundary = 0;
    utf8proc_ssize_t n = utf8proc_decompose_char(c, out, MAX_MAPPED, UTF8PROC_CASEFOLD, &boundary);
    if (n > 0) return (size_t)n;
    out[0] = c;
    return 1;
}

static size_t map_case(render_t *r, const stretch_t *at, size_t i, int32_t c, case_t to, bool in_word,
                       int32_t out[MAX_MAPPED]) {
    switch (to) {
    case CASE_UPPER: return map_upper(c, false, out);
    case CASE_LOWER: return map_lower(r, at, i, c, out);
    case CASE_FOLD: return map_fold(c, out);
    case CASE_TITLE: return in_word ? map_lower(r, at, i, c, out) : map_upper(c, true, out);
    case CASE_CAPITALIZE: return i > at->from ? map_lower(r, at, i, c, out) : map_upper(c, true, out);
    case CASE_SWAP:
        if (char_upper(c)) return map_lower(r, at, i, c, out);
        if (char_lower(c)) return map_upper(c, false, out);
        out[0] = c;
        return 1;
    }
    return 0;
}

static void build_case(render_t *r, builder_t *b, const stretch_t *at, case_t to) {
    bool in_word = false;
    size_t n;
    for (size_t i = at->from; i < at->to; i += n) {
        int32_t c = text_char(at->s->p, at->s->len, i, &n), mapped[MAX_MAPPED];
        size_t count = map_case(r, at, i, c, to, in_word, mapped);
        if (to == CASE_TITLE) in_word = is_cased(c);
        for (size_t k = 0; k < count; k++) {
            utf8proc_uint8_t bytes[4];
            utf8proc_ssize_t len = utf8proc_encode_char(mapped[k], bytes);
            build_bytes(r, b, (const char *)bytes, (size_t)len, string_origin(at->s, i));
        }
    }
}

value_t text_case(render_t *r, const string_t *s, case_t to) {
    builder_t text = {0};
    jinja_steps(r, s->len / 4);
    build_case(r, &text, &(stretch_t){s, 0, s->len}, to);
    return build_end(r, &text);
}

/* ---- the filter title ----------------------------------------------------------------------------------- */

/* What stands between words to Jinja. */
static bool separates_words(int32_t c) {
    return c == '-' || c == '(' || c == '{' || c == '[' || c == '<' || char_space(c);
}

/* Jinja cuts the first character off a word before it changes the case of either part. */
value_t text_jinja_title(render_t *r, const string_t *s) {
    builder_t text = {0};
    jinja_steps(r, s->len / 4);
    for (size_t from = 0, n; from < s->len;) {
        bool separator = separates_words(text_char(s->p, s->len, from, &n));
        stretch_t first = {s, from, from + n}, rest = {s, from + n, from + n};
        while (rest.to < s->len && separates_words(text_char(s->p, s->len, rest.to, &n)) == separator) rest.to += n;
        build_case(r, &text, &first, CASE_UPPER);
        build_case(r, &text, &rest, CASE_LOWER);
        from = rest.to;
    }
    return build_end(r, &text);
}
