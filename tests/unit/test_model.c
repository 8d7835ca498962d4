/* The whole model against transformers + PEFT + bitsandbytes: logits, every LoRA gradient, six AdamW steps;
 * and what must not change a result: recomputation, chunks of the loss, threads. Built once for each backend:
 * TEST_BACKEND names another than the CPU. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "testing.h"
#include "tiny.h"

#ifdef TEST_BACKEND
static const char *const backend = TEST_BACKEND;
#else
static const char *const backend = NULL;
#endif

static const char *const archs[] = {"llama-mha", "llama-gqa-tied-odd"};
#define N_ARCHS (sizeof archs / sizeof *archs)

typedef struct {
    const char *prefix; /* of names in expected.safetensors */
    const char *model_dir;
    quant_type_t quant;
} golden_mode_t;

static const golden_mode_t modes[] = {{"fp32", "", QUANT_NONE}, {"nf4", "", QUANT_NF4}, {"nf4", "bnb4", QUANT_NF4}};
#define N_MODES (sizeof modes / sizeof *modes)

static tiny_spec_t spec_of(const char *arch, const golden_mode_t *mode, bool reference) {
    return (tiny_spec_t){.backend = backend,
                         .arch = arch,
                         .model_dir = mode->model_dir,
                         .quant = mode->quant,
                         .double_quant = true,
                         .reference = reference,
                         .act = DT_F32,
                         .n_kept = SIZE_MAX};
}

static double check_logits(tiny_t *t, const char *prefix) {
    char name[64];
    size_t n;
    snprintf(name, sizeof name, "%s.logits", prefix);
    float *want = tiny_expected(t, name, &n), *got = xmalloc(n * sizeof *got);
    assert_int_equal(n, t->batch.T * t->model.config.vocab);
    model_logits(&t->model, &t->acts, &t->batch, got);
    double e = nmse(got, want, n);
    free(want);
    free(got);
    assert_true(e <= 1e-8);
    return e;
}

/* The worst NMSE over all gradients (or adapters after training) named prefix.what.* */
static double check_vectors(const tiny_t *t, const char *prefix, const char *what, const float *device, double limit) {
    double worst = 0;
    float *host = xmalloc(t->lora.count * sizeof *host);
    t->be->download(t->be, host, device, t->lora.count * sizeof *host);
    for (size_t i = 0; i < t->lora.n_tensors; i++) {
        const lora_tensor_t *x = &t->lora.tensors[i];
        char peft[160], name[200];
        size_t n;
        lora_tensor_name(x, peft, sizeof peft);
        snprintf(name, sizeof name, "%s.%s.%s", prefix, what, peft + strlen("base_model.model.model."));
        float *want = tiny_expected(t, name, &n);
        assert_int_equal(n, x->rows * x->cols);
        double e = nmse(host + x->offset, want, n);
        free(want);
        if (e > limit) fail_msg("%s: NMSE %.3g, expected at most %.3g", name, e, limit);
        if (e > worst) worst = e;
    }
    free(host);
    return worst;
}

static double train_step(tiny_t *t, double *grad_norm) {
    const optimizer_hyper_t h = {
        .lr = 5e-3f, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8f, .weight_decay = 0.01f, .max_grad_norm = 0.3};
    double loss;
    t->be->zero(t->be, t->lora.grad, t->lora.count * sizeof(float));
    model_train(&t->model, &t->acts, &t->batch, (pass_seed_t){1, 0}, 1.0f / (float)t->batch.n_labels, &loss);
    assert_true(optimizer_step(&t->opt, &t->lora, t->be, &h, 0, grad_norm));
    return loss / (double)t->batch.n_labels;
}

static void check_six_steps(tiny_t *t, const char *arch, const char *prefix) {
    err_t err = {0};
    json_t *meta;
    char path[160];
    snprintf(path, sizeof path, "golden/tiny/%s/expected.json", arch);
    assert_ok(json_file(test_path(path), &meta, &err), err);
    const json_t *losses = json_object_get(json_object_get(meta, prefix), "loss6");
    const json_t *norms = json_object_get(json_object_get(meta, prefix), "grad_norm6");
    double worst_loss = 0, worst_norm = 0;
    for (size_t s = 0; s < 6; s++) {
        double norm, loss = train_step(t, &norm);
        double dl = fabs(loss / json_number_value(json_array_get(losses, s)) - 1);
        double dn = fabs(norm / json_number_value(json_array_get(norms, s)) - 1);
        worst_loss = dl > worst_loss ? dl : worst_loss;
        worst_norm = dn > worst_norm ? dn : worst_norm;
    }
    json_decref(meta);
    printf("  six steps: loss within %.2g, gradient norm within %.2g (relative)\n", worst_loss, worst_norm);
    assert_true(worst_loss <= 1e-4 && worst_norm <= 1e-4);
}

