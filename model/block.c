/* One transformer block of the llama family, forward and backward by hand over the backend contract:
 *
 *   x_mid = x + O(attention(rope(Q h), rope(K h), V h)),  h  = rmsnorm(x)
 *   x_out = x_mid + Down(silu(Gate h2) * Up h2),          h2 = rmsnorm(x_mid)
 *
 * The forward keeps what is dear to compute again (block_acts_t); the backward recomputes what is cheap: the
 * two normalised inputs and silu(gate) * up. */
#include <math.h>

#include "model/model.h"

/* Queries, keys and values where attention finds them. */
typedef struct {
    const void *q, *k, *v;
    attn_shape_t shape;
} attn_inputs_t;

static attn_inputs_t attn_inputs(const block_ctx_t *ctx, const block_acts_t *acts) {
    const model_config_t *c = &ctx->m->config;
    const backend_t *be = ctx->m->be;
    size_t q = c->heads * c->head_dim, kv = c->kv_heads * c->head_dim;
    return (attn_inputs_t){acts->qkv.p,
                           mat_column(be, acts->qkv, q),
                           mat_column(be, acts->qkv, q + kv),
                           {.Hq = c->heads,
                            .Hkv = c->kv_heads,
                            .D = c->head_dim,
                            .scale = 1.0f / sqrtf((float)c->head_dim),
                            .ld_q = acts->qkv.ld,
                            .ld_kv = acts->qkv.ld,
                            .ld_o = acts->attn.ld,
                            .ld_dout = q,
                            .ld_dqkv = ctx->a->dqkv.ld}};
}

/* Appends this pass's keys and values to the layer's cache, where attention finds them all. */
static void cache_append(const block_ctx_t *ctx, size_t layer, attn_inputs_t *in) {
    const kv_cache_t *cache = ctx->cache;
    backend_t *be = ctx->m->be;
    size_t kv = in->shape.Hkv * in->shape.D;
    be->scatter_rows(be, cache->k[layer], kv, in->k, in->shape.ld_kv, ctx->a->pos, ctx->T, kv);
    be->scatter_rows(be, cache->v[layer], kv, in->v, in->shape.ld_kv, ctx->a->pos, ctx->T, kv);
    in->k = cache->k[layer];
    in->v = cache->v[layer];
    in->shape.ld_kv = kv;
}

void block_enter(const block_ctx_t *ctx, size_t layer, block_acts_t *acts) {
    model_t *m = ctx->m;
    mat_t h = ctx->a->h;
    m->be->rmsnorm_fwd(m->be, h.p, h.ld, acts->rstd_attn, acts->x, m->layers[layer].attn_norm, ctx->T, m->config.hidden,
                       m->config.norm_eps);
}

/* a->h, the normalised input -> a->ff, what Down takes. */
static void up_to_down(const block_ctx_t *ctx, size_t layer, block_acts_t *acts) {
    model_t *m = ctx->m;
    backend_t *be = m->be;
    const model_config_t *c = &m->config;
    acts_t *a = ctx->a;
    size_t T = ctx->T;

    site_fwd(ctx, layer, SITE_QKV, a->h, acts->u[SITE_QKV], acts->qkv);
    be->rope(be, acts->qkv.p, acts->qkv.ld, m->rope, a->pos, T, c->heads + c->kv_heads, c->head_dim, 1);
    attn_inputs_t in = attn_inputs(ctx, acts);
    if (ctx->cache) cache_append(ctx, layer, &in);
    be->attn_fwd(be, acts->attn.p, acts->lse, in.q, in.k, in.v, &in.shape, &ctx->seg);
    site_fwd(ctx, layer, SITE_O, acts->attn, acts->u[SITE_O], (mat_t){a->t, c->hidden});

    be->add_rmsnorm_fwd(be, acts->x_mid, a->h.p, a->h.ld, acts->rstd_ffn, acts->x, a->t, m->layers[layer].ffn_norm, T,
                        c->hidden, c->norm_eps);
    site_fwd(ctx, layer, SITE_GATE_UP, a->h, acts->u[SITE_GATE_UP], acts->gate_up);
    be->swiglu_fwd(be, a->ff.p, a->ff.ld, acts->gate_up.p, acts->gate_up.ld, T, c->ffn);
}

