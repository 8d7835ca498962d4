/* Any text as a template: it is rendered, or refused with its place; nothing crashes, hangs, or reads out of bounds.
 *
 * As a test, it mutates the templates of golden/jinja/ for a bounded number of rounds, always the same ones. With libFuzzer
 * (LIBFUZZER): scripts/fuzz.sh jinja. */
#include <jansson.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "data/jinja/jinja.h"

static const char variables[] =
    "{\"bos_token\": \"<s>\", \"n\": 3, \"items\": [1, 2, 3, 4], \"d\": {\"k\": \"v\", \"items\": \"x\"},"
    " \"tools\": [{\"type\": \"function\", \"function\": {\"name\": \"f\", \"parameters\": {\"a\": [1, null, 1.5]}}}],"
    " \"messages\": [{\"role\": \"system\", \"content\": \"Be brief.\"},"
    " {\"role\": \"user\", \"content\": \" Gr\\u00fc\\u00dfe \\ud83d\\ude00 <b>\"},"
    " {\"role\": \"assistant\", \"content\": [{\"type\": \"text\", \"text\": \"x\"}],"
    " \"tool_calls\": [{\"function\": {\"name\": \"f\", \"arguments\": {\"a\": 1}}}]}]}";

static json_t *input(void) {
    static json_t *vars;
    if (!vars) vars = json_loads(variables, 0, NULL);
    return vars;
}

static void check(bool fine) {
    if (!fine) abort();
}

static int render(const jinja_t *t, jinja_output_t *out, err_t *err) {
    jinja_var_t vars[16];
    size_t n = 0;
    const char *name;
    json_t *value;
    json_object_foreach(input(), name, value) {
        vars[n++] = (jinja_var_t){name, value, strcmp(name, "messages") == 0, SIZE_MAX};
    }
    const jinja_input_t in = {vars, n, "2024-07-26"};
    return jinja_render(t, &in, out, err);
}

/* Whether the template is rendered. */
static bool one_template(const char *text, size_t len) {
    jinja_output_t out = {0};
    err_t err = {0};
    jinja_t *t;
    int rc = jinja_parse("t", text, len, &t, &err);
    check((rc == 0) == (t != NULL));
    if (t) rc = render(t, &out, &err);
    check(rc == 0 || (rc == ERR_USAGE && err.code == rc && strncmp(err.msg, "t:", 2) == 0));
    if (rc == 0) check(out.n_runs == 0 ? out.text.len == 0 : out.runs[out.n_runs - 1].end == out.text.len);
    jinja_free(t);
    jinja_output_free(&out);
    return rc == 0;
}

#ifdef LIBFUZZER

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    one_template((const char *)data, size);
    return 0;
}

#else

#include "testing.h"

#include "base/json.h"
#include "draws.h"

enum { ROUNDS = 60000, LONGEST = 4096 };

/* What templates are made of, and what engines trip over. */
static const char *const pieces[] = {
    "{{",
    "}}",
    "{%",
    "%}",
    "{#",
    "#}",
    "-",
    "+",
    "~",
    "|",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ":",
    ",",
    ".",
    "=",
    "==",
    "<",
    " in ",
    " is ",
    " not ",
    " if ",
    " else ",
    " and ",
    "{% endif %}",
    "{% endfor %}",
    "{% else %}",
    "{% for m in messages %}",
    "{% set x = ",
    "{% endset %}",
    "{% macro f(a, b=1) %}",
    "{% endmacro %}",
    "f(",
    "loop.last",
    "loop(",
    "messages",
    "[::-1]",
    "|tojson",
    "|map('upper')",
    "|list",
    "|join",
    "|length",
    "|trim",
    "|items",
    ".items()",
    ".split(",
    "namespace(",
    "ns.x",
    "range(",
    "9223372036854775807",
    "-9223372036854775808",
    "1e308",
    "0",
    "''",
    "'\xc3\xa9'",
    "\n",
    "\xe3\x80\x80",
    "none",
    "{% raw %}",
    "{% endraw %}",
    "{% break %}",
    "{% generation %}",
    "{% endgeneration %}",
    "%s",
    "*",
    "**",
    "//",
    "%",
    "\\",
};

/* Takes a piece of `from` to `to`, which has room for LONGEST bytes. */
static void put(char *to, size_t *n, size_t at, const char *from, size_t k) {
    if (*n + k > LONGEST) return;
    memmove(to + at + k, to + at, *n - at);
    memcpy(to + at, from, k);
    *n += k;
}

/* One to four changes. */
static void mutate(char *s, size_t *n, const json_t *others) {
    for (size_t i = 1 + below(1 + below(4)); i-- > 0;) {
        size_t at = below(*n + 1), k = *n - at ? 1 + below(*n - at < 12 ? *n - at : 12) : 0;
        const json_t *other = json_object_get(json_array_get(others, below(json_array_size(others))), "template");
        const char *piece = pieces[below(sizeof pieces / sizeof *pieces)];
        size_t from = below(json_string_length(other) + 1);
        switch (below(6)) {
        case 0: memmove(s + at, s + at + k, *n - at - k), *n -= k; break;
        case 1: put(s, n, at, json_string_value(other) + from, json_string_length(other) - from); break;
        case 2: put(s, n, at, json_string_value(other), from); break;
        case 3:
            if (k) s[at] = (char)(below(8) ? 32 + below(95) : below(256));
            break;
        default: put(s, n, at, piece, strlen(piece));
        }
    }
}

static void test_mutated(void **state) {
    (void)state;
    err_t err = {0};
    json_t *cases;
    size_t rendered = 0;
    static char s[LONGEST];
    assert_ok(json_file(test_path("golden/jinja/statements.json"), &cases, &err), err);
    for (int round = 0; round < ROUNDS; round++) {
        const json_t *from = json_object_get(json_array_get(cases, below(json_array_size(cases))), "template");
        size_t n = json_string_length(from);
        assert_in_range(n, 0, LONGEST);
        memcpy(s, json_string_value(from), n);
        mutate(s, &n, cases);
        rendered += one_template(s, n);
    }
    /* Both ways out are taken, or this tests nothing. */
    assert_in_range(rendered, ROUNDS / 10, ROUNDS - ROUNDS / 10);
    json_decref(cases);
    json_decref(input());
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_mutated)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#endif
