/* A bitsandbytes checkpoint in which a linear layer is not quantized: that one is quantized while it is loaded, as the
 * caller says; the others stay as the file has them. */
#include "testing.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "model/model.h"
#include "tensors.h"

#define GOLDEN "golden/tiny/llama-gqa-tied-odd"

static safetensors_t *open_st(const char *dir) {
    err_t err = {0};
    safetensors_t *st = NULL;
    char *path = path_join(test_path(dir), "model.safetensors");
    assert_ok(safetensors_open(path, &st, &err), err);
    free(path);
    return st;
}

static bool starts_with(const char *s, const char *beginning) { return strncmp(s, beginning, strlen(beginning)) == 0; }

/* The checkpoint `bnb` with the weight `name` as the plain model has it. Valid until the program ends. */
static const char *mixed_dir(const char *bnb, const char *name) {
    err_t err = {0};
    const char *dir = test_tmpdir();
    safetensors_t *quantized = open_st(bnb), *plain = open_st(GOLDEN);
    st_tensor_t *list = xmalloc((quantized->n_tensors + 1) * sizeof *list);
    size_t n = 0;
    for (size_t i = 0; i < quantized->n_tensors; i++) /* the weight and what belongs to it */
        if (!starts_with(quantized->tensors[i].name, name)) list[n++] = quantized->tensors[i];
    assert_true(n < quantized->n_tensors);
    list[n++] = *safetensors_find(plain, name);
    char *path = path_join(dir, "model.safetensors"), *from = path_join(test_path(bnb), "config.json");
    char *to = path_join(dir, "config.json");
    tensors_write(path, list, n);
    assert_ok(file_copy(from, to, &err), err);
    free(path);
    free(from);
    free(to);
    free(list);
    safetensors_close(quantized);
    safetensors_close(plain);
    return dir;
}

/* On the CPU a weight on the device is one on the host. */
static void expect_encoded(const qweight_t *w, const char *name, bool double_quant) {
    safetensors_t *plain = open_st(GOLDEN);
    const bf16_t *x = (const void *)safetensors_find(plain, name)->data;
    size_t n = qweight_count(w), blocks = quant_blocks(n);
    uint8_t *codes = xmalloc((n + 1) / 2), *absmax_q = xmalloc(blocks);
    float *absmax = xmalloc(blocks * sizeof *absmax), *nested = xmalloc(quant_nested_blocks(n) * sizeof *nested),
          offset;
    quant_encode(QUANT_NF4, x, DT_BF16, n, codes, absmax);
    quant_encode_constants(absmax, blocks, absmax_q, nested, &offset);
    assert_int_equal(w->type, QUANT_NF4);
    assert_int_equal(w->double_quant, double_quant);
    assert_memory_equal(w->codes, codes, (n + 1) / 2);
    if (double_quant) {
        assert_memory_equal(w->absmax_q, absmax_q, blocks);
        assert_memory_equal(w->nested_absmax, nested, quant_nested_blocks(n) * sizeof *nested);
        assert_true(w->nested_offset == offset);
    } else {
        assert_memory_equal(w->absmax, absmax, blocks * sizeof *absmax);
    }
    free(codes);
    free(absmax_q);
    free(absmax);
    free(nested);
    safetensors_close(plain);
}

static void place(model_t *m, pool_t *pool) { model_place(m, 0, 0, pool); }

static void check(const char *bnb, size_t layer, linear_slot_t kind, bool double_quant) {
    err_t err = {0};
    char name[96];
    snprintf(name, sizeof name, "model.layers.%zu.%s.weight", layer, arch_linear(&archs[0], kind)->hf);
    model_source_t *src;
    assert_ok(model_source_open(mixed_dir(bnb, name), &src, &err), err);
    backend_t *be;
    assert_ok(backend_open_cpu(DT_F32, 2, false, &be, &err), err);
    model_t m;
    model_init(&m, model_source_config(src), be, QUANT_NF4, double_quant, 8);
    model_take_types(&m, src, true);
    pool_t count = pool_counting(be), pool;
    place(&m, &count);
    assert_ok(pool_open(&pool, be, count.used, &err), err);
    place(&m, &pool);
    assert_ok(model_load(&m, src, &err), err);
    for (size_t l = 0; l < m.config.layers; l++)
        for (int k = 0; k < LINEAR_SLOTS; k++) {
            const qweight_t *w = &m.layers[l].w[k];
            snprintf(name, sizeof name, "model.layers.%zu.%s.weight", l, arch_linear(&archs[0], k)->hf);
            const source_tensor_t *t = model_source_find(src, name);
            assert_int_equal(t->quantized, !(l == layer && k == (int)kind));
            if (!t->quantized) {
                expect_encoded(w, name, double_quant);
                continue;
            }
            qweight_t stored;
            assert_ok(source_quantized(src, t, &stored, &err), err);
            assert_int_equal(w->type, stored.type);
            assert_int_equal(w->double_quant, stored.double_quant);
            assert_memory_equal(w->codes, stored.codes, quant_code_bytes(w->type, qweight_count(w)));
        }
    model_free(&m);
    pool_close(&pool);
    be->close(be);
    model_source_close(src);
}

/* Constants in two levels in the file and in one, of the layer that is not quantized the other way round too. */
static void test_mixed(void **state) {
    (void)state;
    for (size_t layer = 0; layer < 2; layer++)
        for (int double_quant = 0; double_quant < 2; double_quant++) {
            check(GOLDEN "/bnb4", layer, LIN_Q, double_quant);
            check(GOLDEN "/bnb4-fp4", layer, LIN_Q, double_quant);
            check(GOLDEN "/bnb4-fp4", layer, LIN_DOWN, double_quant);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_mixed)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
