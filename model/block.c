/* One transformer block, forward and backward by hand over the backend contract:
 *
 *   x_mid = x + s n2(O(attention(rope(n(Q h)), rope(n(K h)), V h))),  h  = n1(x)
 *   x_out = x_mid + s n4(Down(act(Gate h2) * Up h2)),                 h2 = n3(x_mid)
 *
 * n1 .. n4 and the n of queries and keys are RMS norms or, where the family has none in the place, nothing; s is 1 in
 * most families. The forward keeps what is dear to compute again (block_acts_t); the backward recomputes what is cheap:
 * the normalised inputs, normalised queries and keys, unless the whole block was just recomputed; act(gate) * up is left
 * by the backward of the gate. */
#include "model/block.h"

#include "model/site.h"

static const norm_t *norm_of(const block_ctx_t *ctx, size_t layer, norm_slot_t slot) {
    const norm_t *norm = &ctx->m->layers[layer].norm[slot];
    return norm->w ? norm : NULL;
}

/* ---- forward pieces ------------------------------------------------------------------------------------------- */

/* x -> a->h, its norm or x itself. */
static void enter(const block_ctx_t *ctx, size_t layer, norm_slot_t slot, void *x, float *rstd) {
    backend_t *be = ctx->m->be;
    size_t C = ctx->m->config.hidden;
    const norm_t *norm = norm_of(ctx, layer, slot);
    if (norm) be->rmsnorm_fwd(be, ctx->a->h, rstd, (mat_t){x, C}, norm, ctx->T);
    else be->copy_rows(be, ctx->a->h, (mat_t){x, C}, ctx->T, C);
}

void block_enter(const block_ctx_t *ctx, size_t layer, block_acts_t *acts) {
    enter(ctx, layer, NORM_ATTN_IN, acts->x, acts->rstd[NORM_ATTN_IN]);
}

/* sum = x + a->t, and a->h of it: what enter() gives. */
static void add_and_enter(const block_ctx_t *ctx, size_t layer, norm_slot_t slot, void *sum, const void *x,
                          float *rstd) {
    backend_t *be = ctx->m->be;
    acts_t *a = ctx->a;
    const norm_t *norm = norm_of(ctx, layer, slot);
    if (norm) {
        be->add_rmsnorm_fwd(be, sum, a->h, rstd, x, a->t, norm, ctx->T);
        return;
    }
    be->add(be, sum, x, a->t, ctx->T * ctx->m->config.hidden);
    enter(ctx, layer, slot, sum, rstd);
}

/* Where a site's output goes: a->t, or where it is kept for the backward of its norm. */
static mat_t site_out(const block_ctx_t *ctx, void *kept) {
    return (mat_t){kept ? kept : ctx->a->t, ctx->m->config.hidden};
}

/* A site's output -> a->t, what is added to the residual stream. */
static void leave(const block_ctx_t *ctx, size_t layer, norm_slot_t slot, void *kept, float *rstd) {
    backend_t *be = ctx->m->be;
    size_t C = ctx->m->config.hidden;
    float scale = (float)ctx->m->config.residual_scale;
    mat_t t = {ctx->a->t, C};
    if (kept) be->rmsnorm_fwd(be, t, rstd, (mat_t){kept, C}, norm_of(ctx, layer, slot), ctx->T);
    if (scale != 1) be->scale_rows(be, t, t, scale, ctx->T, C);
}

/* ---- attention -------------------------------------------------------------------------------------------------- */

static void rope(const block_ctx_t *ctx, size_t layer, mat_t qk, int sign) {
    const model_t *m = ctx->m;
    const model_config_t *c = &m->config;
    int set = layer_kind(c, layer)->rope;
    if (set < 0) return;
    rope_t r = {.table = m->rope[set], .D = c->head_dim, .R = c->rotated, .interleaved = c->rope_interleaved};
    if (m->rope_q[set] == m->rope[set]) {
        m->be->rope(m->be, qk, &r, ctx->a->pos, ctx->T, c->heads + c->kv_heads, sign);
        return;
    }
    mat_t k = {mat_column(m->be, qk, model_dim(c, DIM_Q)), qk.ld};
    m->be->rope(m->be, k, &r, ctx->a->pos, ctx->T, c->kv_heads, sign);
    r.table = m->rope_q[set];
    m->be->rope(m->be, qk, &r, ctx->a->pos, ctx->T, c->heads, sign);
}

