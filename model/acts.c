/* Where the values of a pass lie. The same code places them in the pool and, on a counting pool, tells the plan
 * what they take. */
#include "model/model.h"

typedef struct {
    pool_t *pool;
    size_t T, elem;
} placer_t;

/* [T, width] of the activation type. */
static void *acts_of(const placer_t *p, size_t width) {
    return pool_take(p->pool, POOL_ACTIVATIONS, p->T * width * p->elem);
}

static float *floats(const placer_t *p, size_t n) {
    return pool_take(p->pool, POOL_ACTIVATIONS, n * sizeof(float));
}

static int32_t *ints(const placer_t *p, size_t n) {
    return pool_take(p->pool, POOL_ACTIVATIONS, n * sizeof(int32_t));
}

/* Everything of a block but its input. */
static void place_block(const placer_t *p, const model_t *m, bool training, block_acts_t *b) {
    const model_config_t *c = &m->config;
    size_t q = c->heads * c->head_dim, kv = c->kv_heads * c->head_dim;
    b->rstd_attn = floats(p, p->T);
    b->rstd_ffn = floats(p, p->T);
    b->q = acts_of(p, q);
    b->k = acts_of(p, kv);
    b->v = acts_of(p, kv);
    b->attn = acts_of(p, q);
    b->lse = training ? floats(p, p->T * c->heads) : NULL;
    b->x_mid = acts_of(p, c->hidden);
    b->gate = acts_of(p, c->ffn);
    b->up = acts_of(p, c->ffn);
    for (int s = 0; s < SITE_COUNT; s++) {
        /* All layers adapt the same linear layers, so layer 0 speaks for all. */
        size_t n = m->lora ? lora_site(m->lora, 0, (site_t)s)->n : 0;
        b->u[s] = n ? acts_of(p, n * m->lora->spec.r) : NULL;
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

/* Scratch of a block's forward, and of its backward. */
static void place_scratch(acts_t *a, const placer_t *p, const model_t *m, bool training) {
    const model_config_t *c = &m->config;
    a->h = acts_of(p, c->hidden);
    a->t = acts_of(p, c->hidden);
    a->ff = acts_of(p, c->ffn);
    if (!training) return;
    size_t q = c->heads * c->head_dim, kv = c->kv_heads * c->head_dim;
    size_t widest = c->hidden > c->ffn ? c->hidden : c->ffn;
    if (q > widest) widest = q;
    a->wide = m->lora->spec.dropout > 0 ? acts_of(p, widest) : NULL;
    a->du = acts_of(p, SITE_MAX_LINEARS * m->lora->spec.r);
    a->dff = acts_of(p, c->ffn);
    a->dh = acts_of(p, c->hidden);
    a->dattn = acts_of(p, q);
    a->dq = acts_of(p, q);
    a->dk = acts_of(p, kv);
    a->dv = acts_of(p, kv);
}

static void place_loss(acts_t *a, const placer_t *p, const model_t *m, bool training) {
    placer_t rows = {p->pool, a->chunk, p->elem};
    size_t C = m->config.hidden;
    a->hx = acts_of(&rows, C);
    a->hn = acts_of(&rows, C);
    a->hdn = training ? acts_of(&rows, C) : NULL;
    a->hdx = training ? acts_of(&rows, C) : NULL;
    a->hrstd = floats(p, a->chunk);
    a->logits = acts_of(&rows, m->config.vocab);
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
    place_blocks(a, &p, m, spec);
    a->row_loss = floats(&p, p.T);
    if (training) a->dx = acts_of(&p, m->config.hidden);
    a->chunk = spec->chunk < spec->T ? spec->chunk : spec->T;
    /* While the head computes the loss no block runs, and the other way round: they share one place. */
    pool_mark_t shared = pool_mark(pool);
    place_scratch(a, &p, m, training);
    size_t scratch_end = pool->used;
    pool_reset(pool, &shared);
    place_loss(a, &p, m, training);
    if (scratch_end > pool->used) pool_take(pool, POOL_ACTIVATIONS, scratch_end - pool->used);
}

/* Elements of the largest weight that is quantized; a source's own quantization may leave some out. */
static size_t largest_quantized(const model_t *m) {
    size_t most = 0;
    for (size_t l = 0; l < m->config.layers; l++)
        for (int k = 0; k < LIN_COUNT; k++) {
            const qweight_t *w = &m->layers[l].w[k];
            if (w->type != QUANT_NONE && qweight_count(w) > most) most = qweight_count(w);
        }
    return most;
}

workspace_need_t model_workspace_need(const model_t *m, size_t max_tokens, size_t max_seg, size_t chunk) {
    const model_config_t *c = &m->config;
    workspace_need_t n = {.max_tokens = max_tokens, .max_kv = max_seg, .logit_rows = chunk, .vocab = c->vocab};
    n.attn = (attn_shape_t){.Hq = c->heads, .Hkv = c->kv_heads, .D = c->head_dim};
    n.max_weight = c->vocab * c->hidden;
    n.max_quantized = largest_quantized(m);
    for (int k = 0; k < LIN_COUNT; k++) {
        size_t rows = linear_rows(c, (linear_kind_t)k), cols = linear_cols(c, (linear_kind_t)k);
        if (rows * cols > n.max_weight) n.max_weight = rows * cols;
        if (rows > n.max_width) n.max_width = rows;
        if (cols > n.max_width) n.max_width = cols;
    }
    return n;
}
