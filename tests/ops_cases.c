#include "ops_cases.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

static const dtype_t gemm_types[][3] = {
    {DT_F32, DT_F32, DT_F32}, {DT_F32, DT_BF16, DT_F32}, {DT_BF16, DT_BF16, DT_BF16}, {DT_BF16, DT_F32, DT_F32},
    {DT_F32, DT_F32, DT_BF16},
};

/* a,b,c: M,N,K; d: types; flags: 1 ta, 2 tb, 4 beta, 8 padded rows. */
static void run_gemm(rig_t *r, const params_t *p) {
    bool ta = p->flags & 1, tb = p->flags & 2;
    size_t M = p->a, N = p->b, K = p->c, pad = p->flags & 8 ? 3 : 0;
    size_t lda = (ta ? M : K) + pad, ldb = (tb ? K : N) + pad, ldc = N + pad;
    const dtype_t *t = gemm_types[p->d];
    void *A = rig_random(r, t[0], (ta ? K : M) * lda, 1), *B = rig_random(r, t[1], (tb ? N : K) * ldb, 1);
    /* Without beta C is not read: NaN, but for its padding. */
    float *c = xmalloc(M * ldc * sizeof *c);
    rig_normal(r->key, c, M * ldc, 1);
    for (size_t i = 0; i < M * ldc && !(p->flags & 4); i++) c[i] = i % ldc < N ? NAN : c[i];
    void *C = rig_values(r, t[2], c, M * ldc);
    free(c);
    r->be->gemm(r->be, ta, tb, M, N, K, 0.5f, A, t[0], lda, B, t[1], ldb, p->flags & 4 ? 0.75f : 0, C, t[2], ldc);
    rig_output(r, C, t[2], M * ldc); /* the padding too: it must stay */
}

/* a: T; b,c: rows, cols; d: quantization; flags: 1 transpose, 2 beta, 4 double quantization. */
static void run_gemm_weight(rig_t *r, const params_t *p) {
    bool transpose = p->flags & 1;
    size_t in = transpose ? p->c : p->b, out = transpose ? p->b : p->c;
    qweight_t w = rig_weight(r, (quant_type_t)p->d, p->flags & 4, p->b, p->c);
    void *x = rig_random(r, r->be->act, p->a * in, 1), *y = rig_random(r, r->be->act, p->a * out, 1);
    r->be->gemm_weight(r->be, transpose, p->a, x, &w, p->flags & 2 ? 1 : 0, y);
    rig_output(r, y, r->be->act, p->a * out);
}

/* a,b: rows, cols; c,d: first, n; flags: type | 8 double quantization | 16 to BF16. */
static void run_dequant(rig_t *r, const params_t *p) {
    qweight_t w = rig_weight(r, (quant_type_t)(p->flags & 7), p->flags & 8, p->a, p->b);
    dtype_t type = p->flags & 16 ? DT_BF16 : DT_F32;
    void *out = rig_alloc(r, p->d * dtype_size(type));
    r->be->dequant(r->be, &w, p->c, p->d, out, type);
    rig_output(r, out, type, p->d);
}

/* a: elements; b: quantization; in pieces of 192, as bytes; then the second level. */
static void run_quantize(rig_t *r, const params_t *p) {
    size_t n = p->a, blocks = quant_blocks(n), code_bytes = quant_code_bytes((quant_type_t)p->b, n);
    qweight_t w = {.type = (quant_type_t)p->b, .double_quant = p->b != QUANT_NONE, .rows = 1, .cols = n};
    float *x = xmalloc(n * sizeof *x);
    bf16_t *h = xmalloc(n * sizeof *h);
    rig_normal(r->key, x, n, 0.3f);
    for (size_t i = 0; i < n; i++) h[i] = bf16_from_f32(x[i]);
    float *absmax = rig_alloc(r, blocks * sizeof(float));
    w.codes = rig_alloc(r, code_bytes);
    w.absmax_q = rig_alloc(r, blocks);
    w.nested_absmax = rig_alloc(r, quant_nested_blocks(n) * sizeof(float));
    size_t step = p->c ? p->c : n;
    for (size_t i = 0; i < n; i += step) r->be->quantize(r->be, &w, h + i, i, n - i < step ? n - i : step, absmax);
    uint8_t *bytes = xmalloc(code_bytes + blocks);
    float *as_float = xmalloc((code_bytes + blocks) * sizeof *as_float);
    r->be->download(r->be, bytes, w.codes, code_bytes);
    size_t n_bytes = code_bytes;
    if (w.double_quant) {
        r->be->quantize_constants(r->be, &w, absmax);
        r->be->download(r->be, bytes + code_bytes, w.absmax_q, blocks);
        n_bytes += blocks;
        rig_output(r, absmax, DT_F32, blocks);
        rig_output(r, w.nested_absmax, DT_F32, quant_nested_blocks(n));
    }
    for (size_t i = 0; i < n_bytes; i++) as_float[i] = bytes[i];
    float *codes = rig_upload(r, as_float, n_bytes * sizeof *as_float);
    rig_output(r, codes, DT_F32, n_bytes);
    free(x);
    free(h);
    free(bytes);
    free(as_float);
}

