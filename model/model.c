/* The passes over the whole model: embedding, blocks, head and loss, and the way back. */
#include "model/model.h"

#include <stdlib.h>

#include "base/mem.h"
#include "base/minmax.h"
#include "model/backend/element.h"
#include "model/block.h"
#include "model/site.h"

/* Where the trained tokens stand, for the dropout of the head's adapter. */
static void upload_targets(model_t *m, acts_t *a, const batch_t *b) {
    int32_t *at = xmalloc(2 * b->n_labels * sizeof *at + 1);
    for (size_t i = 0; i < b->n_labels; i++) {
        at[i] = b->row[b->target_idx[i]];
        at[b->n_labels + i] = b->row_pos[b->target_idx[i]];
    }
    m->be->upload(m->be, a->target_row, at, b->n_labels * sizeof *at);
    m->be->upload(m->be, a->target_pos, at + b->n_labels, b->n_labels * sizeof *at);
    free(at);
}

/* Puts the micro-batch on the device and describes its segments. */
static attn_segments_t upload_batch(model_t *m, acts_t *a, const batch_t *b) {
    backend_t *be = m->be;
    CHECK(b->T > 0 && b->T <= a->T && b->max_seg <= m->rope_len);
    int32_t *len = xmalloc(b->n_seg * sizeof *len);
    for (size_t i = 0; i < b->n_seg; i++) len[i] = b->seg_off[i + 1] - b->seg_off[i];
    be->upload(be, a->ids, b->ids, b->T * sizeof(int32_t));
    be->upload(be, a->pos, b->pos, b->T * sizeof(int32_t));
    be->upload(be, a->row, b->row, b->T * sizeof(int32_t));
    be->upload(be, a->row_pos, b->row_pos, b->T * sizeof(int32_t));
    be->upload(be, a->seg_off, b->seg_off, (b->n_seg + 1) * sizeof(int32_t));
    be->upload(be, a->seg_len, len, b->n_seg * sizeof(int32_t));
    be->upload(be, a->target_idx, b->target_idx, b->n_labels * sizeof(int32_t));
    be->upload(be, a->target, b->target, b->n_labels * sizeof(int32_t));
    free(len);
    if (a->target_row) upload_targets(m, a, b);
    return (attn_segments_t){.n = b->n_seg,
                             .q_off = a->seg_off,
                             .kv_off = a->seg_off,
                             .kv_len = a->seg_len,
                             .max_q = b->max_seg,
                             .max_kv = b->max_seg};
}

static void embed(const block_ctx_t *ctx) {
    const model_t *m = ctx->m;
    const model_config_t *c = &m->config;
    mat_t x = {ctx->a->blocks[0].x, c->hidden};
    float scale = (float)c->embed_scale;
    m->be->embed(m->be, x.p, &m->embed, ctx->a->ids, ctx->T);
    if (c->embed_scale_rounded && m->be->act == DT_BF16) scale = bf16_round(scale);
    /* Noise is of what the embedding module of transformers gives: Gemma's scales it itself, Granite's is scaled after. */
    if (ctx->noise && !c->embed_scale_rounded) m->be->add_noise(m->be, x.p, ctx->noise, ctx->T, c->hidden);
    if (scale != 1) m->be->scale_rows(m->be, x, x, scale, ctx->T, c->hidden);
    if (ctx->noise && c->embed_scale_rounded) m->be->add_noise(m->be, x.p, ctx->noise, ctx->T, c->hidden);
}

/* Layers first up to, not including, end. */
static void forward(const block_ctx_t *ctx, size_t first, size_t end) {
    model_t *m = ctx->m;
    acts_t *a = ctx->a;
    if (first == 0) {
        embed(ctx);
        block_enter(ctx, 0, &a->blocks[0]);
    }
    for (size_t l = first; l < end; l++) {
        model_acquire_layer(m, l, 1);
        block_fwd(ctx, l, &a->blocks[l], l + 1 < m->config.layers ? &a->blocks[l + 1] : NULL);
        model_release_layer(m, l);
    }
}

/* The same layers, the last one first. */
static void backward(const block_ctx_t *ctx, size_t first, size_t end) {
    model_t *m = ctx->m;
    acts_t *a = ctx->a;
    size_t recomputed = m->config.layers - a->n_kept;
    for (size_t l = end; l-- > first;) {
        model_acquire_layer(m, l, -1);
        /* The forward left the last recomputed block's values in the shared place. */
        bool again = l + 1 < recomputed;
        if (again) block_refwd(ctx, l, &a->blocks[l]);
        block_bwd(ctx, l, &a->blocks[l], again);
        model_release_layer(m, l);
    }
}

