/* What values of a template refuse, with the reason: where Python raises, where the sandbox does, and where Python would
 * go on and this engine does not. */
#include "testing.h"

#include <string.h>

#include "data/jinja/jinja.h"

typedef struct {
    const char *expression, *message;
} refusal_t;

static void check_refusal(const refusal_t *c, const json_t *vars) {
    jinja_var_t list[8];
    jinja_input_t in = {.vars = list, .date = "2024-07-26"};
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)vars, name, value) {
        list[in.n_vars++] = (jinja_var_t){.name = name, .value = value, .items = SIZE_MAX};
    }
    char *template = xasprintf("{{ %s }}", c->expression), *message = xasprintf(": %s", c->message);
    jinja_t *t = NULL;
    jinja_output_t out = {0};
    err_t err = {0};
    assert_ok(jinja_parse("t", template, strlen(template), &t, &err), err);
    int rc = jinja_render(t, &in, &out, &err);
    if (rc == 0) fail_msg("%s: made '%s'; expected: %s", c->expression, out.text.p, c->message);
    assert_error(rc, err, ERR_USAGE, message);
    jinja_output_free(&out);
    jinja_free(t);
    free(message);
    free(template);
}

#define CHECK_REFUSALS(cases) check_refusals(cases, sizeof(cases) / sizeof *(cases))
static void check_refusals(const refusal_t *cases, size_t n) {
    json_t *vars = json_loads("{\"s\": \"abc\", \"l\": [1, 2], \"d\": {\"k\": 1}, \"huge\": 9223372036854775807}", 0,
                              NULL);
    assert_non_null(vars);
    for (size_t i = 0; i < n; i++) check_refusal(&cases[i], vars);
    json_decref(vars);
}

static void test_python(void **state) {
    (void)state;
    static const refusal_t cases[] = {
        {"s + 1", "+ does not work between a str and a int"},
        {"none - 1", "- does not work between a NoneType and a int"},
        {"d < d", "a dict and a dict cannot be compared by size"},
        {"1 in s", "'in' looks for a int in a text; expected a text"},
        {"1 in 2", "a int has no elements to go through"},
        {"1 // 0", "division by zero"},
        {"nothing + 1", "'nothing' is undefined"},
        {"d.x.y", "a dict has no 'x'"},
        {"l[5] + 1", "a list has no '5'"},
        {"none|length", "a NoneType has no length"},
        {"d[l:]", "a dict cannot be sliced"},
        {"l[::0]", "the step of a slice is 0"},
        {"{l: 1}", "a list cannot be a key"},
        {"l in d", "a list cannot be looked up (unhashable)"},
        {"[1, 'a']|sort", "a str and a int cannot be compared by size"},
        {"s.index('x')", "index: 'x' is not in the text"},
        {"s.split('')", "split: the separator is empty"},
        {"'-'.join(l)", "join: element 0 is a int; expected a str"},
        {"s.upper(1)", "upper: 1 arguments; expected at most 0"},
        {"s|trim(1)", "trim: the argument 'chars' is a int; expected a str"},
        {"s|replace('a')", "replace: the argument 'new' is missing"},
        {"s|replace('a', 'b', 'c')", "replace: the argument 'count' is a str; expected an int"},
        {"l|map('nope')|list", "map: there is no filter 'nope'"},
        {"l|select('nope')|list", "there is no test 'nope'"},
        {"l|items|list", "items: a list has no items; expected a dict"},
        {"'%d' % s", "%-format: %d needs a number; got a str"},
        {"'%s %s' % s", "%-format: there are fewer values than the format has places"},
        {"'x' % s", "%-format: there are more values than the format has places"},
        {"'{}'.format()", "format: there is no value for place 0"},
        {"'{x}'.format(1)", "format: there is no value named 'x'"},
        {"nothing|tojson", "tojson: a value is undefined (nothing)"},
        {"{(1, 2): 3}|tojson", "tojson: a tuple cannot be a key in JSON"},
        {"range(1, 2, 0)", "range: the step is 0"},
        {"dict([1])", "a int has no elements to go through"},
        {"raise_exception('No, ' + s)", "the template refuses: No, abc"},
    };
    CHECK_REFUSALS(cases);
}

static void test_sandbox(void **state) {
    (void)state;
    static const refusal_t cases[] = {
        {"l.append(1)", "the sandbox of templates refuses 'append' of a list"},
        {"d.update(d)", "the sandbox of templates refuses 'update' of a dict"},
        {"d.pop('k')", "the sandbox of templates refuses 'pop' of a dict"},
        {"s.__class__.__name__", "the sandbox of templates refuses '__class__' of a str"},
        {"'{0.__class__.__name__}'.format(s)", "the sandbox of templates refuses '__class__' of a str"},
        {"namespace(_a=1)", "namespace: the name '_a' begins with '_'"},
        {"range(100001)|length", "range: 100001 elements; the sandbox has at most 100000"},
    };
    CHECK_REFUSALS(cases);
}

/* Python would go on, with what a training text cannot want (an address, a random text) or this engine has not. */
static void test_own(void **state) {
    (void)state;
    static const refusal_t cases[] = {
        {"huge + 1", "the result of + has more than 64 bits"},
        {"range(huge - 1, huge, 2)[1:]", "the bounds of a range have more than 64 bits"},
        {"range(0, huge, huge)[::3]", "the bounds of a range have more than 64 bits"},
        {"strftime_now('%d %-')", "strftime_now: '%-' is not supported"},
        {"range|length", "a function has no length"},
        {"2 ** 64", "the result of ** has more than 64 bits"},
        {"'9223372036854775808'|int", "the int 9223372036854775808 has more than 64 bits"},
        {"1e30|int", "the int of 1e+30 has more than 64 bits"},
        {"(-8) ** 0.5", "a negative number cannot be raised to a fractional power"},
        {"('nan'|float) < 1", "NaN is neither smaller nor larger than a number"},
        {"l|map('string')", "a generator is written as text; put `|list` or `|join` behind it"},
        {"l|select|length", "a generator has no length; put `|list` before `|length`"},
        {"s.upper", "the function 'upper' is written as text; expected a call of it"},
        {"s.encode()", "'encode' of a str is not supported"},
        {"'{:.3}'.format(1.5)", "format: the specification '.3' is not supported for a float"},
        {"'%a' % s", "%-format: %a is not supported"},
        {"'pprint' is filter", "Jinja2 has the filter 'pprint', which is not supported here"},
        {"lipsum()", "lipsum, Jinja's maker of random text, is not supported"},
        {"strftime_now('%s')", "strftime_now: '%s' is not supported"},
        {"'%200000d' % 1", "%-format: a width or precision is too large"},
    };
    CHECK_REFUSALS(cases);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_python),
        cmocka_unit_test(test_sandbox),
        cmocka_unit_test(test_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