/* a: T; b: C; c: V. */
static void run_embed(rig_t *r, const params_t *p) {
    qweight_t E = rig_weight(r, QUANT_NONE, false, p->c, p->b);
    int32_t *ids = rig_indices(r, p->a, p->c);
    void *y = rig_alloc(r, p->a * p->b * dtype_size(r->be->act));
    r->be->embed(r->be, y, &E, ids, p->a);
    rig_output(r, y, r->be->act, p->a * p->b);
}

/* Element i of act values: an address of less alignment than that of a buffer. */
static void *act_from(const rig_t *r, void *p, size_t i) {
    return (unsigned char *)p + i * dtype_size(r->be->act);
}

/* a: n; b: elements before the first; flags: 1 in place of a, 2 in place of b. */
static void run_add(rig_t *r, const params_t *p) {
    size_t n = p->b + p->a;
    void *a = rig_random(r, r->be->act, n, 1), *b = rig_random(r, r->be->act, n, 1);
    void *y = p->flags == 1 ? a : p->flags == 2 ? b : rig_random(r, r->be->act, n, 1);
    r->be->add(r->be, act_from(r, y, p->b), act_from(r, a, p->b), act_from(r, b, p->b), p->a);
    rig_output(r, y, r->be->act, n);
}

/* a: n; flags: 1 from BF16, 2 to BF16. */
static void run_cast(rig_t *r, const params_t *p) {
    dtype_t from = p->flags & 1 ? DT_BF16 : DT_F32, to = p->flags & 2 ? DT_BF16 : DT_F32;
    void *x = rig_random(r, from, p->a, 100), *y = rig_alloc(r, p->a * dtype_size(to));
    r->be->cast(r->be, y, to, x, from, p->a);
    rig_output(r, y, to, p->a);
}

/* a: T; b: C; flags: 1 in place. */
static void run_dropout(rig_t *r, const params_t *p) {
    void *x = rig_random(r, r->be->act, p->a * p->b, 1);
    void *y = p->flags & 1 ? x : rig_alloc(r, p->a * p->b * dtype_size(r->be->act));
    const dropout_t key = {.seed = 42, .step = 7, .layer = 3, .site = 2, .p = 0.1f,
                           .row = rig_indices(r, p->a, 16), .pos = rig_indices(r, p->a, 4096)};
    r->be->dropout(r->be, y, x, p->a, p->b, &key);
    rig_output(r, y, r->be->act, p->a * p->b);
}

/* a: n; b: C; c: rows of the other side. idx is a permutation's beginning, so that no row is written twice. */
static void run_rows(rig_t *r, const params_t *p) {
    int32_t *idx = xmalloc(p->a * sizeof *idx);
    for (size_t i = 0; i < p->a; i++) idx[i] = (int32_t)((i * 7 + 3) % p->c);
    int32_t *d_idx = rig_upload(r, idx, p->a * sizeof *idx);
    free(idx);
    void *many = rig_random(r, r->be->act, p->c * p->b, 1), *few = rig_random(r, r->be->act, p->a * p->b, 1);
    (p->flags ? r->be->scatter_rows : r->be->gather_rows)(r->be, p->flags ? many : few, p->flags ? few : many, d_idx,
                                                          p->a, p->b);
    rig_output(r, p->flags ? many : few, r->be->act, (p->flags ? p->c : p->a) * p->b);
}

