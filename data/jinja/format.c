/* Values written by a width, a precision and a type. */
#include "data/jinja/format.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <utf8proc.h>

static void build_padding(render_t *r, builder_t *b, const format_spec_t *spec, size_t n) {
    for (size_t i = 0; i < n; i++) build_bytes(r, b, spec->fill, spec->fill_len, 0);
}

/* How much of `pad` stands before the text. */
static size_t padding_before(char align, size_t pad) { return align == '<' ? 0 : align == '^' ? pad / 2 : pad; }

void format_text(render_t *r, builder_t *b, const string_t *s, const format_spec_t *spec, char side) {
    size_t chars = count_chars(r, s), end = s->len;
    if (spec->precision >= 0 && (uint64_t)spec->precision < chars) {
        chars = (size_t)spec->precision;
        end = string_byte(s, chars);
    }
    size_t pad = spec->width > 0 && (uint64_t)spec->width > chars ? (size_t)spec->width - chars : 0;
    size_t before = padding_before(spec->align ? spec->align : side, pad);
    build_padding(r, b, spec, before);
    build_string(r, b, s, 0, end);
    build_padding(r, b, spec, pad - before);
}

/* Sign and prefix, then digits: what is between them where zeros fill up. */
static void build_number(render_t *r, builder_t *b, const char *prefix, const char *digits, jinja_origin_t origin,
                         const format_spec_t *spec) {
    size_t len = strlen(prefix) + strlen(digits);
    size_t pad = spec->width > 0 && (uint64_t)spec->width > len ? (size_t)spec->width - len : 0;
    size_t before = padding_before(spec->align ? spec->align : '>', pad);
    bool inside = spec->align == '=';
    if (!inside) build_padding(r, b, spec, before);
    build_bytes(r, b, prefix, strlen(prefix), origin);
    if (inside) build_padding(r, b, spec, pad);
    build_bytes(r, b, digits, strlen(digits), origin);
    if (!inside) build_padding(r, b, spec, pad - before);
}

/* The digits with a mark between each group of `size` of those before the point. */
static const char *group_digits(render_t *r, const char *digits, char mark, size_t size) {
    if (!mark) return digits;
    size_t whole = strspn(digits, "0123456789abcdefABCDEF"), len = strlen(digits), n = 0;
    char *out = jinja_alloc(r, len + whole + 1);
    for (size_t i = 0; i < len; i++) {
        if (i > 0 && i < whole && (whole - i) % size == 0) out[n++] = mark;
        out[n++] = digits[i];
    }
    return out;
}

static void check_grouping(render_t *r, const format_spec_t *spec) {
    if (spec->grouping && spec->align == '=' && spec->width > 0) {
        jinja_fail(r, "a format with '%c' and zeros in front is not supported", spec->grouping);
    }
}

static const char *sign_text(bool negative, char sign) {
    return negative ? "-" : sign == '+' ? "+" : sign == ' ' ? " " : "";
}

static void digits_of(uint64_t u, unsigned base, bool large, char text[72]) {
    const char *set = large ? "0123456789ABCDEF" : "0123456789abcdef";
    char reversed[72];
    size_t n = 0;
    do {
        reversed[n++] = set[u % base];
        u /= base;
    } while (u > 0);
    for (size_t i = 0; i < n; i++) text[i] = reversed[n - 1 - i];
    text[n] = '\0';
}

/* At least as many digits as the precision says. */
static const char *lengthen(render_t *r, const char *digits, int64_t precision) {
    size_t len = strlen(digits);
    if (precision < 0 || (uint64_t)precision <= len) return digits;
    char *out = jinja_alloc(r, (size_t)precision + 1);
    memset(out, '0', (size_t)precision - len);
    memcpy(out + ((size_t)precision - len), digits, len);
    return out;
}

void format_integer(render_t *r, builder_t *b, value_t v, const format_spec_t *spec) {
    int64_t i = integer_of(v);
    uint64_t magnitude = i < 0 ? 0 - (uint64_t)i : (uint64_t)i;
    unsigned base = spec->type == 'b' ? 2 : spec->type == 'o' ? 8 : spec->type == 'x' || spec->type == 'X' ? 16 : 10;
    char digits[72], prefix[8];
    digits_of(magnitude, base, spec->type == 'X', digits);
    const char *mark = base == 16 ? (spec->type == 'X' ? "0X" : "0x") : base == 8 ? "0o" : base == 2 ? "0b" : "";
    snprintf(prefix, sizeof prefix, "%s%s", sign_text(i < 0, spec->sign), spec->alternate ? mark : "");
    check_grouping(r, spec);
    const char *text = group_digits(r, digits, spec->grouping, base == 10 ? 3 : 4);
    build_number(r, b, prefix, lengthen(r, text, spec->precision), v.origin, spec);
}

void format_float(render_t *r, builder_t *b, value_t v, const format_spec_t *spec) {
    double f = value_double(v), magnitude = fabs(spec->type == '%' ? f * 100 : f);
    int precision = spec->precision < 0 ? 6 : (int)spec->precision;
    size_t cap = (size_t)precision + 400;
    jinja_steps(r, cap / 16);
    char *digits = jinja_alloc(r, cap);
    bool large = spec->type == 'E' || spec->type == 'F' || spec->type == 'G';
    if (isnan(magnitude) || isinf(magnitude)) {
        snprintf(digits, cap, "%s%s",
                 isnan(f) ? (large ? "NAN" : "nan")
                 : large  ? "INF"
                          : "inf",
                 spec->type == '%' ? "%" : "");
    } else if (spec->type == 0) {
        float_text(magnitude, digits);
    } else {
        char form[8];
        snprintf(form, sizeof form, "%%%s.*%c%s", spec->alternate ? "#" : "", spec->type == '%' ? 'f' : spec->type,
                 spec->type == '%' ? "%%" : "");
        snprintf(digits, cap, form, precision, magnitude);
    }
    check_grouping(r, spec);
    const char *text = isfinite(magnitude) ? group_digits(r, digits, spec->grouping, 3) : digits;
    build_number(r, b, sign_text(signbit(f) && !isnan(f), spec->sign), text, v.origin, spec);
}

value_t format_character(render_t *r, value_t v) {
    int64_t c = value_integer(r, v, "a character's number");
    if (c < 0 || c > 0x10ffff || !utf8proc_codepoint_valid((int32_t)c)) {
        jinja_fail(r, "%lld is no character's number", (long long)c);
    }
    utf8proc_uint8_t bytes[4];
    utf8proc_ssize_t n = utf8proc_encode_char((int32_t)c, bytes);
    return value_text(r, (const char *)bytes, (size_t)n, v.origin);
}
