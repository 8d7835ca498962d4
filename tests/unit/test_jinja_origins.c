/* Where the characters of a text came from, through everything that a template can do with texts: each case says what is
 * written and, below each byte, whose it is. */
#include "testing.h"

#include <string.h>

#include "data/jinja/jinja.h"

/* m is message 0, n is message 1. Below a byte: '.' the template's own (or no message's); 'a' to 'h' from m's key of that
 * name, 'A' to 'H' from n's. */
static const char messages_text[] =
    "[{\"a\": \"abc\", \"b\": \" x y \", \"c\": 42, \"d\": [\"p\", {\"k\": 1.5, \"l\": null}], \"e\": \"stra\xc3\x9f"
    "e\", \"f\": \"1\\n2\", \"g\": \"<q\\\">\", \"h\": true}, {\"a\": \"ABC\", \"b\": \"\", \"c\": \"%s-%d\", \"d\": "
    "\"{}+{x}\"}]";

typedef struct {
    const char *expression, *text, *origins;
} origin_case_t;

static char letter_of(jinja_origin_t origin) {
    if (!jinja_traced(origin)) return '.';
    assert_in_range(jinja_item(origin), 0, 1);
    return (char)((jinja_item(origin) == 0 ? 'a' : 'A') + (int)jinja_key(origin));
}

static char *origins_of(const jinja_output_t *out) {
    char *letters = xcalloc(out->text.len + 1, 1);
    size_t at = 0;
    for (size_t i = 0; i < out->n_runs; i++) {
        for (; at < out->runs[i].end; at++) letters[at] = letter_of(out->runs[i].origin);
    }
    assert_int_equal(at, out->text.len);
    return letters;
}

static void check_case(const origin_case_t *c, const json_t *messages) {
    bool statements = strncmp(c->expression, "{%", 2) == 0;
    char *template = xasprintf("{%% set m = messages[0] %%}{%% set n = messages[1] %%}%s%s%s", statements ? "" : "{{ ",
                               c->expression, statements ? "" : " }}");
    const jinja_var_t var = {.name = "messages", .value = messages, .traced = true, .items = SIZE_MAX};
    const jinja_input_t in = {.vars = &var, .n_vars = 1};
    jinja_t *t = NULL;
    jinja_output_t out = {0};
    err_t err = {0};
    assert_ok(jinja_parse("t", template, strlen(template), &t, &err), err);
    assert_ok(jinja_render(t, &in, &out, &err), err);
    char *origins = origins_of(&out);
    if (strcmp(out.text.p, c->text) != 0 || strcmp(origins, c->origins) != 0) {
        fail_msg("%s\n  expected %s\n           %s\n  got      %s\n           %s", c->expression, c->text, c->origins,
                 out.text.p, origins);
    }
    free(origins);
    jinja_output_free(&out);
    jinja_free(t);
    free(template);
}

#define CHECK_CASES(cases) check_cases(cases, sizeof(cases) / sizeof *(cases))
static void check_cases(const origin_case_t *cases, size_t n) {
    json_t *messages = json_loads(messages_text, 0, NULL);
    assert_non_null(messages);
    for (size_t i = 0; i < n; i++) check_case(&cases[i], messages);
    json_decref(messages);
}

static void test_values(void **state) {
    (void)state;
    static const origin_case_t cases[] = {
        {"m.a", "abc", "aaa"},
        {"m.c", "42", "cc"},
        {"m.h", "True", "hhhh"},
        {"m.d[1].k", "1.5", "ddd"},
        {"m.d[1].l", "None", "dddd"},
        {"m.d[0]", "p", "d"},
        {"m.d", "['p', {'k': 1.5, 'l': None}]", ".ddd...ddd..ddd..ddd..dddd.."},
        {"m.c|string", "42", "cc"},
        {"m.c + 1", "43", ".."},
        {"m.d[1]|list|first", "k", "d"},
        {"m|list|last", "h", "h"},
        {"m.keys()|join", "abcdefgh", "abcdefgh"},
        {"m.missing|default(m.a)", "abc", "aaa"},
        {"n.b|default('z', true)", "z", "."},
        {"dict(x=m.a).x", "abc", "aaa"},
        {"namespace(x=m.a).x", "abc", "aaa"},
        {"m.get('a')", "abc", "aaa"},
        {"(m.items()|list)[0][0]", "a", "a"},
        {"(m|items|list)[0][1]", "abc", "aaa"},
        {"{% for k, v in m.items() %}{{ k }}{% if loop.first %}{{ v }}{% endif %}{% endfor %}", "aabcbcdefgh",
         "aaaabcdefgh"},
    };
    CHECK_CASES(cases);
}