static void check_same_bytes(rig_t *r, const void *p, const void *q, size_t n) {
    uint8_t *a = xmalloc(n), *b = xmalloc(n);
    r->be->download(r->be, a, p, n);
    r->be->download(r->be, b, q, n);
    CHECK(memcmp(a, b, n) == 0);
    free(a);
    free(b);
}

/* a: T; b: C. */
static void run_rmsnorm_fwd(rig_t *r, const params_t *p) {
    void *x = rig_random(r, r->be->act, p->a * p->b, 2), *y = rig_alloc(r, p->a * p->b * dtype_size(r->be->act));
    float *w = rig_random(r, DT_F32, p->b, 1), *rstd = rig_alloc(r, p->a * sizeof(float));
    r->be->rmsnorm_fwd(r->be, y, rstd, x, w, p->a, p->b, 1e-5f);
    rig_output(r, y, r->be->act, p->a * p->b);
    rig_output(r, rstd, DT_F32, p->a);
}

/* The two ops that it stands for give the same bits on the same backend: a block that is recomputed in the backward
 * may go either way. */
static void run_add_rmsnorm_fwd(rig_t *r, const params_t *p) {
    size_t n = p->a * p->b, bytes = n * dtype_size(r->be->act);
    void *a = rig_random(r, r->be->act, n, 1), *b = rig_random(r, r->be->act, n, 2);
    float *w = rig_random(r, DT_F32, p->b, 1);
    struct {
        void *sum, *y;
        float *rstd;
    } out[2];
    for (int i = 0; i < 2; i++) {
        out[i].sum = rig_alloc(r, bytes);
        out[i].y = rig_alloc(r, bytes);
        out[i].rstd = rig_alloc(r, p->a * sizeof(float));
    }
    r->be->add_rmsnorm_fwd(r->be, out[0].sum, out[0].y, out[0].rstd, a, b, w, p->a, p->b, 1e-5f);
    r->be->add(r->be, out[1].sum, a, b, n);
    r->be->rmsnorm_fwd(r->be, out[1].y, out[1].rstd, out[1].sum, w, p->a, p->b, 1e-5f);
    check_same_bytes(r, out[0].sum, out[1].sum, bytes);
    check_same_bytes(r, out[0].y, out[1].y, bytes);
    check_same_bytes(r, out[0].rstd, out[1].rstd, p->a * sizeof(float));
    rig_output(r, out[0].sum, r->be->act, n);
    rig_output(r, out[0].y, r->be->act, n);
    rig_output(r, out[0].rstd, DT_F32, p->a);
}

static void run_rmsnorm_bwd(rig_t *r, const params_t *p) {
    void *x = rig_random(r, r->be->act, p->a * p->b, 2), *y = rig_alloc(r, p->a * p->b * dtype_size(r->be->act));
    void *dy = rig_random(r, r->be->act, p->a * p->b, 1), *dx = rig_random(r, r->be->act, p->a * p->b, 1);
    float *w = rig_random(r, DT_F32, p->b, 1), *rstd = rig_alloc(r, p->a * sizeof(float));
    r->be->rmsnorm_fwd(r->be, y, rstd, x, w, p->a, p->b, 1e-5f);
    r->be->rmsnorm_bwd(r->be, dx, dy, x, w, rstd, p->a, p->b);
    rig_output(r, dx, r->be->act, p->a * p->b);
}

/* a: T; b: H; c: D; flags: 1 backward. */
static void run_rope(rig_t *r, const params_t *p) {
    enum { POSITIONS = 300 };
    float *table = xmalloc(POSITIONS * p->c * sizeof *table);
    for (size_t t = 0; t < POSITIONS; t++) {
        for (size_t i = 0; i < p->c / 2; i++) {
            double angle = (double)t * pow(10000, -2.0 * (double)i / (double)p->c);
            table[t * p->c + 2 * i] = (float)cos(angle);
            table[t * p->c + 2 * i + 1] = (float)sin(angle);
        }
    }
    float *d_table = rig_upload(r, table, POSITIONS * p->c * sizeof *table);
    free(table);
    void *x = rig_random(r, r->be->act, p->a * p->b * p->c, 1);
    r->be->rope(r->be, x, d_table, rig_indices(r, p->a, POSITIONS), p->a, p->b, p->c, p->flags & 1 ? -1 : 1);
    rig_output(r, x, r->be->act, p->a * p->b * p->c);
}

