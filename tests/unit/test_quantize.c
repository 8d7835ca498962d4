/* `quantize` against checkpoints that bitsandbytes wrote: every tensor, byte for byte. */
#include "model_files.h"
#include "testing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "model/source.h"
#include "trainer/commands/command.h"

/* The new directory's path; the command's arguments are MODEL, it, and the rest up to NULL. */
static char *quantize(const char *model, char *option, char *value) {
    char *out = path_join(test_tmpdir(), "out"), *argv[] = {xstrdup(model), out, option, value};
    int status = command_quantize.run(option ? value ? 4 : 3 : 2, argv);
    assert_int_equal(status, 0);
    free(argv[0]);
    return out;
}

/* storage_differs: the type that the codes are declared as, and with it their shape, is the writer's choice. */
static size_t compare_tensors(const char *dir, const char *golden_dir, bool storage_differs) {
    safetensors_t *got = tensors_of(dir), *want = tensors_of(golden_dir);
    size_t bytes = 0;
    assert_int_equal(got->n_tensors, want->n_tensors);
    for (size_t i = 0; i < want->n_tensors; i++) {
        const st_tensor_t *a = &got->tensors[i], *b = &want->tensors[i];
        bool codes = a->dtype == DT_U8 && a->n_dims == 2;
        assert_string_equal(a->name, b->name);
        if (!storage_differs || !codes) {
            assert_int_equal(a->dtype, b->dtype);
            assert_int_equal(a->n_dims, b->n_dims);
            assert_memory_equal(a->shape, b->shape, (size_t)a->n_dims * sizeof *a->shape);
        }
        assert_int_equal(a->bytes, b->bytes);
        if (memcmp(a->data, b->data, a->bytes) != 0) fail_msg("%s: other bytes than bitsandbytes wrote", a->name);
        bytes += a->bytes;
    }
    size_t n = want->n_tensors;
    print_message("%s: %zu tensors, %zu bytes equal\n", golden_dir + strlen(TEST_DIR) + 1, n, bytes);
    safetensors_close(got);
    safetensors_close(want);
    return n;
}

/* The same keys with the same values as the golden config, but those that say how it was made. */
static void compare_configs(const char *dir, const char *golden_dir, bool storage_differs) {
    json_t *got = config_of(dir), *want = config_of(golden_dir);
    json_t *q = json_object_get(got, "quantization_config"), *golden = json_object_get(want, "quantization_config");
    const char *key;
    json_t *v;
    assert_int_equal(json_object_size(q), json_object_size(golden));
    json_object_foreach(golden, key, v) {
        json_t *have = json_object_get(q, key);
        if (!have) fail_msg("quantization_config has no %s", key);
        bool differs = !strcmp(key, "bnb_4bit_compute_dtype") ||
                       (storage_differs && !strcmp(key, "bnb_4bit_quant_storage"));
        if (!differs && !json_equal(have, v)) fail_msg("quantization_config.%s differs", key);
    }
    json_object_del(got, "quantization_config");
    json_object_del(want, "quantization_config");
    assert_true(json_equal(got, want));
    json_decref(got);
    json_decref(want);
}

/* The result is a model source: quantized tensors as in the golden, the others as in the original. */
static void compare_sources(const char *dir, const char *golden_dir, const char *original) {
    err_t err = {0};
    model_source_t *got = NULL, *want = NULL, *plain = NULL;
    assert_ok(model_source_open(dir, &got, &err) || model_source_open(golden_dir, &want, &err) ||
                  model_source_open(original, &plain, &err),
              err);
    size_t quantized = 0;
    for (size_t i = 0; i < model_source_count(got); i++) {
        const source_tensor_t *t = model_source_at(got, i), *g = model_source_find(want, t->name);
        const source_tensor_t *o = model_source_find(plain, t->name);
        size_t n = t->rows * t->cols;
        assert_true(g && o && t->quantized == g->quantized && o->rows == t->rows && o->cols == t->cols);
        if (!t->quantized) {
            bf16_t *a = xmalloc(n * sizeof *a), *b = xmalloc(n * sizeof *b);
            assert_ok(source_read(got, t, 0, n, DT_BF16, a, &err), err);
            assert_ok(source_read(plain, o, 0, n, DT_BF16, b, &err), err);
            assert_memory_equal(a, b, n * sizeof *a);
            free(a);
            free(b);
            continue;
        }
        qweight_t a, b;
        quantized++;
        assert_ok(source_quantized(got, t, &a, &err) || source_quantized(want, g, &b, &err), err);
        assert_true(a.type == b.type && a.double_quant == b.double_quant);
        assert_memory_equal(a.codes, b.codes, quant_code_bytes(a.type, n));
        for (size_t k = 0; k < quant_blocks(n); k++) assert_true(quant_absmax(&a, k) == quant_absmax(&b, k));
    }
    assert_int_equal(quantized, model_source_config(got)->layers * LINEAR_SLOTS);
    model_source_close(got);
    model_source_close(want);
    model_source_close(plain);
}

