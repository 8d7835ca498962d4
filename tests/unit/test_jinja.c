/* The Jinja engine: texts as Jinja2 makes them (golden/jinja/), errors with their place, what says where each character
 * came from, bounds, and renders of one template by many threads. */
#include "testing.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "data/jinja/jinja.h"

/* ---- rendering ------------------------------------------------------------------------------------------ */

/* `vars` is an object; its "messages" are traced. */
static int render_json(const jinja_t *t, const json_t *vars, const char *date, jinja_output_t *out, err_t *err) {
    jinja_var_t v[32];
    size_t n = 0;
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)vars, name, value) {
        bool traced = strcmp(name, "messages") == 0 && json_is_array(value);
        assert_in_range(n, 0, 31);
        v[n++] = (jinja_var_t){name, value, traced, SIZE_MAX};
    }
    const jinja_input_t in = {v, n, date};
    return jinja_render(t, &in, out, err);
}

static int render_text(const char *template, size_t len, const json_t *vars, const char *date, jinja_output_t *out,
                       err_t *err) {
    jinja_t *t;
    int rc = jinja_parse("t.jinja", template, len, &t, err);
    if (rc) return rc;
    rc = render_json(t, vars, date, out, err);
    jinja_free(t);
    return rc;
}

static json_t *json_of(const char *text) {
    json_t *v = json_loads(text, JSON_DECODE_ANY, NULL);
    assert_non_null(v);
    return v;
}

/* The runs tile the text, and no two of them are one. */
static void check_runs(const jinja_output_t *out) {
    size_t at = 0;
    for (size_t i = 0; i < out->n_runs; i++) {
        const jinja_run_t *run = &out->runs[i], *before = i ? run - 1 : NULL;
        assert_true(run->end > at);
        assert_false(before && before->origin == run->origin && before->writer == run->writer);
        at = run->end;
    }
    assert_int_equal(at, out->text.len);
}

/* ---- against Jinja2 ------------------------------------------------------------------------------------- */

static void check_case(const char *file, const json_t *c) {
    const char *name = json_string_value(json_object_get(c, "name"));
    const json_t *template = json_object_get(c, "template"), *text = json_object_get(c, "text");
    jinja_output_t out = {0};
    err_t err = {0};
    int rc = render_text(json_string_value(template), json_string_length(template), json_object_get(c, "vars"),
                         json_string_value(json_object_get(c, "date")), &out, &err);
    if (rc && text) fail_msg("%s: %s: %s", file, name, err.msg);
    if (!rc && !text) fail_msg("%s: %s: Jinja2 refuses it; made '%s'", file, name, out.text.p);
    if (!rc &&
        (out.text.len != json_string_length(text) || memcmp(out.text.p, json_string_value(text), out.text.len))) {
        fail_msg("%s: %s: expected '%s', got '%s'", file, name, json_string_value(text), out.text.p);
    }
    if (rc) {
        assert_int_equal(err.code, ERR_USAGE);
        assert_true(strncmp(err.msg, "t.jinja:", 8) == 0);
    } else {
        check_runs(&out);
    }
    jinja_output_free(&out);
}

static size_t check_file(const char *name) {
    err_t err = {0};
    json_t *cases, *c;
    size_t i;
    char *relative = xasprintf("golden/jinja/%s", name);
    assert_ok(json_file(test_path(relative), &cases, &err), err);
    json_array_foreach(cases, i, c) check_case(name, c);
    size_t n = json_array_size(cases);
    json_decref(cases);
    free(relative);
    return n;
}

static void test_golden(void **state) {
    (void)state;
    DIR *dir = opendir(test_path("golden/jinja"));
    assert_non_null(dir);
    size_t n = 0;
    for (struct dirent *e; (e = readdir(dir));) {
        size_t len = strlen(e->d_name);
        if (len > 5 && strcmp(e->d_name + len - 5, ".json") == 0) n += check_file(e->d_name);
    }
    closedir(dir);
    assert_in_range(n, 400, SIZE_MAX);
}

/* ---- errors --------------------------------------------------------------------------------------------- */

