/* A model of a given shape whose weights are noise. Speed does not depend on the values, but a step on them must be a
 * step: the loss and the gradient are finite, and the loss falls. */
#include <math.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/mem.h"
#include "base/rng.h"
#include "trainer/bench/bench.h"

/* Noise is made once and uploaded again and again, each time from another place. */
#define NOISE_BYTES ((size_t)4 << 20)
#define SEED 42

typedef struct {
    backend_t *be;
    unsigned char *codes;        /* [NOISE_BYTES] random */
    void *of_slot[LINEAR_SLOTS]; /* [NOISE_BYTES] constants; values where there are no codes */
    uint64_t uploads;
} noise_t;

/* Fills [dst, dst+bytes) with pieces of `from`, a buffer of NOISE_BYTES. */
static void upload_noise(noise_t *n, void *dst, size_t bytes, const void *from) {
    for (size_t at = 0; at < bytes;) {
        size_t skip = (size_t)(rng_mix(n->uploads++) % (NOISE_BYTES / 2)) / sizeof(float) * sizeof(float);
        size_t part = NOISE_BYTES - skip < bytes - at ? NOISE_BYTES - skip : bytes - at;
        n->be->upload(n->be, (unsigned char *)dst + at, (const unsigned char *)from + skip, part);
        at += part;
    }
}

bf16_t *bench_values(size_t n, double deviation) {
    bf16_t *values = xcalloc(n, sizeof *values);
    uint64_t key = rng_mix(SEED);
    float bound = (float)(deviation * sqrt(3.0)); /* of a uniform distribution */
    for (size_t i = 0; i < n; i++) values[i] = bf16_from_f32((2.0f * rng_uniform(key, i) - 1.0f) * bound);
    return values;
}

/* Constants within 30% of `mean`; of INT8_ZEROPOINT with a zero in the middle. */
static float *make_constants(quant_type_t type, float mean) {
    size_t n = NOISE_BYTES / sizeof(float);
    float *constants = xcalloc(n, sizeof *constants);
    uint64_t key = rng_mix(SEED + 1);
    for (size_t i = 0; i < n; i++) {
        constants[i] = mean * (0.7f + 0.6f * rng_uniform(key, i));
        if (type == QUANT_INT8_ZEROPOINT) constants[i] = f32_from_bits((f32_to_bits(constants[i]) & ~255u) | 128);
    }
    return constants;
}

/* Root mean square of a type's values when all codes are equally likely. That is nearly so for the NF4 codes of normal
 * values: its levels are quantiles. */
static double rms_of_type(quant_type_t type) {
    if (type == QUANT_INT8) return sqrt(1.0 / 3.0);
    if (type == QUANT_INT8_ZEROPOINT) return 255 / sqrt(12.0); /* about the middle */
    const float *table = quant_table(type);
    double sum = 0;
    for (int i = 0; i < 16; i++) sum += (double)table[i] * table[i];
    return sqrt(sum / 16);
}

/* Weights of standard deviation 1/sqrt(in): outputs of about the inputs' size. */
static void *make_noise(const qweight_t *w, float *absmax) {
    double deviation = 1 / sqrt((double)w->cols);
    if (quant_is_plain(w->type)) return bench_values(NOISE_BYTES / sizeof(bf16_t), deviation);
    *absmax = (float)(deviation / rms_of_type(w->type));
    return make_constants(w->type, w->double_quant ? 0.25f * *absmax : *absmax);
}

static void fill_weight(noise_t *n, qweight_t *w, const void *noise) {
    size_t count = qweight_count(w);
    upload_noise(n, w->codes, quant_code_bytes(w->type, count), quant_is_plain(w->type) ? noise : n->codes);
    if (quant_is_plain(w->type)) return;
    if (!w->double_quant) {
        upload_noise(n, w->absmax, quant_blocks(count) * sizeof(float), noise);
        return;
    }
    upload_noise(n, w->absmax_q, quant_blocks(count), n->codes);
    upload_noise(n, w->nested_absmax, quant_nested_blocks(count) * sizeof(float), noise);
}