static void golden(bool reference) {
    for (size_t a = 0; a < N_ARCHS; a++)
        for (size_t i = 0; i < N_MODES; i++) {
            tiny_t t;
            tiny_spec_t spec = spec_of(archs[a], &modes[i], reference);
            tiny_open(&t, &spec);
            double logits = check_logits(&t, modes[i].prefix), loss;
            model_train(&t.model, &t.acts, &t.batch, (pass_seed_t){1, 0}, 1.0f / (float)t.batch.n_labels, &loss);
            double grads = check_vectors(&t, modes[i].prefix, "grad", t.lora.grad, 1e-8);
            printf("%s %s%s (%s ops): NMSE logits %.2g, worst gradient %.2g\n", archs[a], modes[i].prefix,
                   modes[i].model_dir[0] ? " from bitsandbytes checkpoint" : "", reference ? "reference" : "tuned",
                   logits, grads);
            check_six_steps(&t, archs[a], modes[i].prefix);
            check_vectors(&t, modes[i].prefix, "after6", t.lora.master, 1e-5);
            tiny_close(&t);
        }
}

#ifndef TEST_BACKEND
static void test_golden_reference(void **state) {
    (void)state;
    golden(true);
}
#endif

static void test_golden_tuned(void **state) {
    (void)state;
    golden(false);
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

static void test_recomputation_is_bit_equal(void **state) {
    (void)state;
    for (int bf16 = 0; bf16 < 2; bf16++) {
        size_t n;
        double loss, want_loss;
        tiny_spec_t spec = spec_of("llama-gqa-tied-odd", &modes[1], false);
        spec.dropout = 0.1;
        spec.act = bf16 ? DT_BF16 : DT_F32;
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
}

static void test_loss_chunks(void **state) {
    (void)state;
    size_t n;
    double loss, want_loss;
    tiny_spec_t spec = spec_of("llama-mha", &modes[1], false);
    float *want = gradients(&spec, &n, &want_loss);
    for (size_t chunk = 1; chunk < 40; chunk += 12) {
        spec.chunk = chunk;
        float *got = gradients(&spec, &n, &loss);
        assert_true(fabs(loss / want_loss - 1) < 1e-6);
        assert_true(nmse(got, want, n) < 1e-10);
        free(got);
    }
    free(want);
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
    tiny_spec_t spec = spec_of("llama-mha", &modes[1], false);
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

/* bf16 activations follow the fp32 golden within what 8 bits of mantissa allow: each rounding is 1.3e-6 as NMSE, some 30
 * lie on the way through two layers, and sums whose parts cancel raise their share: 3e-4 of the logits, on both
 * backends. More so for the gradients of q and k, which come from differences of like numbers (dP - sum of P dP). */
static void test_bf16(void **state) {
    (void)state;
    for (size_t a = 0; a < N_ARCHS; a++) {
        tiny_t t;
        size_t n;
        double loss;
        tiny_spec_t spec = spec_of(archs[a], &modes[1], false);
        spec.act = DT_BF16;
        tiny_open(&t, &spec);
        float *want = tiny_expected(&t, "nf4.logits", &n), *got = xmalloc(n * sizeof *got);
        model_logits(&t.model, &t.acts, &t.batch, got);
        double e = nmse(got, want, n);
        model_train(&t.model, &t.acts, &t.batch, (pass_seed_t){1, 0}, 1.0f / (float)t.batch.n_labels, &loss);
        double grads = check_vectors(&t, "nf4", "grad", t.lora.grad, 5e-3);
        printf("%s in bf16: NMSE logits %.2g, worst gradient %.2g\n", archs[a], e, grads);
        assert_true(e > 1e-9 && e < 5e-4);
        free(want), free(got);
        tiny_close(&t);
    }
}

/* Generation with a cache sees what the whole sequence at once sees. */
static void test_cache(void **state) {
    (void)state;
    tiny_t t;
    err_t err = {0};
    tiny_spec_t spec = spec_of("llama-gqa-tied-odd", &modes[1], false);
    tiny_open(&t, &spec);
    size_t V = t.model.config.vocab, S = t.batch.max_seg, n;
    float *want = tiny_expected(&t, "nf4.logits", &n), *got = xmalloc(V * sizeof *got);
    pool_t pool;
    kv_cache_t cache;
    assert_ok(pool_open(&pool, t.be, 8 << 20, &err), err);
    kv_cache_place(&cache, &t.model, S, &pool);
    acts_t a = {.blocks = xcalloc(t.model.config.layers, sizeof(block_acts_t))};
    acts_place(&a, &t.model, &(acts_spec_t){PASS_GENERATE, 16, 0, 1}, &pool);
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

int main(void) {
    const struct CMUnitTest tests[] = {
#ifndef TEST_BACKEND
        cmocka_unit_test(test_golden_reference),
#endif
        cmocka_unit_test(test_golden_tuned),
        cmocka_unit_test(test_recomputation_is_bit_equal),
        cmocka_unit_test(test_loss_chunks),
        cmocka_unit_test(test_dropout),
        cmocka_unit_test(test_bf16),
        cmocka_unit_test(test_cache),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
