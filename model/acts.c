/* Where the values of a pass lie. The same code places them in the pool and, on a counting pool, tells the plan
 * what they take. */
#include "model/acts.h"

#include <stdlib.h>

#include "base/mem.h"
#include "base/minmax.h"

typedef struct {
    pool_t *pool;
    size_t T, elem;
} placer_t;

/* [T, width] of the activation type. */
static void *acts_of(const placer_t *p, size_t width) {
    return pool_take(p->pool, POOL_ACTIVATIONS, p->T * width * p->elem);
}

static mat_t mat_of(const placer_t *p, size_t width, size_t extra) {
    size_t ld = linear_ld(width, extra);
    return (mat_t){acts_of(p, ld), ld};
}

static float *floats(const placer_t *p, size_t n) { return pool_take(p->pool, POOL_ACTIVATIONS, n * sizeof(float)); }

static int32_t *ints(const placer_t *p, size_t n) { return pool_take(p->pool, POOL_ACTIVATIONS, n * sizeof(int32_t)); }

/* Columns of a site's adapters, the most of any layer. */
static size_t adapter_width(const model_t *m, site_t s) { return m->lora ? m->lora->width[s] : 0; }

static size_t head_width(const model_t *m) { return m->lora && m->lora->head.n ? m->lora->head.r[0] : 0; }

static size_t wider(const model_t *m, site_t a, site_t b) {
    size_t n = adapter_width(m, a), k = adapter_width(m, b);
    return n > k ? n : k;
}

static bool has_norm(const model_t *m, norm_slot_t slot) { return arch_norm(m->config.arch, slot) != NULL; }

/* Whether the gradient of what o and down give is another than that of the residual stream. */
static bool leaves_changed(const model_t *m) {
    return has_norm(m, NORM_ATTN_OUT) || has_norm(m, NORM_FFN_OUT) || m->config.residual_scale != 1;
}

size_t acts_attention_ld(const model_t *m) {
    const model_config_t *c = &m->config;
    return max_size(linear_ld(model_dim(c, DIM_Q_2KV), adapter_width(m, SITE_QKV)),
                    linear_ld(model_dim(c, DIM_Q), adapter_width(m, SITE_O)));
}

/* Everything of a block but its input. */
static void place_block(const placer_t *p, const model_t *m, bool training, block_acts_t *b) {
    const model_config_t *c = &m->config;
    size_t q = model_dim(c, DIM_Q);
    for (int slot = NORM_ATTN_IN; slot <= NORM_FFN_OUT; slot++)
        b->rstd[slot] = has_norm(m, (norm_slot_t)slot) ? floats(p, p->T) : NULL;
    b->qkv = mat_of(p, model_dim(c, DIM_Q_2KV), 0);
    b->attn = mat_of(p, q, adapter_width(m, SITE_O));
    b->lse = training ? floats(p, p->T * c->heads) : NULL;
    b->attn_out = has_norm(m, NORM_ATTN_OUT) ? acts_of(p, c->hidden) : NULL;
    b->x_mid = acts_of(p, c->hidden);
    b->gate_up = mat_of(p, 2 * c->ffn, training ? adapter_width(m, SITE_GATE_UP) : 0);
    b->ffn_out = has_norm(m, NORM_FFN_OUT) ? acts_of(p, c->hidden) : NULL;
    for (int s = 0; s < SITE_COUNT; s++) {
        size_t width = training ? adapter_width(m, (site_t)s) : 0;
        if (width && s == SITE_O) b->u[s] = (mat_t){mat_column(m->be, b->attn, q), b->attn.ld};
        else b->u[s] = (mat_t){width ? acts_of(p, width) : NULL, width};
    }
}

static void place_blocks(acts_t *a, const placer_t *p, const model_t *m, const acts_spec_t *spec) {
    size_t L = m->config.layers, C = m->config.hidden;
    bool training = spec->pass == PASS_TRAIN;
    size_t recomputed = training ? L - spec->n_kept : L;
    block_acts_t shared = {0};
    if (recomputed) place_block(p, m, training, &shared);
    /* Without a backward a block's input is dead once its output is there: two places take turns. */
    void *turn[2] = {NULL, NULL};
    for (int i = 0; !training && i < 2; i++) turn[i] = acts_of(p, C);
    for (size_t l = 0; l < L; l++) {
        if (l < recomputed) a->blocks[l] = shared;
        else place_block(p, m, training, &a->blocks[l]);
        a->blocks[l].x = training ? acts_of(p, C) : turn[l % 2];
    }
    a->x_out = training ? acts_of(p, C) : turn[L % 2];
}

/* Queries and keys behind their norms. */
static void place_qk(acts_t *a, const placer_t *p, const model_t *m) {
    const model_config_t *c = &m->config;
    if (!has_norm(m, NORM_Q)) return;
    bool per_head = norm_is_per_head(arch_norm(c->arch, NORM_Q));
    a->qk = mat_of(p, model_dim(c, DIM_Q) + model_dim(c, DIM_KV), 0);
    a->rstd_q = floats(p, p->T * (per_head ? c->heads : 1));
    a->rstd_k = floats(p, p->T * (per_head ? c->kv_heads : 1));
}

