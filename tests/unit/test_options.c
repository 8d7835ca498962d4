#include "tests/support/testing.h"

#include <stdlib.h>
#include <string.h>

#include "base/names.h"
#include "trainer/commands/options.h"

static const char *adapter, *prompt;
static bool help;
static const char *pos[2];
static size_t n_pos;

static int parse(int argc, char **argv, err_t *err) {
    static const option_t table[] = {
        {.name = "adapter", .value = &adapter},
        {.name = "prompt", .value = &prompt},
        {.name = "help", .flag = &help},
    };
    adapter = prompt = NULL;
    help = false;
    return options_parse(argc, argv, table, 3, pos, 2, &n_pos, err);
}

#define ARGV(...) \
    (char *[]) { __VA_ARGS__ }
#define PARSE(err, ...) parse((int)(sizeof ARGV(__VA_ARGS__) / sizeof(char *)), ARGV(__VA_ARGS__), err)

static void options_and_positionals_mix(void **state) {
    (void)state;
    err_t err = {0};
    assert_ok(PARSE(&err, "a.yaml", "--adapter", "dir", "--prompt=x=y", "b", "--help"), err);
    assert_string_equal(adapter, "dir");
    assert_string_equal(prompt, "x=y");
    assert_true(help);
    assert_int_equal(n_pos, 2);
    assert_string_equal(pos[0], "a.yaml");
    assert_string_equal(pos[1], "b");
    assert_ok(PARSE(&err, "-h"), err);
    assert_true(help);
    assert_ok(parse(0, NULL, &err), err);
    assert_int_equal(n_pos, 0);
}

static void values_may_look_like_anything(void **state) {
    (void)state;
    err_t err = {0};
    assert_ok(PARSE(&err, "--prompt", "--adapter", "--adapter=", "-"), err);
    assert_string_equal(prompt, "--adapter");
    assert_string_equal(adapter, "");
    assert_string_equal(pos[0], "-");
    assert_ok(PARSE(&err, "--", "--help", "-x"), err);
    assert_false(help);
    assert_int_equal(n_pos, 2);
    assert_string_equal(pos[0], "--help");
}

static void mistakes_are_named(void **state) {
    (void)state;
    err_t err = {0};
    assert_error(PARSE(&err, "--adaptor", "x"), err, ERR_USAGE,
                 "command line: unknown option --adaptor; did you mean --adapter?");
    assert_error(PARSE(&err, "--promt=x"), err, ERR_USAGE, "unknown option --promt=x; did you mean --prompt?");
    assert_error(PARSE(&err, "--zzz"), err, ERR_USAGE, "command line: unknown option --zzz; see --help");
    assert_error(PARSE(&err, "-adapter"), err, ERR_USAGE, "unknown option -adapter; did you mean --adapter?");
    assert_error(PARSE(&err, "--adapter"), err, ERR_USAGE, "command line: --adapter needs a value");
    assert_error(PARSE(&err, "--help=1"), err, ERR_USAGE, "command line: --help takes no value");
    assert_error(PARSE(&err, "a", "b", "c"), err, ERR_USAGE, "command line: unexpected argument \"c\"");
}

static void closest_names(void **state) {
    (void)state;
    static const char *const names[] = {"learning_rate", "lora_alpha", "lora_dropout", "r", "seed", "eval", "export"};
    static const struct {
        const char *word, *expected;
    } cases[] = {
        {"learning_rate", "learning_rate"},
        {"learnign_rate", "learning_rate"},
        {"Learning-Rate", "learning_rate"},
        {"lora_apha", "lora_alpha"},
        {"lora_alfa", "lora_alpha"},
        {"sede", "seed"},
        {"eavl", "eval"},
        {"exprot", "export"},
        {"R", "r"},
        {"x", NULL},
        {"", NULL},
        {"quantize", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *got = closest_name(cases[i].word, names, sizeof names / sizeof *names);
        if (cases[i].expected) assert_string_equal(got ? got : "nothing", cases[i].expected);
        else assert_null(got);
    }
    char endless[1000];
    memset(endless, 'a', sizeof endless - 1);
    endless[sizeof endless - 1] = 0;
    assert_null(closest_name(endless, names, 7));
}

static void whole_numbers(void **state) {
    (void)state;
    static const char *const bad[] = {"",  "-1",   "+5",  " 5",  "5 ",
                                      "x", "0x10", "1e3", "1.5", "99999999999999999999999999"};
    err_t err = {0};
    uint64_t v = 7;
    assert_ok(option_whole("n", "0", 0, 20, &v, &err), err);
    assert_int_equal(v, 0);
    assert_ok(option_whole("n", "20", 0, 20, &v, &err), err);
    assert_int_equal(v, 20);
    assert_ok(option_whole("n", "0020", 0, 20, &v, &err), err);
    assert_ok(option_whole("n", "9223372036854775807", 0, INT64_MAX, &v, &err), err);
    assert_int_equal(v, INT64_MAX);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_error(option_whole("n", bad[i], 0, INT64_MAX, &v, &err), err, ERR_USAGE, "command line: --n: got \"");
    assert_error(option_whole("n", "21", 5, 20, &v, &err), err, ERR_USAGE,
                 "command line: --n: got \"21\"; expected a whole number from 5 to 20");
    assert_error(option_whole("n", "4", 5, 20, &v, &err), err, ERR_USAGE, "got \"4\"");
    assert_int_equal(v, INT64_MAX);
}

static void lists_of_names(void **state) {
    (void)state;
    static const char *const names[] = {"a", "b", "c"}, *const expected[] = {"a", "a or b", "a, b or c"};
    for (size_t n = 1; n <= 3; n++) {
        char *list = name_list(names, n);
        assert_string_equal(list, expected[n - 1]);
        free(list);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_and_positionals_mix),
        cmocka_unit_test(values_may_look_like_anything),
        cmocka_unit_test(mistakes_are_named),
        cmocka_unit_test(closest_names),
        cmocka_unit_test(whole_numbers),
        cmocka_unit_test(lists_of_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