/* a: n; flags: 1 in place of gate, 2 of up. Values to +-60: exp over- and underflows in places. */
static void run_swiglu_fwd(rig_t *r, const params_t *p) {
    void *gate = rig_random(r, r->be->act, p->a, 20), *up = rig_random(r, r->be->act, p->a, 1);
    void *y = p->flags == 1 ? gate : p->flags == 2 ? up : rig_alloc(r, p->a * dtype_size(r->be->act));
    r->be->swiglu_fwd(r->be, y, gate, up, p->a);
    rig_output(r, y, r->be->act, p->a);
}

/* a: n; b: elements before the first; flags: 1 in place. */
static void run_swiglu_bwd(rig_t *r, const params_t *p) {
    dtype_t t = r->be->act;
    size_t n = p->b + p->a;
    void *gate = rig_random(r, t, n, 3), *up = rig_random(r, t, n, 1), *dy = rig_random(r, t, n, 1);
    void *dgate = p->flags ? gate : rig_random(r, t, n, 1), *dup = p->flags ? up : rig_random(r, t, n, 1);
    r->be->swiglu_bwd(r->be, act_from(r, dgate, p->b), act_from(r, dup, p->b), act_from(r, dy, p->b),
                      act_from(r, gate, p->b), act_from(r, up, p->b), p->a);
    rig_output(r, dgate, t, n);
    rig_output(r, dup, t, n);
}

/* a: R; b: V; flags: 1 gradient; c: scale of the logits. */
static void run_ce_loss(rig_t *r, const params_t *p) {
    void *logits = rig_random(r, r->be->act, p->a * p->b, (float)p->c);
    int32_t *labels = rig_indices(r, p->a, p->b);
    float *loss = rig_alloc(r, p->a * sizeof(float));
    r->be->ce_loss(r->be, logits, loss, labels, p->a, p->b, p->flags & 1, 0.125f);
    rig_output(r, loss, DT_F32, p->a);
    rig_output(r, logits, r->be->act, p->a * p->b);
}

/* Lists of segments by number: lengths of queries and of keys. */
static const struct {
    size_t n;
    int32_t q[5], kv[5];
} segment_lists[] = {
    {1, {1}, {1}},
    {1, {67}, {67}},
    {4, {5, 130, 1, 64}, {5, 130, 1, 64}},
    {2, {300, 129}, {300, 129}},
    {3, {1, 1, 1}, {1, 300, 77}}, /* generation: queries are the last of their keys */
    {2, {9, 70}, {40, 333}},
};

/* a: segment list; b: Hq; c: Hkv; d: D; flags: the window. */
static attn_shape_t attn_inputs(rig_t *r, const params_t *p, void **q, void **k, void **v, attn_segments_t *seg,
                                size_t *Tq, size_t *Tkv) {
    *Tq = *Tkv = 0;
    for (size_t i = 0; i < segment_lists[p->a].n; i++) {
        *Tq += (size_t)segment_lists[p->a].q[i];
        *Tkv += (size_t)segment_lists[p->a].kv[i];
    }
    *seg = rig_segments(r, segment_lists[p->a].n, segment_lists[p->a].q, segment_lists[p->a].kv);
    *q = rig_random(r, r->be->act, *Tq * p->b * p->d, 1.5f);
    *k = rig_random(r, r->be->act, *Tkv * p->c * p->d, 1.5f);
    *v = rig_random(r, r->be->act, *Tkv * p->c * p->d, 1);
    return (attn_shape_t){p->b, p->c, p->d, (size_t)p->flags, 1 / sqrtf((float)p->d)};
}

static void run_attn_fwd(rig_t *r, const params_t *p) {
    void *q, *k, *v;
    attn_segments_t seg;
    size_t Tq, Tkv;
    attn_shape_t shape = attn_inputs(r, p, &q, &k, &v, &seg, &Tq, &Tkv);
    void *o = rig_alloc(r, Tq * p->b * p->d * dtype_size(r->be->act));
    float *lse = rig_alloc(r, Tq * p->b * sizeof(float));
    r->be->attn_fwd(r->be, o, lse, q, k, v, &shape, &seg);
    rig_output(r, o, r->be->act, Tq * p->b * p->d);
    rig_output(r, lse, DT_F32, Tq * p->b);
    r->be->attn_fwd(r->be, o, NULL, q, k, v, &shape, &seg);
    rig_output(r, o, r->be->act, Tq * p->b * p->d);
}

