/* The tests: what stands behind `is`. */
#include "data/jinja/filters.h"

#include <string.h>

#define TEST(name) static bool test_##name(render_t *r, value_t v, const call_args_t *args)

static void no_arguments(render_t *r, const call_args_t *args, const char *what) {
    args_check(r, args, 0, 0, NULL, what);
}

/* A test of the value's type alone. */
#define TYPE_TEST(name, condition) \
    static bool test_##name(render_t *r, value_t v, const call_args_t *args) { \
        no_arguments(r, args, #name); \
        return condition; \
    }
TYPE_TEST(defined, v.type != V_UNDEFINED)
TYPE_TEST(undefined, v.type == V_UNDEFINED)
TYPE_TEST(none, v.type == V_NONE)
TYPE_TEST(boolean, v.type == V_BOOL)
TYPE_TEST(true, v.type == V_BOOL && v.b)
TYPE_TEST(false, v.type == V_BOOL && !v.b)
TYPE_TEST(integer, v.type == V_INT)
TYPE_TEST(float, v.type == V_FLOAT)
TYPE_TEST(number, value_is_number(v))
TYPE_TEST(string, v.type == V_STRING)
TYPE_TEST(mapping, v.type == V_DICT)
TYPE_TEST(callable, v.type == V_FUNCTION || v.type == V_UNDEFINED) /* Jinja's undefined has a call that fails */
TYPE_TEST(escaped, v.type == V_STRING && v.markup)

TEST(iterable) {
    size_t n;
    no_arguments(r, args, "iterable");
    return v.type == V_GENERATOR || value_has_length(r, v, &n);
}

TEST(sequence) {
    size_t n;
    no_arguments(r, args, "sequence");
    bool items = v.type == V_VIEW ? v.list->kind == LIST_RANGE : v.type != V_FUNCTION;
    return items && value_has_length(r, v, &n);
}

static bool rest_is(render_t *r, value_t v, value_t by, int64_t rest) {
    return value_equal(r, value_binary(r, '%', v, by), value_int(rest));
}

TEST(odd) {
    no_arguments(r, args, "odd");
    return rest_is(r, v, value_int(2), 1);
}

TEST(even) {
    no_arguments(r, args, "even");
    return rest_is(r, v, value_int(2), 0);
}

TEST(divisibleby) {
    static const char *const names[] = {"num", NULL};
    args_check(r, args, 0, 1, names, "divisibleby");
    return rest_is(r, v, arg_required(r, args, 0, "num", "divisibleby"), 0);
}

TEST(lower) {
    no_arguments(r, args, "lower");
    const string_t *s = value_str(r, v).s;
    jinja_steps(r, s->len / 4);
    return text_is_lower(s);
}

TEST(upper) {
    no_arguments(r, args, "upper");
    const string_t *s = value_str(r, v).s;
    jinja_steps(r, s->len / 4);
    return text_is_upper(s);
}

TEST(sameas) {
    static const char *const names[] = {"other", NULL};
    args_check(r, args, 0, 1, names, "sameas");
    return value_same(v, arg_required(r, args, 0, "other", "sameas"));
}

TEST(in) {
    static const char *const names[] = {"seq", NULL};
    args_check(r, args, 0, 1, names, "in");
    return value_contains(r, arg_required(r, args, 0, "seq", "in"), v);
}

static value_t operand(render_t *r, const call_args_t *args, const char *what) {
    args_check(r, args, 1, 1, NULL, what);
    return args->v[0];
}

TEST(eq) { return value_equal(r, v, operand(r, args, "eq")); }
TEST(ne) { return !value_equal(r, v, operand(r, args, "ne")); }
TEST(lt) { return value_compare(r, v, operand(r, args, "lt")) < 0; }
TEST(le) { return value_compare(r, v, operand(r, args, "le")) <= 0; }
TEST(gt) { return value_compare(r, v, operand(r, args, "gt")) > 0; }
TEST(ge) { return value_compare(r, v, operand(r, args, "ge")) >= 0; }

TEST(filter) {
    no_arguments(r, args, "filter");
    check_hashable(r, v);
    if (v.type != V_STRING) return false;
    if (jinja_lacks_filter(v.s->p)) jinja_fail(r, "Jinja2 has the filter '%s', which is not supported here", v.s->p);
    return jinja_filter(v.s->p) != NULL;
}

TEST(test) {
    no_arguments(r, args, "test");
    check_hashable(r, v);
    return v.type == V_STRING && jinja_test(v.s->p) != NULL;
}

#define ROW(name) \
    { #name, test_##name }
static const struct {
    const char *name;
    test_fn fn;
} tests[] = {
    ROW(defined),
    ROW(undefined),
    ROW(none),
    ROW(boolean),
    ROW(true),
    ROW(false),
    ROW(integer),
    ROW(float),
    ROW(number),
    ROW(string),
    ROW(mapping),
    ROW(callable),
    ROW(escaped),
    ROW(iterable),
    ROW(sequence),
    ROW(odd),
    ROW(even),
    ROW(divisibleby),
    ROW(lower),
    ROW(upper),
    ROW(sameas),
    ROW(in),
    ROW(filter),
    ROW(test),
    ROW(eq),
    {"equalto", test_eq},
    {"==", test_eq},
    ROW(ne),
    {"!=", test_ne},
    ROW(lt),
    {"lessthan", test_lt},
    {"<", test_lt},
    ROW(le),
    {"<=", test_le},
    ROW(gt),
    {"greaterthan", test_gt},
    {">", test_gt},
    ROW(ge),
    {">=", test_ge},
};

test_fn jinja_test(const char *name) {
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++) {
        if (strcmp(tests[i].name, name) == 0) return tests[i].fn;
    }
    return NULL;
}
