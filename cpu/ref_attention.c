/* Attention by its definition, one query row at a time. */
#include <math.h>
#include <string.h>

#include "cpu/act.h"
#include "cpu/ref.h"

size_t ref_workspace_bytes(backend_t *be, const workspace_need_t *need) {
    (void)be;
    return sizeof(double) * (need->max_kv + 2 * need->attn.D);
}

/* The keys that query j of segment s sees: rows [first, end) of k. */
typedef struct {
    size_t first, end;
} key_range_t;

static key_range_t visible_keys(const attn_shape_t *shape, const attn_segments_t *seg, size_t s, size_t j) {
    size_t n = (size_t)(seg->q_off[s + 1] - seg->q_off[s]), kv = (size_t)seg->kv_off[s];
    CHECK((size_t)seg->kv_len[s] >= n);
    size_t last = (size_t)seg->kv_len[s] - n + j;
    size_t first = shape->window && last + 1 > shape->window ? last + 1 - shape->window : 0;
    return (key_range_t){kv + first, kv + last + 1};
}

/* A scaled score as it enters the softmax. */
static double capped(const attn_shape_t *shape, double s) {
    return shape->softcap > 0 ? shape->softcap * tanh(s / shape->softcap) : s;
}

/* The derivative of capped(), from its value. */
static double capped_grad(const attn_shape_t *shape, double s) {
    return shape->softcap > 0 ? 1 - pow(s / shape->softcap, 2) : 1;
}

static double dot(const void *a, size_t i, const void *b, size_t j, size_t n, dtype_t type) {
    double sum = 0;
    for (size_t d = 0; d < n; d++) sum += (double)act_get(a, type, i + d) * act_get(b, type, j + d);
    return sum;
}

static void query_fwd(backend_t *be, void *o, float *lse, const void *q, const void *k, const void *v,
                      const attn_shape_t *shape, key_range_t keys, size_t t, size_t h) {
    size_t D = shape->D, at = h / (shape->Hq / shape->Hkv) * D;
    double *p = be->workspace, *out = p + (keys.end - keys.first), max = -INFINITY, sum = 0;
    CHECK(be->workspace_size >= sizeof(double) * (keys.end - keys.first + D));
    memset(out, 0, sizeof(double) * D);
    for (size_t j = keys.first; j < keys.end; j++) {
        double s = shape->scale * dot(q, t * shape->ld_q + h * D, k, j * shape->ld_k + at, D, be->act);
        p[j - keys.first] = capped(shape, s);
        max = fmax(max, p[j - keys.first]);
    }
    for (size_t j = keys.first; j < keys.end; j++) {
        double e = exp(p[j - keys.first] - max);
        sum += e;
        for (size_t d = 0; d < D; d++) out[d] += e * act_get(v, be->act, j * shape->ld_v + at + d);
    }
    for (size_t d = 0; d < D; d++) act_set(o, be->act, t * shape->ld_o + h * D + d, (float)(out[d] / sum));
    if (lse) lse[t * shape->Hq + h] = (float)(max + log(sum));
}

static void attn_fwd(backend_t *be, void *o, float *lse, const void *q, const void *k, const void *v,
                     const attn_shape_t *shape, const attn_segments_t *seg) {
    for (size_t s = 0; s < seg->n; s++) {
        size_t first = (size_t)seg->q_off[s], end = (size_t)seg->q_off[s + 1];
        for (size_t t = first; t < end; t++)
            for (size_t h = 0; h < shape->Hq; h++)
                query_fwd(be, o, lse, q, k, v, shape, visible_keys(shape, seg, s, t - first), t, h);
    }
}

/* What the gradients are sums of: for query row t, head h and key row j, the probability p and the gradient
 * ds of the scaled score, from dP = do.v and delta = do.o (FlashAttention-2, Dao 2023). */
typedef struct {
    double p, ds;
} pair_t;

typedef struct {
    const void *dout, *q, *k, *v, *o;
    const float *lse;
    const attn_shape_t *shape;
    dtype_t type;
} bwd_t;

static size_t q_at(const bwd_t *b, size_t t, size_t h) { return t * b->shape->ld_q + h * b->shape->D; }

