/* `qlora-train bench` on a tiny shape: every figure is there and finite, the loss falls, families add up, and what is
 * asked for wrongly is refused. How fast anything is, no test can say. */
#include "testing.h"

#include <dirent.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "model/outline.h"
#include "program.h"
#include "trainer/bench/bench.h"
#include "trainer/run/flops.h"

static const char *const tiny = "golden/tiny/llama-gqa-tied-odd";

static double number(const json_t *o, const char *key) {
    const json_t *v = json_object_get(o, key);
    if (!json_is_number(v)) fail_msg("no number \"%s\"", key);
    return json_number_value(v);
}

static void assert_positive(const json_t *o, const char *key) {
    if (!(number(o, key) > 0 && isfinite(number(o, key)))) fail_msg("%s is %g", key, number(o, key));
}

/* All rows of a part have all the figures. */
static void check_rows(const json_t *run, const char *part, size_t rows, const char *const keys[]) {
    const json_t *list = json_object_get(run, part);
    assert_int_equal(json_array_size(list), rows);
    for (size_t i = 0; i < rows; i++)
        for (size_t k = 0; keys[k]; k++) assert_positive(json_array_get(list, i), keys[k]);
}

static void check_step(const json_t *step) {
    static const char *const keys[] = {"seconds",          "tokens_per_second", "tflops",
                                       "of_bare_products", "planned_bytes",     "first_grad_norm",
                                       "last_grad_norm",   "profiled_seconds",  NULL};
    for (size_t k = 0; keys[k]; k++) assert_positive(step, keys[k]);
    /* Random weights know nothing, and the same batch again and again can be learnt. */
    assert_true(fabs(number(step, "first_loss") - log(320)) < 0.3);
    assert_true(number(step, "last_loss") < number(step, "first_loss"));
    assert_true(number(step, "peak_bytes") == number(step, "planned_bytes"));
    const json_t *families = json_object_get(step, "families");
    double share = 0, seconds = 0;
    assert_true(json_array_size(families) >= 10);
    for (size_t i = 0; i < json_array_size(families); i++) {
        share += number(json_array_get(families, i), "share");
        seconds += number(json_array_get(families, i), "seconds");
    }
    assert_true(fabs(share - 1) < 1e-6);
    assert_true(seconds <= number(step, "profiled_seconds"));
}

/* Two layers are too few for paging weights; that the loss is the same was checked by the program. */
static void check_paging(const json_t *rows) {
    assert_int_equal(json_array_size(rows), 2);
    const json_t *whole = json_array_get(rows, 0), *paged = json_array_get(rows, 1);
    assert_int_equal(number(whole, "paged_bytes"), 0);
    assert_positive(paged, "paged_bytes");
    assert_true(number(paged, "bytes") < number(whole, "bytes"));
    assert_true(number(paged, "loss") == number(whole, "loss"));
}

/* What the program wrote, for these arguments. */
static json_t *bench(const char *const args[]) {
    char *path = path_join(test_tmpdir(), "bench.json");
    const char *all[24] = {"bench", "--backend", "cpu", "--threads", "2", "--json", path};
    for (size_t i = 0; args[i]; i++) all[7 + i] = args[i];
    ran_t r = program_run(all);
    if (r.status != 0) fail_msg("exit status %d: %s", r.status, r.err);
    assert_string_equal(r.err, "");
    err_t err = {0};
    json_t *root = NULL;
    assert_ok(json_file(path, &root, &err), err);
    ran_free(&r);
    free(path);
    return root;
}