static void test_errors(void **state) {
    (void)state;
    static const struct {
        const char *template, *message;
    } cases[] = {
        /* the lexer's */
        {"a\nb {{ 'x }}", "t.jinja:2:6: a string without an end"},
        {"{{ 1 ? 2 }}", "t.jinja:1:6: unexpected character"},
        {"\n\n {{ [1) }}", "t.jinja:3:7: unexpected ')'; expected ']'"},
        {"ü {{ ) }}", "t.jinja:1:6: unexpected ')'"},
        {"x\n  {# c", "t.jinja:2:3: a comment without an end"},
        {"x{% raw %}y", "t.jinja:1:2: a raw block without an end"},
        {"{{ 99999999999999999999 }}", "t.jinja:1:4: a number that does not fit"},
        {"{{ '\\ud83d' }}", "t.jinja:1:4: an escape for half a surrogate pair"},
        /* the parser's */
        {"{% if x %}\na", "t.jinja:2:2: unexpected the end of the template; expected endif"},
        {"{% if x %}{% endfor %}", "t.jinja:1:14: unexpected tag 'endfor'"},
        {"a\r\nb {{ }}", "t.jinja:2:6: unexpected }}; expected an expression"},
        {"{{ 1 2 }}", "t.jinja:1:6: unexpected a number; expected }}"},
        {"{{ x|nofilter }}", "t.jinja:1:6: there is no filter 'nofilter'"},
        {"{% if true %}{{ x is notest }}{% endif %}", "t.jinja:1:22: there is no test 'notest'"},
        {"{% include 'x' %}", "t.jinja:1:4: {% include %} is not supported"},
        {"{% block x %}{% endblock %}", "t.jinja:1:4: {% block %} is not supported"},
        {"{% do x %}", "t.jinja:1:4: unexpected tag 'do'"},
        {"{% break %}", "t.jinja:1:4: 'break' outside a loop"},
        {"{% set 1 = 2 %}", "t.jinja:1:8: unexpected a number; expected a name to assign to"},
        {"{{ f(a=1, 2) }}", "t.jinja:1:11: arguments in the wrong order"},
        {"{% macro f(a=1, b) %}{% endmacro %}", "t.jinja:1:17: 'b' has no default"},
        {"{{ self.x }}", "t.jinja:1:4: 'self' is not supported"},
        /* a render's */
        {"\n {{ raise_exception('Roles must alternate') }}",
         "t.jinja:2:20: the template refuses: Roles must alternate"},
        {"{{ nothing.x }}", "t.jinja:1:12: 'nothing' is undefined"},
        {"{{ nothing() }}", "t.jinja:1:11: 'nothing' is undefined"},
        {"{% for m in messages %}\n{{ m.content + 1 }}{% endfor %}", "t.jinja:2:14: "},
        {"{% for a, b in [1] %}{% endfor %}", "t.jinja:1:8: "},
        {"{% for a, b in [[1]] %}{% endfor %}", "t.jinja:1:8: 1 values for 2 names"},
        {"{% macro f(a) %}{% endmacro %}\n{{ f(b=1) }}", "t.jinja:2:5: the macro 'f' has no argument 'b'"},
        {"{% macro f(a) %}{% endmacro %}{{ f(1, 2) }}", "t.jinja:1:35: the macro 'f' was given 2 arguments"},
        {"{% set d = {} %}{% set d.a = 1 %}", "t.jinja:1:24: 'd' is no namespace"},
        {"{% set x = 1 %}{{ x() }}", "t.jinja:1:20: a value of type int cannot be called"},
        {"{% for x in [1] %}{{ loop(x) }}{% endfor %}", "t.jinja:1:26: the loop is not marked 'recursive'"},
        {"{{ strftime_now('%d') }}", "t.jinja:1:16: 'strftime_now' is undefined"},
    };
    json_t *vars = json_of("{\"messages\": [{\"role\": \"user\", \"content\": \"hi\"}]}");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        jinja_output_t out = {0};
        err_t err = {0};
        assert_error(render_text(cases[i].template, strlen(cases[i].template), vars, NULL, &out, &err), err, ERR_USAGE,
                     cases[i].message);
        jinja_output_free(&out);
    }
    json_decref(vars);
}