/* In a row of k or v: the head of q head h. */
static size_t kv_at(const bwd_t *b, size_t ld, size_t j, size_t h) {
    return j * ld + h / (b->shape->Hq / b->shape->Hkv) * b->shape->D;
}

static size_t dout_at(const bwd_t *b, size_t t, size_t h) { return t * b->shape->ld_dout + h * b->shape->D; }

static pair_t pair(const bwd_t *b, size_t t, size_t h, size_t j) {
    const attn_shape_t *shape = b->shape;
    size_t D = shape->D, di = dout_at(b, t, h);
    double score = dot(b->q, q_at(b, t, h), b->k, kv_at(b, shape->ld_k, j, h), D, b->type);
    double s = capped(shape, shape->scale * score), p = exp(s - b->lse[t * shape->Hq + h]);
    double delta = dot(b->dout, di, b->o, t * shape->ld_o + h * D, D, b->type);
    double dp = dot(b->dout, di, b->v, kv_at(b, shape->ld_v, j, h), D, b->type);
    return (pair_t){p, p * (dp - delta) * capped_grad(shape, s)};
}

static void query_bwd(backend_t *be, void *dq, const bwd_t *b, key_range_t keys, size_t t, size_t h) {
    size_t D = b->shape->D;
    double *sum = be->workspace;
    memset(sum, 0, sizeof(double) * D);
    for (size_t j = keys.first; j < keys.end; j++) {
        pair_t s = pair(b, t, h, j);
        size_t kj = kv_at(b, b->shape->ld_k, j, h);
        for (size_t d = 0; d < D; d++) sum[d] += b->shape->scale * s.ds * act_get(b->k, be->act, kj + d);
    }
    for (size_t d = 0; d < D; d++) act_set(dq, be->act, t * b->shape->ld_dqkv + h * D + d, (float)sum[d]);
}

static void key_bwd(backend_t *be, void *dk, void *dv, const bwd_t *b, const attn_segments_t *seg, size_t s, size_t j,
                    size_t kv_head) {
    size_t D = b->shape->D, group = b->shape->Hq / b->shape->Hkv, at = j * b->shape->ld_dqkv + kv_head * D;
    double *sum_k = be->workspace, *sum_v = sum_k + D;
    memset(sum_k, 0, 2 * sizeof(double) * D);
    for (size_t t = (size_t)seg->q_off[s]; t < (size_t)seg->q_off[s + 1]; t++) {
        key_range_t keys = visible_keys(b->shape, seg, s, t - (size_t)seg->q_off[s]);
        if (j < keys.first || j >= keys.end) continue;
        for (size_t h = kv_head * group; h < (kv_head + 1) * group; h++) {
            pair_t g = pair(b, t, h, j);
            for (size_t d = 0; d < D; d++) {
                sum_k[d] += b->shape->scale * g.ds * act_get(b->q, be->act, q_at(b, t, h) + d);
                sum_v[d] += g.p * act_get(b->dout, be->act, dout_at(b, t, h) + d);
            }
        }
    }
    for (size_t d = 0; d < D; d++) {
        act_set(dk, be->act, at + d, (float)sum_k[d]);
        act_set(dv, be->act, at + d, (float)sum_v[d]);
    }
}

static void attn_bwd(backend_t *be, void *dq, void *dk, void *dv, const void *dout, const void *q, const void *k,
                     const void *v, const void *o, const float *lse, const attn_shape_t *shape,
                     const attn_segments_t *seg) {
    const bwd_t b = {dout, q, k, v, o, lse, shape, be->act};
    CHECK(be->workspace_size >= 2 * sizeof(double) * shape->D);
    for (size_t s = 0; s < seg->n; s++) {
        size_t first = (size_t)seg->q_off[s], end = (size_t)seg->q_off[s + 1];
        CHECK(seg->kv_off[s] == seg->q_off[s] && (size_t)seg->kv_len[s] == end - first);
        for (size_t t = first; t < end; t++) {
            for (size_t h = 0; h < shape->Hq; h++) query_bwd(be, dq, &b, visible_keys(shape, seg, s, t - first), t, h);
            for (size_t h = 0; h < shape->Hkv; h++) key_bwd(be, dk, dv, &b, seg, s, t, h);
        }
    }
}

void ref_attention_ops(backend_t *be) {
    be->attn_fwd = attn_fwd;
    be->attn_bwd = attn_bwd;
}