/* Rows of [chunk,C]. */
static mat_t rows_of(const model_t *m, void *p) { return (mat_t){p, m->config.hidden}; }

/* u of the head's adapter, behind the rows that it is of. */
static mat_t head_u(const model_t *m, const acts_t *a) {
    return (mat_t){mat_column(m->be, a->hn, m->config.hidden), a->hn.ld};
}

/* The dropout of the head's adapter, for the rows from target i on; NULL: none. */
static const dropout_t *head_dropout(const model_t *m, const acts_t *a, const dropout_t *drop, size_t i,
                                     dropout_t *key) {
    if (!drop || !m->lora->head.n) return NULL;
    *key = *drop;
    key->layer = (uint32_t)m->config.layers;
    key->site = 0;
    key->row = a->target_row + i;
    key->pos = a->target_pos + i;
    return key;
}

static logit_map_t logit_map_of(const model_t *m) {
    return (logit_map_t){(float)m->config.logit_scale, (float)m->config.logit_softcap};
}

/* Products with the head of n rows of the residual stream, named by `idx` on the device. */
static void head_fwd(model_t *m, acts_t *a, const int32_t *idx, size_t n, const dropout_t *drop) {
    backend_t *be = m->be;
    linear_t head = head_linear(m);
    be->gather_rows(be, rows_of(m, a->hx), rows_of(m, a->x_out), idx, n, m->config.hidden);
    be->rmsnorm_fwd(be, a->hn, a->hrstd, rows_of(m, a->hx), &m->final_norm, n);
    if (linear_width(&head)) be->adapter_fwd(be, n, a->hn, &head, drop, head_u(m, a));
    be->linear_fwd(be, n, a->hn, &head, a->logits);
}

/* a->logits holds their gradient; a->dx gets these rows of the residual stream's. */
static void head_bwd(model_t *m, acts_t *a, const int32_t *idx, size_t n, const dropout_t *drop) {
    backend_t *be = m->be;
    linear_t head = head_linear(m);
    if (linear_width(&head)) adapters_bwd(m, n, &m->lora->head, &head, a->hn, head_u(m, a), a->logits, drop);
    be->linear_bwd(be, n, a->logits, &head, drop, rows_of(m, a->hdn));
    be->rmsnorm_bwd(be, rows_of(m, a->hdx), false, rows_of(m, a->hdn), rows_of(m, a->hx), &m->final_norm, a->hrstd, n);
    be->scatter_rows(be, a->dx, rows_of(m, a->hdx), idx, n, m->config.hidden);
}

/* ---- passes ----------------------------------------------------------------------------------------------------- */

/* All that a pass queues follows from this; what it takes from the host is on the device. */
typedef struct {
    pass_t pass;
    block_ctx_t ctx;
    size_t n_labels, chunks; /* of the rows that the head takes */
    float grad_scale;        /* PASS_TRAIN */
    size_t part;             /* that is to be queued: some layers, the head, or the same layers on the way back */
} work_t;

/* Layers are queued in so many parts, if there are as many: the device runs one while the host prepares the next. */
enum { SPANS = 4 };
static size_t spans_of(const model_t *m) { return min_size(SPANS, m->config.layers); }
static size_t span_begin(const model_t *m, size_t i) { return piece_begin(m->config.layers, spans_of(m), 1, i); }

/* Chunks of one size: the head is read and decoded as often for a last one of few rows. */
static size_t chunks_of(const acts_t *a, size_t n_labels) { return (n_labels + a->chunk - 1) / a->chunk; }

/* Head and loss over the trained rows alone, a chunk of logits at a time; of a training pass also a->dx. */
static void loss_and_head(const work_t *p) {
    model_t *m = p->ctx.m;
    acts_t *a = p->ctx.a;
    backend_t *be = m->be;
    const bool want_grad = p->pass == PASS_TRAIN;
    if (want_grad) be->zero(be, a->dx.p, p->ctx.T * a->dx.ld * dtype_size(be->act));
    for (size_t c = 0; c < p->chunks; c++) {
        size_t i = piece_begin(p->n_labels, p->chunks, a->tile, c);
        size_t n = piece_begin(p->n_labels, p->chunks, a->tile, c + 1) - i;
        dropout_t key;
        const dropout_t *d = head_dropout(m, a, p->ctx.dropout, i, &key);
        head_fwd(m, a, a->target_idx + i, n, d);
        be->ce_loss(be, a->logits, a->row_loss + i, a->target + i, n, m->config.vocab, logit_map_of(m), want_grad,
                    p->grad_scale);
        if (want_grad) head_bwd(m, a, a->target_idx + i, n, d);
    }
}