/* Queries and keys as attention takes them: those of acts->qkv, turned in place, or their norms, turned, in a->qk. */
static void prepare_qk(const block_ctx_t *ctx, size_t layer, block_acts_t *acts) {
    backend_t *be = ctx->m->be;
    acts_t *a = ctx->a;
    const norm_t *q = norm_of(ctx, layer, NORM_Q), *k = norm_of(ctx, layer, NORM_K);
    size_t n_q = model_dim(&ctx->m->config, DIM_Q);
    if (!q) {
        rope(ctx, layer, acts->qkv, 1);
        return;
    }
    be->rmsnorm_fwd(be, a->qk, a->rstd_q, acts->qkv, q, ctx->T);
    be->rmsnorm_fwd(be, (mat_t){mat_column(be, a->qk, n_q), a->qk.ld}, a->rstd_k,
                    (mat_t){mat_column(be, acts->qkv, n_q), acts->qkv.ld}, k, ctx->T);
    rope(ctx, layer, a->qk, 1);
}

/* And back: in a->dqkv, the gradients of what attention took -> of what the linear layers gave. */
static void prepare_qk_bwd(const block_ctx_t *ctx, size_t layer, const block_acts_t *acts) {
    backend_t *be = ctx->m->be;
    acts_t *a = ctx->a;
    const norm_t *q = norm_of(ctx, layer, NORM_Q), *k = norm_of(ctx, layer, NORM_K);
    size_t n_q = model_dim(&ctx->m->config, DIM_Q);
    rope(ctx, layer, a->dqkv, -1);
    if (!q) return;
    mat_t dk = {mat_column(be, a->dqkv, n_q), a->dqkv.ld};
    be->rmsnorm_bwd(be, a->dqkv, false, a->dqkv, acts->qkv, q, a->rstd_q, ctx->T);
    be->rmsnorm_bwd(be, dk, false, dk, (mat_t){mat_column(be, acts->qkv, n_q), acts->qkv.ld}, k, a->rstd_k, ctx->T);
}

/* Queries, keys and values where attention finds them. */
typedef struct {
    const void *q, *k, *v;
    attn_shape_t shape;
} attn_inputs_t;

static attn_inputs_t attn_inputs(const block_ctx_t *ctx, size_t layer, const block_acts_t *acts) {
    const model_config_t *c = &ctx->m->config;
    const backend_t *be = ctx->m->be;
    size_t q = model_dim(c, DIM_Q), kv = model_dim(c, DIM_KV);
    mat_t qk = norm_of(ctx, layer, NORM_Q) ? ctx->a->qk : acts->qkv;
    return (attn_inputs_t){qk.p,
                           mat_column(be, qk, q),
                           mat_column(be, acts->qkv, q + kv),
                           {.Hq = c->heads,
                            .Hkv = c->kv_heads,
                            .D = c->head_dim,
                            .window = layer_kind(c, layer)->window,
                            .scale = (float)c->attn_scale,
                            .softcap = (float)c->attn_softcap,
                            .ld_q = qk.ld,
                            .ld_k = qk.ld,
                            .ld_v = acts->qkv.ld,
                            .ld_o = acts->attn.ld,
                            .ld_dout = q,
                            .ld_dqkv = ctx->a->dqkv.ld}};
}

