#include "ops_cases.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

/* a: T; b: C; c: V. */
static void run_embed(rig_t *r, const params_t *p) {
    qweight_t E = rig_weight(r, QUANT_NONE, false, p->c, p->b);
    int32_t *ids = rig_indices(r, p->a, p->c);
    void *y = rig_alloc(r, p->a * p->b * dtype_size(r->be->act));
    r->be->embed(r->be, y, &E, ids, p->a);
    rig_output(r, y, r->be->act, p->a * p->b);
}

/* a: n; b: elements before the first, so that it has less alignment than a buffer; flags: 1 in place of a, 2 of b. */
static void run_add(rig_t *r, const params_t *p) {
    size_t n = p->b + p->a;
    void *a = rig_random(r, r->be->act, n, 1), *b = rig_random(r, r->be->act, n, 1);
    void *y = p->flags == 1 ? a : p->flags == 2 ? b : rig_random(r, r->be->act, n, 1);
    r->be->add(r->be, rig_act_at(r, y, p->b), rig_act_at(r, a, p->b), rig_act_at(r, b, p->b), p->a);
    rig_output(r, y, r->be->act, n);
}

/* a: n; flags: 1 from BF16, 2 to BF16. */
static void run_cast(rig_t *r, const params_t *p) {
    dtype_t from = p->flags & 1 ? DT_BF16 : DT_F32, to = p->flags & 2 ? DT_BF16 : DT_F32;
    void *x = rig_random(r, from, p->a, 100), *y = rig_alloc(r, p->a * dtype_size(to));
    r->be->cast(r->be, y, to, x, from, p->a);
    rig_output(r, y, to, p->a);
}

/* Columns of a matrix that is `pad` columns wider, half of them before and half behind. */
static columns_t padded(const rig_t *r, size_t rows, size_t cols, size_t pad) {
    return (columns_t){r->be->act, rows, pad / 2, cols, cols + pad};
}

/* a: n; b: C; c: rows of the other side; d: padding; flags: 1 scatter. idx is a permutation's beginning, so that no row
 * is written twice. */
static void run_rows(rig_t *r, const params_t *p) {
    int32_t *idx = xmalloc(p->a * sizeof *idx);
    for (size_t i = 0; i < p->a; i++) idx[i] = (int32_t)((i * 7 + 3) % p->c);
    int32_t *d_idx = rig_upload(r, idx, p->a * sizeof *idx);
    free(idx);
    const columns_t of_many = padded(r, p->c, p->b, p->d), of_few = padded(r, p->a, p->b, 2 * p->d);
    void *many = rig_columns(r, &of_many, 1);
    if (p->flags & 1) {
        void *few = rig_columns(r, &of_few, 1);
        r->be->scatter_rows(r->be, many, of_many.ld, few, of_few.ld, d_idx, p->a, p->b);
        rig_output_columns(r, many, &of_many);
    } else {
        void *few = rig_unwritten(r, &of_few);
        r->be->gather_rows(r->be, few, of_few.ld, many, of_many.ld, d_idx, p->a, p->b);
        rig_output_columns(r, few, &of_few);
    }
}

/* a: T; b: C; c,d: padding of x and y. */
static void run_copy_rows(rig_t *r, const params_t *p) {
    const columns_t of_x = padded(r, p->a, p->b, p->c), of_y = padded(r, p->a, p->b, p->d);
    void *x = rig_columns(r, &of_x, 1), *y = rig_unwritten(r, &of_y);
    r->be->copy_rows(r->be, y, of_y.ld, x, of_x.ld, p->a, p->b);
    rig_output_columns(r, y, &of_y);
}

static void check_same_bytes(rig_t *r, const void *p, const void *q, size_t n) {
    uint8_t *a = xmalloc(n), *b = xmalloc(n);
    r->be->download(r->be, a, p, n);
    r->be->download(r->be, b, q, n);
    CHECK(memcmp(a, b, n) == 0);
    free(a);
    free(b);
}