static void queue_part(void *work) {
    const work_t *p = work;
    const model_t *m = p->ctx.m;
    size_t spans = spans_of(m), back = 2 * spans - p->part;
    if (p->part < spans) forward(&p->ctx, span_begin(m, p->part), span_begin(m, p->part + 1));
    else if (p->part > spans) backward(&p->ctx, span_begin(m, back), span_begin(m, back + 1));
    else if (p->pass == PASS_GENERATE) head_fwd(p->ctx.m, p->ctx.a, p->ctx.a->target_idx, 1, NULL);
    else loss_and_head(p);
}

/* Where weights are paged, copies and waits for them lie between the ops. */
static void run_part(work_t *p) {
    const model_t *m = p->ctx.m;
    bool head = p->part == spans_of(m);
    record_key_t key = {.kind = (uint32_t)p->pass,
                        .part = (uint32_t)p->part,
                        .pieces = head ? p->chunks : 1,
                        .tokens = p->ctx.T,
                        .width = m->config.hidden};
    if (m->be->recorded && !m->n_paged) m->be->recorded(m->be, &key, queue_part, p);
    else queue_part(p);
}

static void run_pass(work_t *p) {
    model_t *m = p->ctx.m;
    size_t spans = spans_of(m), parts = spans + 1 + (p->pass == PASS_TRAIN ? spans : 0);
    model_cache_augmented(m);
    for (p->part = 0; p->part < parts; p->part++) run_part(p);
}

/* The sum of the losses of a pass, and themselves where token_loss is not NULL. */
static double read_losses(const work_t *p, float *token_loss) {
    backend_t *be = p->ctx.m->be;
    float *rows = token_loss ? token_loss : xmalloc(p->n_labels * sizeof *rows);
    be->download(be, rows, p->ctx.a->row_loss, p->n_labels * sizeof *rows);
    double sum = 0;
    for (size_t i = 0; i < p->n_labels; i++) sum += rows[i];
    if (!token_loss) free(rows);
    return sum;
}

void model_train(model_t *m, acts_t *a, const batch_t *b, pass_seed_t seed, float grad_scale, double *loss_sum) {
    CHECK(m->lora && m->lora->grad);
    dropout_t drop = {
        .seed = seed.seed, .step = seed.step, .p = (float)m->lora->spec.dropout, .row = a->row, .pos = a->row_pos};
    neftune_t noise = {.seed = seed.seed,
                       .step = seed.step,
                       .alpha = (float)m->noise_alpha,
                       .row = a->row,
                       .pos = a->row_pos,
                       .seg_off = a->seg_off,
                       .n_seg = b->n_seg};
    work_t p = {.pass = PASS_TRAIN,
                .ctx = {.m = m,
                        .a = a,
                        .T = b->T,
                        .seg = upload_batch(m, a, b),
                        .dropout = drop.p > 0 ? &drop : NULL,
                        .noise = noise.alpha > 0 ? &noise : NULL},
                .n_labels = b->n_labels,
                .chunks = chunks_of(a, b->n_labels),
                .grad_scale = grad_scale};
    *loss_sum = 0;
    if (b->n_labels == 0) return;
    run_pass(&p);
    *loss_sum = read_losses(&p, NULL);
}

void model_loss(model_t *m, acts_t *a, const batch_t *b, double *loss_sum, float *token_loss) {
    work_t p = {.pass = PASS_LOSS,
                .ctx = {.m = m, .a = a, .T = b->T, .seg = upload_batch(m, a, b)},
                .n_labels = b->n_labels,
                .chunks = chunks_of(a, b->n_labels)};
    *loss_sum = 0;
    if (b->n_labels == 0) return;
    run_pass(&p);
    *loss_sum = read_losses(&p, token_loss);
}

static void map_logits(const model_t *m, float *x, size_t n) {
    logit_map_t map = logit_map_of(m);
    if (map.scale == 1 && map.cap == 0) return;
    for (size_t i = 0; i < n; i++) x[i] = logit_map(x[i], map);
}

/* The logits of the first n rows of a->logits, in fp32 on the host. */
static void download_logits(model_t *m, acts_t *a, size_t n, float *out) {
    size_t V = m->config.vocab, count = n * V, size = dtype_size(m->be->act);
    for (size_t i = 0; i < (a->logits.ld == V ? 1 : n); i++)
        m->be->download(m->be, (unsigned char *)out + i * V * size, mat_column(m->be, a->logits, i * a->logits.ld),
                        (a->logits.ld == V ? count : V) * size);
    if (m->be->act == DT_F32) {
        map_logits(m, out, count);
        return;
    }
    /* BF16 values fill the lower half of `out`: widen from the end, so that none is overwritten unread. */
    const bf16_t *narrow = (const bf16_t *)out;
    for (size_t i = count; i-- > 0;) {
        bf16_t h;
        memcpy(&h, narrow + i, sizeof h);
        out[i] = bf16_to_f32(h);
    }
    map_logits(m, out, count);
}