/* Appends this pass's keys and values to the layer's cache, where attention finds them all. */
static void cache_append(const block_ctx_t *ctx, size_t layer, attn_inputs_t *in) {
    const kv_cache_t *cache = ctx->cache;
    backend_t *be = ctx->m->be;
    size_t kv = in->shape.Hkv * in->shape.D;
    mat_t k = {(void *)(uintptr_t)in->k, in->shape.ld_k}, v = {(void *)(uintptr_t)in->v, in->shape.ld_v};
    be->scatter_rows(be, (mat_t){cache->k[layer], kv}, k, ctx->a->pos, ctx->T, kv);
    be->scatter_rows(be, (mat_t){cache->v[layer], kv}, v, ctx->a->pos, ctx->T, kv);
    in->k = cache->k[layer];
    in->v = cache->v[layer];
    in->shape.ld_k = in->shape.ld_v = kv;
}

/* ---- the block -------------------------------------------------------------------------------------------------- */

/* a->h, the normalised input -> a->ff, what Down takes. */
static void up_to_down(const block_ctx_t *ctx, size_t layer, block_acts_t *acts) {
    model_t *m = ctx->m;
    backend_t *be = m->be;
    acts_t *a = ctx->a;

    site_fwd(ctx, layer, SITE_QKV, a->h, acts->u[SITE_QKV], acts->qkv);
    prepare_qk(ctx, layer, acts);
    attn_inputs_t in = attn_inputs(ctx, layer, acts);
    if (ctx->cache) cache_append(ctx, layer, &in);
    be->attn_fwd(be, acts->attn.p, acts->lse, in.q, in.k, in.v, &in.shape, &ctx->seg);
    site_fwd(ctx, layer, SITE_O, acts->attn, acts->u[SITE_O], site_out(ctx, acts->attn_out));
    leave(ctx, layer, NORM_ATTN_OUT, acts->attn_out, acts->rstd[NORM_ATTN_OUT]);

    add_and_enter(ctx, layer, NORM_FFN_IN, acts->x_mid, acts->x, acts->rstd[NORM_FFN_IN]);
    site_fwd(ctx, layer, SITE_GATE_UP, a->h, acts->u[SITE_GATE_UP], acts->gate_up);
    be->glu_fwd(be, m->config.act, a->ff, acts->gate_up, ctx->T, m->config.ffn);
}

static void down(const block_ctx_t *ctx, size_t layer, block_acts_t *acts) {
    site_fwd(ctx, layer, SITE_DOWN, ctx->a->ff, acts->u[SITE_DOWN], site_out(ctx, acts->ffn_out));
}

void block_fwd(const block_ctx_t *ctx, size_t layer, block_acts_t *acts, block_acts_t *next) {
    model_t *m = ctx->m;
    acts_t *a = ctx->a;
    up_to_down(ctx, layer, acts);
    down(ctx, layer, acts);
    leave(ctx, layer, NORM_FFN_OUT, acts->ffn_out, acts->rstd[NORM_FFN_OUT]);
    if (next) add_and_enter(ctx, layer + 1, NORM_ATTN_IN, next->x, acts->x_mid, next->rstd[NORM_ATTN_IN]);
    else m->be->add(m->be, a->x_out, acts->x_mid, a->t, ctx->T * m->config.hidden);
}

void block_refwd(const block_ctx_t *ctx, size_t layer, block_acts_t *acts) {
    block_enter(ctx, layer, acts);
    up_to_down(ctx, layer, acts);
    if (!acts->ffn_out) {
        site_adapters_fwd(ctx, layer, SITE_DOWN, ctx->a->ff, acts->u[SITE_DOWN]);
        return;
    }
    down(ctx, layer, acts);
    leave(ctx, layer, NORM_FFN_OUT, acts->ffn_out, acts->rstd[NORM_FFN_OUT]); /* for rstd */
}

/* The gradient of a site's output from a->dx, that of the residual stream: a->dx itself, or through what leave() did,
 * in a->dt. */
