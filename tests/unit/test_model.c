/* What must not change the results of a model, which test_families.c compares with their references: recomputation, chunks
 * of the loss, a cache. Built once for each backend: TEST_BACKEND names another than the CPU. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "testing.h"
#include "tiny.h"

#ifdef TEST_BACKEND
static const char *const backend = TEST_BACKEND;
#else
static const char *const backend = NULL;
#endif

static tiny_spec_t spec_of(const char *arch) {
    return (tiny_spec_t){
        .backend = backend, .arch = arch, .quant = QUANT_NF4, .double_quant = true, .act = DT_F32, .n_kept = SIZE_MAX};
}

/* Gradients of one pass under a spec; the caller frees. */
static float *gradients(const tiny_spec_t *spec, size_t *n, double *loss) {
    tiny_t t;
    tiny_open(&t, spec);
    model_train(&t.model, &t.acts, &t.batch, (pass_seed_t){1, 3}, 1.0f / (float)t.batch.n_labels, loss);
    float *g = xmalloc(t.lora.count * sizeof *g);
    t.be->download(t.be, g, t.lora.grad, t.lora.count * sizeof *g);
    *n = t.lora.count;
    tiny_close(&t);
    return g;
}

static void check_recomputation(const char *arch, dtype_t act) {
    size_t n;
    double loss, want_loss;
    tiny_spec_t spec = spec_of(arch);
    spec.dropout = 0.1;
    spec.act = act;
    float *want = gradients(&spec, &n, &want_loss);
    for (size_t kept = 0; kept < 2; kept++) {
        spec.n_kept = kept;
        float *got = gradients(&spec, &n, &loss);
        assert_true(loss == want_loss);
        assert_memory_equal(got, want, n * sizeof *got);
        free(got);
    }
    free(want);
}

/* Blocks of every form: norms before and after a sublayer, of queries and keys, scales. */
static void test_recomputation_is_bit_equal(void **state) {
    (void)state;
    static const char *const archs[] = {"gemma3-local-global", "exaone4-hybrid", "granite-scales"};
    for (int bf16 = 0; bf16 < 2; bf16++) check_recomputation("llama-gqa-tied-odd", bf16 ? DT_BF16 : DT_F32);
    for (size_t i = 0; i < sizeof archs / sizeof *archs; i++) {
        char *dir = path_join(test_path("golden/arch"), archs[i]);
        check_recomputation(dir, DT_F32);
        free(dir);
    }
}

static void test_loss_chunks(void **state) {
    (void)state;
    size_t n;
    double loss, want_loss;
    tiny_spec_t spec = spec_of("llama-mha");
    float *want = gradients(&spec, &n, &want_loss);
    for (size_t chunk = 1; chunk < 40; chunk += 4) {
        spec.chunk = chunk;
        spec.tile = chunk % 3 * 4; /* none, of 4, of 8 */
        float *got = gradients(&spec, &n, &loss);
        assert_true(fabs(loss / want_loss - 1) < 1e-6);
        assert_true(nmse(got, want, n) < 1e-10);
        free(got);
    }
    free(want);
}

/* With tiles a chunk has as many rows as take no more memory, in multiples of a tile where that many have room. */
static void test_chunk_of_tiles(void **state) {
    (void)state;
    static const size_t chunks[] = {1, 3, 9}, tiles[] = {1, 4, 8, 4096};
    for (size_t i = 0; i < 12; i++) {
        tiny_spec_t spec = spec_of("llama-mha");
        tiny_t plain, tiled;
        spec.chunk = chunks[i / 4];
        tiny_open(&plain, &spec);
        spec.tile = tiles[i % 4];
        tiny_open(&tiled, &spec);
        const acts_t *a = &tiled.acts;
        assert_true(tiled.pool.used <= plain.pool.used);
        assert_true(a->chunk <= a->T && (a->chunk == a->T || a->chunk % a->tile == 0));
        assert_true(a->chunk + spec.tile > spec.chunk);
        assert_int_equal(a->tile, spec.tile > a->chunk ? 1 : spec.tile);
        if (spec.tile < 8) assert_true(a->chunk > 9); /* the blocks' scratch holds more of this model's logits */
        tiny_close(&tiled);
        tiny_close(&plain);
    }
}