static void test_texts_refused(void **state) {
    (void)state;
    jinja_t *t;
    err_t err = {0};
    char *large = xmalloc((1 << 20) + 1);
    memset(large, 'x', (1 << 20) + 1);
    assert_error(jinja_parse("t.jinja", large, (1 << 20) + 1, &t, &err), err, ERR_USAGE, "more than 1 MiB");
    assert_null(t);
    assert_error(jinja_parse("t.jinja", "a\nb\0c", 5, &t, &err), err, ERR_USAGE,
                 "t.jinja:2: the template has a NUL byte");
    assert_error(jinja_parse("t.jinja", "\xff", 1, &t, &err), err, ERR_USAGE, "t.jinja:1: the template is not UTF-8");
    assert_error(jinja_parse("t.jinja", "\xed\xa0\x80", 3, &t, &err), err, ERR_USAGE, "not UTF-8");
    err = (err_t){0};
    assert_ok(jinja_parse("t.jinja", large, 1 << 20, &t, &err), err);
    jinja_free(t);
    free(large);
}

/* ---- origins -------------------------------------------------------------------------------------------- */

static const char traced_vars[] =
    "{\"bos\": \"<s>\", \"messages\": [{\"role\": \"user\", \"content\": \"Hi\"},"
    " {\"role\": \"assistant\", \"content\": \"Yo!\", \"n\": 12, \"parts\": [{\"text\": \"p\"}, {\"text\": \"q\"}]}]}";

/* The output as its runs: ITEM.KEY@WRITER"text", without ITEM.KEY where nothing is traced and without @WRITER where
 * there is none; a * in front of what {% generation %} has. */
static char *runs_of(const jinja_output_t *out) {
    strbuf_t b = {0};
    size_t at = 0;
    strbuf_adds(&b, "");
    for (size_t i = 0; i < out->n_runs; i++) {
        const jinja_run_t *run = &out->runs[i];
        if (run->origin & JINJA_GENERATION) strbuf_adds(&b, "*");
        if (jinja_traced(run->origin)) strbuf_addf(&b, "%zu.%zu", jinja_item(run->origin), jinja_key(run->origin));
        if (run->writer >= 0) strbuf_addf(&b, "@%d", (int)run->writer);
        strbuf_addf(&b, "\"%.*s\"", (int)(run->end - at), out->text.p + at);
        at = run->end;
    }
    return b.p;
}

static void check_origins(const char *template, const char *expected) {
    jinja_output_t out = {0};
    err_t err = {0};
    json_t *vars = json_of(traced_vars);
    assert_ok(render_text(template, strlen(template), vars, NULL, &out, &err), err);
    check_runs(&out);
    char *runs = runs_of(&out);
    assert_string_equal(runs, expected);
    free(runs);
    json_decref(vars);
    jinja_output_free(&out);
}

static void test_origins(void **state) {
    (void)state;
    check_origins("{{ bos }}x{{ 1 }}", "\"<s>x1\"");
    check_origins("{{ messages[0].content }}{{ messages[1]['role'] }}", "0.1\"Hi\"1.0\"assistant\"");
    check_origins("{{ messages[1].n }}{{ messages[1].n + 1 }}", "1.2\"12\"\"13\"");
    check_origins("{{ '<' + messages[0].content ~ '>' }}", "\"<\"0.1\"Hi\"\">\"");
    check_origins("{{ messages[1].content[1:] }}{{ messages[1].content|trim|upper }}", "1.1\"o!YO!\"");
    check_origins("{{ messages[1].parts[1].text }}", "1.3\"q\"");
    check_origins("{{ messages[1].content.split('o')|join('-') }}", "1.1\"Y\"\"-\"1.1\"!\"");
    /* through a variable, a set block, a macro, a filter block, a namespace */
    check_origins("{% set x = messages[0].content %}{{ x }}", "0.1\"Hi\"");
    check_origins("{% set x %}a{{ messages[0].content }}b{% endset %}{{ x }}", "\"a\"0.1\"Hi\"\"b\"");
    check_origins("{% macro f(x) %}<{{ x }}>{% endmacro %}{{ f(messages[0].content) }}", "\"<\"0.1\"Hi\"\">\"");
    check_origins("{% filter upper %}a{{ messages[0].content }}{% endfilter %}", "\"A\"0.1\"HI\"");
    check_origins("{% set ns = namespace(x='') %}{% set ns.x = ns.x + messages[0].content %}{{ ns.x }}", "0.1\"Hi\"");
    check_origins("{% macro f() %}[{{ caller() }}]{% endmacro %}{% call f() %}{{ messages[0].content }}{% endcall %}",
                  "\"[\"0.1\"Hi\"\"]\"");
}

