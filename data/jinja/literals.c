#include "data/jinja/lexer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

/* ---- strings -------------------------------------------------------------------------------------------- */

typedef struct {
    render_t *r;
    const char *s;
    size_t at, end;
    builder_t b;
} escapes_t;

static void put_codepoint(escapes_t *x, uint32_t c) {
    utf8proc_uint8_t utf8[4];
    if (c > 0x10ffff) jinja_fail(x->r, "an escape for a character beyond U+10FFFF");
    if (c >= 0xd800 && c < 0xe000) jinja_fail(x->r, "an escape for half a surrogate pair; expected a character");
    utf8proc_ssize_t n = utf8proc_encode_char((utf8proc_int32_t)c, utf8);
    build_bytes(x->r, &x->b, (const char *)utf8, (size_t)n, 0);
}

static int digit_of(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return 99;
}

static void hex_escape(escapes_t *x, size_t digits) {
    uint32_t c = 0;
    if (x->end - x->at < digits) jinja_fail(x->r, "a truncated escape in a string");
    for (size_t i = 0; i < digits; i++) {
        int d = digit_of(x->s[x->at++]);
        if (d > 15) jinja_fail(x->r, "a truncated escape in a string");
        c = c << 4 | (uint32_t)d;
    }
    put_codepoint(x, c);
}

static void octal_escape(escapes_t *x) {
    uint32_t c = 0;
    for (size_t i = 0; i < 3 && x->at < x->end && digit_of(x->s[x->at]) < 8; i++) {
        c = c << 3 | (uint32_t)digit_of(x->s[x->at++]);
    }
    put_codepoint(x, c);
}

/* Jinja writes characters beyond ASCII as escapes before it undoes escapes: a backslash in front of one undoes that. */
static void escaped_character(escapes_t *x) {
    utf8proc_int32_t c;
    char written[12];
    x->at += (size_t)utf8proc_iterate((const utf8proc_uint8_t *)x->s + x->at, (utf8proc_ssize_t)(x->end - x->at), &c);
    const char *form = c < 0x100 ? "\\x%02x" : c < 0x10000 ? "\\u%04x" : "\\U%08x";
    snprintf(written, sizeof written, form, (unsigned)c);
    build_bytes(x->r, &x->b, written, strlen(written), 0);
}

static void one_escape(escapes_t *x) {
    static const char from[] = "\\'\"abfnrtv", to[] = "\\'\"\a\b\f\n\r\t\v";
    char c = x->s[x->at];
    const char *simple = c ? strchr(from, c) : NULL;
    if (simple) {
        build_bytes(x->r, &x->b, &to[simple - from], 1, 0);
        x->at++;
    } else if (digit_of(c) < 8) {
        octal_escape(x);
    } else if (c == 'x' || c == 'u' || c == 'U') {
        x->at++;
        hex_escape(x, c == 'x' ? 2 : c == 'u' ? 4 : 8);
    } else if (c == 'N') {
        jinja_fail(x->r, "\\N escapes are not supported; expected \\u and four digits");
    } else if (c == '\n') {
        x->at++;
    } else if ((unsigned char)c >= 0x80) {
        escaped_character(x);
    } else {
        build_bytes(x->r, &x->b, "\\", 1, 0);
    }
}

value_t literal_string(render_t *r, const char *s, size_t n, size_t at, size_t *end) {
    char quote = s[at - 1];
    size_t stop = at;
    bool plain = true;
    for (; stop < n && s[stop] != quote; stop++) {
        if (s[stop] != '\\') continue;
        plain = false;
        stop++;
    }
    if (stop >= n) jinja_fail(r, "a string without an end; expected %c", quote);
    *end = stop + 1;
    if (plain) return value_text(r, s + at, stop - at, 0);
    escapes_t x = {.r = r, .s = s, .at = at, .end = stop};
    while (x.at < x.end) {
        size_t from = x.at;
        while (x.at < x.end && s[x.at] != '\\') x.at++;
        build_bytes(r, &x.b, s + from, x.at - from, 0);
        if (x.at >= x.end) break;
        x.at++;
        one_escape(&x);
    }
    return build_end(r, &x.b);
}

/* ---- numbers -------------------------------------------------------------------------------------------- */

static bool is_digit(const char *s, size_t n, size_t at, int base) { return at < n && digit_of(s[at]) < base; }

/* Behind the digits from `at`, single underscores between them. */
static size_t digits_end(const char *s, size_t n, size_t at, int base) {
    if (!is_digit(s, n, at, base)) return at;
    while (is_digit(s, n, at, base) || (at < n && s[at] == '_' && is_digit(s, n, at + 1, base))) at++;
    return at;
}

/* Behind the float at `at`; `at` if there is none. */
static size_t float_end(const char *s, size_t n, size_t at) {
    size_t whole = digits_end(s, n, at, 10), end = whole;
    if (at > 0 && s[at - 1] == '.') return at; /* x.0.1 are two items */
    if (whole < n && s[whole] == '.' && is_digit(s, n, whole + 1, 10)) end = digits_end(s, n, whole + 1, 10);
    if (end < n && (s[end] == 'e' || s[end] == 'E')) {
        size_t power = end + 1;
        if (power < n && (s[power] == '+' || s[power] == '-')) power++;
        if (is_digit(s, n, power, 10)) return digits_end(s, n, power, 10);
    }
    return end > whole ? end : at;
}

static value_t float_of(render_t *r, const char *s, size_t n) {
    char *digits = jinja_alloc(r, n + 1);
    size_t m = 0;
    for (size_t i = 0; i < n; i++) {
        if (s[i] != '_') digits[m++] = s[i];
    }
    return value_float(strtod(digits, NULL));
}

static value_t int_of(render_t *r, const char *s, size_t n, int base) {
    int64_t v = 0;
    for (size_t i = 0; i < n; i++) {
        if (s[i] == '_') continue;
        if (__builtin_mul_overflow(v, (int64_t)base, &v) || __builtin_add_overflow(v, (int64_t)digit_of(s[i]), &v)) {
            jinja_fail(r, "a number that does not fit in 64 bits");
        }
    }
    return value_int(v);
}

static int base_of(const char *s, size_t n, size_t at) {
    char c = at + 1 < n && s[at] == '0' ? s[at + 1] : 0;
    int base = c == 'x' || c == 'X' ? 16 : c == 'o' || c == 'O' ? 8 : c == 'b' || c == 'B' ? 2 : 10;
    size_t first = at + 2 < n && s[at + 2] == '_' ? at + 3 : at + 2;
    return base != 10 && is_digit(s, n, first, base) ? base : 10;
}

value_t literal_number(render_t *r, const char *s, size_t n, size_t at, size_t *end) {
    *end = float_end(s, n, at);
    if (*end > at) return float_of(r, s + at, *end - at);
    int base = base_of(s, n, at);
    if (base != 10) at += s[at + 2] == '_' ? 3 : 2;
    /* 007 is no number: 00 and 7. */
    *end = base == 10 && s[at] == '0' ? at + 1 : digits_end(s, n, at, base);
    while (base == 10 && s[at] == '0' && *end < n &&
           (s[*end] == '0' || (s[*end] == '_' && is_digit(s, n, *end + 1, 1))))
        ++*end;
    return int_of(r, s + at, *end - at, base);
}