static double loss_at(tiny_t *t, const float *master) {
    double loss;
    lora_upload(&t->lora, t->be, master);
    t->be->zero(t->be, t->lora.grad, t->lora.count * sizeof(float));
    model_train(&t->model, &t->acts, &t->batch, (pass_seed_t){1, 3}, 1.0f / (float)t->batch.n_labels, &loss);
    return loss / (double)t->batch.n_labels;
}

/* With dropout the gradient is still that of the loss under the same masks: central differences along the
 * gradient itself. And the masks are a function of seed and step alone. */
static void test_dropout(void **state) {
    (void)state;
    tiny_t t;
    tiny_spec_t spec = spec_of("llama-mha");
    spec.dropout = 0.2;
    tiny_open(&t, &spec);
    size_t n = t.lora.count;
    float *p = xmalloc(n * sizeof *p), *g = xmalloc(n * sizeof *g), *q = xmalloc(n * sizeof *q);
    t.be->download(t.be, p, t.lora.master, n * sizeof *p);
    double loss = loss_at(&t, p), norm = 0, eps = 2e-3;
    t.be->download(t.be, g, t.lora.grad, n * sizeof *g);
    for (size_t i = 0; i < n; i++) norm += (double)g[i] * g[i];
    norm = sqrt(norm);
    double side[2];
    for (int s = 0; s < 2; s++) {
        for (size_t i = 0; i < n; i++) q[i] = p[i] + (float)((s ? -eps : eps) * g[i] / norm);
        side[s] = loss_at(&t, q);
    }
    double slope = (side[0] - side[1]) / (2 * eps);
    printf("dropout: slope %.6g, gradient norm %.6g\n", slope, norm);
    assert_true(fabs(slope / norm - 1) < 2e-3);
    assert_true(loss_at(&t, p) == loss);
    free(p), free(g), free(q);
    tiny_close(&t);
}

/* Generation with a cache sees what the whole sequence at once sees. */
static void test_cache(void **state) {
    (void)state;
    tiny_t t;
    err_t err = {0};
    tiny_spec_t spec = spec_of("llama-gqa-tied-odd");
    tiny_open(&t, &spec);
    size_t V = t.model.config.vocab, S = t.batch.max_seg, n;
    float *want = tiny_expected(&t, "nf4.logits", &n), *got = xmalloc(V * sizeof *got);
    pool_t pool;
    kv_cache_t cache;
    assert_ok(pool_open(&pool, t.be, 8 << 20, &err), err);
    kv_cache_place(&cache, &t.model, S, &pool);
    acts_t a = {.blocks = xcalloc(t.model.config.layers, sizeof(block_acts_t))};
    acts_place(&a, &t.model, &(acts_spec_t){PASS_GENERATE, 16, 0, 1, 0}, &pool);
    /* A prompt in pieces of 16 and 5, then token by token. */
    for (size_t at = 0; at < S;) {
        size_t piece = at == 0 ? 16 : at == 16 ? 5 : 1;
        model_extend(&t.model, &a, &cache, t.batch.ids + at, piece, got);
        at += piece;
        assert_true(nmse(got, want + (at - 1) * V, V) < 1e-8);
    }
    free(a.blocks), free(want), free(got);
    kv_cache_free(&cache);
    pool_close(&pool);
    tiny_close(&t);
}

/* The base model alone, by a switch: also where augmented weights are kept, which have the adapters in them. */
static void test_base_alone(void **state) {
    (void)state;
    double loss[2][3];
    for (size_t cached = 0; cached < 2; cached++) {
        tiny_t t;
        tiny_spec_t spec = spec_of("llama-mha");
        spec.act = DT_BF16;
        spec.n_cached = 2 * cached;
        tiny_open(&t, &spec);
        for (int i = 0; i < 3; i++) {
            t.model.base_alone = i == 1;
            model_loss(&t.model, &t.acts, &t.batch, &loss[cached][i], NULL);
        }
        tiny_close(&t);
    }
    for (int i = 0; i < 3; i++) assert_true(loss[0][i] == loss[1][i]);
    assert_true(loss[0][0] == loss[0][2] && loss[0][0] != loss[0][1]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_recomputation_is_bit_equal),
        cmocka_unit_test(test_loss_chunks),
        cmocka_unit_test(test_chunk_of_tiles),
        cmocka_unit_test(test_dropout),
        cmocka_unit_test(test_cache),
        cmocka_unit_test(test_base_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
