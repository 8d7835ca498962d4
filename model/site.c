/* The linear layers of a block: frozen quantized weight plus LoRA (QLoRA, eq. 5), forward and backward. s is the
 * adapters' scale, which goes into u and du, so that no rounded copy of a weight is scaled:
 *
 *   u = [u_1 .. u_n] = s drop(x) [A_1; ..; A_n]^T,    y_i = x W_i^T + u_i B_i^T
 *   du_i = s dy_i B_i,                                dB_i += dy_i^T u_i
 *   dA += du^T drop(x),                               dx = drop'(du A) + sum_i dy_i W_i
 *
 * drop' is the same mask and scale: dropout is its own backward. u lies behind x and du behind dy, so that a backend
 * may compute y and dx as one product each, which writes every element once (linear_t in model/backend/backend.h). */
#include "model/model.h"

/* NULL in a plan, where nothing has a place. */
static const void *compute_at(const lora_t *lora, size_t offset) {
    if (!lora->compute) return NULL;
    return (const unsigned char *)lora->compute + offset * dtype_size(lora->compute_type);
}

linear_t site_linear(const model_t *m, size_t layer, site_t site) {
    const site_info_t *info = &site_info[site];
    const lora_t *lora = m->lora;
    linear_t l = {.n = info->n};
    for (size_t i = 0; i < info->n; i++) l.w[i] = &m->layers[layer].w[info->kind[i]];
    if (layer < m->n_cached) l.augmented = m->layers[layer].augmented[site];
    if (!lora) return l;
    const lora_site_t *ls = lora_site(lora, layer, site);
    l.r = lora->spec.r;
    l.width = ls->n * l.r;
    l.ab_type = lora->compute_type;
    l.a = compute_at(lora, ls->a);
    for (size_t j = 0; j < ls->n; j++) l.b[ls->member[j]] = compute_at(lora, ls->b[j]);
    return l;
}

void model_cache_augmented(model_t *m) {
    uint64_t now = 1 + (m->lora ? m->lora->changes : 0);
    if (m->cached == now) return;
    for (size_t layer = 0; layer < m->n_cached; layer++) {
        for (int s = 0; s < SITE_COUNT; s++) {
            linear_t l = site_linear(m, layer, (site_t)s);
            if (l.augmented) m->be->linear_cache(m->be, &l, m->cached == 0);
        }
    }
    m->cached = now;
}

/* The dropout of a site's adapters; NULL: none. */
static const dropout_t *site_dropout(const block_ctx_t *ctx, size_t layer, site_t site, dropout_t *key) {
    if (!ctx->dropout) return NULL;
    *key = *ctx->dropout;
    key->layer = (uint32_t)layer;
    key->site = (uint32_t)site;
    return key;
}

void site_adapters_fwd(const block_ctx_t *ctx, size_t layer, site_t site, mat_t x, mat_t u) {
    backend_t *be = ctx->m->be;
    linear_t l = site_linear(ctx->m, layer, site);
    if (l.width == 0) return;
    dropout_t key;
    void *behind = mat_column(be, x, l.w[0]->cols);
    be->adapter_fwd(be, ctx->T, x.p, x.ld, &l, ctx->m->lora->scale, site_dropout(ctx, layer, site, &key), behind, x.ld);
    if (u.p && u.p != behind) be->copy_rows(be, u.p, u.ld, behind, x.ld, ctx->T, l.width);
}

void site_fwd(const block_ctx_t *ctx, size_t layer, site_t site, mat_t x, mat_t u, mat_t y) {
    backend_t *be = ctx->m->be;
    linear_t l = site_linear(ctx->m, layer, site);
    site_adapters_fwd(ctx, layer, site, x, u);
    be->linear_fwd(be, ctx->T, x.p, x.ld, &l, y.p, y.ld);
}

/* du, behind dy, and the gradients of A and B from it. */
static void adapters_bwd(const block_ctx_t *ctx, const lora_site_t *ls, const linear_t *l, mat_t x, mat_t u, mat_t dy,
                         const dropout_t *drop) {
    const lora_t *lora = ctx->m->lora;
    backend_t *be = ctx->m->be;
    size_t r = l->r, first = 0, j = 0, rows = linear_rows_of(l);
    void *du = mat_column(be, dy, rows);
    for (size_t i = 0; i < l->n; first += l->w[i++]->rows) {
        if (!l->b[i]) continue;
        size_t out = l->w[i]->rows;
        const void *dy_i = mat_column(be, dy, first);
        be->gemm(be, false, false, ctx->T, r, out, lora->scale, dy_i, be->act, dy.ld, l->b[i], l->ab_type, r, 0.0f,
                 mat_column(be, dy, rows + j * r), be->act, dy.ld);
        be->gemm(be, true, false, out, r, ctx->T, 1.0f, dy_i, be->act, dy.ld, mat_column(be, u, j * r), be->act, u.ld,
                 1.0f, lora->grad + ls->b[j], DT_F32, r);
        j++;
    }
    be->adapter_grad(be, ctx->T, du, dy.ld, x.p, x.ld, l, drop, lora->grad + ls->a);
}

void site_bwd(const block_ctx_t *ctx, size_t layer, site_t site, mat_t x, mat_t u, mat_t dy, mat_t dx) {
    backend_t *be = ctx->m->be;
    linear_t l = site_linear(ctx->m, layer, site);
    dropout_t key;
    const dropout_t *drop = site_dropout(ctx, layer, site, &key);
    if (l.width) adapters_bwd(ctx, lora_site(ctx->m->lora, layer, site), &l, x, u, dy, drop);
    if (dx.p) be->linear_bwd(be, ctx->T, dy.p, dy.ld, &l, drop, dx.p, dx.ld);
}