/* a: T; b: C; c: padding of y. */
static void run_rmsnorm_fwd(rig_t *r, const params_t *p) {
    const columns_t of_y = padded(r, p->a, p->b, p->c);
    void *x = rig_random(r, r->be->act, p->a * p->b, 2), *y = rig_unwritten(r, &of_y);
    float *w = rig_random(r, DT_F32, p->b, 1), *rstd = rig_alloc(r, p->a * sizeof(float));
    r->be->rmsnorm_fwd(r->be, y, of_y.ld, rstd, x, w, p->a, p->b, 1e-5f);
    rig_output_columns(r, y, &of_y);
    rig_output(r, rstd, DT_F32, p->a);
}

/* The two ops that it stands for give the same bits on the same backend: a block that is recomputed in the backward
 * may go either way. */
static void run_add_rmsnorm_fwd(rig_t *r, const params_t *p) {
    const columns_t of_y = padded(r, p->a, p->b, p->c);
    size_t n = p->a * p->b, size = dtype_size(r->be->act);
    void *a = rig_random(r, r->be->act, n, 1), *b = rig_random(r, r->be->act, n, 2);
    float *w = rig_random(r, DT_F32, p->b, 1);
    struct {
        void *sum, *y;
        float *rstd;
    } out[2];
    for (int i = 0; i < 2; i++) {
        out[i].sum = rig_alloc(r, n * size);
        out[i].y = rig_unwritten(r, &of_y);
        out[i].rstd = rig_alloc(r, p->a * sizeof(float));
    }
    r->be->add_rmsnorm_fwd(r->be, out[0].sum, out[0].y, of_y.ld, out[0].rstd, a, b, w, p->a, p->b, 1e-5f);
    r->be->add(r->be, out[1].sum, a, b, n);
    r->be->rmsnorm_fwd(r->be, out[1].y, of_y.ld, out[1].rstd, out[1].sum, w, p->a, p->b, 1e-5f);
    check_same_bytes(r, out[0].sum, out[1].sum, n * size);
    check_same_bytes(r, out[0].y, out[1].y, ((p->a - 1) * of_y.ld + p->b) * size);
    check_same_bytes(r, out[0].rstd, out[1].rstd, p->a * sizeof(float));
    rig_output(r, out[0].sum, r->be->act, n);
    rig_output_columns(r, out[0].y, &of_y);
    rig_output(r, out[0].rstd, DT_F32, p->a);
}

/* a: T; b: C; c: padding of dx. */
static void run_rmsnorm_bwd(rig_t *r, const params_t *p) {
    const columns_t of_dx = padded(r, p->a, p->b, p->c);
    void *x = rig_random(r, r->be->act, p->a * p->b, 2), *y = rig_alloc(r, p->a * p->b * dtype_size(r->be->act));
    void *dy = rig_random(r, r->be->act, p->a * p->b, 1), *dx = rig_columns(r, &of_dx, 1);
    float *w = rig_random(r, DT_F32, p->b, 1), *rstd = rig_alloc(r, p->a * sizeof(float));
    r->be->rmsnorm_fwd(r->be, y, p->b, rstd, x, w, p->a, p->b, 1e-5f);
    r->be->rmsnorm_bwd(r->be, dx, of_dx.ld, dy, x, w, rstd, p->a, p->b);
    rig_output_columns(r, dx, &of_dx);
}

/* a: T; b: H; c: D; d: padding; flags: 1 backward. */
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
    const columns_t of_x = padded(r, p->a, p->b * p->c, p->d);
    void *x = rig_columns(r, &of_x, 1);
    r->be->rope(r->be, x, of_x.ld, d_table, rig_indices(r, p->a, POSITIONS), p->a, p->b, p->c, p->flags & 1 ? -1 : 1);
    rig_output_columns(r, x, &of_x);
}

