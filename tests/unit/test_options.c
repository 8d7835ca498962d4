#include "tests/support/testing.h"

#include <stdlib.h>
#include <string.h>

#include "base/names.h"
#include "trainer/commands/options.h"

typedef struct {
    const char *adapter, *prompt, *type;
    uint64_t rows;
    double share;
    unsigned parts;
    bool plain;
} given_t;

static given_t given;
static args_t args;

static int parse(int argc, char **argv, err_t *err) {
    static const char *const types[] = {"nf4", "fp4", NULL}, *const parts[] = {"copy", "gemm", "step", NULL};
    static const option_t table[] = {
        {"adapter", ARG_DIR, offsetof(given_t, adapter), "DIR", .help = ""},
        {"prompt", ARG_TEXT, offsetof(given_t, prompt), "TEXT", "hello", .help = ""},
        {"type", ARG_CHOICE, offsetof(given_t, type), "TYPE", .words = types, .help = ""},
        {"rows", ARG_WHOLE, offsetof(given_t, rows), "N", "7", .min = 1, .max = 20, .help = ""},
        {"share", ARG_REAL, offsetof(given_t, share), "P", .min = 0, .max = 1, .help = ""},
        {"what", ARG_WORDS, offsetof(given_t, parts), "PARTS", .words = parts, .help = ""},
        {"plain", ARG_FLAG, offsetof(given_t, plain), .help = ""},
    };
    given = (given_t){0};
    return options_parse(argc, argv, table, sizeof table / sizeof *table, &given, &args, 2, err);
}

#define ARGV(...) \
    (char *[]) { __VA_ARGS__ }
#define PARSE(err, ...) parse((int)(sizeof ARGV(__VA_ARGS__) / sizeof(char *)), ARGV(__VA_ARGS__), err)

static void options_and_positionals_mix(void **state) {
    (void)state;
    err_t err = {0};
    assert_ok(PARSE(&err, "a.yaml", "--adapter", "dir", "--prompt=x=y", "b", "--help"), err);
    assert_string_equal(given.adapter, "dir");
    assert_string_equal(given.prompt, "x=y");
    assert_true(args.helped);
    assert_int_equal(args.n, 2);
    assert_string_equal(args.pos[0], "a.yaml");
    assert_string_equal(args.pos[1], "b");
    assert_ok(PARSE(&err, "-h"), err);
    assert_true(args.helped);
    assert_ok(parse(0, NULL, &err), err);
    assert_int_equal(args.n, 0);
}

static void values_may_look_like_anything(void **state) {
    (void)state;
    err_t err = {0};
    assert_ok(PARSE(&err, "--prompt", "--adapter", "--adapter=", "-"), err);
    assert_string_equal(given.prompt, "--adapter");
    assert_string_equal(given.adapter, "");
    assert_string_equal(args.pos[0], "-");
    assert_ok(PARSE(&err, "--", "--help", "-x"), err);
    assert_false(args.helped);
    assert_int_equal(args.n, 2);
    assert_string_equal(args.pos[0], "--help");
}

static void values_are_read(void **state) {
    (void)state;
    err_t err = {0};
    assert_ok(parse(0, NULL, &err), err);
    assert_string_equal(given.prompt, "hello");
    assert_int_equal(given.rows, 7);
    assert_null(given.adapter);
    assert_int_equal(given.parts, 0);
    assert_ok(PARSE(&err, "--type=fp4", "--rows", "20", "--share", "0.25", "--what=step,copy", "--plain"), err);
    assert_string_equal(given.type, "fp4");
    assert_int_equal(given.rows, 20);
    assert_true(given.share == 0.25);
    assert_int_equal(given.parts, 5);
    assert_true(given.plain);
    assert_error(PARSE(&err, "--type", "nf"), err, ERR_USAGE, "command line: --type: got \"nf\"; expected nf4 or fp4");
    assert_error(PARSE(&err, "--rows", "21"), err, ERR_USAGE,
                 "command line: --rows: got \"21\"; expected a whole number from 1 to 20");
    static char *const bad[] = {"", "x", "0.5x", "1.5", "-1", "nan", "inf"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_error(PARSE(&err, "--share", bad[i]), err, ERR_USAGE, "; expected a number from 0 to 1");
    static char *const no_words[] = {"", "gem", "copy,", ",copy", "copy gemm", "copy,gemmm"};
    for (size_t i = 0; i < sizeof no_words / sizeof *no_words; i++)
        assert_error(PARSE(&err, "--what", no_words[i]), err, ERR_USAGE,
                     "; expected some of copy, gemm, step, with commas between them");
    assert_error(PARSE(&err, "--plain=1"), err, ERR_USAGE, "command line: --plain takes no value");
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
        cmocka_unit_test(values_are_read),
        cmocka_unit_test(mistakes_are_named),
        cmocka_unit_test(closest_names),
        cmocka_unit_test(whole_numbers),
        cmocka_unit_test(lists_of_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