static void test_operators(void **state) {
    (void)state;
    static const origin_case_t cases[] = {
        {"m.a + '-' + n.a", "abc-ABC", "aaa.AAA"},
        {"m.a ~ m.c ~ 1 ~ n.b", "abc421", "aaacc."},
        {"m.a * 2", "abcabc", "aaaaaa"},
        {"(m.a + '-') * 2", "abc-abc-", "aaa.aaa."},
        {"(m.a + n.a)[2:4]", "cA", "aA"},
        {"(m.a + n.a)[::-1]", "CBAcba", "AAAaaa"},
        {"(m.a + n.a)[-1]", "C", "A"},
        {"(m.a + n.a)[1:5][1:3]", "cA", "aA"},
        {"m.e[4:]",
         "\xc3\x9f"
         "e",
         "eee"},
        {"'<%s|%4d|%s>' % (m.a, m.c, 1)", "<abc|  42|1>", ".aaa...cc..."},
        {"n.c % (m.a, m.c)", "abc-42", "aaaCcc"},
        {"'%-5s|%.2s' % (m.a, m.a)", "abc  |ab", "aaa...aa"},
        {"'%r' % m.a", "'abc'", "aaaaa"},
        {"'%(x)s' % {'x': m.a}", "abc", "aaa"},
        {"'%05d' % m.c", "00042", "...cc"},
        {"m.a if m.h else n.a", "abc", "aaa"},
        {"n.b or m.a", "abc", "aaa"},
        {"([m.a] + [n.a])[1]", "ABC", "AAA"},
        {"([m.a] * 2)|join", "abcabc", "aaaaaa"},
    };
    CHECK_CASES(cases);
}

static void test_methods(void **state) {
    (void)state;
    static const origin_case_t cases[] = {
        {"m.b.strip()", "x y", "bbb"},
        {"('-' + m.b + '-').strip('-')", " x y ", "bbbbb"},
        {"('-' + m.a).lstrip('a-')", "bc", "aa"},
        {"m.a.upper()", "ABC", "aaa"},
        {"m.e.upper()", "STRASSE", "eeeeeee"},
        {"('s' + m.e).title()",
         "Sstra\xc3\x9f"
         "e",
         ".eeeeeee"},
        {"(m.a + n.a).swapcase()", "ABCabc", "aaaAAA"},
        {"m.e.casefold()", "strasse", "eeeeeee"},
        {"m.a.replace('b', n.a)", "aABCc", "aAAAa"},
        {"m.a.replace('b', '-')", "a-c", "a.a"},
        {"m.a.replace('', '.')", ".a.b.c.", ".a.a.a."},
        {"'x-y'.replace('-', m.a)", "xabcy", ".aaa."},
        {"(m.a + ',' + n.a).split(',')[1]", "ABC", "AAA"},
        {"(m.a + ',' + n.a).rsplit(',', 1)|join('|')", "abc|ABC", "aaa.AAA"},
        {"m.b.split()|join('')", "xy", "bb"},
        {"(m.f + n.a).splitlines()|join('/')", "1/2ABC", "f.fAAA"},
        {"(m.a + '=' + n.a).partition('=')|join", "abc=ABC", "aaa.AAA"},
        {"(m.a + '=' + n.a).rpartition('=')[2]", "ABC", "AAA"},
        {"n.a.join([m.a, '-'])", "abcABC-", "aaaAAA."},
        {"m.a.center(7, '*')", "**abc**", "..aaa.."},
        {"m.a.ljust(5) ~ '|'", "abc  |", "aaa..."},
        {"m.a.rjust(5, n.a[0])", "AAabc", "AAaaa"},
        {"m.a.zfill(5)", "00abc", "..aaa"},
        {"('<' + m.a).removeprefix('<').removesuffix('c')", "ab", "aa"},
        {"(m.a + '\\t|').expandtabs(5)", "abc  |", "aaa..."},
        {"'<{}|{x}>'.format(m.a, x=m.c)", "<abc|42>", ".aaa.cc."},
        {"n.d.format(m.a, x=1)", "abc+1", "aaaD."},
        {"'{:>5}{:04d}{!r}'.format(m.a, m.c, m.a)", "  abc0042'abc'", "..aaa..ccaaaaa"},
        {"'{0.a}{0[c]}'.format(m)", "abc42", "aaacc"},
        {"m.a.capitalize() + m.a.lower()", "Abcabc", "aaaaaa"},
    };
    CHECK_CASES(cases);
}