static void test_writers(void **state) {
    (void)state;
    check_origins("{{ bos }}{% for m in messages %}{{ m.content }};{% endfor %}.",
                  "\"<s>\"0.1@0\"Hi\"@0\";\"1.1@1\"Yo!\"@1\";\"\".\"");
    check_origins("{% for m in messages[1:] %}{{ loop.index }}{% endfor %}", "@1\"1\"");
    check_origins("{% for m in messages|reverse if m.n is defined %}{{ loop.index }}{% endfor %}", "@1\"1\"");
    check_origins("{% for m in messages %}{% for p in m.parts %}{{ p.text }}{% endfor %}{% endfor %}", "1.3@1\"pq\"");
    check_origins("{% for m in messages %}{% for o in messages %}x{% endfor %}y{% endfor %}",
                  "@0\"x\"@1\"x\"@0\"yx\"@1\"xy\"");
    check_origins("{% for i, m in [[0, messages[1]], [1, messages[0]]] %}{{ i }}{% endfor %}", "@1\"0\"@0\"1\"");
    check_origins("{% for k, v in messages[1].items() %}{{ loop.index }}{% endfor %}", "\"1234\"");
    check_origins("{% for i in range(2) %}{{ messages[i].content }}{% endfor %}", "0.1\"Hi\"1.1\"Yo!\"");
    /* made before, written in the iteration; and the other way round */
    check_origins("{% set h = '#' %}{% for m in messages %}{{ h }}{% endfor %}", "@0\"#\"@1\"#\"");
    check_origins("{% set x %}{% for m in messages %}{{ m.content }}{% endfor %}{% endset %}{{ x }}",
                  "0.1\"Hi\"1.1\"Yo!\"");
    check_origins("{% macro f(m) %}<{{ m.role }}>{% endmacro %}{% for m in messages[:1] %}{{ f(m) }}{% endfor %}",
                  "@0\"<\"0.0@0\"user\"@0\">\"");
    check_origins("{% for m in messages %}{% break %}{% endfor %}x", "\"x\"");
    check_origins("{% for m in [{'role': 'system'}] + messages %}{{ m.role[0] }}{% endfor %}",
                  "\"s\"0.0@0\"u\"1.0@1\"a\"");
}

static void test_generation(void **state) {
    (void)state;
    check_origins("a{% generation %}b{{ messages[0].content }}{% endgeneration %}c", "\"a\"*\"b\"*0.1\"Hi\"\"c\"");
    check_origins("{% set x %}a{% generation %}b{% endgeneration %}{% endset %}{{ x }}", "\"a\"*\"b\"");
    check_origins("{% macro f() %}{% generation %}b{% endgeneration %}c{% endmacro %}{{ f() }}", "*\"b\"\"c\"");
    check_origins("{% macro f() %}b{% endmacro %}{% generation %}{{ f() }}{% endgeneration %}{{ f() }}", "*\"b\"\"b\"");
    check_origins("{% generation %}{% set ns = namespace() %}{% set x %}b{% endset %}{{ x }}{% endgeneration %}",
                  "*\"b\"");
    check_origins("{% set ns = namespace() %}{% generation %}{% set ns.x %}b{% endset %}{% endgeneration %}{{ ns.x }}",
                  "\"b\"");
    check_origins("{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}",
                  "*0.1@0\"Hi\"*1.1@1\"Yo!\"");
    check_origins("{% generation %}{% filter upper %}b{% endfilter %}{% endgeneration %}", "*\"B\"");
}

/* ---- what a template says of itself, what a render is given ---------------------------------------------- */

static jinja_t *parsed(const char *template) {
    jinja_t *t;
    err_t err = {0};
    assert_ok(jinja_parse("t.jinja", template, strlen(template), &t, &err), err);
    return t;
}