static void check_nf4(const char *arch, size_t n_tensors) {
    const char *model = test_path(arch);
    char *golden = path_join(model, "bnb4"), *out = quantize(model, NULL, NULL);
    assert_int_equal(compare_tensors(out, golden, false), n_tensors);
    compare_configs(out, golden, false);
    compare_sources(out, golden, model);
    free(golden);
    free(out);
}

static void test_nf4(void **state) {
    (void)state;
    /* Two layers of seven weights with six tensors each and two norms; embedding and norm; a head unless tied. */
    check_nf4("golden/tiny/llama-mha", 2 * (7 * 6 + 2) + 3);
    check_nf4("golden/tiny/llama-gqa-tied-odd", 2 * (7 * 6 + 2) + 2);
}

static void test_fp4_without_double_quant(void **state) {
    (void)state;
    const char *model = test_path("golden/tiny/llama-gqa-tied-odd");
    char *golden = path_join(model, "bnb4-fp4"), *out = path_join(test_tmpdir(), "out");
    char *argv[] = {xstrdup(model), "--quant-type=fp4", "--no-double-quant", out};
    assert_int_equal(command_quantize.run(4, argv), 0);
    assert_int_equal(compare_tensors(out, golden, true), 2 * (7 * 4 + 2) + 2);
    compare_configs(out, golden, true);
    compare_sources(out, golden, model);
    free(argv[0]);
    free(golden);
    free(out);
}

/* A model that is quantized already keeps its quantization; options that say the same do no harm. */
static void test_quantized_already(void **state) {
    (void)state;
    const char *golden = test_path("golden/tiny/llama-mha/bnb4");
    char *out = quantize(golden, NULL, NULL);
    compare_tensors(out, golden, false);
    compare_configs(out, golden, false);
    free(out);
    out = quantize(golden, "--quant-type", "nf4");
    compare_tensors(out, golden, false);
    free(out);
}

static void test_refused(void **state) {
    (void)state;
    err_t err = {0};
    const char *model = test_path("golden/tiny/llama-mha"), *dir = test_tmpdir();
    char *file = path_join(dir, "mine.txt"), *tmp = xasprintf("%s.tmp", dir), *data;
    char *argv[] = {xstrdup(model), xstrdup(dir), "--quant-type", "nf5"};
    size_t len;
    assert_ok(file_write(file, "mine", 4, &err), err);
    assert_int_equal(command_quantize.run(2, argv), 2);
    assert_ok(file_read(file, &data, &len, &err), err);
    assert_string_equal(data, "mine");
    free(data);
    char *config = path_join(dir, "config.json");
    assert_false(path_exists(config) || path_exists(tmp));
    free(config);
    free(file);
    free(argv[1]);

    argv[1] = path_join(dir, "new");
    assert_int_equal(command_quantize.run(4, argv), 2);
    assert_int_equal(command_quantize.run(1, argv), 2);
    free(argv[0]);
    argv[0] = path_join(dir, "no-model");
    assert_int_equal(command_quantize.run(2, argv), 2);
    assert_false(path_exists(argv[1]));
    free(argv[0]);
    free(argv[1]);
    free(tmp);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nf4),
        cmocka_unit_test(test_fp4_without_double_quant),
        cmocka_unit_test(test_quantized_already),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