/* Scratch of a block's forward, and of its backward. */
static void place_scratch(acts_t *a, const placer_t *p, const model_t *m, bool training) {
    const model_config_t *c = &m->config;
    a->h = mat_of(p, c->hidden, wider(m, SITE_QKV, SITE_GATE_UP));
    a->t = acts_of(p, c->hidden);
    a->ff = mat_of(p, c->ffn, adapter_width(m, SITE_DOWN));
    place_qk(a, p, m);
    if (!training) return;
    a->dff = acts_of(p, c->ffn);
    a->dh = acts_of(p, c->hidden);
    a->dattn = acts_of(p, model_dim(c, DIM_Q));
    a->dqkv = mat_of(p, model_dim(c, DIM_Q_2KV), adapter_width(m, SITE_QKV));
    if (leaves_changed(m)) a->dt = mat_of(p, c->hidden, wider(m, SITE_O, SITE_DOWN));
}

static void place_loss(acts_t *a, const placer_t *p, const model_t *m, bool training) {
    placer_t rows = {p->pool, a->chunk, p->elem};
    size_t C = m->config.hidden;
    size_t width = head_width(m);
    a->hx = acts_of(&rows, C);
    a->hn = mat_of(&rows, C, width);
    a->hdn = training ? acts_of(&rows, C) : NULL;
    a->hdx = training ? acts_of(&rows, C) : NULL;
    a->hrstd = floats(p, a->chunk);
    a->logits = mat_of(&rows, m->config.vocab, training ? width : 0);
}

static size_t loss_bytes(const model_t *m, size_t rows, bool training) {
    pool_t counting = pool_counting(m->be);
    acts_t a = {.chunk = rows};
    place_loss(&a, &(placer_t){&counting, rows, dtype_size(m->be->act)}, m, training);
    return counting.used;
}

/* a->chunk and a->tile; `room` bytes are there in any case. */
static void choose_chunk(acts_t *a, const model_t *m, const acts_spec_t *spec, size_t room) {
    a->chunk = spec->chunk;
    a->tile = 1;
    if (spec->tile) {
        size_t tiles = room / loss_bytes(m, spec->tile, spec->pass == PASS_TRAIN);
        a->chunk = max_size(a->chunk, tiles * spec->tile);
    }
    if (spec->tile && a->chunk >= spec->tile) {
        a->chunk = a->chunk / spec->tile * spec->tile;
        a->tile = spec->tile;
    }
    a->chunk = min_size(a->chunk, spec->T);
}

void acts_place(acts_t *a, const model_t *m, const acts_spec_t *spec, pool_t *pool) {
    block_acts_t *blocks = a->blocks;
    *a = (acts_t){.T = spec->T, .blocks = blocks, .n_kept = spec->n_kept};
    placer_t p = {pool, spec->T, dtype_size(m->be->act)};
    bool training = spec->pass == PASS_TRAIN;
    a->ids = ints(&p, p.T);
    a->pos = ints(&p, p.T);
    a->row = ints(&p, p.T);
    a->row_pos = ints(&p, p.T);
    a->seg_off = ints(&p, p.T + 1);
    a->seg_len = ints(&p, p.T);
    a->target_idx = ints(&p, p.T);
    a->target = ints(&p, p.T);
    if (training && head_width(m)) {
        a->target_row = ints(&p, p.T);
        a->target_pos = ints(&p, p.T);
    }
    place_blocks(a, &p, m, spec);
    a->row_loss = floats(&p, p.T);
    if (training) a->dx = mat_of(&p, m->config.hidden, leaves_changed(m) ? 0 : wider(m, SITE_O, SITE_DOWN));
    /* While the head computes the loss no block runs, and the other way round: they share one place. */
    pool_mark_t shared = pool_mark(pool);
    place_scratch(a, &p, m, training);
    size_t scratch_end = pool->used;
    pool_reset(pool, &shared);
    choose_chunk(a, m, spec, scratch_end - pool->used);
    place_loss(a, &p, m, training);
    if (scratch_end > pool->used) pool_take(pool, POOL_ACTIVATIONS, scratch_end - pool->used);
}

void kv_cache_place(kv_cache_t *cache, const model_t *m, size_t positions, pool_t *pool) {
    size_t L = m->config.layers;
    size_t bytes = positions * m->config.kv_heads * m->config.head_dim * dtype_size(m->be->act);
    *cache = (kv_cache_t){.cap = positions, .k = xcalloc(L, sizeof(void *)), .v = xcalloc(L, sizeof(void *))};
    for (size_t l = 0; l < L; l++) {
        cache->k[l] = pool_take(pool, POOL_ACTIVATIONS, bytes);
        cache->v[l] = pool_take(pool, POOL_ACTIVATIONS, bytes);
    }
}

void kv_cache_free(kv_cache_t *cache) {
    free(cache->k);
    free(cache->v);
    *cache = (kv_cache_t){0};
}
