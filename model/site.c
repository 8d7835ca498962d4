/* The linear layers of a block: frozen quantized weight plus LoRA (QLoRA, eq. 5), forward and backward. s is the
 * adapters' scale, which goes into u and du, so that no rounded copy of a weight is scaled:
 *
 *   u = [u_1 .. u_n] = s drop(x) [A_1; ..; A_n]^T,    y_i = x W_i^T + u_i B_i^T
 *   du_i = s dy_i B_i,                                dB_i += dy_i^T u_i
 *   dA += du^T drop(x),                               dx = drop'(du A) + sum_i dy_i W_i
 *
 * drop' is the same mask and scale: dropout is its own backward. u lies behind x and du behind dy, so that a backend
 * may compute y and dx as one product each, which writes every element once (linear_t in model/backend/backend.h). */
#include "model/site.h"

/* NULL in a plan, where nothing has a place. */
static const void *compute_at(const lora_t *lora, size_t offset) {
    if (!lora->compute) return NULL;
    return (const unsigned char *)lora->compute + offset * dtype_size(lora->compute_type);
}

/* Sets the adapters of a site beside its linear layers. */
static void add_adapters(const lora_t *lora, const lora_site_t *site, linear_t *l) {
    l->ab_type = lora->compute_type;
    for (size_t j = 0, first = 0; j < site->n; first += site->r[j++]) {
        linear_part_t *part = &l->part[site->member[j]];
        part->r = site->r[j];
        part->scale = site->scale[j];
        part->a = compute_at(lora, site->a + first * part->w->cols);
        part->b = compute_at(lora, site->b[j]);
    }
}

linear_t site_linear(const model_t *m, size_t layer, site_t site) {
    linear_slot_t slots[LINEAR_MAX];
    const layer_t *w = &m->layers[layer];
    linear_t l = {.n = arch_site(m->config.arch, site, slots)};
    for (size_t i = 0; i < l.n; i++) l.part[i] = (linear_part_t){.w = &w->w[slots[i]], .bias = w->bias[slots[i]]};
    /* Augmented weights hold the adapters, so what is without them takes the weights themselves. */
    if (layer < m->n_cached && !m->base_alone) l.augmented = w->augmented[site];
    if (m->lora && !m->base_alone) add_adapters(m->lora, lora_site(m->lora, layer, site), &l);
    return l;
}

linear_t head_linear(const model_t *m) {
    linear_t l = {.n = 1, .part = {{.w = &m->head}}, .apart = true};
    if (m->lora && !m->base_alone) add_adapters(m->lora, &m->lora->head, &l);
    return l;
}

void model_cache_augmented(model_t *m) {
    uint64_t now = 1 + (m->lora ? m->lora->changes : 0);
    if (m->cached == now || m->base_alone) return;
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
    size_t width = linear_width(&l);
    if (width == 0) return;
    dropout_t key;
    mat_t behind = {mat_column(be, x, linear_cols_of(&l)), x.ld};
    be->adapter_fwd(be, ctx->T, x, &l, site_dropout(ctx, layer, site, &key), behind);
    if (u.p && u.p != behind.p) be->copy_rows(be, u, behind, ctx->T, width);
}

void site_fwd(const block_ctx_t *ctx, size_t layer, site_t site, mat_t x, mat_t u, mat_t y) {
    backend_t *be = ctx->m->be;
    linear_t l = site_linear(ctx->m, layer, site);
    site_adapters_fwd(ctx, layer, site, x, u);
    be->linear_fwd(be, ctx->T, x, &l, y);
}

/* du lies behind dy. */
static mat_t du_of(const backend_t *be, const linear_t *l, mat_t dy) {
    return (mat_t){mat_column(be, dy, linear_rows_of(l)), dy.ld};
}

static void adapters_bwd_b(const model_t *m, size_t T, const lora_site_t *ls, const linear_t *l, mat_t u, mat_t dy) {
    float *dB[LINEAR_MAX] = {NULL};
    for (size_t j = 0; j < ls->n; j++) dB[ls->member[j]] = m->lora->grad + ls->b[j];
    m->be->adapter_bwd(m->be, T, dy, u, l, du_of(m->be, l, dy), dB);
}

static void adapters_bwd_a(const model_t *m, size_t T, const lora_site_t *ls, const linear_t *l, mat_t x, mat_t dy,
                           const dropout_t *drop) {
    m->be->adapter_grad(m->be, T, du_of(m->be, l, dy), x, l, drop, m->lora->grad + ls->a);
}

void adapters_bwd(const model_t *m, size_t T, const lora_site_t *ls, const linear_t *l, mat_t x, mat_t u, mat_t dy,
                  const dropout_t *drop) {
    adapters_bwd_b(m, T, ls, l, u, dy);
    adapters_bwd_a(m, T, ls, l, x, dy, drop);
}

void site_bwd(const block_ctx_t *ctx, size_t layer, site_t site, mat_t x, mat_t u, mat_t dy, mat_t dx) {
    backend_t *be = ctx->m->be;
    linear_t l = site_linear(ctx->m, layer, site);
    dropout_t key;
    const dropout_t *drop = site_dropout(ctx, layer, site, &key);
    if (linear_width(&l)) adapters_bwd(ctx->m, ctx->T, lora_site(ctx->m->lora, layer, site), &l, x, u, dy, drop);
    if (dx.p) be->linear_bwd(be, ctx->T, dy, &l, drop, dx);
}

void site_bwd_dx(const block_ctx_t *ctx, size_t layer, site_t site, mat_t u, mat_t dy, mat_t dx) {
    backend_t *be = ctx->m->be;
    linear_t l = site_linear(ctx->m, layer, site);
    dropout_t key;
    if (linear_width(&l)) adapters_bwd_b(ctx->m, ctx->T, lora_site(ctx->m->lora, layer, site), &l, u, dy);
    be->linear_bwd(be, ctx->T, dy, &l, site_dropout(ctx, layer, site, &key), dx);
}

void site_bwd_a(const block_ctx_t *ctx, size_t layer, site_t site, mat_t x, mat_t dy) {
    linear_t l = site_linear(ctx->m, layer, site);
    dropout_t key;
    if (linear_width(&l))
        adapters_bwd_a(ctx->m, ctx->T, lora_site(ctx->m->lora, layer, site), &l, x, dy,
                       site_dropout(ctx, layer, site, &key));
}