static void test_filters(void **state) {
    (void)state;
    static const origin_case_t cases[] = {
        {"m.b|trim", "x y", "bbb"},
        {"(m.a + n.a)|upper|lower|title|capitalize", "Abcabc", "aaaAAA"},
        {"m.a|replace('b', n.a)", "aABCc", "aAAAa"},
        {"m.c|replace('4', '-')", "-2", ".c"},
        {"m.f|indent(2)", "1\n  2", "ff..f"},
        {"m.f|indent(n.a, true)", "ABC1\nABC2", "AAAffAAAf"},
        {"(m.f + '\\n' + m.a)|indent(1)", "1\n 2\n abc", "ff.f..aaa"},
        {"m.a|center(5)", " abc ", ".aaa."},
        {"(m.a + ' ' + n.a)|truncate(6, end='~', leeway=0)", "abc~", "aaa."},
        {"[m.a, 1, n.a]|join('+')", "abc+1+ABC", "aaa...AAA"},
        {"[m, n]|join(' ', attribute='a')", "abc ABC", "aaa.AAA"},
        {"[m.a, n.a]|join(m.c)", "abc42ABC", "aaaccAAA"},
        {"[m, n]|map(attribute='a')|join", "abcABC", "aaaAAA"},
        {"[m.a, n.a]|map('upper')|list|last", "ABC", "AAA"},
        {"[n.a, m.a]|sort|join", "ABCabc", "AAAaaa"},
        {"[n.a, m.a]|unique|join", "ABC", "AAA"},
        {"[n.a, m.a]|min", "ABC", "AAA"},
        {"[m, n]|groupby('a')|map('first')|join", "abc", "aaa"},
        {"m.a|reverse", "cba", "aaa"},
        {"m.a|list|join('-')", "a-b-c", "a.a.a"},
        {"m.a|first ~ n.a|last", "aC", "aA"},
        {"'%s!'|format(m.a)", "abc!", "aaa."},
        {"m.g|escape", "&lt;q&#34;&gt;", "gggggggggggggg"},
        {"('<'|safe) + m.g + '>'", "<&lt;q&#34;&gt;&gt;", ".gggggggggggggg...."},
        {"m.g|safe ~ '-'", "<q\">-", "gggg."},
        {"m.b|urlencode", "%20x%20y%20", "bbbbbbbbbbb"},
        {"[m.a, 2]|batch(1)|first|first", "abc", "aaa"},
        {"m.c|int ~ m.c|abs", "4242", "cc.."},
        {"[m.a, n.a]|select('in', 'xabc')|join", "abc", "aaa"},
        {"{'x': m.a}|dictsort|first|last", "abc", "aaa"},
        {"{% filter upper %}-{{ m.a }}{% endfilter %}", "-ABC", ".aaa"},
        {"{% set x %}-{{ m.a }}{% endset %}{{ x[1:] }}", "abc", "aaa"},
    };
    CHECK_CASES(cases);
}

static void test_tojson(void **state) {
    (void)state;
    static const origin_case_t cases[] = {
        {"m.a|tojson", "\"abc\"", "aaaaa"},
        {"m.f|tojson", "\"1\\n2\"", "ffffff"},
        {"m.g|tojson", "\"<q\\\">\"", "ggggggg"},
        {"m.c|tojson", "42", "cc"},
        {"m.h|tojson", "true", "hhhh"},
        {"m.d|tojson", "[\"p\", {\"k\": 1.5, \"l\": null}]", ".ddd...ddd..ddd..ddd..dddd.."},
        {"m.d[1]|tojson(indent=1)", "{\n \"k\": 1.5,\n \"l\": null\n}", "...ddd..ddd...ddd..dddd.."},
        {"{'x': m.a, 'y': [n.a]}|tojson", "{\"x\": \"abc\", \"y\": [\"ABC\"]}", "......aaaaa........AAAAA.."},
        {"m.d[1]|tojson(separators=(',', ':'), sort_keys=true)", "{\"k\":1.5,\"l\":null}", ".ddd.ddd.ddd.dddd."},
        {"m.e|tojson(ensure_ascii=true)", "\"stra\\u00dfe\"", "eeeeeeeeeeeee"},
        {"(m.a + '-' + n.a)|tojson", "\"abc-ABC\"", "aaaa.AAAA"},
    };
    CHECK_CASES(cases);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),  cmocka_unit_test(test_operators), cmocka_unit_test(test_methods),
        cmocka_unit_test(test_filters), cmocka_unit_test(test_tojson),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
