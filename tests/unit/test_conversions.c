/* What `quantize` and `export --merged` make of models of every type, and of those that are in 4 bits in some layers only. */
#include "model_files.h"
#include "testing.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "cases.h"
#include "model/source.h"
#include "program.h"
#include "tensors.h"
#include "trained.h"
#include "variant.h"

#define NONE "quantization.quant_type=none"
#define NF4 "quantization.quant_type=nf4"

/* Where 1 ulp may differ, it is in the mean of the constants: torch adds them up in an order of its own. */
static bool same_but_for_mean(const st_tensor_t *a, const st_tensor_t *b) {
    if (path_has_suffix(a->name, ".nested_absmax")) {
        for (size_t i = 0; i < a->bytes / sizeof(float); i++) {
            float x, y;
            if (!st_value(a, i, &x) || !st_value(b, i, &y) || fabsf(x - y) > 2e-7f) return false;
        }
        return true;
    }
    json_t *x = json_loadb((const char *)a->data, a->bytes, 0, NULL);
    json_t *y = json_loadb((const char *)b->data, b->bytes, 0, NULL);
    double dx = json_real_value(json_object_get(x, "nested_offset"));
    double dy = json_real_value(json_object_get(y, "nested_offset"));
    bool same = x && y && fabs(dx - dy) < 1.3e-7;
    json_object_del(x, "nested_offset");
    json_object_del(y, "nested_offset");
    same = same && json_equal(x, y);
    json_decref(x);
    json_decref(y);
    return same;
}

/* The file that bitsandbytes writes of the same model; exact: to the byte. */
static void expect_tensors(const char *dir, const char *golden, bool exact) {
    safetensors_t *got = tensors_of(dir), *want = tensors_of(golden);
    assert_int_equal(got->n_tensors, want->n_tensors);
    size_t inexact = 0;
    for (size_t i = 0; i < want->n_tensors; i++) {
        const st_tensor_t *a = &got->tensors[i], *b = &want->tensors[i];
        assert_string_equal(a->name, b->name);
        bool same = a->dtype == b->dtype && a->bytes == b->bytes && !memcmp(a->data, b->data, a->bytes);
        bool of_mean = path_has_suffix(a->name, ".nested_absmax") || strstr(a->name, ".quant_state.");
        if (!same && (exact || !of_mean || !same_but_for_mean(a, b))) fail_msg("%s: %s differs", dir, a->name);
        inexact += !same;
    }
    if (inexact) print_message("%s: %zu tensors to 1 ulp\n", golden, inexact);
    safetensors_close(got);
    safetensors_close(want);
}

static void expect_config(const char *dir, const char *golden) {
    json_t *got = config_of(dir), *want = config_of(golden);
    json_object_del(json_object_get(got, "quantization_config"), "bnb_4bit_compute_dtype");
    json_object_del(json_object_get(want, "quantization_config"), "bnb_4bit_compute_dtype");
    assert_true(json_equal(got, want));
    json_decref(got);
    json_decref(want);
}

static void test_quantize(void **state) {
    (void)state;
    static const char *const types[] = {"f16", "f32"};
    for (size_t i = 0; i < 2; i++) {
        char *name = xasprintf("%s/bnb4", types[i]);
        const char *golden = case_path(name), *out = case_quantize(case_path(types[i]));
        expect_tensors(out, golden, !strcmp(types[i], "f16"));
        expect_config(out, golden);
        expect_tensors(case_quantize(golden), golden, true);
        free(name);
    }
}

/* ---- 4 bits in some layers -------------------------------------------------------------------------------- */

/* Layers in 16 bits stay so, and the file says which. */
static void test_quantize_mixed(void **state) {
    (void)state;
    const char *mixed = case_path("mixed-4bit"), *out = case_quantize(mixed);
    expect_tensors(out, mixed, true);
    json_t *got = config_of(out), *want = config_of(mixed);
    assert_true(json_equal(got, want));
    json_decref(got);
    json_decref(want);

    /* Without a config that says so it is made from the tensors. */
    variant_t v = variant_of(mixed);
    variant_set(&v, "quantization_config", NULL);
    got = config_of(case_quantize(variant_write(&v)));
    want = json_pack("[s, s, s, s, s, s]", "model.layers.0.self_attn.q_proj", "model.layers.0.self_attn.k_proj",
                     "model.layers.0.self_attn.v_proj", "model.layers.0.self_attn.o_proj",
                     "model.layers.1.mlp.down_proj", "lm_head");
    assert_true(
        json_equal(json_object_get(json_object_get(got, "quantization_config"), "llm_int8_skip_modules"), want));
    json_decref(got);
    json_decref(want);
}

/* A type that the config names is that of the rest too. */
static void test_mixed_given(void **state) {
    (void)state;
    expect_loss(case_path("mixed-4bit"), NULL, NF4, case_eval(case_path("bf16"), NULL, NF4));
    assert_true(fabs(case_eval(case_path("bf16"), NULL, NF4) - case_loss("mixed-4bit")) > 1e-3);
}

static bool says_type(const char *checkpoint) {
    err_t err = {0};
    char *path = path_join(checkpoint, "config.yaml"), *text;
    size_t len;
    assert_ok(file_read(path, &text, &len, &err), err);
    bool says = strstr(text, "\n  quant_type:") != NULL;
    free(path);
    free(text);
    return says;
}

