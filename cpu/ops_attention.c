/* Attention in tiles (FlashAttention-2, Dao 2023): memory does not grow with the square of the sequence. The
 * inner products of a tile are sgemm on one thread; each task owns what it writes, so nothing is added across
 * threads. */
#include <math.h>
#include <omp.h>
#include <string.h>

#include "base/minmax.h"
#include "cpu/act.h"
#include "cpu/blas.h"
#include "cpu/ops.h"

enum {
    TILE_Q = 64,
    TILE_KV = 256, /* forward */
    TILE_KV_BWD = 128
};
_Static_assert(TILE_KV_BWD % TILE_Q == 0, "a tile of keys starts where a tile of queries does");

/* ---- scratch of one thread, in floats ---------------------------------------------------------------- */

static size_t fwd_floats(const backend_t *be, size_t D) {
    size_t widened = be->act == DT_BF16 ? (TILE_Q + 2 * TILE_KV) * D : 0;
    return TILE_Q * TILE_KV + TILE_Q * D + widened;
}

static size_t bwd_floats(const backend_t *be, size_t D, size_t tokens) {
    size_t widened = be->act == DT_BF16 ? 7 * tokens * D : 0;
    return 2 * TILE_Q * TILE_KV_BWD + tokens + widened;
}

/* Rounded to whole cache lines, so that threads do not share one. */
static size_t per_thread(size_t floats) { return (floats + 15) / 16 * 16; }

size_t tuned_attention_floats(const backend_t *be, const workspace_need_t *need) {
    size_t fwd = fwd_floats(be, need->attn.D), bwd = bwd_floats(be, need->attn.D, need->max_kv);
    return (size_t)be->threads * per_thread(max_size(fwd, bwd));
}

/* ---- tiles ------------------------------------------------------------------------------------------- */

/* Where head `head` of rows from t0 on begins; rows lie ld apart. */
static size_t head_at(const attn_shape_t *shape, size_t t0, size_t ld, size_t head) {
    return t0 * ld + head * shape->D;
}

/* Rows of one head in fp32: in place, or widened. */
typedef struct {
    float *p;
    size_t ld;
} rows_t;

/* `n` rows of D values, `stride` apart, from element `first` of x. Where x is fp32 the rows are used in place:
 * callers write only to rows of outputs. */
static rows_t rows_load(const backend_t *be, const void *x, size_t first, size_t stride, size_t n, size_t D,
                        float *scratch) {
    if (be->act == DT_F32) return (rows_t){(float *)x + first, stride};
    for (size_t i = 0; i < n; i++)
        cpu_kernels(be)->cast(scratch + i * D, DT_F32, act_at_const(x, DT_BF16, first + i * stride), DT_BF16, D);
    return (rows_t){scratch, D};
}

/* Rows of an output that starts at zero: in place, or in scratch until rows_store(). */
static rows_t rows_zero(const backend_t *be, void *x, size_t first, size_t stride, size_t n, size_t D, float *scratch) {
    rows_t r = be->act == DT_F32 ? (rows_t){(float *)x + first, stride} : (rows_t){scratch, D};
    for (size_t i = 0; i < n; i++) memset(r.p + i * r.ld, 0, sizeof(float) * D);
    return r;
}

static void rows_store(const backend_t *be, void *x, size_t first, size_t stride, size_t n, size_t D, rows_t r) {
    if (be->act == DT_F32) return;
    for (size_t i = 0; i < n; i++)
        cpu_kernels(be)->cast(act_at(x, DT_BF16, first + i * stride), DT_BF16, r.p + i * r.ld, DT_F32, D);
}

/* What a score is multiplied by under the exponential: a cap has scaled it already. */
static float exp_scale(const attn_shape_t *shape) { return shape->softcap > 0 ? 1 : shape->scale; }

/* Keys that a query sees, counted from the first key of its segment. */
typedef struct {
    size_t first, end;
} range_t;

static range_t visible(const attn_shape_t *shape, size_t query, size_t n_q, size_t n_kv) {
    size_t end = n_kv - n_q + query + 1;
    return (range_t){shape->window && end > shape->window ? end - shape->window : 0, end};
}

/* The part of `r` in the tile of n keys at k0, counted from k0; empty where they do not meet. */
static range_t in_tile(range_t r, size_t k0, size_t n) {
    size_t first = r.first > k0 ? min_size(r.first - k0, n) : 0, end = r.end > k0 ? min_size(r.end - k0, n) : 0;
    return (range_t){first, max_size(first, end)};
}