static mat_t leave_bwd(const block_ctx_t *ctx, size_t layer, norm_slot_t slot, void *kept, const float *rstd) {
    backend_t *be = ctx->m->be;
    acts_t *a = ctx->a;
    size_t C = ctx->m->config.hidden;
    float scale = (float)ctx->m->config.residual_scale;
    mat_t d = a->dx;
    if (scale != 1) {
        be->scale_rows(be, a->dt, d, scale, ctx->T, C);
        d = a->dt;
    }
    if (!kept) return d;
    be->rmsnorm_bwd(be, a->dt, false, d, (mat_t){kept, C}, norm_of(ctx, layer, slot), rstd, ctx->T);
    return a->dt;
}

/* a->dh, the gradient of what enter() gave for x: adds that of x to a->dx. */
static void enter_bwd(const block_ctx_t *ctx, size_t layer, norm_slot_t slot, void *x, const float *rstd) {
    backend_t *be = ctx->m->be;
    acts_t *a = ctx->a;
    size_t C = ctx->m->config.hidden;
    const norm_t *norm = norm_of(ctx, layer, slot);
    if (norm) be->rmsnorm_bwd(be, a->dx, true, (mat_t){a->dh, C}, (mat_t){x, C}, norm, rstd, ctx->T);
    else be->add(be, a->dx.p, a->dx.p, a->dh, ctx->T * C); /* dense: du lies behind a->dt in such a family */
}

void block_bwd(const block_ctx_t *ctx, size_t layer, block_acts_t *acts, bool recomputed) {
    model_t *m = ctx->m;
    backend_t *be = m->be;
    const model_config_t *c = &m->config;
    acts_t *a = ctx->a;
    size_t T = ctx->T, C = c->hidden, F = c->ffn, q = model_dim(c, DIM_Q), kv = model_dim(c, DIM_KV);

    mat_t dy = leave_bwd(ctx, layer, NORM_FFN_OUT, acts->ffn_out, acts->rstd[NORM_FFN_OUT]);
    /* What Down took: left by the forward just before, or by glu_bwd() where its gradient was. */
    mat_t dff = {a->dff, F};
    site_bwd_dx(ctx, layer, SITE_DOWN, acts->u[SITE_DOWN], dy, dff);
    be->glu_bwd(be, c->act, acts->gate_up, dff.p, !recomputed, T, F);
    site_bwd_a(ctx, layer, SITE_DOWN, recomputed ? a->ff : dff, dy);
    if (!recomputed) enter(ctx, layer, NORM_FFN_IN, acts->x_mid, acts->rstd[NORM_FFN_IN]);
    site_bwd(ctx, layer, SITE_GATE_UP, a->h, acts->u[SITE_GATE_UP], acts->gate_up, (mat_t){a->dh, C});
    enter_bwd(ctx, layer, NORM_FFN_IN, acts->x_mid, acts->rstd[NORM_FFN_IN]);

    dy = leave_bwd(ctx, layer, NORM_ATTN_OUT, acts->attn_out, acts->rstd[NORM_ATTN_OUT]);
    site_bwd(ctx, layer, SITE_O, acts->attn, acts->u[SITE_O], dy, (mat_t){a->dattn, q});
    if (norm_of(ctx, layer, NORM_Q) && !recomputed) prepare_qk(ctx, layer, acts);
    attn_inputs_t in = attn_inputs(ctx, layer, acts);
    be->attn_bwd(be, a->dqkv.p, mat_column(be, a->dqkv, q), mat_column(be, a->dqkv, q + kv), a->dattn, in.q, in.k, in.v,
                 acts->attn.p, acts->lse, &in.shape, &ctx->seg);
    prepare_qk_bwd(ctx, layer, acts);
    block_enter(ctx, layer, acts);
    /* The embedding is frozen: below the first block nobody needs a gradient. */
    void *dh = layer > 0 ? a->dh : NULL;
    site_bwd(ctx, layer, SITE_QKV, a->h, acts->u[SITE_QKV], a->dqkv, (mat_t){dh, C});
    if (dh) enter_bwd(ctx, layer, NORM_ATTN_IN, acts->x, acts->rstd[NORM_ATTN_IN]);
}
