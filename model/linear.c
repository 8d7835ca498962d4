/* The linear layers of a block: frozen quantized weight plus LoRA (QLoRA, eq. 5), forward and backward.
 *
 *   y_i = x W_i^T + s * u_i B_i^T,          u = [u_1 .. u_n] = drop(x) [A_1; ..; A_n]^T
 *   du_i = s * dy_i B_i,                    dB_i += s * dy_i^T u_i
 *   dA  += du^T drop(x),                    dx = drop'(du A) + sum_i dy_i W_i
 *
 * drop' is the same mask and scale: dropout is its own backward. The adapters' part of y and dx comes first and the
 * frozen weights' product adds to it: that costs a write more than the product alone, the other order a read too; and
 * in BF16 the large sum is rounded once, not twice. */
#include "model/model.h"

static size_t elem(const block_ctx_t *ctx, size_t n) {
    return n * dtype_size(ctx->m->be->act);
}

/* x as the adapters see it. */
static const void *dropped(const block_ctx_t *ctx, const void *x, size_t in, const dropout_t *key) {
    backend_t *be = ctx->m->be;
    if (!key) return x;
    be->dropout(be, ctx->a->wide, x, ctx->T, in, key);
    return ctx->a->wide;
}

static dropout_t key_of(const block_ctx_t *ctx, size_t layer, site_t site) {
    dropout_t key = *ctx->dropout;
    key.layer = (uint32_t)layer;
    key.site = (uint32_t)site;
    return key;
}

static const void *compute_at(const lora_t *lora, size_t offset) {
    return (const unsigned char *)lora->compute + offset * dtype_size(lora->compute_type);
}

/* The adapters' part of y[i]; false: the layer i of the site has none. */
static bool adapter_fwd(const block_ctx_t *ctx, const lora_site_t *ls, const site_info_t *info, size_t i, const void *u,
                        void *y) {
    const lora_t *lora = ctx->m->lora;
    backend_t *be = ctx->m->be;
    size_t r = lora->spec.r, out = linear_rows(&ctx->m->config, info->kind[i]);
    for (size_t j = 0; j < ls->n; j++) {
        if (ls->member[j] != i) continue;
        const void *uj = (const unsigned char *)u + elem(ctx, j * r);
        be->gemm(be, false, true, ctx->T, out, r, lora->scale, uj, be->act, ls->n * r, compute_at(lora, ls->b[j]),
                 lora->compute_type, r, 0.0f, y, be->act, out);
        return true;
    }
    return false;
}

void site_fwd(const block_ctx_t *ctx, size_t layer, site_t site, const void *x, void *u, void *const y[]) {
    model_t *m = ctx->m;
    backend_t *be = m->be;
    const site_info_t *info = &site_info[site];
    const lora_t *lora = m->lora;
    const lora_site_t *ls = lora ? lora_site(lora, layer, site) : NULL;
    if (ls && ls->n) {
        size_t width = ls->n * lora->spec.r, in = linear_cols(&m->config, info->kind[0]);
        dropout_t key;
        if (ctx->dropout) key = key_of(ctx, layer, site);
        const void *xd = dropped(ctx, x, in, ctx->dropout ? &key : NULL);
        be->gemm(be, false, true, ctx->T, width, in, 1.0f, xd, be->act, in, compute_at(lora, ls->a),
                 lora->compute_type, in, 0.0f, u, be->act, width);
    }
    for (size_t i = 0; i < info->n; i++) {
        bool adapted = ls && adapter_fwd(ctx, ls, info, i, u, y[i]);
        be->gemm_weight(be, true, ctx->T, x, model_product_weight(m, layer, info->kind[i]), adapted ? 1.0f : 0.0f,
                        y[i]);
    }
}

/* du [T, n*r] of a site with adapters, and the gradients of A and B from it. */
static void adapter_bwd(const block_ctx_t *ctx, const lora_site_t *ls, const site_info_t *info, const void *x,
                        const void *u, const void *const dy[], const dropout_t *key) {
    const lora_t *lora = ctx->m->lora;
    backend_t *be = ctx->m->be;
    size_t r = lora->spec.r, width = ls->n * r, in = linear_cols(&ctx->m->config, info->kind[0]);
    void *du = ctx->a->du;
    for (size_t i = 0; i < ls->n; i++) {
        size_t out = linear_rows(&ctx->m->config, info->kind[ls->member[i]]);
        const void *dyi = dy[ls->member[i]], *ui = (const unsigned char *)u + elem(ctx, i * r);
        be->gemm(be, false, false, ctx->T, r, out, lora->scale, dyi, be->act, out, compute_at(lora, ls->b[i]),
                 lora->compute_type, r, 0.0f, (unsigned char *)du + elem(ctx, i * r), be->act, width);
        be->gemm(be, true, false, out, r, ctx->T, lora->scale, dyi, be->act, out, ui, be->act, width, 1.0f,
                 lora->grad + ls->b[i], DT_F32, r);
    }
    const void *xd = dropped(ctx, x, in, key);
    be->gemm(be, true, false, width, in, ctx->T, 1.0f, du, be->act, width, xd, be->act, in, 1.0f,
             lora->grad + ls->a, DT_F32, in);
}

void site_bwd(const block_ctx_t *ctx, size_t layer, site_t site, const void *x, const void *u,
              const void *const dy[], void *dx) {
    model_t *m = ctx->m;
    backend_t *be = m->be;
    const site_info_t *info = &site_info[site];
    const lora_t *lora = m->lora;
    const lora_site_t *ls = lora_site(lora, layer, site);
    dropout_t key;
    if (ctx->dropout) key = key_of(ctx, layer, site);
    if (ls->n) adapter_bwd(ctx, ls, info, x, u, dy, ctx->dropout ? &key : NULL);
    if (!dx) return;
    if (ls->n) {
        size_t width = ls->n * lora->spec.r, in = linear_cols(&m->config, info->kind[0]);
        be->gemm(be, false, false, ctx->T, in, width, 1.0f, ctx->a->du, be->act, width, compute_at(lora, ls->a),
                 lora->compute_type, in, 0.0f, dx, be->act, in);
        if (ctx->dropout) be->dropout(be, dx, dx, ctx->T, in, &key);
    }
    for (size_t i = 0; i < info->n; i++)
        be->gemm_weight(be, false, ctx->T, dy[i], model_product_weight(m, layer, info->kind[i]),
                        i || ls->n ? 1.0f : 0.0f, dx);
}