/* ---- forward ----------------------------------------------------------------------------------------- */

/* A tile of queries of one head, with its running softmax: row maxima, sums and unnormalized output. */
typedef struct {
    float max[TILE_Q], sum[TILE_Q];
    float *out; /* [n, D] */
} online_t;

/* Turns the scores s[n, keys] of a tile into probabilities relative to the new row maxima. */
static void online_softmax(const backend_t *be, online_t *st, float *s, const range_t *seen, size_t n, size_t k0,
                           size_t keys, const attn_shape_t *shape) {
    const cpu_kernels_t *k = cpu_kernels(be);
    float scale = exp_scale(shape);
    for (size_t i = 0; i < n; i++) {
        float *row = s + i * keys;
        range_t r = in_tile(seen[i], k0, keys);
        memset(row, 0, sizeof(float) * r.first);
        memset(row + r.end, 0, sizeof(float) * (keys - r.end));
        if (r.first == r.end) continue;
        if (shape->softcap > 0) k->softcap(row + r.first, r.end - r.first, shape->scale, shape->softcap, NULL);
        float top = fmaxf(st->max[i], scale * k->max(row + r.first, r.end - r.first));
        float shrink = expf(st->max[i] - top);
        if (shrink != 1.0f) k->scale(st->out + i * shape->D, shape->D, shrink);
        st->sum[i] = st->sum[i] * shrink + k->exp_sum(row + r.first, r.end - r.first, scale, top);
        st->max[i] = top;
    }
}

typedef struct {
    void *o;
    float *lse;
    const void *q, *k, *v;
    const attn_shape_t *shape;
    const attn_segments_t *seg;
} fwd_t;

static void fwd_tile(const backend_t *be, const fwd_t *f, size_t s, size_t head, size_t q0, float *scratch) {
    const attn_shape_t *shape = f->shape;
    size_t D = shape->D;
    size_t n_q = (size_t)(f->seg->q_off[s + 1] - f->seg->q_off[s]), n_kv = (size_t)f->seg->kv_len[s];
    size_t n = min_size(TILE_Q, n_q - q0), t0 = (size_t)f->seg->q_off[s] + q0;
    size_t kv_head = head / (shape->Hq / shape->Hkv);
    CHECK(n_kv >= n_q && n_q <= f->seg->max_q && shape->scale > 0);

    float *scores = scratch, *wide_q, *wide_k, *wide_v;
    online_t st = {.out = scores + TILE_Q * TILE_KV};
    wide_q = st.out + TILE_Q * D;
    wide_k = wide_q + TILE_Q * D;
    wide_v = wide_k + TILE_KV * D;
    range_t seen[TILE_Q];
    for (size_t i = 0; i < n; i++) {
        seen[i] = visible(shape, q0 + i, n_q, n_kv);
        st.max[i] = -INFINITY;
        st.sum[i] = 0;
    }
    memset(st.out, 0, sizeof(float) * n * D);
    rows_t q = rows_load(be, f->q, head_at(shape, t0, shape->ld_q, head), shape->ld_q, n, D, wide_q);
    for (size_t k0 = seen[0].first; k0 < seen[n - 1].end; k0 += TILE_KV) {
        size_t keys = min_size(TILE_KV, seen[n - 1].end - k0);
        size_t row = (size_t)f->seg->kv_off[s] + k0;
        rows_t k = rows_load(be, f->k, head_at(shape, row, shape->ld_k, kv_head), shape->ld_k, keys, D, wide_k);
        rows_t v = rows_load(be, f->v, head_at(shape, row, shape->ld_v, kv_head), shape->ld_v, keys, D, wide_v);
        blas_sgemm(false, true, n, keys, D, 1, q.p, q.ld, k.p, k.ld, 0, scores, keys);
        online_softmax(be, &st, scores, seen, n, k0, keys, shape);
        blas_sgemm(false, false, n, D, keys, 1, scores, keys, v.p, v.ld, 1, st.out, D);
    }
    for (size_t i = 0; i < n; i++) {
        cpu_kernels(be)->scale(st.out + i * D, D, 1.0f / st.sum[i]);
        void *o = act_at(f->o, be->act, head_at(shape, t0 + i, shape->ld_o, head));
        cpu_kernels(be)->cast(o, be->act, st.out + i * D, DT_F32, D);
        if (f->lse) f->lse[(t0 + i) * shape->Hq + head] = st.max[i] + logf(st.sum[i]);
    }
}