static void test_all_parts(void **state) {
    (void)state;
    static const char *const dequant[] = {"gb_per_s", "of_copy", NULL};
    static const char *const gemm[] = {"forward_tflops",
                                       "forward_bare_tflops",
                                       "forward_of_bare",
                                       "backward_tflops",
                                       "backward_bare_tflops",
                                       "backward_of_bare",
                                       NULL};
    static const char *const linear[] = {"forward_seconds", "forward_of_bare", "backward_seconds", "backward_of_bare",
                                         NULL};
    static const char *const low_rank[] = {"seconds", "gemm_seconds", "gb_per_s", "of_copy", NULL};
    static const char *const attention[] = {"seconds", "tflops", NULL};
    json_t *root = bench(
        (const char *const[]){test_path(tiny), "--batch", "2", "--length", "24", "--steps", "3", NULL});
    assert_positive(root, "copy_gb_per_s");
    assert_string_equal(json_string_value(json_object_get(root, "backend")), "cpu");
    const json_t *run = json_array_get(json_object_get(root, "runs"), 0);
    assert_int_equal(number(run, "tokens"), 48);
    assert_int_equal(number(run, "layers"), 2);
    check_rows(run, "dequant", LINEAR_SLOTS + 1, dequant);
    check_rows(run, "gemm", LINEAR_SLOTS + 1, gemm);
    check_rows(run, "linear", SITE_COUNT, linear);
    check_rows(run, "low_rank", 3 * SITE_COUNT, low_rank);
    check_rows(run, "attention", 2, attention);
    check_step(json_object_get(run, "step"));
    check_paging(json_object_get(run, "paging"));
    assert_null(json_object_get(run, "load"));
    json_decref(root);
}

/* Names that the program gave in a directory. */
static size_t left_in(const char *dir) {
    size_t n = 0;
    DIR *d = opendir(dir);
    assert_non_null(d);
    for (const struct dirent *e; (e = readdir(d));) n += strncmp(e->d_name, "qlora-bench-", 12) == 0;
    closedir(d);
    return n;
}

/* Loading alone, of all layers and of one, with and without quantization; nothing of the file stays behind. */
static void test_load(void **state) {
    (void)state;
    static const char *const keys[] = {"layers", "bytes", "seconds", "gb_per_s", "model_seconds", NULL};
    const char *tmp = test_tmpdir();
    char *before = getenv("TMPDIR") ? xstrdup(getenv("TMPDIR")) : NULL;
    setenv("TMPDIR", tmp, 1);
    for (int all = 0; all <= 1; all++) {
        json_t *root = bench((const char *const[]){test_path(tiny), "--what", "load", "--quant-type",
                                                   all ? "nf4" : "none", "--layers", all ? "2" : "1", NULL});
        const json_t *run = json_array_get(json_object_get(root, "runs"), 0), *load = json_object_get(run, "load");
        for (size_t k = 0; keys[k]; k++) assert_positive(load, keys[k]);
        assert_null(json_object_get(run, "step"));
        assert_int_equal(number(load, "layers"), all ? 2 : 1);
        assert_true(fabs(number(load, "model_seconds") / number(load, "seconds") - (all ? 1 : 2)) < 1e-9);
        if (all) assert_positive(load, "quantized_gvalues_per_s");
        else assert_null(json_object_get(load, "quantized_gvalues_per_s"));
        /* Its parameters are those of all layers and, since the vocabulary is even, all of the embedding; norms are
         * loaded with each layer, the last one too. */
        model_config_t c;
        char *name = NULL;
        err_t err = {0};
        assert_ok(outline_read(test_path(tiny), &c, &name, &err), err);
        model_params_t p = model_count_params(&c);
        size_t values = p.linear + p.embedding + p.head + 3 * c.layers * c.hidden;
        assert_int_equal(number(load, "bytes"), 2 * values / (all ? 1 : 2));
        free(name);
        json_decref(root);
    }
    assert_int_equal(left_in(tmp), 0);
    setenv("TMPDIR", "/nowhere", 1);
    ran_t r = program_run((const char *const[]){"bench", test_path(tiny), "--what", "load", NULL});
    assert_int_equal(r.status, ERR_USAGE);
    assert_non_null(strstr(r.err, "--what load: TMPDIR /nowhere: cannot make a file there"));
    ran_free(&r);
    if (before) setenv("TMPDIR", before, 1);
    else unsetenv("TMPDIR");
    free(before);
}

/* One run for each length; rows from --tokens; layers cut and the step scaled up; nothing that was not asked for. */
static void test_choices(void **state) {
    (void)state;
    json_t *root = bench((const char *const[]){test_path(tiny), "--length", "8,16", "--tokens", "64", "--steps", "1",
                                               "--layers", "1", "--what", "profile", "--checkpointing", "true",
                                               "--quant-type", "none", NULL});
    const json_t *runs = json_object_get(root, "runs");
    assert_int_equal(json_array_size(runs), 2);
    assert_null(json_object_get(root, "copy_gb_per_s"));
    for (size_t i = 0; i < 2; i++) {
        const json_t *run = json_array_get(runs, i), *step = json_object_get(run, "step");
        assert_int_equal(number(run, "length"), i ? 16 : 8);
        assert_int_equal(number(run, "rows"), i ? 4 : 8);
        assert_int_equal(number(run, "layers"), 1);
        assert_null(json_object_get(run, "gemm"));
        assert_int_equal(number(step, "blocks_recomputed"), 1);
        const json_t *scaled = json_object_get(step, "scaled");
        assert_int_equal(number(scaled, "layers"), 2);
        assert_true(number(scaled, "seconds") > number(step, "seconds"));
        assert_true(number(scaled, "seconds") < 2 * number(step, "seconds"));
    }
    json_decref(root);
}