static void run_attn_bwd(rig_t *r, const params_t *p) {
    void *q, *k, *v;
    attn_segments_t seg;
    size_t T, Tkv, size = dtype_size(r->be->act);
    attn_shape_t shape = attn_inputs(r, p, &q, &k, &v, &seg, &T, &Tkv);
    size_t n_q = T * p->b * p->d, n_kv = T * p->c * p->d;
    void *o = rig_alloc(r, n_q * size), *dout = rig_random(r, r->be->act, n_q, 1);
    void *dq = rig_alloc(r, n_q * size), *dk = rig_alloc(r, n_kv * size), *dv = rig_alloc(r, n_kv * size);
    float *lse = rig_alloc(r, T * p->b * sizeof(float));
    r->be->attn_fwd(r->be, o, lse, q, k, v, &shape, &seg);
    r->be->attn_bwd(r->be, dq, dk, dv, dout, q, k, v, o, lse, &shape, &seg);
    rig_output(r, dq, r->be->act, n_q);
    rig_output(r, dk, r->be->act, n_kv);
    rig_output(r, dv, r->be->act, n_kv);
}

/* a: n; b: 1 a NaN, 2 an infinity at element c; then the output is whether the sum is one. */
static void run_sumsq(rig_t *r, const params_t *p) {
    static const float odd[] = {0, NAN, INFINITY};
    float *x = rig_random(r, DT_F32, p->a, 1), host;
    double *out = rig_alloc(r, sizeof *out), sum;
    if (p->b) r->be->upload(r->be, x + p->c, &odd[p->b], sizeof *odd);
    r->be->sumsq(r->be, out, x, p->a);
    r->be->download(r->be, &sum, out, sizeof sum);
    host = p->b == 0 ? (float)sum : p->b == 1 ? isnan(sum) : isinf(sum);
    rig_output(r, rig_upload(r, &host, sizeof host), DT_F32, 1);
}

/* a: n; b: elements before the first. */
static void run_adamw(rig_t *r, const params_t *p) {
    size_t n = p->b + p->a;
    float *param = rig_random(r, DT_F32, n, 1), *m = rig_random(r, DT_F32, n, 0.1f);
    float *v = rig_alloc(r, n * sizeof *v), *g = rig_random(r, DT_F32, n, 1);
    r->be->zero(r->be, v, n * sizeof *v);
    for (int step = 1; step <= 3; step++) {
        const adamw_t h = {.lr = 1e-3f, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8f, .weight_decay = 0.01f,
                           .c1 = 1 - powf(0.9f, (float)step), .c2 = 1 - powf(0.999f, (float)step), .grad_scale = 0.5f};
        r->be->adamw(r->be, param + p->b, g + p->b, m + p->b, v + p->b, p->a, &h);
    }
    rig_output(r, param, DT_F32, n);
    rig_output(r, m, DT_F32, n);
    rig_output(r, v, DT_F32, n);
}

/* n bytes of the device as floats, an output of their own. */
static void output_bytes(rig_t *r, const uint8_t *p, size_t n) {
    uint8_t *bytes = xmalloc(n);
    float *as_float = xmalloc(n * sizeof *as_float);
    r->be->download(r->be, bytes, p, n);
    for (size_t i = 0; i < n; i++) as_float[i] = bytes[i];
    rig_output(r, rig_upload(r, as_float, n * sizeof *as_float), DT_F32, n);
    free(bytes);
    free(as_float);
}

/* a: tensors of b elements each; c: blocks of the first of two calls a step; d: leading elements of each tensor
 * whose gradient is zero. */