static void attn_fwd(backend_t *be, void *o, float *lse, const void *q, const void *k, const void *v,
                     const attn_shape_t *shape, const attn_segments_t *seg) {
    const fwd_t f = {o, lse, q, k, v, shape, seg};
    size_t tiles = (seg->max_q + TILE_Q - 1) / TILE_Q, floats = per_thread(fwd_floats(be, shape->D));
    CHECK(be->workspace_size >= sizeof(float) * floats * (size_t)be->threads);
#pragma omp parallel num_threads(be->threads)
    {
        float *scratch = (float *)be->workspace + floats * (size_t)omp_get_thread_num();
#pragma omp for schedule(dynamic)
        for (size_t task = 0; task < seg->n * tiles * shape->Hq; task++) {
            size_t s = task / (tiles * shape->Hq), tile = task / shape->Hq % tiles, head = task % shape->Hq;
            if ((size_t)(seg->q_off[s + 1] - seg->q_off[s]) > tile * TILE_Q)
                fwd_tile(be, &f, s, head, tile * TILE_Q, scratch);
        }
    }
}

/* ---- backward ---------------------------------------------------------------------------------------- */

typedef struct {
    void *dq, *dk, *dv;
    const void *dout, *q, *k, *v, *o;
    const float *lse;
    const attn_shape_t *shape;
    const attn_segments_t *seg;
} bwd_t;

/* One head of q against its head of k and v, over one segment. */
typedef struct {
    rows_t q, dout, dq, k, v, dk, dv;
    const float *lse; /* of the segment's first query; Hq apart */
    float *delta;     /* [n] dout . o */
    size_t n;
} head_t;

/* Of one query: its scores become probabilities p, and dp becomes the gradient ds of the products with the keys, 0
 * where a key is not seen. */
static void row_bwd(const backend_t *be, const attn_shape_t *shape, range_t seen, size_t keys, float lse, float delta,
                    float *p, float *ds) {
    const cpu_kernels_t *k = cpu_kernels(be);
    size_t n = seen.end - seen.first;
    float slope[TILE_KV_BWD];
    if (shape->softcap > 0) k->softcap(p + seen.first, n, shape->scale, shape->softcap, slope);
    k->exp_sum(p + seen.first, n, exp_scale(shape), lse);
    memset(p, 0, sizeof(float) * seen.first);
    memset(p + seen.end, 0, sizeof(float) * (keys - seen.end));
    k->score_grad(ds, p, keys, delta);
    if (shape->softcap > 0) k->multiply(ds + seen.first, slope, n);
    k->scale(ds, keys, shape->scale);
}

/* The tile of queries q0.. and keys k0..: p = exp(scores - lse), dS = p * (dout v^T - delta), and their
 * products into dq, dk, dv. */
static void bwd_tile(const backend_t *be, const attn_shape_t *shape, const head_t *h, size_t q0, size_t k0,
                     float *scratch) {
    size_t D = shape->D, n = min_size(TILE_Q, h->n - q0), keys = min_size(TILE_KV_BWD, h->n - k0);
    keys = min_size(keys, q0 + n - k0); /* what the last query sees */
    float *p = scratch, *ds = p + TILE_Q * TILE_KV_BWD;
    const float *q = h->q.p + q0 * h->q.ld, *dout = h->dout.p + q0 * h->dout.ld;
    const float *k = h->k.p + k0 * h->k.ld, *v = h->v.p + k0 * h->v.ld;

    blas_sgemm(false, true, n, keys, D, 1, q, h->q.ld, k, h->k.ld, 0, p, keys);
    blas_sgemm(false, true, n, keys, D, 1, dout, h->dout.ld, v, h->v.ld, 0, ds, keys);
    for (size_t i = 0; i < n; i++) {
        range_t seen = in_tile(visible(shape, q0 + i, h->n, h->n), k0, keys);
        row_bwd(be, shape, seen, keys, h->lse[(q0 + i) * shape->Hq], h->delta[q0 + i], p + i * keys, ds + i * keys);
    }
    blas_sgemm(true, false, keys, D, n, 1, p, keys, dout, h->dout.ld, 1, h->dv.p + k0 * h->dv.ld, h->dv.ld);
    blas_sgemm(true, false, keys, D, n, 1, ds, keys, q, h->q.ld, 1, h->dk.p + k0 * h->dk.ld, h->dk.ld);
    blas_sgemm(false, false, n, D, keys, 1, ds, keys, k, h->k.ld, 1, h->dq.p + q0 * h->dq.ld, h->dq.ld);
}

