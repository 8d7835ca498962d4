/* Texts read as numbers, as Python's int() and float() do, and arguments of calls. */
#include "data/jinja/library.h"

#include <stdlib.h>
#include <string.h>

/* ---- numbers -------------------------------------------------------------------------------------------- */

/* The text without white space around it, its digits of any script as ASCII; underscores between digits are dropped.
 * NULL: an underscore stands elsewhere, or there is nothing. */
static char *plain_digits(render_t *r, const string_t *s, bool letters) {
    const string_t *t = text_strip(r, s, NULL, 3).s;
    jinja_steps(r, t->len / 4);
    char *out = jinja_alloc(r, t->len + 1);
    size_t len = 0, n;
    bool digit_before = false;
    for (size_t i = 0; i < t->len; i += n) {
        int32_t c = text_char(t->p, t->len, i, &n);
        if (c == '_') {
            int32_t next = i + 1 < t->len ? text_char(t->p, t->len, i + 1, &(size_t){0}) : 0;
            bool digit_behind = char_decimal(next) || (letters && next < 0x80 && char_alpha(next));
            if (!digit_before || !digit_behind) return NULL;
            continue;
        }
        int value = char_decimal_value(c);
        if (value < 0 && c >= 0x80) return NULL;
        out[len++] = (char)(value < 0 ? c : '0' + value);
        digit_before = value >= 0 || (letters && char_alpha(c));
    }
    return len > 0 && strlen(out) == len ? out : NULL;
}

static bool is_float(const char *p) {
    size_t digits = 0;
    if (*p == '+' || *p == '-') p++;
    static const char *const names[] = {"inf", "infinity", "nan"};
    for (size_t i = 0; i < 3; i++) {
        size_t k = 0;
        while (p[k] && (p[k] | 0x20) == names[i][k]) k++;
        if (!p[k] && !names[i][k]) return true;
    }
    for (; *p >= '0' && *p <= '9'; p++) digits++;
    if (*p == '.') p++;
    for (; *p >= '0' && *p <= '9'; p++) digits++;
    if (digits == 0) return false;
    if (*p == 'e' || *p == 'E') {
        p++;
        if (*p == '+' || *p == '-') p++;
        if (*p < '0' || *p > '9') return false;
        while (*p >= '0' && *p <= '9') p++;
    }
    return *p == '\0';
}

bool float_of_text(render_t *r, const string_t *s, double *f) {
    const char *text = plain_digits(r, s, false);
    if (!text || !is_float(text)) return false;
    *f = strtod(text, NULL);
    return true;
}

static int digit_of(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    return (c | 0x20) >= 'a' && (c | 0x20) <= 'z' ? (c | 0x20) - 'a' + 10 : 36;
}

/* Behind "0x", "0o" or "0b" that fits the base (which 0 takes from it); NULL: there is nothing behind. */
static const char *skip_prefix(const char *p, int64_t *base) {
    int of_letter = p[0] == '0' ? ((p[1] | 0x20) == 'x'   ? 16
                                   : (p[1] | 0x20) == 'o' ? 8
                                   : (p[1] | 0x20) == 'b' ? 2
                                                          : 0)
                                : 0;
    if (of_letter > 0 && (*base == 0 || *base == of_letter)) {
        *base = of_letter;
        return p[2] ? p + 2 : NULL;
    }
    if (*base != 0) return p;
    *base = 10;
    const char *zeros = p + strspn(p, "0");
    return *zeros && zeros > p ? NULL : p; /* base 0 has no 012 */
}

bool integer_of_text(render_t *r, const string_t *s, int64_t base, int64_t *i) {
    if (base != 0 && (base < 2 || base > 36)) return false;
    const char *text = plain_digits(r, s, true), *p = text;
    if (!p) return false;
    bool negative = *p == '-';
    if (*p == '+' || *p == '-') p++;
    p = skip_prefix(p, &base);
    if (!p || !*p) return false;
    int64_t value = 0;
    bool large = false;
    for (; *p; p++) {
        int digit = digit_of(*p);
        if (digit >= base) return false;
        large |= __builtin_mul_overflow(value, base, &value) ||
                 __builtin_add_overflow(value, negative ? -digit : digit, &value);
    }
    if (large) jinja_fail(r, "the int %.40s has more than 64 bits", text);
    *i = value;
    return true;
}

/* ---- arguments ------------------------------------------------------------------------------------------ */

static bool arg_given(const call_args_t *args, size_t i, const char *name, value_t *value) {
    value_t none = {.type = V_UNDEFINED, .hint = true, .name = name};
    *value = arg_or(args, i, name, none);
    return !(value->type == V_UNDEFINED && value->hint && value->name == name);
}

value_t arg_required(render_t *r, const call_args_t *args, size_t i, const char *name, const char *what) {
    value_t value;
    if (!arg_given(args, i, name, &value)) jinja_fail(r, "%s: the argument '%s' is missing", what, name);
    return value;
}

const string_t *arg_string(render_t *r, const call_args_t *args, size_t i, const char *name, const char *what) {
    value_t value = arg_required(r, args, i, name, what);
    if (value.type == V_UNDEFINED) undefined_fail(r, value);
    if (value.type != V_STRING) {
        jinja_fail(r, "%s: the argument '%s' is a %s; expected a str", what, name, value_type_name(value));
    }
    return value.s;
}

int64_t arg_integer(render_t *r, const call_args_t *args, size_t i, const char *name, int64_t fallback,
                    const char *what) {
    value_t value;
    if (!arg_given(args, i, name, &value)) return fallback;
    if (value.type == V_UNDEFINED) undefined_fail(r, value);
    if (!value_is_integer(value)) {
        jinja_fail(r, "%s: the argument '%s' is a %s; expected an int", what, name, value_type_name(value));
    }
    return integer_of(value);
}

bool arg_truth(const call_args_t *args, size_t i, const char *name, bool fallback) {
    value_t value;
    return arg_given(args, i, name, &value) ? value_truth(value) : fallback;
}