static void run_adamw_8bit(rig_t *r, const params_t *p) {
    size_t n = p->a * p->b, per_tensor = (p->b + ADAMW_8BIT_BLOCK - 1) / ADAMW_8BIT_BLOCK, blocks = p->a * per_tensor;
    size_t *start = xmalloc((blocks + 1) * sizeof *start);
    for (size_t i = 0; i < blocks; i++) start[i] = i / per_tensor * p->b + i % per_tensor * ADAMW_8BIT_BLOCK;
    start[blocks] = n;
    uint8_t *codes = rig_alloc(r, 2 * n);
    float *absmax = rig_alloc(r, 2 * blocks * sizeof *absmax), *param = rig_random(r, DT_F32, n, 1);
    const adamw_8bit_state_t s = {codes, codes + n, absmax, absmax + blocks,
                                  rig_upload(r, start, (blocks + 1) * sizeof *start)};
    size_t at = start[p->c];
    const adamw_8bit_state_t rest = {s.m + at, s.v + at, s.m_absmax + p->c, s.v_absmax + p->c, s.start + p->c};
    r->be->zero(r->be, codes, 2 * n);
    r->be->zero(r->be, absmax, 2 * blocks * sizeof *absmax);
    for (int step = 1; step <= 3; step++) {
        const adamw_t h = {.lr = 1e-3f, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8f, .weight_decay = 0.01f,
                           .c1 = 1 - powf(0.9f, (float)step), .c2 = 1 - powf(0.999f, (float)step), .grad_scale = 0.5f};
        float *g = rig_random(r, DT_F32, n, 0.1f);
        for (size_t i = 0; i < p->a; i++) r->be->zero(r->be, g + i * p->b, p->d * sizeof *g);
        r->be->adamw_8bit(r->be, param, g, &s, p->c, &h);
        r->be->adamw_8bit(r->be, param + at, g + at, &rest, blocks - p->c, &h);
    }
    rig_output(r, param, DT_F32, n);
    rig_output(r, absmax, DT_F32, 2 * blocks);
    output_bytes(r, codes, 2 * n);
    free(start);
}

/* ---- the table --------------------------------------------------------------------------------------- */

#define CASES(name) name, sizeof name / sizeof *name