static void bwd_head(const backend_t *be, const attn_shape_t *shape, const head_t *h, float *scratch) {
    for (size_t k0 = 0; k0 < h->n; k0 += TILE_KV_BWD) {
        for (size_t q0 = k0 / TILE_Q * TILE_Q; q0 < h->n; q0 += TILE_Q) {
            /* Past the window of the tile's first query, no later query sees these keys either. */
            if (visible(shape, q0, h->n, h->n).first >= k0 + TILE_KV_BWD) break;
            bwd_tile(be, shape, h, q0, k0, scratch);
        }
    }
}

/* All the heads of q that share one head of k and v: the owner of its dk and dv. */
static void bwd_group(const backend_t *be, const bwd_t *b, size_t s, size_t kv_head, float *scratch) {
    const attn_shape_t *shape = b->shape;
    size_t D = shape->D, group = shape->Hq / shape->Hkv;
    size_t t0 = (size_t)b->seg->q_off[s], n = (size_t)b->seg->q_off[s + 1] - t0;
    size_t dkv = head_at(shape, t0, shape->ld_dqkv, kv_head);
    CHECK((size_t)b->seg->kv_off[s] == t0 && (size_t)b->seg->kv_len[s] == n && n <= b->seg->max_kv);
    float *tiles = scratch, *wide = tiles + 2 * TILE_Q * TILE_KV_BWD + n;
    head_t h = {.delta = tiles + 2 * TILE_Q * TILE_KV_BWD, .n = n};
    h.k = rows_load(be, b->k, head_at(shape, t0, shape->ld_k, kv_head), shape->ld_k, n, D, wide);
    h.v = rows_load(be, b->v, head_at(shape, t0, shape->ld_v, kv_head), shape->ld_v, n, D, wide + n * D);
    h.dk = rows_zero(be, b->dk, dkv, shape->ld_dqkv, n, D, wide + 2 * n * D);
    h.dv = rows_zero(be, b->dv, dkv, shape->ld_dqkv, n, D, wide + 3 * n * D);
    for (size_t head = kv_head * group; head < (kv_head + 1) * group; head++) {
        size_t dq = head_at(shape, t0, shape->ld_dqkv, head);
        h.lse = b->lse + t0 * shape->Hq + head;
        h.q = rows_load(be, b->q, head_at(shape, t0, shape->ld_q, head), shape->ld_q, n, D, wide + 4 * n * D);
        h.dout = rows_load(be, b->dout, head_at(shape, t0, shape->ld_dout, head), shape->ld_dout, n, D,
                           wide + 5 * n * D);
        rows_t o = rows_load(be, b->o, head_at(shape, t0, shape->ld_o, head), shape->ld_o, n, D, wide + 6 * n * D);
        for (size_t i = 0; i < n; i++) h.delta[i] = cpu_kernels(be)->dot(h.dout.p + i * h.dout.ld, o.p + i * o.ld, D);
        h.dq = rows_zero(be, b->dq, dq, shape->ld_dqkv, n, D, wide + 6 * n * D);
        bwd_head(be, shape, &h, tiles);
        rows_store(be, b->dq, dq, shape->ld_dqkv, n, D, h.dq);
    }
    rows_store(be, b->dk, dkv, shape->ld_dqkv, n, D, h.dk);
    rows_store(be, b->dv, dkv, shape->ld_dqkv, n, D, h.dv);
}

static void attn_bwd(backend_t *be, void *dq, void *dk, void *dv, const void *dout, const void *q, const void *k,
                     const void *v, const void *o, const float *lse, const attn_shape_t *shape,
                     const attn_segments_t *seg) {
    const bwd_t b = {dq, dk, dv, dout, q, k, v, o, lse, shape, seg};
    size_t floats = per_thread(bwd_floats(be, shape->D, seg->max_kv));
    CHECK(be->workspace_size >= sizeof(float) * floats * (size_t)be->threads);
#pragma omp parallel num_threads(be->threads)
    {
        float *scratch = (float *)be->workspace + floats * (size_t)omp_get_thread_num();
#pragma omp for schedule(dynamic)
        for (size_t task = 0; task < seg->n * shape->Hkv; task++)
            bwd_group(be, &b, task / shape->Hkv, task % shape->Hkv, scratch);
    }
}

void tuned_attention_ops(backend_t *be) {
    be->attn_fwd = attn_fwd;
    be->attn_bwd = attn_bwd;
}