static void fill_linears(noise_t *n, model_t *m) {
    for (int k = 0; k < LINEAR_SLOTS; k++) {
        float absmax = 0;
        if (!m->layers[0].w[k].rows) continue;
        n->of_slot[k] = make_noise(&m->layers[0].w[k], &absmax);
        for (size_t l = 0; l < m->config.layers; l++) m->layers[l].w[k].nested_offset = absmax;
    }
    size_t pages = 0;
    for (size_t l = 0; l < m->config.layers; l++) {
        bool paged = !m->layers[l].w[LIN_Q].codes; /* it has no place of its own */
        model_acquire_layer(m, l, 1);
        for (int k = 0; k < LINEAR_SLOTS; k++)
            if (m->layers[l].w[k].rows) fill_weight(n, &m->layers[l].w[k], n->of_slot[k]);
        if (paged) {
            const page_t *page = &m->pager.pages[pages++];
            m->be->download(m->be, page->host, page->place, page->bytes);
        }
        model_release_layer(m, l);
    }
    for (int k = 0; k < LINEAR_SLOTS; k++) free(n->of_slot[k]);
}

/* Norms of ones, biases of zeros. */
static int fill_vector(void *ctx, const model_tensor_t *t) {
    model_t *m = ctx;
    if (!tensor_is_vector(t->role)) return 0;
    const layer_t *w = &m->layers[t->layer];
    bool norm = t->role == TENSOR_NORM;
    const float *place = !t->spec ? m->final_norm.w : norm ? w->norm[t->spec->slot].w : w->bias[t->spec->slot];
    float *values = xcalloc(t->cols, sizeof *values);
    for (size_t i = 0; norm && i < t->cols; i++) values[i] = 1;
    m->be->upload(m->be, (void *)(uintptr_t)place, values, t->cols * sizeof *values);
    free(values);
    return 0;
}

static void fill_rest(noise_t *n, model_t *m) {
    const model_config_t *c = &m->config;
    model_each_tensor(c, fill_vector, m);
    /* Logits of standard deviation 1/2: the loss starts near ln V + 1/8. */
    bf16_t *values = bench_values(NOISE_BYTES / sizeof(bf16_t), 0.5 / sqrt((double)c->hidden) / c->logit_scale);
    fill_weight(n, &m->embed, values);
    if (!c->tied) fill_weight(n, &m->head, values);
    free(values);
    model_load_rope(m);
}

static void fill(model_t *m) {
    noise_t n = {.be = m->be, .codes = xmalloc(NOISE_BYTES)};
    uint64_t key = rng_mix(SEED + 2);
    for (size_t i = 0; i < NOISE_BYTES; i++) n.codes[i] = (unsigned char)(rng_fold(key, i) >> 32);
    fill_linears(&n, m);
    fill_rest(&n, m);
    m->be->sync(m->be);
    free(n.codes);
}

static void make_batch(batch_t *b, const model_config_t *c, size_t rows, size_t length) {
    size_t T = rows * length;
    uint64_t key = rng_mix(SEED + 3);
    *b = (batch_t){.T = T, .n_rows = rows, .n_seg = rows, .n_labels = rows * (length - 1), .max_seg = length, .cap = T};
    b->ids = xcalloc(T, sizeof *b->ids);
    b->pos = xcalloc(T, sizeof *b->pos);
    b->row = xcalloc(T, sizeof *b->row);
    b->row_pos = xcalloc(T, sizeof *b->row_pos);
    b->seg_off = xcalloc(rows + 1, sizeof *b->seg_off);
    b->target_idx = xcalloc(T, sizeof *b->target_idx);
    b->target = xcalloc(T, sizeof *b->target);
    for (size_t t = 0; t < T; t++) {
        b->ids[t] = (int32_t)(rng_fold(key, t) % c->vocab);
        b->pos[t] = b->row_pos[t] = (int32_t)(t % length);
        b->row[t] = (int32_t)(t / length);
    }
    size_t n = 0;
    for (size_t r = 0; r < rows; r++) {
        b->seg_off[r + 1] = (int32_t)((r + 1) * length);
        for (size_t t = r * length; t + 1 < (r + 1) * length; t++, n++) {
            b->target_idx[n] = (int32_t)t;
            b->target[n] = b->ids[t + 1];
        }
    }
}