static const params_t gemm_cases[] = {
    {1, 1, 1, 0, 0}, {7, 5, 3, 0, 1}, {33, 65, 17, 0, 2}, {64, 16, 96, 0, 7}, {129, 17, 40, 0, 12},
    {300, 16, 576, 0, 2},
    {300, 31, 64, 0, 9}, {16, 300, 200, 0, 1}, {70, 90, 0, 0, 4}, {70, 90, 0, 0, 0}, {300, 16, 576, 1, 2},
    {300, 576, 16, 1, 2}, {65, 33, 1500, 1, 4}, {65, 33, 1500, 2, 6}, {70, 1100, 64, 2, 8}, {600, 600, 40, 2, 13},
    {600, 40, 1100, 3, 1}, {40, 600, 1100, 3, 3}, {530, 1030, 20, 4, 12}, {530, 1030, 20, 4, 0},
};
static const params_t gemm_weight_cases[] = {
    {33, 64, 96, QUANT_NF4, 1}, {33, 64, 96, QUANT_NF4, 6}, {40, 61, 37, QUANT_NF4, 5}, {40, 61, 37, QUANT_NF4, 2},
    {1, 128, 576, QUANT_NF4, 5}, {1, 61, 37, QUANT_NF4, 7}, {4, 61, 2500, QUANT_FP4, 3}, {5, 61, 130, QUANT_FP4, 3},
    {3, 130, 61, QUANT_FP4, 4}, {20, 70, 64, QUANT_INT4, 5}, {20, 70, 64, QUANT_INT4, 0}, {4, 70, 61, QUANT_INT4, 1},
    {20, 70, 61, QUANT_INT8, 5}, {20, 70, 61, QUANT_INT8, 2}, {5, 64, 61, QUANT_INT8, 3}, {20, 70, 61, QUANT_NONE, 1},
    {20, 70, 61, QUANT_NONE, 2}, {2, 70, 61, QUANT_NONE, 3},
    /* more than one panel, more than one block of tokens */
    {9, 2200, 600, QUANT_NF4, 5}, {9, 2200, 600, QUANT_NF4, 6}, {530, 50, 70, QUANT_NF4, 2},
    {530, 50, 70, QUANT_NF4, 1},
};
static const params_t dequant_cases[] = {
    {8, 64, 0, 512, QUANT_NF4}, {50, 30, 0, 1500, QUANT_NF4 | 8}, {50, 30, 37, 1001, QUANT_NF4 | 8},
    {50, 30, 70, 3, QUANT_NF4}, {50, 30, 0, 1500, QUANT_FP4 | 16}, {50, 30, 1, 1499, QUANT_FP4 | 24},
    {50, 30, 64, 640, QUANT_INT4}, {5, 13, 0, 65, QUANT_INT4 | 16}, {50, 30, 3, 1490, QUANT_INT8 | 8},
    {50, 30, 0, 1500, QUANT_INT8 | 16}, {50, 30, 9, 900, QUANT_NONE}, {50, 30, 9, 900, QUANT_NONE | 16},
    {300, 577, 5, 173000, QUANT_NF4 | 8},
};
static const params_t quantize_cases[] = {
    {1, QUANT_NF4, 0, 0, 0}, {1500, QUANT_NF4, 0, 0, 0}, {1500, QUANT_NF4, 192, 0, 0}, {1501, QUANT_FP4, 640, 0, 0},
    {1501, QUANT_INT4, 64, 0, 0}, {1501, QUANT_INT8, 128, 0, 0}, {1501, QUANT_NONE, 640, 0, 0},
    {70000, QUANT_NF4, 8256, 0, 0}, {70001, QUANT_FP4, 0, 0, 0}, {40001, QUANT_INT8, 0, 0, 0},
};
static const params_t embed_cases[] = {{1, 8, 5, 0, 0}, {77, 61, 100, 0, 0}, {90, 576, 50, 0, 0}};
static const params_t add_cases[] = {
    {1, 0, 0, 0, 0}, {1001, 0, 0, 0, 1}, {1001, 0, 0, 0, 2}, {50001, 0, 0, 0, 0}, {1000, 3, 0, 0, 0}, {13, 8, 0, 0, 1},
};
static const params_t cast_cases[] = {{1, 0, 0, 0, 1}, {50003, 0, 0, 0, 0}, {50003, 0, 0, 0, 1}, {50003, 0, 0, 0, 2}};
static const params_t dropout_cases[] = {
    {1, 1, 0, 0, 0}, {13, 61, 0, 0, 1}, {90, 576, 0, 0, 0}, {33, 2056, 0, 0, 0},
};
static const params_t gather_cases[] = {{1, 3, 1, 0, 0}, {33, 61, 100, 0, 0}, {90, 576, 97, 0, 0}};
static const params_t scatter_cases[] = {{1, 3, 1, 0, 1}, {33, 61, 100, 0, 1}, {90, 576, 97, 0, 1}};
static const params_t norm_cases[] = {
    {1, 1, 0, 0, 0}, {3, 61, 0, 0, 0}, {65, 576, 0, 0, 0}, {20, 2500, 0, 0, 0}, {3, 4104, 0, 0, 0},
};
static const params_t rope_cases[] = {
    {1, 1, 2, 0, 0}, {17, 3, 16, 0, 1}, {65, 9, 64, 0, 0}, {9, 2, 80, 0, 0}, {9, 4, 128, 0, 1},
    {3, 71, 64, 0, 0}, {2, 2, 1026, 0, 1},
};
static const params_t swiglu_fwd_cases[] = {
    {1, 0, 0, 0, 0}, {1003, 0, 0, 0, 1}, {1003, 0, 0, 0, 2}, {50001, 0, 0, 0, 0},
};
static const params_t swiglu_bwd_cases[] = {
    {1, 0, 0, 0, 0}, {1003, 0, 0, 0, 1}, {50001, 0, 0, 0, 0}, {500, 1, 0, 0, 1},
};
static const params_t ce_loss_cases[] = {
    {1, 1, 1, 0, 1}, {3, 61, 5, 0, 0}, {9, 1000, 40, 0, 1}, {5, 49152, 3, 0, 1}, {2, 5000, 3, 0, 0},
    {5, 16385, 10, 0, 1}, {9, 7, 3, 0, 1}, /* rows at every distance from an aligned address */
};
static const params_t attn_fwd_cases[] = {
    {0, 1, 1, 16, 0}, {1, 3, 1, 64, 0}, {2, 4, 4, 32, 0}, {2, 4, 2, 80, 33}, {3, 3, 1, 64, 0}, {3, 2, 2, 128, 100},
    {3, 2, 1, 16, 1}, {4, 6, 2, 64, 0}, {4, 2, 2, 80, 50}, {5, 4, 1, 32, 0}, {5, 2, 2, 128, 65},
    /* head sizes of 256, of no power of two, of less than a tensor core takes, and ones that it takes none of */
    {2, 2, 1, 256, 40}, {4, 2, 1, 256, 0}, {2, 3, 3, 96, 0}, {5, 2, 1, 72, 30}, {2, 4, 1, 8, 9}, {5, 2, 2, 20, 0},
    {2, 2, 1, 100, 60},
};
static const params_t attn_bwd_cases[] = {
    {0, 1, 1, 16, 0}, {1, 3, 1, 64, 0}, {2, 4, 4, 32, 0}, {2, 4, 2, 80, 33}, {3, 3, 1, 64, 0}, {3, 2, 2, 128, 100},
    {3, 2, 1, 16, 1},
    {2, 2, 1, 256, 40}, {1, 2, 1, 256, 0}, {2, 3, 3, 96, 0}, {3, 2, 1, 72, 30}, {2, 4, 1, 8, 9}, {2, 4, 2, 20, 0},
    {2, 2, 1, 100, 60},
};
static const params_t adamw_8bit_cases[] = {
    {1, 1, 0, 0, 0}, {3, 37, 1, 0, 0}, {2, 4099, 5, 300, 0}, {7, 10240, 160, 0, 0}, {1, 70001, 274, 256, 0},
};
static const params_t adamw_cases[] = {{1, 0, 0, 0, 0}, {255, 0, 0, 0, 0}, {70001, 0, 0, 0, 0}, {300, 2, 0, 0, 0}};
static const params_t sumsq_cases[] = {
    {1, 0, 0, 0, 0}, {255, 0, 0, 0, 0}, {70001, 0, 0, 0, 0}, {2000003, 0, 0, 0, 0},
    {70001, 1, 35000, 0, 0}, {70001, 1, 70000, 0, 0}, {70001, 2, 0, 0, 0}, {5, 2, 4, 0, 0},
};

