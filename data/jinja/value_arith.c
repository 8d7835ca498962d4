/* Arithmetic, as Python has it, in 64 bits. */
#include "data/jinja/library.h"

#include <math.h>
#include <string.h>

static _Noreturn void fail_operands(render_t *r, const char *op, value_t a, value_t b) {
    if (a.type == V_UNDEFINED) undefined_fail(r, a);
    if (b.type == V_UNDEFINED) undefined_fail(r, b);
    jinja_fail(r, "%s does not work between a %s and a %s", op, value_type_name(a), value_type_name(b));
}

static _Noreturn void fail_large(render_t *r, const char *op) {
    jinja_fail(r, "the result of %s has more than 64 bits", op);
}

/* ---- numbers -------------------------------------------------------------------------------------------- */

/* Rounded towards minus infinity; b is not 0, nor the quotient 2^63. */
static int64_t floor_quotient(int64_t a, int64_t b) {
    int64_t q = a / b;
    return a % b != 0 && (a < 0) != (b < 0) ? q - 1 : q;
}

static int64_t floor_rest(int64_t a, int64_t b) {
    if (b == -1) return 0;
    int64_t rest = a % b;
    return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}

static double float_rest(double a, double b) {
    double rest = fmod(a, b);
    if (rest == 0) return copysign(0, b);
    return (rest < 0) != (b < 0) ? rest + b : rest;
}

static double float_quotient(double a, double b) {
    double rest = fmod(a, b);
    double q = (a - rest) / b;
    if (rest != 0 && (rest < 0) != (b < 0)) q -= 1;
    if (q == 0) return copysign(0, a / b);
    double whole = floor(q);
    return q - whole > 0.5 ? whole + 1 : whole;
}

/* True division of ints rounds once, though they may have more digits than a double. */
static double integer_ratio(int64_t a, int64_t b) { return (double)((long double)a / (long double)b); }

static value_t power_of_integers(render_t *r, int64_t base, int64_t exponent) {
    if (exponent < 0) {
        if (base == 0) jinja_fail(r, "0 cannot be raised to a negative power");
        return value_float(pow((double)base, (double)exponent));
    }
    int64_t result = 1;
    if (base == 0 || base == 1) return value_int(exponent == 0 ? 1 : base);
    if (base == -1) return value_int(exponent % 2 ? -1 : 1);
    for (; exponent > 0; exponent--) {
        if (__builtin_mul_overflow(result, base, &result)) fail_large(r, "**");
    }
    return value_int(result);
}

static value_t power_of_floats(render_t *r, double base, double exponent) {
    if (base == 0 && exponent < 0) jinja_fail(r, "0 cannot be raised to a negative power");
    if (base < 0 && isfinite(base) && isfinite(exponent) && floor(exponent) != exponent) {
        jinja_fail(r, "a negative number cannot be raised to a fractional power");
    }
    double result = pow(base, exponent);
    if (isinf(result) && isfinite(base) && isfinite(exponent)) jinja_fail(r, "the result of ** is too large");
    return value_float(result);
}

static value_t integer_binary(render_t *r, char op, int64_t a, int64_t b) {
    int64_t result = 0;
    switch (op) {
    case '+':
        if (__builtin_add_overflow(a, b, &result)) fail_large(r, "+");
        return value_int(result);
    case '-':
        if (__builtin_sub_overflow(a, b, &result)) fail_large(r, "-");
        return value_int(result);
    case '*':
        if (__builtin_mul_overflow(a, b, &result)) fail_large(r, "*");
        return value_int(result);
    case 'p': return power_of_integers(r, a, b);
    default: break;
    }
    if (b == 0) jinja_fail(r, "division by zero");
    if (op == '/') return value_float(integer_ratio(a, b));
    if (op == '%') return value_int(floor_rest(a, b));
    if (a == INT64_MIN && b == -1) fail_large(r, "//");
    return value_int(floor_quotient(a, b));
}

static value_t float_binary(render_t *r, char op, double a, double b) {
    switch (op) {
    case '+': return value_float(a + b);
    case '-': return value_float(a - b);
    case '*': return value_float(a * b);
    case 'p': return power_of_floats(r, a, b);
    default: break;
    }
    if (b == 0) jinja_fail(r, "division by zero");
    if (op == '/') return value_float(a / b);
    return value_float(op == '%' ? float_rest(a, b) : float_quotient(a, b));
}

value_t value_negative(render_t *r, value_t v) {
    if (v.type == V_UNDEFINED) undefined_fail(r, v);
    if (v.type == V_FLOAT) return value_float(-v.f);
    if (!value_is_integer(v)) jinja_fail(r, "a %s has no negative", value_type_name(v));
    if (integer_of(v) == INT64_MIN) fail_large(r, "-");
    return value_int(-integer_of(v));
}

/* ---- texts and lists ------------------------------------------------------------------------------------ */

static value_t join_texts(render_t *r, value_t a, value_t b) {
    bool markup = a.markup || b.markup;
    if (markup) {
        a = text_escape(r, a);
        b = text_escape(r, b);
    }
    value_t v = string_add(r, a.s, b.s);
    v.markup = markup;
    return v;
}

static value_t join_lists(render_t *r, value_t a, value_t b) {
    value_t v = value_list(r, a.type, a.list->n + b.list->n);
    if (a.list->n > 0) memcpy(v.list->v, a.list->v, a.list->n * sizeof *v.list->v);
    if (b.list->n > 0) memcpy(v.list->v + a.list->n, b.list->v, b.list->n * sizeof *v.list->v);
    return v;
}

static value_t repeat_list(render_t *r, value_t list, int64_t times) {
    size_t n = list.list->n;
    if (times < 0 || n == 0) times = 0;
    if (times > 0 && (size_t)times > JINJA_MAX_MEMORY / n)
        jinja_fail(r, "a list of %zu elements %lld times is too long", n, (long long)times);
    value_t v = value_list(r, list.type, n * (size_t)times);
    for (size_t i = 0; i < v.list->n; i++) v.list->v[i] = list.list->v[i % n];
    return v;
}

static value_t multiply_sequence(render_t *r, value_t v, int64_t times) {
    if (v.type != V_STRING) return repeat_list(r, v, times);
    value_t text = text_repeat(r, v.s, times);
    text.markup = v.markup;
    return text;
}

static value_t concatenate(render_t *r, value_t a, value_t b) {
    const string_t *left = value_str(r, a).s;
    return string_add(r, left, value_str(r, b).s);
}

static bool is_sequence(value_t v) { return v.type == V_STRING || v.type == V_LIST || v.type == V_TUPLE; }

static const char *op_text(const char *op) { return *op == 'f' ? "//" : *op == 'p' ? "**" : op; }

value_t value_binary(render_t *r, char op, value_t a, value_t b) {
    if (op == '~') return concatenate(r, a, b);
    if (op == '%' && a.type == V_STRING) return text_percent(r, a, b);
    if (value_is_integer(a) && value_is_integer(b)) return integer_binary(r, op, integer_of(a), integer_of(b));
    if (value_is_number(a) && value_is_number(b)) return float_binary(r, op, value_double(a), value_double(b));
    if (op == '+' && a.type == b.type && is_sequence(a)) {
        return a.type == V_STRING ? join_texts(r, a, b) : join_lists(r, a, b);
    }
    if (op == '*' && is_sequence(a) && value_is_integer(b)) return multiply_sequence(r, a, integer_of(b));
    if (op == '*' && is_sequence(b) && value_is_integer(a)) return multiply_sequence(r, b, integer_of(a));
    fail_operands(r, op_text((const char[]){op, '\0'}), a, b);
}
