/* Adapters as people configure them, against transformers and PEFT (golden/lora-options): other layers and ranks, LoRA+,
 * the head; and what has no golden: dropout of the head, NEFTune, resumption, merging. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/rng.h"
#include "program.h"
#include "testing.h"
#include "tiny.h"
#include "trained.h"

#ifdef TEST_BACKEND
static const char *const backend = TEST_BACKEND;
#else
static const char *const backend = NULL;
#endif

static const char *const cases[] = {"regex", "layers", "patterns", "loraplus", "head", "head-tied"};
#define N_CASES (sizeof cases / sizeof *cases)

static const char *case_dir(const char *name) {
    char path[96];
    snprintf(path, sizeof path, "golden/lora-options/%s", name);
    return test_path(path);
}

/* expected.json of a case. */
static json_t *read_meta(const char *name) {
    err_t err = {0};
    json_t *meta;
    char *path = path_join(case_dir(name), "expected.json");
    assert_ok(json_file(path, &meta, &err), err);
    free(path);
    return meta;
}

static tiny_spec_t spec_of(const char *name) {
    json_t *meta = read_meta(name);
    bool tied = !strcmp(json_string_value(json_object_get(meta, "model")), "tied");
    json_decref(meta);
    return (tiny_spec_t){.backend = backend,
                         .arch = case_dir(name),
                         .model_dir = tied ? "../tied" : "../untied",
                         .quant = QUANT_NONE,
                         .act = DT_F32,
                         .n_kept = SIZE_MAX};
}

/* ---- what PEFT computes ----------------------------------------------------------------------------------------- */

