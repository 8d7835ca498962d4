/* `qlora-train tokenize` as other programs use it: lines in, lines out, and the exit status. */
#include "testing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "base/file.h"
#include "base/mem.h"

/* Runs the command with the shell; *out gets standard output and standard error (the caller frees). */
static int run(const char *arguments, char **out) {
    char *command = xasprintf("%s tokenize %s 2>&1", TEST_PROGRAM, arguments);
    FILE *p = popen(command, "r");
    assert_non_null(p);
    strbuf_t b = {0};
    char buf[4096];
    strbuf_adds(&b, "");
    for (size_t n; (n = fread(buf, 1, sizeof buf, p)) > 0;) strbuf_add(&b, buf, n);
    int status = pclose(p);
    free(command);
    *out = b.p;
    return WEXITSTATUS(status);
}

/* Runs over a file of `lines`; from standard input when `piped`. */
static int run_lines(const char *lines, size_t len, int piped, char **out) {
    err_t err = {0};
    char *path = path_join(test_tmpdir(), "texts.jsonl");
    assert_ok(file_write(path, lines, len, &err), err);
    char *arguments = xasprintf("%s %s %s", test_path("golden/tokenizer/tokenizer.json"), piped ? "<" : "", path);
    int rc = run(arguments, out);
    free(arguments);
    free(path);
    return rc;
}

static void test_lines(void **state) {
    (void)state;
    static const char lines[] =
        "{\"text\": \"Hello world\"}\n\n{\"text\": \"\", \"id\": 7}\r\n{\"text\":\"<|im_end|>1\"}";
    static const char expected[] = "{\"input_ids\":[19556,905]}\n{\"input_ids\":[]}\n{\"input_ids\":[2,33]}\n";
    for (int piped = 0; piped < 2; piped++) {
        char *out;
        assert_int_equal(run_lines(lines, sizeof lines - 1, piped, &out), 0);
        assert_string_equal(out, expected);
        free(out);
    }
}

static void test_plain(void **state) {
    (void)state;
    static const char lines[] = "{\"text\":\"<s>a\"}\n";
    static const struct {
        const char *model, *option, *ids;
    } cases[] = {
        {"llama2-tokenizer.model", "", "{\"input_ids\":[1,263]}\n"},
        {"llama2-tokenizer.model", "--plain", "{\"input_ids\":[529,29879,29958,29874]}\n"},
        {"tokenizer.json", "--plain", "{\"input_ids\":[44,99,46,81]}\n"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        err_t err = {0};
        char *path = path_join(test_tmpdir(), "texts.jsonl"),
             *model = path_join(test_path("golden/tokenizer"), cases[i].model);
        assert_ok(file_write(path, lines, sizeof lines - 1, &err), err);
        char *out, *arguments = xasprintf("%s %s %s", cases[i].option, model, path);
        assert_int_equal(run(arguments, &out), 0);
        assert_string_equal(out, cases[i].ids);
        free(out);
        free(arguments);
        free(model);
        free(path);
    }
}

static void test_long_line(void **state) {
    (void)state;
    enum { N = 3000000 };
    strbuf_t line = {0};
    char *out;
    strbuf_adds(&line, "{\"text\":\"");
    for (int i = 0; i < N / 5; i++) strbuf_add(&line, " time", 5);
    strbuf_adds(&line, "\"}\n");
    assert_int_equal(run_lines(line.p, line.len, 0, &out), 0);
    size_t commas = 0;
    for (const char *p = out; *p; p++) commas += *p == ',';
    assert_int_equal(commas, N / 5 - 1);
    free(out);
    free(line.p);
}

static void test_errors(void **state) {
    (void)state;
    static const struct {
        const char *lines, *error;
    } cases[] = {
        {"{\"text\":\"a\"}\n{\"text\":", "texts.jsonl:2:"},
        {"{\"text\":\"a\"}\n\n{\"text\":\"\xff\"}\n", "texts.jsonl:3:"},
        {"{\"txt\":\"a\"}\n", "texts.jsonl:1: expected an object"},
        {"[1]\n", "texts.jsonl:1: expected an object"},
        {"{\"text\":5}\n", "texts.jsonl:1: expected an object"},
    };
    char *out;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(run_lines(cases[i].lines, strlen(cases[i].lines), 0, &out), 2);
        assert_non_null(strstr(out, cases[i].error));
        free(out);
    }
    static const char *const usage[][2] = {
        {"", "no MODEL"},
        {"/no/such/model", "/no/such/model"},
        {"a b c", "unexpected"},
        {"--nonsense a", "--nonsense"},
        {"a /", "/: a directory; expected a file"},
    };
    for (size_t i = 0; i < sizeof usage / sizeof *usage; i++) {
        assert_int_equal(run(usage[i][0], &out), 2);
        assert_non_null(strstr(out, usage[i][1]));
        free(out);
    }
    assert_int_equal(run("--help", &out), 0);
    assert_non_null(strstr(out, "usage: qlora-train tokenize"));
    free(out);
}

/* A reader of the output that cannot take it: status 1, not silence. */
static void test_full_disk(void **state) {
    (void)state;
    if (!path_exists("/dev/full")) skip();
    char *command = xasprintf("echo '{\"text\":\"a\"}' | %s tokenize %s >/dev/full", TEST_PROGRAM,
                              test_path("golden/tokenizer/tokenizer.json"));
    assert_int_equal(WEXITSTATUS(system(command)), 1);
    free(command);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines),  cmocka_unit_test(test_plain),     cmocka_unit_test(test_long_line),
        cmocka_unit_test(test_errors), cmocka_unit_test(test_full_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