static void test_reads(void **state) {
    (void)state;
    jinja_t *t = parsed(
        "{% set a = b %}{{ a }}{% for c in d %}{{ c.e }}{{ f }}{% endfor %}{% macro g(h=i) %}{{ h }}{{ j "
        "}}{% endmacro %}{% if false %}{% set k = 1 %}{% endif %}{{ k }}{{ x(l=m)|default(n) }}");
    for (const char *s = "bdfijkmnx"; *s; s++) assert_true(jinja_reads(t, (char[]){*s, 0}));
    for (const char *s = "acehglq"; *s; s++) assert_false(jinja_reads(t, (char[]){*s, 0}));
    assert_false(jinja_marks_generation(t));
    jinja_free(t);
    t = parsed("{% if false %}{% generation %}{% endgeneration %}{% endif %}");
    assert_true(jinja_marks_generation(t));
    jinja_free(t);
    jinja_free(NULL);
}

static void check_render(const jinja_t *t, const jinja_input_t *in, jinja_output_t *out, const char *expected) {
    err_t err = {0};
    assert_ok(jinja_render(t, in, out, &err), err);
    assert_string_equal(out->text.p, expected);
    check_runs(out);
}

static void test_inputs(void **state) {
    (void)state;
    json_t *messages = json_of("[{\"c\": \"a\"}, {\"c\": \"b\"}, {\"c\": \"c\"}]"), *range = json_of("7");
    jinja_t *t = parsed(
        "{% for m in messages %}{{ m.c }}{% endfor %}{{ tools is defined }}{{ range }}{{ messages|length }}"
        "{% if strftime_now is defined %}{{ strftime_now('%d %b %Y') }}{% endif %}");
    jinja_output_t out = {0};
    jinja_var_t vars[] = {{"messages", messages, true, 2}, {"tools", NULL, false, 0}, {"range", range, false, 0}};
    jinja_input_t in = {vars, 3, NULL};
    check_render(t, &in, &out, "abFalse72");
    in.date = "2024-07-26";
    vars[0].items = SIZE_MAX;
    check_render(t, &in, &out, "abcFalse7326 Jul 2024");
    vars[0].items = 0;
    in.date = NULL;
    check_render(t, &in, &out, "False70"); /* and nothing of the render before is left */
    jinja_free(t);
    t = parsed("");
    check_render(t, &in, &out, "");
    assert_int_equal(out.n_runs, 0);
    jinja_free(t);
    jinja_output_free(&out);
    json_decref(messages);
    json_decref(range);
}

/* ---- bounds --------------------------------------------------------------------------------------------- */

/* A template of `n` times `one`, between `head` and `tail`. */
static void check_bound(const char *head, const char *one, size_t n, const char *tail, const char *message) {
    strbuf_t b = {0};
    jinja_output_t out = {0};
    err_t err = {0};
    json_t *vars = json_object();
    strbuf_adds(&b, head);
    for (size_t i = 0; i < n; i++) strbuf_adds(&b, one);
    strbuf_adds(&b, tail);
    assert_error(render_text(b.p, b.len, vars, NULL, &out, &err), err, ERR_USAGE, message);
    json_decref(vars);
    jinja_output_free(&out);
    free(b.p);
}

static void test_depth(void **state) {
    (void)state;
    check_bound("{{ ", "(", 100000, "", "more than 200 deep");
    check_bound("{{ ", "[", 150, "", "unexpected the end of the template");
    check_bound("{{ ", "-", 100000, "1 }}", "nested more than 200 deep");
    check_bound("{{ ", "not ", 100000, "1 }}", "nested more than 200 deep");
    check_bound("{{ ", "1 if 1 else ", 80000, "1 }}", "nested more than 200 deep");
    check_bound("{{ 1", " + 1", 100000, " }}", "more than 500 steps in a row");
    check_bound("{{ a", ".a", 100000, " }}", "more than 500 steps in a row");
    check_bound("{{ a", "[0]", 100000, " }}", "more than 500 steps in a row");
    check_bound("{{ a", "()", 100000, " }}", "more than 500 steps in a row");
    check_bound("{{ a", "|trim", 100000, " }}", "more than 500 steps in a row");
    check_bound("{{ 1", " and 1", 100000, " }}", "more than 500 steps in a row");
    check_bound("{{ ", "x(a=", 100000, "", "more than 200 deep");
    check_bound("", "{% if 1 %}", 100000, "", "nested more than 200 deep");
    check_bound("", "{% for a in b %}", 60000, "", "nested more than 200 deep");
    check_bound("", "{% set x %}", 90000, "", "nested more than 200 deep");
    check_bound("{% set ", "(", 100000, "", "more than 200 deep");
    check_bound("{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}", "", 0, "", "deep");
    check_bound("{% macro f() %}{% for i in [1] %}{% if 1 %}{% call f() %}{% endcall %}{% endif %}{% endfor %}"
                "{{ caller }}{% endmacro %}{% call f() %}{% endcall %}",
                "", 0, "", "deep");
    check_bound("{% for i in [1] recursive %}{{ loop([1]) }}{% endfor %}", "", 0, "", "deep");
    /* a macro as deep as an expression may be, in itself */
    check_bound("{% macro f() %}{{ f()", " ~ 1", 490, " }}{% endmacro %}{{ f() }}", "deep");
    check_bound(
        "{% macro f() %}{% set l = namespace(v=[]) %}{% for i in range(10000) %}{% set l.v = [l.v] %}{% endfor %}"
        "{{ l.v }}{% endmacro %}{{ f() }}",
        "", 0, "", "deep");
}