static double check_vectors(const tiny_t *t, const char *what, const float *device, double limit) {
    double worst = 0;
    float *host = xmalloc(t->lora.count * sizeof *host);
    t->be->download(t->be, host, device, t->lora.count * sizeof *host);
    for (size_t i = 0; i < t->lora.n_tensors; i++) {
        const lora_tensor_t *x = &t->lora.tensors[i];
        char peft[160], name[200];
        size_t n;
        lora_tensor_name(&t->lora, x, peft, sizeof peft);
        snprintf(name, sizeof name, "fp32.%s.%s", what, strstr(peft, x->slot == LIN_HEAD ? "lm_head" : "layers."));
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

static double step_loss(tiny_t *t, size_t step) {
    double loss;
    t->be->zero(t->be, t->lora.grad, t->lora.count * sizeof(float));
    model_train(&t->model, &t->acts, &t->batch, (pass_seed_t){1, step}, 1.0f / (float)t->batch.n_labels, &loss);
    return loss / (double)t->batch.n_labels;
}

/* Loss and gradient norm of six steps, relative; the adapters afterwards where the golden has them. */
static double check_six_steps(tiny_t *t, const json_t *meta, double *after) {
    const json_t *steps = json_object_get(meta, "fp32");
    double lr = json_number_value(json_object_get(meta, "lr")), worst = 0;
    double ratio = json_number_value(json_object_get(meta, "loraplus_lr_ratio"));
    const optimizer_hyper_t h = {.lr = (float)lr,
                                 .lr_b = (float)(lr * ratio),
                                 .beta1 = 0.9,
                                 .beta2 = 0.999,
                                 .eps = 1e-8f,
                                 .weight_decay = 0.01f,
                                 .max_grad_norm = 0.3};
    for (size_t s = 0; s < 6; s++) {
        double norm, loss = step_loss(t, 0);
        assert_true(optimizer_step(&t->opt, &t->lora, t->be, &h, 0, &norm));
        double dl = fabs(loss / json_number_value(json_array_get(json_object_get(steps, "loss6"), s)) - 1);
        double dn = fabs(norm / json_number_value(json_array_get(json_object_get(steps, "grad_norm6"), s)) - 1);
        worst = fmax(worst, fmax(dl, dn));
    }
    *after = ratio == 1 ? 0 : check_vectors(t, "after6", t->lora.master, 1e-8);
    return worst;
}

static void golden(bool reference, size_t chunk, size_t n_kept) {
    for (size_t i = 0; i < N_CASES; i++) {
        json_t *meta = read_meta(cases[i]);
        tiny_spec_t spec = spec_of(cases[i]);
        tiny_t t;
        size_t n;
        double after;
        spec.reference = reference;
        spec.chunk = chunk;
        spec.n_kept = n_kept;
        tiny_open(&t, &spec);
        float *want = tiny_expected(&t, "fp32.logits", &n), *got = xmalloc(n * sizeof *got);
        model_logits(&t.model, &t.acts, &t.batch, got);
        double logits = nmse(got, want, n);
        assert_true(logits <= 1e-9);
        step_loss(&t, 0);
        double grads = check_vectors(&t, "grad", t.lora.grad, 1e-9), steps = check_six_steps(&t, meta, &after);
        printf("%s (%s ops): NMSE logits %.2g, worst gradient %.2g; six steps within %.2g, adapters after %.2g\n",
               cases[i], reference ? "reference" : "tuned", logits, grads, steps, after);
        assert_true(steps <= 2e-5);
        free(want), free(got);
        json_decref(meta);
        tiny_close(&t);
    }
}

#ifndef TEST_BACKEND
static void test_golden_reference(void **state) {
    (void)state;
    golden(true, 0, SIZE_MAX);
}
#endif

static void test_golden_tuned(void **state) {
    (void)state;
    golden(false, 0, SIZE_MAX);
    golden(false, 5, 0);
}

/* BF16 activations: each rounding is 1.3e-6 as NMSE; the limits are those of test_families.c. */
static void test_bf16(void **state) {
    (void)state;
    for (size_t i = 0; i < N_CASES; i++) {
        tiny_spec_t spec = spec_of(cases[i]);
        tiny_t t;
        size_t n;
        spec.act = DT_BF16;
        tiny_open(&t, &spec);
        float *want = tiny_expected(&t, "fp32.logits", &n), *got = xmalloc(n * sizeof *got);
        model_logits(&t.model, &t.acts, &t.batch, got);
        double e = nmse(got, want, n);
        step_loss(&t, 0);
        double grads = check_vectors(&t, "grad", t.lora.grad, 5e-3);
        printf("%s in bf16: NMSE logits %.2g, worst gradient %.2g\n", cases[i], e, grads);
        assert_true(e > 1e-9 && e < 5e-4);
        free(want), free(got);
        tiny_close(&t);
    }
}

/* ---- the head ---------------------------------------------------------------------------------------------------- */

static double loss_at(tiny_t *t, const float *master) {
    lora_upload(&t->lora, t->be, master);
    return step_loss(t, 3);
}

/* Central differences along the gradient of the head's adapter alone, under dropout, in chunks of the head. */
static void test_head_differences(void **state) {
    (void)state;
    for (int tied = 0; tied < 2; tied++) {
        tiny_t t;
        tiny_spec_t spec = spec_of(tied ? "head-tied" : "head");
        spec.dropout = 0.3;
        spec.chunk = 5;
        tiny_open(&t, &spec);
        size_t n = t.lora.count, first = t.lora.head.a;
        float *p = xmalloc(n * sizeof *p), *g = xmalloc(n * sizeof *g), *q = xmalloc(n * sizeof *q);
        t.be->download(t.be, p, t.lora.master, n * sizeof *p);
        double loss = loss_at(&t, p), norm = 0, eps = 2e-3, side[2];
        t.be->download(t.be, g, t.lora.grad, n * sizeof *g);
        for (size_t i = first; i < n; i++) norm += (double)g[i] * g[i];
        norm = sqrt(norm);
        for (int s = 0; s < 2; s++) {
            for (size_t i = 0; i < n; i++) q[i] = p[i] + (i < first ? 0 : (float)((s ? -eps : eps) * g[i] / norm));
            side[s] = loss_at(&t, q);
        }
        double slope = (side[0] - side[1]) / (2 * eps);
        printf("head's adapter: slope %.6g, gradient norm %.6g\n", slope, norm);
        assert_true(norm > 1e-3 && fabs(slope / norm - 1) < 2e-3);
        assert_true(loss_at(&t, p) == loss);
        free(p), free(g), free(q);
        tiny_close(&t);
    }
}

typedef struct {
    double loss;
    float *grad;
    size_t n;
} grads_t;

/* Of both rows, in one micro-batch or in two. */
static grads_t gradients(const tiny_spec_t *spec, double noise, bool cut) {
    tiny_t t;
    tiny_open(&t, spec);
    t.model.noise_alpha = noise;
    grads_t g = {.n = t.lora.count, .grad = xmalloc(t.lora.count * sizeof *g.grad)};
    for (size_t first = 0; first < 2; first += cut ? 1 : 2) {
        batch_t b;
        double loss;
        tiny_batch(&t, first, cut ? 1 : 2, &b);
        model_train(&t.model, &t.acts, &b, (pass_seed_t){1, 3}, 1.0f / (float)t.batch.n_labels, &loss);
        g.loss += loss;
        free(b.ids), free(b.pos), free(b.row), free(b.row_pos), free(b.target_idx), free(b.target), free(b.seg_off);
    }
    t.be->download(t.be, g.grad, t.lora.grad, g.n * sizeof *g.grad);
    tiny_close(&t);
    return g;
}

/* Dropout of the head and noise of the embeddings are those of row and position: the same at any number of threads and
 * under recomputation to the bit, and in another order of sums where a step is cut otherwise. */
static void test_same_draws(void **state) {
    (void)state;
    tiny_spec_t spec = spec_of("head");
    spec.dropout = 0.3;
    spec.threads = 1;
    grads_t want = gradients(&spec, 5, false), cut = gradients(&spec, 5, true), quiet = gradients(&spec, 0, false);
    spec.threads = 3;
    grads_t threads = gradients(&spec, 5, false);
    spec.n_kept = 0;
    grads_t recomputed = gradients(&spec, 5, false);
    spec.chunk = 3;
    grads_t chunks = gradients(&spec, 5, false);
    spec.reference = true; /* of the CPU; else once more the same */
    grads_t reference = gradients(&spec, 5, false);
    assert_true(want.loss == threads.loss && want.loss == recomputed.loss);
    assert_memory_equal(want.grad, threads.grad, want.n * sizeof *want.grad);
    assert_memory_equal(want.grad, recomputed.grad, want.n * sizeof *want.grad);
    const grads_t *others[] = {&cut, &chunks, &reference};
    for (size_t i = 0; i < 3; i++) {
        assert_true(fabs(others[i]->loss / want.loss - 1) < 1e-6);
        assert_true(nmse(others[i]->grad, want.grad, want.n) < 1e-10);
    }
    assert_true(fabs(quiet.loss / want.loss - 1) > 1e-4);
    free(want.grad), free(cut.grad), free(quiet.grad), free(threads.grad), free(recomputed.grad), free(chunks.grad);
    free(reference.grad);
}

/* Generation with a cache gives the head's adapter its due. */
static void test_head_generation(void **state) {
    (void)state;
    for (int tied = 0; tied < 2; tied++) {
        tiny_t t;
        err_t err = {0};
        tiny_spec_t spec = spec_of(tied ? "head-tied" : "head");
        tiny_open(&t, &spec);
        size_t V = t.model.config.vocab, S = t.batch.max_seg, n;
        float *want = tiny_expected(&t, "fp32.logits", &n), *got = xmalloc(V * sizeof *got);
        pool_t pool;
        kv_cache_t cache;
        assert_ok(pool_open(&pool, t.be, 1 << 20, &err), err);
        kv_cache_place(&cache, &t.model, S, &pool);
        acts_t a = {.blocks = xcalloc(t.model.config.layers, sizeof(block_acts_t))};
        acts_place(&a, &t.model, &(acts_spec_t){PASS_GENERATE, 7, 0, 1, 0}, &pool);
        for (size_t at = 0, piece; at < S; at += piece) {
            piece = at == 0 ? 7 : 1;
            model_extend(&t.model, &a, &cache, t.batch.ids + at, piece, got);
            assert_true(nmse(got, want + (at + piece - 1) * V, V) < 1e-8);
        }
        free(a.blocks), free(want), free(got);
        kv_cache_free(&cache);
        pool_close(&pool);
        tiny_close(&t);
    }
}

/* ---- LoRA+ ------------------------------------------------------------------------------------------------------- */

/* The masters after two steps. */
static float *after_steps(optimizer_kind_t kind, float lr, float lr_b, size_t *n) {
    tiny_t t;
    tiny_spec_t spec = spec_of("patterns");
    double norm;
    spec.optimizer = kind;
    tiny_open(&t, &spec);
    const optimizer_hyper_t h = {
        .lr = lr, .lr_b = lr_b, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8f, .weight_decay = 0.1f};
    step_loss(&t, 0);
    assert_true(t.opt.pager.n > 1);
    for (int s = 0; s < 2; s++) assert_true(optimizer_step(&t.opt, &t.lora, t.be, &h, 0, &norm));
    *n = t.lora.count;
    float *p = xmalloc(*n * sizeof *p);
    t.be->download(t.be, p, t.lora.master, *n * sizeof *p);
    tiny_close(&t);
    return p;
}

/* An update is element-wise: of one gradient, A ends where one rate for all takes it, and B where the other does, in
 * whatever pages and blocks they lie. */
static void test_loraplus_is_two_rates(void **state) {
    (void)state;
    tiny_t t;
    tiny_spec_t spec = spec_of("patterns");
    tiny_open(&t, &spec);
    for (int kind = OPTIMIZER_32BIT; kind <= OPTIMIZER_8BIT; kind++) {
        size_t n, b = 0;
        float *slow = after_steps((optimizer_kind_t)kind, 1e-3f, 1e-3f, &n);
        float *fast = after_steps((optimizer_kind_t)kind, 1.6e-2f, 1.6e-2f, &n);
        float *both = after_steps((optimizer_kind_t)kind, 1e-3f, 1.6e-2f, &n);
        for (size_t i = 0; i < t.lora.n_tensors; i++) {
            const lora_tensor_t *x = &t.lora.tensors[i];
            size_t bytes = x->rows * x->cols * sizeof(float);
            assert_memory_equal(both + x->offset, (x->is_b ? fast : slow) + x->offset, bytes);
            b += x->is_b && memcmp(slow + x->offset, fast + x->offset, bytes) != 0;
        }
        assert_int_equal(2 * b, t.lora.n_tensors);
        free(slow), free(fast), free(both);
    }
    tiny_close(&t);
}

/* ---- NEFTune ------------------------------------------------------------------------------------------------------ */

enum { TOKENS = 600, CHANNELS = 256 };

static float *noise_of(backend_t *be, uint64_t step, const int32_t *off, size_t n_seg) {
    int32_t *row = xcalloc(2 * TOKENS, sizeof *row), *pos = row + TOKENS;
    for (size_t t = 0; t < TOKENS; t++) row[t] = (int32_t)(t / 100), pos[t] = (int32_t)(t % 100);
    float *x = xcalloc(TOKENS * CHANNELS, sizeof *x);
    be->add_noise(be, x, &(neftune_t){42, step, 5, row, pos, off, n_seg}, TOKENS, CHANNELS);
    free(row);
    return x;
}

/* Uniform within +-alpha / sqrt(L d) of each segment's length L: range, mean, variance, nothing shared between
 * positions or steps. */
static void test_noise(void **state) {
    (void)state;
    err_t err = {0};
    backend_t *be;
    static const int32_t off[] = {0, 1, 100, 300, 600};
    assert_ok(backend_open_cpu(DT_F32, 2, false, &be, &err), err); /* test_ops.c: the others give the same bits */
    float *x = noise_of(be, 7, off, 4), *y = noise_of(be, 8, off, 4);
    for (size_t s = 0; s < 4; s++) {
        size_t first = (size_t)off[s] * CHANNELS, n = (size_t)(off[s + 1] - off[s]) * CHANNELS;
        double bound = 5 / sqrt((double)n), sum = 0, sum2 = 0, most = 0, lag = 0, other = 0;
        for (size_t i = first; i < first + n; i++) {
            sum += x[i];
            sum2 += (double)x[i] * x[i];
            most = fmax(most, fabs((double)x[i]));
            if (i + CHANNELS < first + n) lag += (double)x[i] * x[i + CHANNELS];
            other += (double)x[i] * y[i];
        }
        double variance = bound * bound / 3, deviation = sqrt(variance * (double)n);
        assert_true(most <= bound * (1 + 1e-6) && most > bound * (1 - 20 / (double)n));
        assert_true(fabs(sum) < 5 * deviation);
        assert_true(fabs(sum2 / ((double)n * variance) - 1) <
                    5 / sqrt((double)n)); /* 0.89 / sqrt(n) is one deviation */
        assert_true(fabs(lag) < 5 * variance * sqrt((double)n) && fabs(other) < 5 * variance * sqrt((double)n));
    }
    free(x), free(y);
    be->close(be);
}

/* Only training has it. */
static void test_noise_is_of_training(void **state) {
    (void)state;
    tiny_t t;
    tiny_spec_t spec = spec_of("regex");
    double quiet, loud;
    tiny_open(&t, &spec);
    double plain = step_loss(&t, 3);
    model_loss(&t.model, &t.acts, &t.batch, &quiet, NULL);
    t.model.noise_alpha = 5;
    model_loss(&t.model, &t.acts, &t.batch, &loud, NULL);
    assert_true(quiet == loud);
    double a = step_loss(&t, 3), b = step_loss(&t, 4);
    assert_true(a != plain && a != b && a == step_loss(&t, 3));
    tiny_close(&t);
}

/* ---- whole runs --------------------------------------------------------------------------------------------------- */

/* A config in a new directory, of all the options at once. */
static char *write_config(const char *model, const char *targets) {
    err_t err = {0};
    const char *work = test_tmpdir();
    char *config = path_join(work, "c.yaml"), *data = path_join(work, "train.jsonl");
    strbuf_t rows = {0};
    for (uint64_t row = 0; row < 12; row++) {
        size_t n = 8 + rng_fold(1, row) % 8;
        strbuf_adds(&rows, "{\"input_ids\": [");
        for (size_t t = 0; t < n; t++) strbuf_addf(&rows, "%s%zu", t ? ", " : "", (size_t)(3 + rng_fold(row, t) % 50));
        strbuf_adds(&rows, "]}\n");
    }
    assert_ok(file_write(data, rows.p, rows.len, &err), err);
    char *yaml = xasprintf("model: {path: %s}\n"
                           "lora: {r: 4, lora_dropout: 0.1, %s, loraplus_lr_ratio: 8, alpha_pattern: {q_proj: 3}}\n"
                           "data: {train: train.jsonl, format: tokens, max_length: 32}\n"
                           "training: {output_dir: run, max_steps: 6, save_steps: 3, save_total_limit: 0,\n"
                           "  gradient_accumulation_steps: 2, neftune_noise_alpha: 5, learning_rate: 1e-3}\n"
                           "device: {backend: cpu, threads: 2}\n",
                           model, targets);
    assert_ok(file_write(config, yaml, strlen(yaml), &err), err);
    free(yaml), free(rows.p), free(data);
    return config;
}

static char *read_all(const char *dir, const char *name, size_t *n) {
    err_t err = {0};
    char *path = path_join(dir, name), *bytes;
    assert_ok(file_read(path, &bytes, n, &err), err);
    free(path);
    return bytes;
}

/* Resumed in the middle the run ends with the same bytes; with another cut into micro-batches the loss is the same. */
static void test_resumption(void **state) {
    (void)state;
    char *config = write_config(case_dir("untied"),
                                "target_modules: [q_proj, down_proj, lm_head], rank_pattern: {lm_head: 2, 1.mlp.*: 9}");
    char *work = path_dirname(config), *run = path_join(work, "run");
    size_t n, m;
    EXPECT_RUN(0, "lora      r 2 to 9, alpha 3 to 16, dropout 0.1, the head too:", config);
    char *want = read_all(run, "adapter/adapter_model.safetensors", &n);
    char *again = path_join(work, "again"), *adapter = path_join(again, "adapter");
    char *output = xasprintf("training.output_dir=%s", again);
    char *resume = xasprintf("training.resume_from_checkpoint=%s/checkpoint-3", run);
    EXPECT_RUN(0, "done: the adapter is in", config, output, resume);
    char *got = read_all(again, "adapter/adapter_model.safetensors", &m);
    assert_int_equal(n, m);
    assert_memory_equal(want, got, n);
    EXPECT_RUN(0, "targets     down_proj, lm_head, q_proj; rank_pattern {\"lm_head\": 2, \"1.mlp.*\": 9}", "inspect",
               adapter);
    free(want), free(got), free(adapter), free(again), free(output), free(resume), free(run), free(work), free(config);
}

/* Merged onto a tied embedding the head becomes a tensor of its own; the embedding stays. */
static void test_merge_tied(void **state) {
    (void)state;
    err_t err = {0};
    char *config = write_config(case_dir("tied"), "target_modules: [lm_head, q_proj]");
    char *work = path_dirname(config), *checkpoint = path_join(work, "run/checkpoint-6");
    char *merged = path_join(work, "merged"), *path = path_join(merged, "config.json");
    json_t *cfg;
    size_t n;
    EXPECT_RUN(0, "done: the adapter is in", config);
    EXPECT_RUN(0, "of the adapter's change arrived", "export", checkpoint, "--merged", merged, "--dtype", "f32");
    assert_ok(json_file(path, &cfg, &err), err);
    assert_true(json_is_false(json_object_get(cfg, "tie_word_embeddings")));
    json_decref(cfg);
    model_source_t *base = open_source(case_dir("tied")), *out = open_source(merged);
    assert_false(model_source_config(out)->tied);
    const source_tensor_t *head = model_source_find(out, "lm_head.weight"),
                          *embedding = model_source_find(out, "model.embed_tokens.weight");
    assert_non_null(head);
    bf16_t *was = read_bf16(base, "model.embed_tokens.weight", &n),
           *is = read_bf16(out, "model.embed_tokens.weight", &n);
    assert_memory_equal(was, is, n * sizeof *was);
    float *h = xmalloc(n * sizeof *h), *e = xmalloc(n * sizeof *e), *d = xcalloc(n, sizeof *d);
    assert_ok(source_read(out, head, 0, n, DT_F32, h, &err) || source_read(out, embedding, 0, n, DT_F32, e, &err), err);
    lora_t lora;
    float *master = read_adapter(checkpoint, model_source_config(base), &lora);
    size_t C = head->cols, r = lora.head.r[0];
    const float *A = master + lora.head.a, *B = master + lora.head.b[0];
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < r; k++) d[i] += lora.head.scale[0] * B[i / C * r + k] * A[k * C + i % C];
    double moved = 0;
    for (size_t i = 0; i < n; i++) moved += fabs((double)d[i]), d[i] += e[i];
    assert_true(moved > 0 && nmse(h, d, n) < 1e-12);
    lora_free(&lora);
    free(h), free(e), free(d), free(was), free(is), free(master);
    model_source_close(base);
    model_source_close(out);
    free(work), free(config), free(checkpoint), free(merged), free(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
#ifndef TEST_BACKEND
        cmocka_unit_test(test_golden_reference),
#endif

        cmocka_unit_test(test_golden_tuned),
        cmocka_unit_test(test_bf16),
        cmocka_unit_test(test_head_differences),
        cmocka_unit_test(test_head_generation),
        cmocka_unit_test(test_loraplus_is_two_rates),
        cmocka_unit_test(test_same_draws),
        cmocka_unit_test(test_noise),
        cmocka_unit_test(test_noise_is_of_training),
        cmocka_unit_test(test_resumption),
        cmocka_unit_test(test_merge_tied),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
