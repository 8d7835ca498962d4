/* One transformer block of the llama family, forward and backward by hand over the backend contract:
 *
 *   x_mid = x + O(attention(rope(Q h), rope(K h), V h)),  h  = rmsnorm(x)
 *   x_out = x_mid + Down(silu(Gate h2) * Up h2),          h2 = rmsnorm(x_mid)
 *
 * The forward keeps what is dear to compute again (block_acts_t); the backward recomputes what is cheap: the
 * two normalised inputs and silu(gate) * up. */
#include <math.h>

#include "model/model.h"

static attn_shape_t attn_shape(const model_config_t *c) {
    return (attn_shape_t){.Hq = c->heads, .Hkv = c->kv_heads, .D = c->head_dim, .window = 0,
                          .scale = 1.0f / sqrtf((float)c->head_dim)};
}

/* Appends this pass's keys and values to the layer's cache, and says where attention finds them all. */
static void cache_append(const block_ctx_t *ctx, size_t layer, const block_acts_t *acts, const void **k,
                         const void **v) {
    const model_config_t *c = &ctx->m->config;
    backend_t *be = ctx->m->be;
    size_t row = c->kv_heads * c->head_dim * dtype_size(be->act), at = ctx->cache->len * row;
    be->copy(be, (unsigned char *)ctx->cache->k[layer] + at, acts->k, ctx->T * row);
    be->copy(be, (unsigned char *)ctx->cache->v[layer] + at, acts->v, ctx->T * row);
    *k = ctx->cache->k[layer];
    *v = ctx->cache->v[layer];
}

void block_enter(const block_ctx_t *ctx, size_t layer, block_acts_t *acts) {
    model_t *m = ctx->m;
    m->be->rmsnorm_fwd(m->be, ctx->a->h, acts->rstd_attn, acts->x, m->layers[layer].attn_norm, ctx->T,
                       m->config.hidden, m->config.norm_eps);
}

void block_fwd(const block_ctx_t *ctx, size_t layer, block_acts_t *acts, block_acts_t *next) {
    model_t *m = ctx->m;
    backend_t *be = m->be;
    const model_config_t *c = &m->config;
    const layer_t *w = &m->layers[layer];
    acts_t *a = ctx->a;
    size_t T = ctx->T, C = c->hidden, D = c->head_dim;
    attn_shape_t shape = attn_shape(c);

    site_fwd(ctx, layer, SITE_QKV, a->h, acts->u[SITE_QKV], (void *[]){acts->q, acts->k, acts->v});
    be->rope(be, acts->q, m->rope, a->pos, T, c->heads, D, 1);
    be->rope(be, acts->k, m->rope, a->pos, T, c->kv_heads, D, 1);
    const void *k = acts->k, *v = acts->v;
    if (ctx->cache) cache_append(ctx, layer, acts, &k, &v);
    be->attn_fwd(be, acts->attn, acts->lse, acts->q, k, v, &shape, &ctx->seg);
    site_fwd(ctx, layer, SITE_O, acts->attn, acts->u[SITE_O], (void *[]){a->t});

    be->add_rmsnorm_fwd(be, acts->x_mid, a->h, acts->rstd_ffn, acts->x, a->t, w->ffn_norm, T, C, c->norm_eps);
    site_fwd(ctx, layer, SITE_GATE_UP, a->h, acts->u[SITE_GATE_UP], (void *[]){acts->gate, acts->up});
    be->swiglu_fwd(be, a->ff, acts->gate, acts->up, T * c->ffn);
    site_fwd(ctx, layer, SITE_DOWN, a->ff, acts->u[SITE_DOWN], (void *[]){a->t});
    if (next)
        be->add_rmsnorm_fwd(be, next->x, a->h, next->rstd_attn, acts->x_mid, a->t,
                            m->layers[layer + 1].attn_norm, T, C, c->norm_eps);
    else
        be->add(be, a->x_out, acts->x_mid, a->t, T * C);
}

void block_bwd(const block_ctx_t *ctx, size_t layer, block_acts_t *acts) {
    model_t *m = ctx->m;
    backend_t *be = m->be;
    const model_config_t *c = &m->config;
    const layer_t *w = &m->layers[layer];
    acts_t *a = ctx->a;
    size_t T = ctx->T, C = c->hidden, D = c->head_dim;
    attn_shape_t shape = attn_shape(c);

    be->swiglu_fwd(be, a->ff, acts->gate, acts->up, T * c->ffn);
    site_bwd(ctx, layer, SITE_DOWN, a->ff, acts->u[SITE_DOWN], (const void *[]){a->dx}, a->dff);
    be->swiglu_bwd(be, acts->gate, acts->up, a->dff, acts->gate, acts->up, T * c->ffn);
    be->rmsnorm_fwd(be, a->h, acts->rstd_ffn, acts->x_mid, w->ffn_norm, T, C, c->norm_eps);
    site_bwd(ctx, layer, SITE_GATE_UP, a->h, acts->u[SITE_GATE_UP], (const void *[]){acts->gate, acts->up}, a->dh);
    be->rmsnorm_bwd(be, a->dx, a->dh, acts->x_mid, w->ffn_norm, acts->rstd_ffn, T, C);

    site_bwd(ctx, layer, SITE_O, acts->attn, acts->u[SITE_O], (const void *[]){a->dx}, a->dattn);
    be->attn_bwd(be, a->dq, a->dk, a->dv, a->dattn, acts->q, acts->k, acts->v, acts->attn, acts->lse, &shape,
                 &ctx->seg);
    be->rope(be, a->dq, m->rope, a->pos, T, c->heads, D, -1);
    be->rope(be, a->dk, m->rope, a->pos, T, c->kv_heads, D, -1);
    block_enter(ctx, layer, acts);
    /* The embedding is frozen: below the first block nobody needs a gradient. */
    void *dh = layer > 0 ? a->dh : NULL;
    site_bwd(ctx, layer, SITE_QKV, a->h, acts->u[SITE_QKV], (const void *[]){a->dq, a->dk, a->dv}, dh);
    if (dh) be->rmsnorm_bwd(be, a->dx, dh, acts->x, w->attn_norm, acts->rstd_attn, T, C);
}