static void test_work(void **state) {
    (void)state;
    check_bound("{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}", "", 0, "",
                "more than 20000000 steps");
    check_bound("{% set x = 'x' * 1000000 %}{% for i in range(100000) %}{{ x }}{% endfor %}", "", 0, "",
                "writes more than 64 MiB");
    check_bound("{% set ns = namespace(x='x') %}{% for i in range(100) %}{% set ns.x = ns.x + ns.x %}{% endfor %}", "",
                0, "", "t.jinja:1:");
    check_bound("{% set ns = namespace(x=[1]) %}{% for i in range(100) %}{% set ns.x = ns.x + ns.x %}{% endfor %}", "",
                0, "", "t.jinja:1:");
    check_bound("{% set x %}{% for i in range(100000) %}{{ 'x' * 100000 }}{% endfor %}{% endset %}", "", 0, "",
                "t.jinja:1:");
    check_bound("{{ 'x' * 99999999999 }}", "", 0, "", "t.jinja:1:");
    check_bound("{{ [1] * 99999999999 }}", "", 0, "", "t.jinja:1:");
    check_bound("{{ 10 ** 100000 }}", "", 0, "", "t.jinja:1:");
    /* many names in one frame, and long lines: not a matter of minutes */
    check_bound("{{ x.y }}", "{% set abcdefg = 1 %}", 45000, "", "t.jinja:1:");
}

/* ---- what grows ----------------------------------------------------------------------------------------- */

static void check_text(const char *template, const json_t *vars, const char *want) {
    jinja_output_t out = {0};
    err_t err = {0};
    assert_ok(render_text(template, strlen(template), vars, NULL, &out, &err), err);
    assert_string_equal(out.text.p, want);
    check_runs(&out);
    jinja_output_free(&out);
}

/* A text that is added to for every message takes memory of its own length, not of its square, and keeps origins. */
static void check_growing(const char *op) {
    char *template = xasprintf(
        "{%% set ns = namespace(x='') %%}{%% for m in messages %%}{%% set ns.x = ns.x %s m.role %s "
        "m.content %%}{%% endfor %%}{{ ns.x }}",
        op, op);
    enum { MESSAGES = 1000, LENGTH = 1000 };
    json_t *vars = json_object(), *messages = json_array();
    char content[LENGTH + 1] = {0};
    jinja_output_t out = {0};
    err_t err = {0};
    for (int i = 0; i < MESSAGES; i++) {
        memset(content, 'a' + i % 26, LENGTH);
        json_array_append_new(messages, json_pack("{s:s, s:s}", "role", "R", "content", content));
    }
    json_object_set_new(vars, "messages", messages);
    assert_ok(render_text(template, strlen(template), vars, NULL, &out, &err), err);
    assert_int_equal(out.text.len, MESSAGES * (LENGTH + 1));
    assert_int_equal(out.n_runs, 2 * MESSAGES);
    for (size_t i = 0; i < MESSAGES; i++) {
        assert_int_equal(out.text.p[i * (LENGTH + 1) + 1], 'a' + i % 26);
        assert_int_equal(out.runs[2 * i + 1].origin, jinja_origin(i, 1));
        assert_int_equal(out.runs[2 * i + 1].end, (i + 1) * (LENGTH + 1));
    }
    jinja_output_free(&out);
    json_decref(vars);
    free(template);
}