/* The same from a checkpoint's config: in an evaluation, after a resume, in a merge. */
static void test_mixed_checkpoint(void **state) {
    (void)state;
    err_t err = {0};
    const char *mixed = case_path("mixed-4bit"), *last = case_train(mixed, NULL), *given = case_train(mixed, NF4);
    assert_false(says_type(last));
    assert_true(says_type(given));
    double loss = case_eval(mixed, last, NULL);
    assert_true(fabs(case_eval(mixed, given, NF4) - loss) > 1e-4);
    char *config = path_join(last, "config.yaml"), *text = xasprintf("\"eval_loss\": %.5f", loss);
    EXPECT_RUN(0, text, "eval", config, "--adapter", last);
    free(text);
    free(config);
    double own = case_eval(case_merge(last, "dequantized", "f32"), NULL, NONE);
    /* Held in BF16 again. */
    if (!(fabs(own - loss) < 5e-3)) fail_msg("merged: loss %.6f, expected %.6f", own, loss);

    char *dir = path_dirname(last), *first = path_join(dir, "checkpoint-1"), *again = path_join(test_tmpdir(), "out");
    char *output = xasprintf("training.output_dir=%s", again),
         *from = xasprintf("training.resume_from_checkpoint=%s", first);
    char *values[] = {path_join(last, "adapter_model.safetensors"),
                      path_join(again, "adapter/adapter_model.safetensors")};
    char *a, *b;
    size_t n, m;
    config = path_join(first, "config.yaml");
    EXPECT_RUN(0, "done: the adapter is in", config, output, from);
    assert_ok(file_read(values[0], &a, &n, &err) || file_read(values[1], &b, &m, &err), err);
    assert_int_equal(n, m);
    assert_memory_equal(a, b, n);
    free(a), free(b), free(dir), free(first), free(again), free(output), free(from), free(config);
    free(values[0]), free(values[1]);
}

/* ---- merged models ---------------------------------------------------------------------------------------- */

/* The distance between neighbours of x in the type. */
static double step_of(double x, dtype_t type) {
    int e, low = type == DT_F16 ? -13 : -125;
    frexp(x, &e);
    return ldexp(1, (e < low ? low : e) - (type == DT_BF16 ? 8 : type == DT_F16 ? 11 : 24));
}

/* Every linear layer is W + s B A to a step of the type; the rest has the values that the type holds. */
static void check_values(const char *model, const char *checkpoint, const char *out, dtype_t type) {
    err_t err = {0};
    model_source_t *a = open_source(model), *b = open_source(out);
    lora_t lora;
    float *master = read_adapter(checkpoint, model_source_config(a), &lora);
    for (size_t i = 0; i < model_source_count(a); i++) {
        const source_tensor_t *t = model_source_at(a, i), *g = model_source_find(b, t->name);
        size_t n = t->rows * t->cols, r = lora.spec.r;
        float *w = xmalloc(n * sizeof *w), *got = xmalloc(n * sizeof *got);
        const float *A = NULL, *B = NULL;
        assert_non_null(g);
        assert_int_equal(g->type, type);
        assert_ok(source_read(a, t, 0, n, DT_F32, w, &err) || source_read(b, g, 0, n, DT_F32, got, &err), err);
        for (size_t k = 0; t->role == TENSOR_LINEAR && k < lora.n_tensors; k++) {
            const lora_tensor_t *l = &lora.tensors[k];
            if (l->layer == t->layer && l->slot == source_slot(t)) *(l->is_b ? &B : &A) = master + l->offset;
        }
        for (size_t e = 0; e < n; e++) {
            double x = w[e];
            for (size_t k = 0; A && k < r; k++)
                x += (double)lora_scale(&lora, 0, LIN_Q) * B[e / t->cols * r + k] * A[k * t->cols + e % t->cols];
            if (!(fabs(got[e] - x) <= step_of(x, type) + 2e-7))
                fail_msg("%s: %s[%zu] is %.9g, expected %.9g", out, t->name, e, got[e], x);
        }
        free(w);
        free(got);
    }
    lora_free(&lora);
    free(master);
    model_source_close(a);
    model_source_close(b);
}

static void expect_type(const char *dir, const char *name) {
    json_t *config = config_of(dir);
    assert_string_equal(json_string_value(json_object_get(config, "dtype")), name);
    assert_null(json_object_get(config, "quantization_config"));
    json_decref(config);
}

static void test_merged_types(void **state) {
    (void)state;
    static const struct {
        const char *base, *name, *config;
        dtype_t type;
    } types[] = {
        {"bf16", "bf16", "bfloat16", DT_BF16}, {"f16", "f16", "float16", DT_F16}, {"f32", "f32", "float32", DT_F32}};
    for (size_t i = 0; i < 3; i++) {
        const char *model = case_path(types[i].base), *checkpoint = case_train(model, NONE);
        const char *out = case_merge(checkpoint, "original", "auto");
        check_values(model, checkpoint, out, types[i].type);
        expect_type(out, types[i].config);
        const size_t other = (i + 1) % 3;
        out = case_merge(checkpoint, "original", types[other].name);
        check_values(model, checkpoint, out, types[other].type);
        expect_type(out, types[other].config);
    }
}

/* What 4-bit weights were made from is what they become again. */
static void test_merged_dequantized(void **state) {
    (void)state;
    expect_type(case_merge(case_train(case_path("f16/bnb4"), NULL), "dequantized", "auto"), "float16");
    expect_type(case_merge(case_train(case_path("mixed-4bit"), NULL), "dequantized", "auto"), "bfloat16");
    const char *checkpoint = case_train(case_path("f32/bnb4"), NULL),
               *out = case_merge(checkpoint, "dequantized", "auto");
    expect_type(out, "float32");
    EXPECT_RUN(2, "expected --base dequantized", "export", checkpoint, "--merged", "/nowhere/there");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_quantize),     cmocka_unit_test(test_quantize_mixed),
        cmocka_unit_test(test_mixed_given),  cmocka_unit_test(test_mixed_checkpoint),
        cmocka_unit_test(test_merged_types), cmocka_unit_test(test_merged_dequantized),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