void model_logits(model_t *m, acts_t *a, const batch_t *b, float *logits) {
    block_ctx_t ctx = {.m = m, .a = a, .T = b->T, .seg = upload_batch(m, a, b)};
    model_cache_augmented(m);
    forward(&ctx, 0, m->config.layers);
    int32_t *all = xmalloc(b->T * sizeof *all);
    for (size_t t = 0; t < b->T; t++) all[t] = (int32_t)t;
    m->be->upload(m->be, a->target_idx, all, b->T * sizeof *all);
    free(all);
    for (size_t i = 0; i < b->T; i += a->chunk) {
        size_t n = b->T - i < a->chunk ? b->T - i : a->chunk;
        head_fwd(m, a, a->target_idx + i, n, NULL);
        download_logits(m, a, n, logits + i * m->config.vocab);
    }
}

void model_extend(model_t *m, acts_t *a, kv_cache_t *cache, const int32_t *ids, size_t n, float *logits) {
    backend_t *be = m->be;
    CHECK(n > 0 && n <= a->T && cache->len + n <= cache->cap && cache->cap <= m->rope_len);
    int32_t *pos = xmalloc(n * sizeof *pos);
    for (size_t i = 0; i < n; i++) pos[i] = (int32_t)(cache->len + i);
    be->upload(be, a->ids, ids, n * sizeof *ids);
    be->upload(be, a->pos, pos, n * sizeof *pos);
    free(pos);
    int32_t q_off[2] = {0, (int32_t)n}, kv_len = (int32_t)(cache->len + n), last = (int32_t)n - 1;
    be->upload(be, a->seg_off, q_off, sizeof q_off);
    be->upload(be, a->seg_len, &kv_len, sizeof kv_len);
    be->upload(be, a->target_idx, &last, sizeof last);
    work_t p = {.pass = PASS_GENERATE, .ctx = {.m = m, .a = a, .T = n, .cache = cache}, .n_labels = 1, .chunks = 1};
    p.ctx.seg = (attn_segments_t){
        .n = 1, .q_off = a->seg_off, .kv_off = a->seg_off, .kv_len = a->seg_len, .max_q = n, .max_kv = cache->len + n};
    run_pass(&p);
    cache->len += n;
    download_logits(m, a, 1, logits);
}

/* ---- scratch --------------------------------------------------------------------------------------------------- */

/* Elements of the largest augmented weight that is made for a use. q, k and v are taken together: then their output is
 * one product, and their input's gradient one sum. gate and up would double what this takes of the largest models. */
static size_t largest_augmented(const model_t *m) {
    size_t most = 0;
    for (size_t layer = 0; layer < m->config.layers; layer++)
        for (int s = 0; s < SITE_COUNT; s++) {
            linear_t l = site_linear(m, layer, (site_t)s);
            size_t rows = 0, width = linear_width(&l);
            for (size_t i = 0; i < l.n; i++)
                if (l.part[i].w->rows > rows) rows = l.part[i].w->rows;
            if (s == SITE_QKV) rows = linear_rows_of(&l);
            size_t n = (rows + width) * linear_ld(linear_cols_of(&l), width);
            if (linear_is_augmented(&l) && n > most) most = n;
        }
    /* A head that is not BF16 is decoded too, some rows at a time. */
    size_t head = m->head.type == QUANT_NONE ? 0 : m->head.rows * m->head.cols;
    return head > most ? head : most;
}

workspace_need_t model_workspace_need(const model_t *m, size_t max_tokens, size_t max_seg) {
    const model_config_t *c = &m->config;
    workspace_need_t n = {.max_tokens = max_tokens, .max_kv = max_seg};
    n.attn = (attn_shape_t){.Hq = c->heads, .Hkv = c->kv_heads, .D = c->head_dim, .softcap = (float)c->attn_softcap};
    n.attn_ld = acts_attention_ld(m);
    n.max_weight = c->vocab * c->hidden;
    n.max_augmented = largest_augmented(m);
    for (unsigned slot = 0; slot < LINEAR_SLOTS; slot++) {
        size_t rows = linear_rows(c, (linear_slot_t)slot), cols = linear_cols(c, (linear_slot_t)slot);
        if (rows * cols > n.max_weight) n.max_weight = rows * cols;
        if (rows > n.max_width) n.max_width = rows;
        if (cols > n.max_width) n.max_width = cols;
    }
    return n;
}