const op_t ops[] = {
    {"gemm", run_gemm, CASES(gemm_cases), BY_SGEMM},
    {"gemm_weight", run_gemm_weight, CASES(gemm_weight_cases), BY_SGEMM},
    {"dequant", run_dequant, CASES(dequant_cases), SAME_BITS},
    {"quantize", run_quantize, CASES(quantize_cases), SAME_BITS},
    {"embed", run_embed, CASES(embed_cases), SAME_BITS},
    {"add", run_add, CASES(add_cases), SAME_BITS},
    {"cast", run_cast, CASES(cast_cases), SAME_BITS},
    {"dropout", run_dropout, CASES(dropout_cases), SAME_BITS},
    {"gather_rows", run_rows, CASES(gather_cases), SAME_BITS},
    {"scatter_rows", run_rows, CASES(scatter_cases), SAME_BITS},
    {"rmsnorm_fwd", run_rmsnorm_fwd, CASES(norm_cases), ROUNDED},
    {"add_rmsnorm_fwd", run_add_rmsnorm_fwd, CASES(norm_cases), ROUNDED},
    {"rmsnorm_bwd", run_rmsnorm_bwd, CASES(norm_cases), ROUNDED},
    {"rope", run_rope, CASES(rope_cases), ROUNDED},
    {"swiglu_fwd", run_swiglu_fwd, CASES(swiglu_fwd_cases), ROUNDED},
    {"swiglu_bwd", run_swiglu_bwd, CASES(swiglu_bwd_cases), ROUNDED},
    {"attn_fwd", run_attn_fwd, CASES(attn_fwd_cases), ROUNDED},
    {"attn_bwd", run_attn_bwd, CASES(attn_bwd_cases), ROUNDED},
    {"ce_loss", run_ce_loss, CASES(ce_loss_cases), ROUNDED},
    {"sumsq", run_sumsq, CASES(sumsq_cases), ROUNDED},
    {"adamw", run_adamw, CASES(adamw_cases), SAME_BITS},
    {"adamw_8bit", run_adamw_8bit, CASES(adamw_8bit_cases), SAME_BITS},
};
const size_t n_ops = sizeof ops / sizeof *ops;