void block_fwd(const block_ctx_t *ctx, size_t layer, block_acts_t *acts, block_acts_t *next) {
    model_t *m = ctx->m;
    backend_t *be = m->be;
    acts_t *a = ctx->a;
    size_t T = ctx->T, C = m->config.hidden;
    up_to_down(ctx, layer, acts);
    site_fwd(ctx, layer, SITE_DOWN, a->ff, acts->u[SITE_DOWN], (mat_t){a->t, C});
    if (next)
        be->add_rmsnorm_fwd(be, next->x, a->h.p, a->h.ld, next->rstd_attn, acts->x_mid, a->t,
                            m->layers[layer + 1].attn_norm, T, C, m->config.norm_eps);
    else be->add(be, a->x_out, acts->x_mid, a->t, T * C);
}

void block_refwd(const block_ctx_t *ctx, size_t layer, block_acts_t *acts) {
    block_enter(ctx, layer, acts);
    up_to_down(ctx, layer, acts);
    site_adapters_fwd(ctx, layer, SITE_DOWN, ctx->a->ff, acts->u[SITE_DOWN]);
}

void block_bwd(const block_ctx_t *ctx, size_t layer, block_acts_t *acts) {
    model_t *m = ctx->m;
    backend_t *be = m->be;
    const model_config_t *c = &m->config;
    const layer_t *w = &m->layers[layer];
    acts_t *a = ctx->a;
    size_t T = ctx->T, C = c->hidden, D = c->head_dim, F = c->ffn, q = c->heads * D, kv = c->kv_heads * D;

    be->swiglu_fwd(be, a->ff.p, a->ff.ld, acts->gate_up.p, acts->gate_up.ld, T, F);
    site_bwd(ctx, layer, SITE_DOWN, a->ff, acts->u[SITE_DOWN], a->dx, (mat_t){a->dff, F});
    be->swiglu_bwd(be, acts->gate_up.p, acts->gate_up.ld, a->dff, T, F);
    be->rmsnorm_fwd(be, a->h.p, a->h.ld, acts->rstd_ffn, acts->x_mid, w->ffn_norm, T, C, c->norm_eps);
    site_bwd(ctx, layer, SITE_GATE_UP, a->h, acts->u[SITE_GATE_UP], acts->gate_up, (mat_t){a->dh, C});
    be->rmsnorm_bwd(be, a->dx.p, a->dx.ld, a->dh, acts->x_mid, w->ffn_norm, acts->rstd_ffn, T, C);

    site_bwd(ctx, layer, SITE_O, acts->attn, acts->u[SITE_O], a->dx, (mat_t){a->dattn, q});
    attn_inputs_t in = attn_inputs(ctx, acts);
    be->attn_bwd(be, a->dqkv.p, mat_column(be, a->dqkv, q), mat_column(be, a->dqkv, q + kv), a->dattn, in.q, in.k, in.v,
                 acts->attn.p, acts->lse, &in.shape, &ctx->seg);
    be->rope(be, a->dqkv.p, a->dqkv.ld, m->rope, a->pos, T, c->heads + c->kv_heads, D, -1);
    block_enter(ctx, layer, acts);
    /* The embedding is frozen: below the first block nobody needs a gradient. */
    void *dh = layer > 0 ? a->dh : NULL;
    site_bwd(ctx, layer, SITE_QKV, a->h, acts->u[SITE_QKV], a->dqkv, (mat_t){dh, C});
    if (dh) be->rmsnorm_bwd(be, a->dx.p, a->dx.ld, dh, acts->x, w->attn_norm, acts->rstd_attn, T, C);
}