static void test_refusals(void **state) {
    (void)state;
    static const struct {
        const char *args[4], *message;
    } cases[] = {
        {{"llama-4"},
         "llama-4: no such model; expected a directory with a "
         "config.json, or one of llama-2-7b, "},
        {{"smollm2-135m", "--length", "x"}, "--length: got \"x\"; expected a whole number from 2 to 1048576"},
        {{"smollm2-135m", "--length", "16,"}, "--length: got \"\""},
        {{"smollm2-135m", "--steps", "0"}, "--steps: got \"0\"; expected a whole number from 1 to 10000"},
        {{"smollm2-135m", "--what", "step,gem"}, "--what: got \"step,gem\"; expected some of copy, dequant, gemm"},
        {{"smollm2-135m", "--backend", "gpu"}, "device.backend: got \"gpu\"; expected"},
        {{"smollm2-135m", "--tokens", "100"}, "--tokens: 100 is no whole number of rows of 1024"},
        {{"--tokens", "2048", "--batch", "2"}, "--tokens and --batch: both say how many rows there are; expected one"},
        {{"--tokens=2048", "--batch=4"}, "--tokens and --batch: both say"},
        {{"smollm2-135m", "--layers", "31"}, "--layers: got 31; smollm2-135m has 30"},
        {{"smollm2-135m", "--rank", "0"}, "lora.r: got \"0\"; expected"},
        {{"smollm2-135m", "--batchs", "2"}, "unknown option --batchs; did you mean --batch?"},
        {{"smollm2-135m", "--memory-limit", "4GB"}, "did you mean 4GiB?"},
        {{"smollm2-135m", "--memory-limit", "1MiB"}, "does not fit"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *args[8] = {"bench", "--what", "step"};
        for (size_t k = 0; k < 4 && cases[i].args[k]; k++) args[3 + k] = cases[i].args[k];
        ran_t r = program_run(args);
        assert_int_equal(r.status, ERR_USAGE);
        if (!strstr(r.err, cases[i].message)) fail_msg("\"%s\" is not in: %s", cases[i].message, r.err);
        ran_free(&r);
    }
}

/* Llama-3-8B at 4096, rank 16: 34.0 GFLOP a token, and 49.1 with a whole second forward, of which the 2 x 4096 x 14336 of
 * each block's last product are spared. */
static void test_flops(void **state) {
    (void)state;
    model_config_t c = {.arch = &archs[0],
                        .vocab = 128256,
                        .hidden = 4096,
                        .ffn = 14336,
                        .layers = 32,
                        .heads = 32,
                        .kv_heads = 8,
                        .head_dim = 128};
    flops_work_t w = {.tokens = 1, .labels = 1, .keys = 2048, .lora = 41943040, .recomputed = 32};
    flops_t f = flops_of(&c, &w);
    assert_true(fabs(f.needed / 34.0e9 - 1) < 0.01);
    assert_true(fabs((f.needed + f.recomputed + 32 * 2.0 * 4096 * 14336) / 49.1e9 - 1) < 0.01);
    assert_true(fabs(f.forward / 16.2e9 - 1) < 0.01);
    w.recomputed = 8;
    assert_true(fabs(flops_of(&c, &w).recomputed / f.recomputed - 0.25) < 1e-9);
}

static void test_median(void **state) {
    (void)state;
    double odd[] = {5, 1, 3}, even[] = {4, 1, 3, 2};
    assert_true(bench_median(odd, 3) == 3);
    assert_true(bench_median(even, 4) == 2.5);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_parts), cmocka_unit_test(test_load),  cmocka_unit_test(test_choices),
        cmocka_unit_test(test_refusals),  cmocka_unit_test(test_flops), cmocka_unit_test(test_median),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