/* Who holds a text that was added to sees no more of it, and two that grow from one have nothing in common but that. */
static void test_growing(void **state) {
    (void)state;
    check_growing("+");
    check_growing("~");
    json_t *vars = json_object();
    check_text("{% set a = 'ab' * 3000 %}{% set b = a + 'xx' %}{% set c = b + '1' %}{% set d = b ~ '2\u00e9' %}"
               "{% set e = c + '3' %}{% set f = c + c + d %}"
               "{{ [a|length, b[-3:], c[-3:], d[-3:], e[-4:], f|length, e|length, d|length] }}"
               "{{ b == a + 'xx' }} {{ c == a + 'xx1' }} {{ d == a ~ 'xx2\u00e9' }} {{ e == a + 'xx13' }} "
               "{{ f == c ~ c ~ d }} {{ {b: 1}[a + 'xx'] }} {{ b in {a: 1} }}",
               vars, "[6000, 'bxx', 'xx1', 'x2\xc3\xa9', 'xx13', 18010, 6004, 6004]True True True True True 1 False");
    check_text("{% set a = 'x' * 5000 + '{}' %}{% set b = a + '{0}y' %}{{ a.format(7)[-3:] }} {{ b is string }}", vars,
               "xx7 True");
    json_decref(vars);
}

/* As Jinja2: a loop has a length and can be gone through, yet it is no sequence. */
static void test_loop_is_more_than_a_function(void **state) {
    (void)state;
    json_t *vars = json_object();
    check_text("{% for i in [1, 2, 3] if i > 1 %}{{ loop|length }}{{ loop is iterable }}{{ loop is sequence }} "
               "{% endfor %}",
               vars, "2TrueFalse 2TrueFalse ");
    json_decref(vars);
}

/* ---- threads -------------------------------------------------------------------------------------------- */

static void test_threads(void **state) {
    (void)state;
    enum { N = 64 };
    jinja_t *t = parsed("{% macro f(m, n) %}<{{ m.role }}{{ n }}>{% endmacro %}{% set ns = namespace(s='') %}"
                        "{% for m in messages %}{{ f(m, k) }}{{ m.content|trim }}{{ {'k': k}|tojson }}"
                        "{% set ns.s = ns.s ~ loop.index %}{% endfor %}{{ ns.s }}");
    json_t *messages = json_of("[{\"role\": \"user\", \"content\": \" a \"}, {\"role\": \"x\", \"content\": \"b\"}]");
    char *texts[N], *expected[N];
    for (int threads = 0; threads < 2; threads++) {
#pragma omp parallel for num_threads(4) if (threads)
        for (int i = 0; i < N; i++) {
            json_t *k = json_integer(i);
            const jinja_var_t vars[] = {{"messages", messages, true, SIZE_MAX}, {"k", k, false, 0}};
            const jinja_input_t in = {vars, 2, NULL};
            jinja_output_t out = {0};
            err_t err = {0};
            int rc = jinja_render(t, &in, &out, &err);
            (threads ? texts : expected)[i] = rc ? NULL : xstrndup(out.text.p, out.text.len);
            jinja_output_free(&out);
            json_decref(k);
        }
    }
    for (int i = 0; i < N; i++) {
        char *text = xasprintf("<user%d>a{\"k\": %d}<x%d>b{\"k\": %d}12", i, i, i, i);
        assert_string_equal(expected[i], text);
        assert_string_equal(texts[i], text);
        free(text);
        free(texts[i]);
        free(expected[i]);
    }
    json_decref(messages);
    jinja_free(t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_texts_refused), cmocka_unit_test(test_origins),
        cmocka_unit_test(test_writers),       cmocka_unit_test(test_generation),
        cmocka_unit_test(test_reads),         cmocka_unit_test(test_inputs),
        cmocka_unit_test(test_depth),         cmocka_unit_test(test_work),
        cmocka_unit_test(test_growing),       cmocka_unit_test(test_loop_is_more_than_a_function),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
