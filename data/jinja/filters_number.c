/* Filters that make or change numbers. */
#include "data/jinja/filters.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* int() of a float; false where Python raises ValueError or OverflowError. */
static bool whole_part(render_t *r, double f, value_t *v) {
    if (!isfinite(f)) return false;
    if (!(f >= -0x1p63 && f < 0x1p63)) jinja_fail(r, "the int of %g has more than 64 bits", f);
    *v = value_int((int64_t)f);
    return true;
}

static bool to_int(render_t *r, value_t v, int64_t base, value_t *result) {
    double f;
    switch (v.type) {
    case V_UNDEFINED: undefined_fail(r, v);
    case V_BOOL: *result = value_int(v.b); return true;
    case V_INT: *result = v; return true;
    case V_FLOAT:
        if (isinf(v.f)) jinja_fail(r, "infinity has no int");
        return whole_part(r, v.f, result);
    case V_STRING: {
        int64_t i;
        if (integer_of_text(r, v.s, base, &i)) {
            *result = value_int(i);
            return true;
        }
        return float_of_text(r, v.s, &f) && whole_part(r, f, result);
    }
    default: return false;
    }
}

value_t filter_int(render_t *r, value_t v, const call_args_t *args) {
    static const char *const names[] = {"default", "base", NULL};
    args_check(r, args, 0, 2, names, "int");
    value_t result;
    int64_t base = arg_integer(r, args, 1, "base", 10, "int");
    return to_int(r, v, base, &result) ? result : arg_or(args, 0, "default", value_int(0));
}

value_t filter_float(render_t *r, value_t v, const call_args_t *args) {
    static const char *const names[] = {"default", NULL};
    args_check(r, args, 0, 1, names, "float");
    double f;
    if (v.type == V_UNDEFINED) undefined_fail(r, v);
    if (v.type == V_FLOAT) return v;
    if (value_is_number(v)) return value_float(value_double(v));
    if (v.type == V_STRING && float_of_text(r, v.s, &f)) return value_float(f);
    return arg_or(args, 0, "default", value_float(0));
}

value_t filter_abs(render_t *r, value_t v, const call_args_t *args) {
    args_check(r, args, 0, 0, NULL, "abs");
    if (v.type == V_UNDEFINED) undefined_fail(r, v);
    if (v.type == V_FLOAT) return value_float(fabs(v.f));
    int64_t i = value_integer(r, v, "what abs is taken of");
    return i < 0 ? value_negative(r, value_int(i)) : value_int(i);
}

/* ---- round ---------------------------------------------------------------------------------------------- */

/* To a multiple of 10^tens, half to even, of the exact value. */
static double round_to_tens(double f, int tens) {
    char text[64];
    int exponent = f == 0 ? 0 : (int)floor(log10(fabs(f)));
    snprintf(text, sizeof text, "%.0e", f);
    exponent = atoi(strchr(text, 'e') + 1) > exponent ? atoi(strchr(text, 'e') + 1) : exponent;
    if (tens > exponent + 1) return copysign(0, f);
    double unit = pow(10, tens), q = floor(fabs(f) / unit), rest = fabs(f) - q * unit;
    if (rest * 2 > unit || (rest * 2 == unit && fmod(q, 2) == 1)) q += 1;
    return copysign(q * unit, f);
}

static double round_float(render_t *r, double f, int64_t digits) {
    if (!isfinite(f) || f == 0 || digits > 340) return f;
    if (digits < -310) return copysign(0, f);
    if (digits < 0) return round_to_tens(f, (int)-digits);
    char *text = jinja_alloc(r, 800);
    snprintf(text, 800, "%.*f", (int)digits, f); /* exactly rounded, half to even */
    return strtod(text, NULL);
}

static int64_t round_integer(render_t *r, int64_t i, int64_t digits) {
    if (digits >= 0) return i;
    if (digits < -18) return 0;
    int64_t unit = 1;
    for (; digits < 0; digits++) unit *= 10;
    int64_t rest = i % unit, down = i - rest, half = unit / 2, size = rest < 0 ? -rest : rest;
    if (size < half || (size == half && (down / unit) % 2 == 0)) return down;
    int64_t up;
    if (__builtin_add_overflow(down, rest < 0 ? -unit : unit, &up))
        jinja_fail(r, "round: the result has more than 64 bits");
    return up;
}

static value_t round_towards(render_t *r, value_t v, int64_t precision, bool up) {
    value_t ten = value_int(10);
    value_t scale = value_binary(r, 'p', ten, value_int(precision));
    value_t scaled = value_binary(r, '*', v, scale);
    if (scaled.type == V_FLOAT) {
        if (!isfinite(scaled.f)) jinja_fail(r, "round: a number that is not finite, or too large");
        scaled = value_float(up ? ceil(scaled.f) : floor(scaled.f));
        if (scaled.f == 0) scaled = value_int(0); /* of an int: no -0.0 */
    }
    return value_binary(r, '/', scaled, scale);
}

value_t filter_round(render_t *r, value_t v, const call_args_t *args) {
    static const char *const names[] = {"precision", "method", NULL};
    args_check(r, args, 0, 2, names, "round");
    int64_t precision = arg_integer(r, args, 0, "precision", 0, "round");
    value_t method = arg_or(args, 1, "method", value_text(r, "common", 6, 0));
    const char *name = method.type == V_STRING ? method.s->p : "";
    bool common = strcmp(name, "common") == 0, up = strcmp(name, "ceil") == 0;
    if (!common && !up && strcmp(name, "floor") != 0) {
        jinja_fail(r, "round: 'method' is none of \"common\", \"ceil\" and \"floor\"");
    }
    if (v.type == V_UNDEFINED) undefined_fail(r, v);
    if (!value_is_number(v)) jinja_fail(r, "round: a %s; expected a number", value_type_name(v));
    if (!common) return round_towards(r, v, precision, up);
    if (v.type == V_FLOAT) return value_float(round_float(r, v.f, precision));
    return value_int(round_integer(r, value_integer(r, v, "what is rounded"), precision));
}