/* The same places in the same order as in a run. */
static int open_memory(bench_model_t *b, err_t *err) {
    const layout_t *layout = &b->plan.layout;
    model_t *m = &b->model;
    if (pool_open(&b->pool, m->be, b->plan.total, err)) return err->code;
    plan_place_fixed(&b->pool, m, &b->lora, &b->opt, &b->need, layout);
    b->acts.blocks = xcalloc(m->config.layers, sizeof *b->acts.blocks);
    acts_place(&b->acts, m,
               &(acts_spec_t){PASS_TRAIN, b->need.train_tokens, layout->n_kept, layout->chunk, layout->tile}, &b->pool);
    if (model_open_pages(m, &b->pool, NULL, err)) return err->code;
    return optimizer_open(&b->opt, &b->lora, &b->pool, b->plan.top, NULL, err);
}

int bench_model_open(bench_model_t *b, backend_t *be, const model_config_t *c, const bench_spec_t *spec, err_t *err) {
    *b = (bench_model_t){0};
    model_init(&b->model, c, be, spec->quant, spec->double_quant, spec->length);
    lora_spec_t lora = {.r = spec->rank, .alpha = (double)spec->rank, .dropout = spec->dropout};
    lora_spec_fill(&lora, c, ~0u);
    lora_init(&b->lora, c, &lora);
    b->model.lora = &b->lora;
    b->need = (plan_need_t){.train_tokens = spec->rows * spec->length,
                            .train_seg = spec->length,
                            .micro_batches = 1,
                            .optimizer = OPTIMIZER_32BIT,
                            .page_optimizer = spec->paging,
                            .page_weights = spec->paging,
                            .cache_weights = spec->cache,
                            .checkpointing = spec->checkpointing};
    if (plan_make(&b->plan, &b->model, &b->lora, &b->need, spec->limit, err) || open_memory(b, err)) return err->code;
    fill(&b->model);
    lora_fill(&b->lora, be, SEED);
    make_batch(&b->batch, c, spec->rows, spec->length);
    be->sync(be);
    return 0;
}

void bench_model_close(bench_model_t *b) {
    batch_free(&b->batch);
    free(b->acts.blocks);
    optimizer_free(&b->opt);
    model_free(&b->model);
    pool_close(&b->pool);
    lora_free(&b->lora);
    *b = (bench_model_t){0};
}

bench_step_t bench_model_step(bench_model_t *b, size_t step) {
    backend_t *be = b->model.be;
    const optimizer_hyper_t hyper = {
        .lr = 2e-4f, .lr_b = 2e-4f, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8f, .max_grad_norm = 0.3};
    bench_step_t s = {0};
    double sum, n = (double)b->batch.n_labels;
    be->sync(be);
    double start = clock_seconds();
    /* As a step of a run begins: every page at its place, and room for the activations. */
    pager_settle(&b->opt.pager);
    pager_settle(&b->model.pager);
    be->sync(be);
    be->stalled(be);
    b->opt.pager.moved = b->model.pager.moved = 0;
    pager_make_room(&b->opt.pager, b->pool.used);
    be->zero(be, b->lora.grad, b->lora.count * sizeof(float));
    model_train(&b->model, &b->acts, &b->batch, (pass_seed_t){SEED, step}, (float)(1 / n), &sum);
    optimizer_step(&b->opt, &b->lora, be, &hyper, b->pool.used, &s.grad_norm);
    be->sync(be);
    s.seconds = clock_seconds() - start;
    s.loss = sum / n;
    s.paged_bytes = b->opt.pager.moved + b->model.pager.moved;
    s.stalled = be->stalled(be);
    return s;
}
