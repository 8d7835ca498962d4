/* The table of losses that an export prints: its figures are those of `eval`, and a merge that loses what was trained is
 * named with its remedy. */
#include "testing.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/rng.h"
#include "program.h"
#include "trainer/export/merge_loss.h"

#define MODEL "golden/tiny/llama-gqa-tied-odd"
#define STEPS "100"

static const char *config, *checkpoint; /* of a run that has learnt random rows by heart */

static void write_rows(const char *path) {
    err_t err = {0};
    strbuf_t s = {0};
    for (uint64_t row = 0; row < 24; row++) {
        strbuf_adds(&s, "{\"input_ids\": [");
        for (uint64_t t = 0; t < 24; t++) strbuf_addf(&s, "%s%zu", t ? ", " : "", (size_t)(3 + rng_fold(row, t) % 290));
        strbuf_adds(&s, "]}\n");
    }
    assert_ok(file_write(path, s.p, s.len, &err), err);
    free(s.p);
}

/* A directory with rows.jsonl and c.yaml, which trains on it and evaluates on it. */
static const char *write_config(const char *model, const char *quantization, const char *steps) {
    err_t err = {0};
    const char *dir = test_tmpdir();
    char *rows = path_join(dir, "rows.jsonl"), *path = path_join(dir, "c.yaml");
    write_rows(rows);
    char *yaml = xasprintf("model: {path: %s}\nquantization: {compute_dtype: f32%s}\n"
                           "lora: {r: 8, lora_alpha: 16, dtype: f32}\n"
                           "data: {train: rows.jsonl, eval: rows.jsonl, format: tokens, packing: false}\n"
                           "training: {output_dir: out, max_steps: %s, save_steps: 0, learning_rate: 3e-3, "
                           "per_device_train_batch_size: 8, gradient_accumulation_steps: 1}\n"
                           "device: {backend: cpu, threads: 1}\n",
                           model, quantization, steps);
    assert_ok(file_write(path, yaml, strlen(yaml), &err), err);
    free(yaml);
    free(rows);
    return test_keep(path);
}

static const char *train(const char *c, const char *steps) {
    char *dir = path_dirname(c);
    EXPECT_RUN(0, "done: the adapter is in", c);
    const char *path = test_keep(xasprintf("%s/out/checkpoint-%s", dir, steps));
    free(dir);
    return path;
}

static int train_hard(void **state) {
    (void)state;
    config = write_config(test_path(MODEL), "", STEPS);
    checkpoint = train(config, STEPS);
    return 0;
}

static ran_t merge(const char *from, const char *base, const char *dtype, const char **out) {
    *out = test_keep(path_join(test_tmpdir(), "merged"));
    ran_t r = program_run(
        (const char *const[]){"export", from, "--merged", *out, "--base", base, "--dtype", dtype, NULL});
    if (r.status) fail_msg("status %d: %s", r.status, r.err);
    return r;
}

/* The numbers of the table's row that begins so. */
static size_t row_of(const char *out, const char *name, double v[2]) {
    const char *at = strstr(out, name);
    if (!at) fail_msg("no row \"%s\":\n%s", name, out);
    v[0] = v[1] = NAN;
    char *line = xstrndup(at + strlen(name), strcspn(at + strlen(name), "\n"));
    size_t n = 0;
    for (char *p = line, *end; n < 2; p = end) {
        v[n] = strtod(p, &end);
        if (end == p) break;
        n++;
    }
    free(line);
    return n;
}

static double eval_loss(const char *model, const char *override, const char *adapter) {
    static const char key[] = "\"eval_loss\": ";
    char *path = xasprintf("model.path=%s", model);
    const char *args[8] = {"eval", config, path, override};
    if (adapter) args[4] = "--adapter", args[5] = adapter;
    ran_t r = program_run(args);
    const char *at = strstr(r.out, key);
    if (r.status || !at) fail_msg("eval: status %d: %s", r.status, r.err);
    double loss = at ? strtod(at + strlen(key), NULL) : NAN;
    free(path);
    ran_free(&r);
    return loss;
}

/* The table has six digits; the rows are summed in other batches. */
static void assert_loss(double got, double want) {
    if (!(fabs(got - want) < 5e-6)) fail_msg("%.7f in the table, expected %.7f", got, want);
}

/* ---- the figures ------------------------------------------------------------------------------------------ */