/* a: T; b: F; c,d: padding of gate and up, and of y. Gates to +-60: exp over- and underflows in places. */
static void run_swiglu_fwd(rig_t *r, const params_t *p) {
    const columns_t of_gate_up = padded(r, p->a, 2 * p->b, p->c), of_y = padded(r, p->a, p->b, p->d);
    void *gate_up = rig_columns(r, &of_gate_up, 20), *y = rig_unwritten(r, &of_y);
    r->be->swiglu_fwd(r->be, y, of_y.ld, gate_up, of_gate_up.ld, p->a, p->b);
    rig_output_columns(r, y, &of_y);
    rig_output_columns(r, gate_up, &of_gate_up);
}

/* a: T; b: F; c: padding of gate and up; d: elements before the first of dy. */
static void run_swiglu_bwd(rig_t *r, const params_t *p) {
    const columns_t of_gate_up = padded(r, p->a, 2 * p->b, p->c);
    void *gate_up = rig_columns(r, &of_gate_up, 3), *dy = rig_random(r, r->be->act, p->d + p->a * p->b, 1);
    r->be->swiglu_bwd(r->be, gate_up, of_gate_up.ld, rig_act_at(r, dy, p->d), p->a, p->b);
    rig_output_columns(r, gate_up, &of_gate_up);
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

/* Matrices of their own; or q, k and v (k and v alone where there are more keys than queries) are columns of one matrix
 * that has so many columns more. */
#define JOINED(pad) (1024 | (pad) << 11)

typedef struct {
    attn_segments_t seg;
    attn_shape_t shape;
    void *q, *k, *v;
    size_t T, heads; /* of queries: rows, columns */
    size_t pad;
    bool joined;
} attn_case_t;

/* a: segment list; b: Hq; c: Hkv; d: D; flags: the window, JOINED(). */
static attn_case_t attn_inputs(rig_t *r, const params_t *p) {
    attn_case_t a = {.joined = p->flags & 1024, .pad = (size_t)p->flags >> 11, .heads = p->b * p->d};
    size_t Tkv = 0, kv = p->c * p->d;
    for (size_t i = 0; i < segment_lists[p->a].n; i++) {
        a.T += (size_t)segment_lists[p->a].q[i];
        Tkv += (size_t)segment_lists[p->a].kv[i];
    }
    a.seg = rig_segments(r, segment_lists[p->a].n, segment_lists[p->a].q, segment_lists[p->a].kv);
    a.shape = (attn_shape_t){
        .Hq = p->b, .Hkv = p->c, .D = p->d, .window = (size_t)p->flags & 1023, .scale = 1 / sqrtf((float)p->d)};
    bool one = a.joined && Tkv == a.T;
    const columns_t of_q = padded(r, a.T, one ? a.heads + 2 * kv : a.heads, a.pad);
    const columns_t of_k = padded(r, Tkv, a.joined ? 2 * kv : kv, 3 * a.pad);
    a.q = rig_columns(r, &of_q, 1.5f);
    a.k = one ? rig_act_at(r, a.q, a.heads) : rig_columns(r, &of_k, 1.5f);
    a.v = a.joined ? rig_act_at(r, a.k, kv) : rig_columns(r, &of_k, 1);
    a.shape.ld_q = of_q.ld;
    a.shape.ld_kv = one ? of_q.ld : of_k.ld;
    a.shape.ld_o = a.heads + a.pad;
    a.shape.ld_dout = a.heads + 2 * a.pad;
    a.shape.ld_dqkv = (a.joined ? a.heads + 2 * kv : a.heads) + 3 * a.pad;
    return a;
}

static void run_attn_fwd(rig_t *r, const params_t *p) {
    attn_case_t a = attn_inputs(r, p);
    const columns_t of_o = padded(r, a.T, a.heads, a.pad);
    void *o = rig_unwritten(r, &of_o), *without = rig_unwritten(r, &of_o);
    float *lse = rig_alloc(r, a.T * p->b * sizeof(float));
    r->be->attn_fwd(r->be, o, lse, a.q, a.k, a.v, &a.shape, &a.seg);
    rig_output_columns(r, o, &of_o);
    rig_output(r, lse, DT_F32, a.T * p->b);
    r->be->attn_fwd(r->be, without, NULL, a.q, a.k, a.v, &a.shape, &a.seg);
    rig_output_columns(r, without, &of_o);
}

/* dq, dk and dv are columns of one matrix, or of three with rows of one length. */
static void run_attn_bwd(rig_t *r, const params_t *p) {
    attn_case_t a = attn_inputs(r, p);
    size_t kv = p->c * p->d, first = a.pad / 2, ld = a.shape.ld_dqkv;
    const columns_t of_o = padded(r, a.T, a.heads, a.pad), of_dout = padded(r, a.T, a.heads, 2 * a.pad);
    const columns_t of_all = {r->be->act, a.T, first, a.heads + 2 * kv, ld};
    columns_t of[3] = {
        {r->be->act, a.T, first, a.heads, ld}, {r->be->act, a.T, first, kv, ld}, {r->be->act, a.T, first, kv, ld}};
    void *o = rig_unwritten(r, &of_o), *dout = rig_columns(r, &of_dout, 1), *grad[3];
    float *lse = rig_alloc(r, a.T * p->b * sizeof(float));
    if (a.joined) {
        of[1].first += a.heads;
        of[2].first += a.heads + kv;
        grad[0] = rig_unwritten(r, &of_all);
        grad[1] = rig_act_at(r, grad[0], a.heads);
        grad[2] = rig_act_at(r, grad[1], kv);
    } else {
        for (size_t i = 0; i < 3; i++) grad[i] = rig_unwritten(r, &of[i]);
    }
    r->be->attn_fwd(r->be, o, lse, a.q, a.k, a.v, &a.shape, &a.seg);
    r->be->attn_bwd(r->be, grad[0], grad[1], grad[2], dout, a.q, a.k, a.v, o, lse, &a.shape, &a.seg);
    if (a.joined) rig_output_columns(r, grad[0], &of_all);
    for (size_t i = 0; i < 3; i++) (a.joined ? rig_output_inner : rig_output_columns)(r, grad[i], &of[i]);
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
        const adamw_t h = {.lr = 1e-3f,
                           .beta1 = 0.9,
                           .beta2 = 0.999,
                           .eps = 1e-8f,
                           .weight_decay = 0.01f,
                           .c1 = 1 - powf(0.9f, (float)step),
                           .c2 = 1 - powf(0.999f, (float)step),
                           .grad_scale = 0.5f};
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
        const adamw_t h = {.lr = 1e-3f,
                           .beta1 = 0.9,
                           .beta2 = 0.999,
                           .eps = 1e-8f,
                           .weight_decay = 0.01f,
                           .c1 = 1 - powf(0.9f, (float)step),
                           .c2 = 1 - powf(0.999f, (float)step),
                           .grad_scale = 0.5f};
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

static const params_t embed_cases[] = {{1, 8, 5, 0, 0}, {77, 61, 100, 0, 0}, {90, 576, 50, 0, 0}};
static const params_t add_cases[] = {
    {1, 0, 0, 0, 0}, {1001, 0, 0, 0, 1}, {1001, 0, 0, 0, 2}, {50001, 0, 0, 0, 0}, {1000, 3, 0, 0, 0}, {13, 8, 0, 0, 1},
};
static const params_t cast_cases[] = {{1, 0, 0, 0, 1}, {50003, 0, 0, 0, 0}, {50003, 0, 0, 0, 1}, {50003, 0, 0, 0, 2}};
/* Padding of 16 leaves rows where vectors of 16 bytes can be read, 8 where half of that can, an odd one none. */
static const params_t gather_cases[] = {
    {1, 3, 1, 0, 0},      {33, 61, 100, 0, 0}, {90, 576, 97, 0, 0}, {33, 61, 100, 3, 0},
    {90, 576, 97, 16, 0}, {20, 64, 31, 8, 0},  {90, 576, 97, 1, 0},
};
static const params_t scatter_cases[] = {
    {1, 3, 1, 0, 1},      {33, 61, 100, 0, 1}, {90, 576, 97, 0, 1}, {33, 61, 100, 3, 1},
    {90, 576, 97, 16, 1}, {20, 64, 31, 8, 1},  {90, 576, 97, 1, 1},
};
static const params_t copy_rows_cases[] = {
    {1, 1, 0, 0, 0},     {33, 61, 0, 0, 0},  {90, 576, 0, 0, 0}, {33, 61, 3, 7, 0},    {90, 576, 16, 0, 0},
    {90, 576, 0, 48, 0}, {20, 64, 8, 16, 0}, {90, 576, 1, 0, 0}, {5, 3000, 16, 32, 0}, {600, 16, 64, 16, 0},
};
static const params_t norm_cases[] = {
    {1, 1, 0, 0, 0},  {3, 61, 0, 0, 0},    {65, 576, 0, 0, 0}, {20, 2500, 0, 0, 0}, {3, 4104, 0, 0, 0},
    {3, 61, 5, 0, 0}, {65, 576, 16, 0, 0}, {65, 576, 1, 0, 0}, {7, 64, 8, 0, 0},    {3, 4104, 64, 0, 0},
};
static const params_t rope_cases[] = {
    {1, 1, 2, 0, 0},    {17, 3, 16, 0, 1}, {65, 9, 64, 0, 0},  {9, 2, 80, 0, 0}, {9, 4, 128, 0, 1},  {3, 71, 64, 0, 0},
    {2, 2, 1026, 0, 1}, {17, 3, 16, 3, 1}, {65, 9, 64, 96, 0}, {9, 2, 80, 1, 0}, {9, 4, 128, 16, 1}, {5, 3, 64, 8, 0},
};
static const params_t swiglu_fwd_cases[] = {
    {1, 1, 0, 0, 0},    {1, 1003, 0, 0, 0}, {3, 17001, 0, 0, 0},   {33, 64, 0, 0, 0},
    {17, 61, 0, 0, 0},  {33, 64, 16, 0, 0}, {33, 64, 0, 16, 0},    {17, 61, 3, 5, 0},
    {33, 64, 8, 16, 0}, {33, 64, 1, 0, 0},  {65, 1536, 32, 16, 0},
};
static const params_t swiglu_bwd_cases[] = {
    {1, 1, 0, 0, 0},    {1, 1003, 0, 0, 0}, {3, 17001, 0, 0, 0},  {1, 500, 0, 1, 0}, {33, 64, 0, 0, 0},
    {17, 61, 0, 0, 0},  {33, 64, 16, 0, 0}, {17, 61, 3, 0, 0},    {33, 64, 8, 0, 0}, {33, 64, 1, 0, 0},
    {33, 64, 16, 8, 0}, {33, 64, 16, 3, 0}, {65, 1536, 48, 0, 0},
};
static const params_t ce_loss_cases[] = {
    {1, 1, 1, 0, 1},    {3, 61, 5, 0, 0},     {9, 1000, 40, 0, 1}, {5, 49152, 3, 0, 1},
    {2, 5000, 3, 0, 0}, {5, 16385, 10, 0, 1}, {9, 7, 3, 0, 1}, /* rows at every distance from an aligned address */
};
static const params_t attn_fwd_cases[] = {
    {0, 1, 1, 16, 0},
    {1, 3, 1, 64, 0},
    {2, 4, 4, 32, 0},
    {2, 4, 2, 80, 33},
    {3, 3, 1, 64, 0},
    {3, 2, 2, 128, 100},
    {3, 2, 1, 16, 1},
    {4, 6, 2, 64, 0},
    {4, 2, 2, 80, 50},
    {5, 4, 1, 32, 0},
    {5, 2, 2, 128, 65},
    /* head sizes of 256, of no power of two, of less than a tensor core takes, and ones that it takes none of */
    {2, 2, 1, 256, 40},
    {4, 2, 1, 256, 0},
    {2, 3, 3, 96, 0},
    {5, 2, 1, 72, 30},
    {2, 4, 1, 8, 9},
    {5, 2, 2, 20, 0},
    {2, 2, 1, 100, 60},
    /* columns of wider matrices */
    {0, 1, 1, 16, JOINED(0)},
    {1, 3, 1, 64, JOINED(16)},
    {2, 4, 2, 80, 33 | JOINED(16)},
    {3, 2, 1, 128, JOINED(48)},
    {2, 4, 2, 64, 100 | JOINED(3)},
    {1, 2, 2, 32, JOINED(8)},
    {4, 6, 2, 64, JOINED(16)},
    {4, 2, 2, 80, 50 | JOINED(5)},
    {5, 4, 1, 32, JOINED(16)},
    {5, 2, 2, 128, 65 | JOINED(1)},
    {5, 2, 2, 64, JOINED(8)},
    {2, 2, 1, 256, JOINED(16)},
    {2, 4, 2, 20, JOINED(16)},
    {1, 4, 1, 8, JOINED(16)},
};
static const params_t attn_bwd_cases[] = {
    {0, 1, 1, 16, 0},
    {1, 3, 1, 64, 0},
    {2, 4, 4, 32, 0},
    {2, 4, 2, 80, 33},
    {3, 3, 1, 64, 0},
    {3, 2, 2, 128, 100},
    {3, 2, 1, 16, 1},
    {2, 2, 1, 256, 40},
    {1, 2, 1, 256, 0},
    {2, 3, 3, 96, 0},
    {3, 2, 1, 72, 30},
    {2, 4, 1, 8, 9},
    {2, 4, 2, 20, 0},
    {2, 2, 1, 100, 60},
    {0, 1, 1, 16, JOINED(0)},
    {1, 3, 1, 64, JOINED(16)},
    {2, 4, 2, 80, 33 | JOINED(16)},
    {3, 2, 1, 128, JOINED(48)},
    {2, 4, 2, 64, 100 | JOINED(3)},
    {1, 2, 2, 32, JOINED(8)},
    {2, 2, 1, 256, JOINED(16)},
    {2, 4, 2, 20, JOINED(16)},
    {1, 4, 1, 8, JOINED(16)},
    {2, 3, 1, 64, JOINED(1)},
};
static const params_t adamw_8bit_cases[] = {
    {1, 1, 0, 0, 0}, {3, 37, 1, 0, 0}, {2, 4099, 5, 300, 0}, {7, 10240, 160, 0, 0}, {1, 70001, 274, 256, 0},
};
static const params_t adamw_cases[] = {{1, 0, 0, 0, 0}, {255, 0, 0, 0, 0}, {70001, 0, 0, 0, 0}, {300, 2, 0, 0, 0}};
static const params_t sumsq_cases[] = {
    {1, 0, 0, 0, 0},         {255, 0, 0, 0, 0},       {70001, 0, 0, 0, 0}, {2000003, 0, 0, 0, 0},
    {70001, 1, 35000, 0, 0}, {70001, 1, 70000, 0, 0}, {70001, 2, 0, 0, 0}, {5, 2, 4, 0, 0},
};

static const op_t ops[] = {
    {"embed", run_embed, CASES(embed_cases), SAME_BITS},
    {"add", run_add, CASES(add_cases), SAME_BITS},
    {"cast", run_cast, CASES(cast_cases), SAME_BITS},
    {"gather_rows", run_rows, CASES(gather_cases), SAME_BITS},
    {"scatter_rows", run_rows, CASES(scatter_cases), SAME_BITS},
    {"copy_rows", run_copy_rows, CASES(copy_rows_cases), SAME_BITS},
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
enum { N_OPS = sizeof ops / sizeof *ops };

const op_t *ops_nth(size_t k) { return k < N_OPS ? &ops[k] : k < N_OPS + n_linear_ops ? &linear_ops[k - N_OPS] : NULL; }