static void check_table(const char *base, const char *row, bool warned) {
    const char *out, *model = test_path(MODEL);
    double quantized[2], original[2], merged[2];
    ran_t r = merge(checkpoint, base, "auto", &out);
    assert_non_null(strstr(r.out, "loss on 552 tokens of data.eval\n"));
    assert_int_equal(row_of(r.out, "quantized, as trained (nf4)", quantized), 2);
    assert_int_equal(row_of(r.out, "original weights", original), 2);
    assert_int_equal(row_of(r.out, row, merged), 1);
    assert_loss(quantized[0], eval_loss(model, "quantization.quant_type=nf4", NULL));
    assert_loss(quantized[1], eval_loss(model, "quantization.quant_type=nf4", checkpoint));
    assert_loss(original[0], eval_loss(model, "quantization.quant_type=none", NULL));
    assert_loss(original[1], eval_loss(model, "quantization.quant_type=none", checkpoint));
    assert_loss(merged[0], eval_loss(out, "quantization.quant_type=none", NULL));
    /* So hard was it trained that it is the quantized weights which it fits. */
    assert_true(original[1] > quantized[1] + 0.3);
    assert_true(fabs(merged[0] - (warned ? original : quantized)[1]) < 0.01);
    bool says = strstr(r.err, "(`--adapter`) on the quantized base (`qlora-train quantize`)") != NULL;
    if (warned != (says && strstr(r.err, "merge it with `--base dequantized`"))) fail_msg("said: %s", r.err);
    ran_free(&r);
}

static void test_original(void **state) {
    (void)state;
    check_table("original", "merged onto the original", true);
}

static void test_dequantized(void **state) {
    (void)state;
    check_table("dequantized", "merged onto the dequantized", false);
}

/* F32 is held as BF16 here, so that a loss would be that of another model: the warning goes by what it was made from. */
static void test_f32(void **state) {
    (void)state;
    const char *out;
    double merged[2];
    ran_t r = merge(checkpoint, "original", "f32", &out);
    assert_int_equal(row_of(r.out, "merged onto the original", merged), 0);
    assert_non_null(strstr(r.out, "the merged model is in F32"));
    assert_non_null(strstr(r.err, "merge it with `--base dequantized`"));
    ran_free(&r);
}

/* ---- what is not there ---------------------------------------------------------------------------------------- */

/* A run that does not quantize has one row for the base, and nothing is lost by merging onto it. */
static void test_not_quantized(void **state) {
    (void)state;
    const char *out, *c = write_config(test_path(MODEL), ", quant_type: none", STEPS);
    double original[2], merged[2];
    ran_t r = merge(train(c, STEPS), "original", "auto", &out);
    assert_null(strstr(r.out, "quantized"));
    assert_int_equal(row_of(r.out, "original weights", original), 2);
    assert_int_equal(row_of(r.out, "merged onto the original", merged), 1);
    assert_true(fabs(merged[0] - original[1]) < 0.02);
    assert_string_equal(r.err, "");
    ran_free(&r);
}

/* A base that is in 4 bits has no original weights. */
static void test_no_original(void **state) {
    (void)state;
    const char *out, *c = write_config(test_path(MODEL "/bnb4"), "", "4");
    double quantized[2], merged[2];
    ran_t r = merge(train(c, "4"), "dequantized", "auto", &out);
    assert_null(strstr(r.out, "original"));
    assert_int_equal(row_of(r.out, "quantized, as trained (nf4)", quantized), 2);
    assert_int_equal(row_of(r.out, "merged onto the dequantized", merged), 1);
    assert_true(fabs(merged[0] - quantized[1]) < 0.02);
    ran_free(&r);
}

/* Rows that are gone are made up, and say nothing about what was gained. */
static void test_rows_gone(void **state) {
    (void)state;
    err_t err = {0};
    const char *out;
    char *dir = path_dirname(config), *rows = path_join(dir, "rows.jsonl"), *aside = path_join(dir, "aside");
    assert_ok(file_rename(rows, aside, &err), err);
    ran_t r = merge(checkpoint, "original", "auto", &out);
    assert_ok(file_rename(aside, rows, &err), err);
    assert_non_null(strstr(r.err, "rows.jsonl"));
    assert_non_null(strstr(r.err, "the loss is compared on made-up tokens"));
    assert_non_null(strstr(r.out, "tokens, made up\n"));
    assert_null(strstr(r.err, "--base dequantized"));
    ran_free(&r);
    free(dir), free(rows), free(aside);
}

/* ---- the rule --------------------------------------------------------------------------------------------------- */

static void test_rule(void **state) {
    (void)state;
    static const struct {
        double base, trained, merged;
        bool loses;
    } cases[] = {
        {6.4, 0.444, 0.681, true},                           /* by more than a fifth, little as it is of the gain */
        {3.92, 0.337, 0.370, false},                         /* the quick start: a tenth */
        {2.2, 2.0, 2.06, true},                              /* more than a quarter of a small gain */
        {2.2, 2.0, 2.04, false},                             /* less */
        {6.8, 0.0008, 0.015, false},                         /* twenty times as much of nearly nothing */
        {2.0, 2.1, 2.11, false},                             /* no gain on these rows: */
        {2.0, 2.1, 2.13, true},      {2.2, 2.0, 1.9, false}, /* better than as trained */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (merge_loses(&(loss_pair_t){cases[i].base, cases[i].trained}, cases[i].merged) != cases[i].loses)
            fail_msg("case %zu", i);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_original),      cmocka_unit_test(test_dequantized), cmocka_unit_test(test_f32),
        cmocka_unit_test(test_not_quantized), cmocka_unit_test(test_no_original), cmocka_unit_test(test_rows_gone),
        cmocka_unit_test(test_rule),
    };
    return cmocka_run_group_tests(tests, train_hard, NULL);
}
