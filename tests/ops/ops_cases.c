#include "ops_cases.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

/* a: T; b: C; c: V; flags: 1 F16. */
static void run_embed(rig_t *r, const params_t *p) {
    qweight_t E = rig_weight(r, p->flags ? QUANT_F16 : QUANT_NONE, false, p->c, p->b);
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

/* a: T; b: C; c: tokens of the first segment but one, the others have one more each; d: alpha, 0: 5. */
static void run_add_noise(rig_t *r, const params_t *p) {
    int32_t *off = xcalloc(p->a + 2, sizeof *off);
    size_t n = 0;
    for (size_t len = p->c + 1; (size_t)off[n] < p->a; len++, n++)
        off[n + 1] = (int32_t)((size_t)off[n] + len < p->a ? (size_t)off[n] + len : p->a);
    const neftune_t noise = {.seed = 42,
                             .step = 7,
                             .alpha = p->d ? (float)p->d : 5,
                             .row = rig_indices(r, p->a, 16),
                             .pos = rig_indices(r, p->a, 4096),
                             .seg_off = rig_upload(r, off, (n + 1) * sizeof *off),
                             .n_seg = n};
    free(off);
    void *x = rig_random(r, r->be->act, p->a * p->b, 0.1f);
    r->be->add_noise(r->be, x, &noise, p->a, p->b);
    rig_output(r, x, r->be->act, p->a * p->b);
}

/* a: n; flags: 1 from BF16, 2 to BF16. */
static void run_cast(rig_t *r, const params_t *p) {
    dtype_t from = p->flags & 1 ? DT_BF16 : DT_F32, to = p->flags & 2 ? DT_BF16 : DT_F32;
    void *x = rig_random(r, from, p->a, 100), *y = rig_alloc(r, p->a * dtype_size(to));
    r->be->cast(r->be, y, to, x, from, p->a);
    rig_output(r, y, to, p->a);
}

/* a: n; b: C; c: rows of the other side; d: padding; flags: 1 scatter. idx is a permutation's beginning, so that no row
 * is written twice. */
static void run_rows(rig_t *r, const params_t *p) {
    int32_t *idx = xmalloc(p->a * sizeof *idx);
    for (size_t i = 0; i < p->a; i++) idx[i] = (int32_t)((i * 7 + 3) % p->c);
    int32_t *d_idx = rig_upload(r, idx, p->a * sizeof *idx);
    free(idx);
    const columns_t of_many = rig_padded(r, p->c, p->b, p->d), of_few = rig_padded(r, p->a, p->b, 2 * p->d);
    void *many = rig_columns(r, &of_many, 1);
    if (p->flags & 1) {
        void *few = rig_columns(r, &of_few, 1);
        r->be->scatter_rows(r->be, rig_mat(many, &of_many), rig_mat(few, &of_few), d_idx, p->a, p->b);
        rig_output_columns(r, many, &of_many);
    } else {
        void *few = rig_unwritten(r, &of_few);
        r->be->gather_rows(r->be, rig_mat(few, &of_few), rig_mat(many, &of_many), d_idx, p->a, p->b);
        rig_output_columns(r, few, &of_few);
    }
}

/* a: T; b: C; c,d: padding of x and y. */
static void run_copy_rows(rig_t *r, const params_t *p) {
    const columns_t of_x = rig_padded(r, p->a, p->b, p->c), of_y = rig_padded(r, p->a, p->b, p->d);
    void *x = rig_columns(r, &of_x, 1), *y = rig_unwritten(r, &of_y);
    r->be->copy_rows(r->be, rig_mat(y, &of_y), rig_mat(x, &of_x), p->a, p->b);
    rig_output_columns(r, y, &of_y);
}

/* The same; flags: 1 in place. */
static void run_scale_rows(rig_t *r, const params_t *p) {
    const columns_t of_x = rig_padded(r, p->a, p->b, p->c), of_y = p->flags ? of_x : rig_padded(r, p->a, p->b, p->d);
    void *x = rig_columns(r, &of_x, 1), *y = p->flags ? x : rig_unwritten(r, &of_y);
    r->be->scale_rows(r->be, rig_mat(y, &of_y), rig_mat(x, &of_x), 0.2197f, p->a, p->b);
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

/* Norms: a: T; b: C; c, d: padding of y (dx) and of x; flags: groups, with how the backward writes. */
enum { GROUPS = 63, OVERWRITE = 64, IN_PLACE = 128 };

static norm_t norm_of(rig_t *r, const params_t *p) {
    return (norm_t){rig_random(r, DT_F32, p->b, 1), p->flags & GROUPS, p->b, 1e-5f};
}

static void run_rmsnorm_fwd(rig_t *r, const params_t *p) {
    const norm_t norm = norm_of(r, p);
    size_t n = p->a * norm.groups, C = norm.groups * norm.C;
    const columns_t of_x = rig_padded(r, p->a, C, p->d), of_y = rig_padded(r, p->a, C, p->c);
    void *x = rig_columns(r, &of_x, 2), *y = rig_unwritten(r, &of_y);
    float *rstd = rig_alloc(r, n * sizeof(float));
    r->be->rmsnorm_fwd(r->be, rig_mat(y, &of_y), rstd, rig_mat(x, &of_x), &norm, p->a);
    rig_output_columns(r, y, &of_y);
    rig_output(r, rstd, DT_F32, n);
}

/* The two ops that it stands for give the same bits on the same backend: a block that is recomputed in the backward
 * may go either way. */
static void run_add_rmsnorm_fwd(rig_t *r, const params_t *p) {
    const norm_t norm = norm_of(r, p);
    const columns_t of_y = rig_padded(r, p->a, p->b, p->c);
    size_t n = p->a * p->b, size = dtype_size(r->be->act);
    void *a = rig_random(r, r->be->act, n, 1), *b = rig_random(r, r->be->act, n, 2);
    struct {
        void *sum, *y;
        float *rstd;
    } out[2];
    for (int i = 0; i < 2; i++) {
        out[i].sum = rig_alloc(r, n * size);
        out[i].y = rig_unwritten(r, &of_y);
        out[i].rstd = rig_alloc(r, p->a * sizeof(float));
    }
    r->be->add_rmsnorm_fwd(r->be, out[0].sum, rig_mat(out[0].y, &of_y), out[0].rstd, a, b, &norm, p->a);
    r->be->add(r->be, out[1].sum, a, b, n);
    r->be->rmsnorm_fwd(r->be, rig_mat(out[1].y, &of_y), out[1].rstd, (mat_t){out[1].sum, p->b}, &norm, p->a);
    check_same_bytes(r, out[0].sum, out[1].sum, n * size);
    check_same_bytes(r, out[0].y, out[1].y, ((p->a - 1) * of_y.ld + p->b) * size);
    check_same_bytes(r, out[0].rstd, out[1].rstd, p->a * sizeof(float));
    rig_output(r, out[0].sum, r->be->act, n);
    rig_output_columns(r, out[0].y, &of_y);
    rig_output(r, out[0].rstd, DT_F32, p->a);
}

static void run_rmsnorm_bwd(rig_t *r, const params_t *p) {
    const norm_t norm = norm_of(r, p);
    size_t C = norm.groups * norm.C;
    bool add = !(p->flags & (OVERWRITE | IN_PLACE));
    const columns_t of_x = rig_padded(r, p->a, C, p->d), of_dx = rig_padded(r, p->a, C, p->c),
                    dense = rig_padded(r, p->a, C, 0);
    const columns_t of_dy = p->flags & IN_PLACE ? of_dx : rig_padded(r, p->a, C, p->d);
    void *x = rig_columns(r, &of_x, 2), *y = rig_unwritten(r, &dense), *dy = rig_columns(r, &of_dy, 1);
    void *dx = p->flags & IN_PLACE ? dy : add ? rig_columns(r, &of_dx, 1) : rig_unwritten(r, &of_dx);
    float *rstd = rig_alloc(r, p->a * norm.groups * sizeof(float));
    r->be->rmsnorm_fwd(r->be, rig_mat(y, &dense), rstd, rig_mat(x, &of_x), &norm, p->a);
    r->be->rmsnorm_bwd(r->be, rig_mat(dx, &of_dx), add, rig_mat(dy, &of_dy), rig_mat(x, &of_x), &norm, rstd, p->a);
    rig_output_columns(r, dx, &of_dx);
}

/* a: T; b: H; c: D; d: padding; flags: */
#define ROTATED(channels) ((channels) << 2) /* all without it */
enum { BACKWARD = 1, INTERLEAVED = 2 };

static void run_rope(rig_t *r, const params_t *p) {
    enum { POSITIONS = 300 };
    size_t R = p->flags >> 2 ? (size_t)p->flags >> 2 : p->c;
    float *table = xmalloc(POSITIONS * R * sizeof *table);
    for (size_t t = 0; t < POSITIONS; t++) {
        for (size_t i = 0; i < R / 2; i++) {
            double angle = (double)t * pow(10000, -2.0 * (double)i / (double)R);
            table[t * R + 2 * i] = (float)cos(angle);
            table[t * R + 2 * i + 1] = (float)sin(angle);
        }
    }
    const rope_t rope = {rig_upload(r, table, POSITIONS * R * sizeof *table), p->c, R, p->flags & INTERLEAVED};
    free(table);
    const columns_t of_x = rig_padded(r, p->a, p->b * p->c, p->d);
    void *x = rig_columns(r, &of_x, 1);
    r->be->rope(r->be, rig_mat(x, &of_x), &rope, rig_indices(r, p->a, POSITIONS), p->a, p->b,
                p->flags & BACKWARD ? -1 : 1);
    rig_output_columns(r, x, &of_x);
}

/* a: T; b: F; c,d: padding of gate and up, and of y; flags: act_fn_t. Gates to +-60: exp over- and underflows in
 * places. */
static void run_glu_fwd(rig_t *r, const params_t *p) {
    const columns_t of_gate_up = rig_padded(r, p->a, 2 * p->b, p->c), of_y = rig_padded(r, p->a, p->b, p->d);
    void *gate_up = rig_columns(r, &of_gate_up, 20), *y = rig_unwritten(r, &of_y);
    r->be->glu_fwd(r->be, (act_fn_t)p->flags, rig_mat(y, &of_y), rig_mat(gate_up, &of_gate_up), p->a, p->b);
    rig_output_columns(r, y, &of_y);
    rig_output_columns(r, gate_up, &of_gate_up);
}

/* The same bytes in n act values. */
static void assert_same(rig_t *r, const void *a, const void *b, size_t n) {
    size_t bytes = n * dtype_size(r->be->act);
    unsigned char *x = xmalloc(bytes), *y = xmalloc(bytes);
    r->be->download(r->be, x, a, bytes);
    r->be->download(r->be, y, b, bytes);
    CHECK(memcmp(x, y, bytes) == 0);
    free(x);
    free(y);
}

/* a: T; b: F; c: padding of gate and up; d: elements before the first of dy; flags: act_fn_t. With and without leaving
 * the forward's product, which is that to the bit. */
static void run_glu_bwd(rig_t *r, const params_t *p) {
    const columns_t of_gate_up = rig_padded(r, p->a, 2 * p->b, p->c);
    const columns_t of_y = rig_padded(r, p->a, p->b, 0);
    const act_fn_t fn = (act_fn_t)p->flags;
    void *gate_up = rig_columns(r, &of_gate_up, 3), *again = rig_unwritten(r, &of_gate_up),
         *dy = rig_random(r, r->be->act, p->d + p->a * p->b, 1);
    void *product = rig_unwritten(r, &of_y), *at = rig_act_at(r, dy, p->d);
    r->be->glu_fwd(r->be, fn, rig_mat(product, &of_y), rig_mat(gate_up, &of_gate_up), p->a, p->b);
    r->be->copy_rows(r->be, rig_mat(again, &of_gate_up), rig_mat(gate_up, &of_gate_up), p->a, 2 * p->b);
    r->be->glu_bwd(r->be, fn, rig_mat(gate_up, &of_gate_up), at, false, p->a, p->b);
    rig_output(r, dy, r->be->act, p->d + p->a * p->b); /* is as before */
    r->be->glu_bwd(r->be, fn, rig_mat(again, &of_gate_up), at, true, p->a, p->b);
    rig_output_columns(r, again, &of_gate_up);
    assert_same(r, at, product, p->a * p->b);
    rig_output_columns(r, gate_up, &of_gate_up);
}

/* a: R; b: V; c: scale of the products; d: map; flags: 1 gradient, 2 columns of a wider matrix. */
static const logit_map_t logit_maps[] = {{1, 0}, {0.0625f, 0}, {1, 30}, {0.5f, 8}};

static void run_ce_loss(rig_t *r, const params_t *p) {
    const columns_t of = rig_padded(r, p->a, p->b, p->flags & 2 ? 32 : 0);
    void *logits = rig_columns(r, &of, (float)p->c);
    int32_t *labels = rig_indices(r, p->a, p->b);
    float *loss = rig_alloc(r, p->a * sizeof(float));
    r->be->ce_loss(r->be, rig_mat(logits, &of), loss, labels, p->a, p->b, logit_maps[p->d], p->flags & 1, 0.125f);
    rig_output(r, loss, DT_F32, p->a);
    rig_output_columns(r, logits, &of);
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

static const params_t embed_cases[] = {
    {1, 8, 5, 0, 0}, {77, 61, 100, 0, 0}, {90, 576, 50, 0, 0},
    {1, 8, 5, 0, 1}, {77, 61, 100, 0, 1}, {90, 576, 50, 0, 1},
};
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
static const params_t scale_rows_cases[] = {
    {1, 1, 0, 0, 0},    {33, 61, 0, 0, 0},  {33, 61, 3, 7, 0},    {90, 576, 0, 0, 1},
    {90, 576, 1, 0, 1}, {20, 64, 8, 16, 0}, {90, 576, 16, 48, 0}, {5, 3000, 0, 32, 0},
};
static const params_t add_norm_cases[] = {
    {1, 1, 0, 0, 1},  {3, 61, 0, 0, 1},    {65, 576, 0, 0, 1}, {20, 2500, 0, 0, 1}, {3, 4104, 0, 0, 1},
    {3, 61, 5, 0, 1}, {65, 576, 16, 0, 1}, {65, 576, 1, 0, 1}, {7, 64, 8, 0, 1},    {3, 4104, 64, 0, 1},
};
static const params_t norm_cases[] = {
    {1, 1, 0, 0, 1},
    {3, 61, 0, 0, 1},
    {65, 576, 0, 0, 1},
    {20, 2500, 0, 0, 1},
    {3, 4104, 0, 0, 1},
    {3, 61, 5, 0, 1},
    {65, 576, 16, 0, 1},
    {65, 576, 1, 0, 1},
    {7, 64, 8, 0, 1},
    {3, 4104, 64, 0, 1},
    {65, 576, 0, 16, 1},
    {3, 61, 4, 3, 1},
    {65, 576, 16, 32, 1},
    /* heads of a row */
    {1, 16, 0, 0, 1},
    {33, 64, 0, 0, 9},
    {33, 64, 16, 384, 9},
    {5, 128, 0, 64, 32},
    {7, 61, 3, 5, 3},
    {65, 80, 8, 16, 4},
    {4, 256, 0, 512, 2},
    {2, 8, 1, 0, 5},
    {90, 128, 0, 0, 12},
};
static const params_t norm_bwd_cases[] = {
    {1, 1, 0, 0, 1},
    {3, 61, 0, 0, 1},
    {65, 576, 0, 0, 1},
    {20, 2500, 0, 0, 1},
    {3, 4104, 0, 0, 1},
    {3, 61, 5, 0, 1},
    {65, 576, 16, 0, 1},
    {65, 576, 1, 0, 1},
    {7, 64, 8, 0, 1},
    {3, 4104, 64, 0, 1},
    {65, 576, 16, 32, 1},
    {33, 64, 16, 384, 9},
    {7, 61, 3, 5, 3},
    {5, 128, 64, 0, 32},
    {65, 576, 16, 32, 1 | OVERWRITE},
    {3, 61, 3, 5, 1 | OVERWRITE},
    {33, 64, 384, 16, 9 | OVERWRITE},
    {65, 576, 0, 0, 1 | IN_PLACE},
    {3, 4104, 64, 0, 1 | IN_PLACE},
    {3, 61, 3, 5, 1 | IN_PLACE},
    {33, 64, 384, 16, 9 | IN_PLACE},
    {5, 128, 0, 64, 32 | IN_PLACE},
    {7, 61, 3, 5, 3 | IN_PLACE},
    {2, 8, 1, 0, 5 | IN_PLACE},
};
static const params_t rope_cases[] = {
    {1, 1, 2, 0, 0},
    {17, 3, 16, 0, BACKWARD},
    {65, 9, 64, 0, 0},
    {9, 2, 80, 0, 0},
    {9, 4, 128, 0, BACKWARD},
    {3, 71, 64, 0, 0},
    {2, 2, 1026, 0, BACKWARD},
    {17, 3, 16, 3, BACKWARD},
    {65, 9, 64, 96, 0},
    {9, 2, 80, 1, 0},
    {9, 4, 128, 16, BACKWARD},
    {5, 3, 64, 8, 0},
    /* some of the channels */
    {65, 9, 64, 0, ROTATED(32)},
    {17, 3, 80, 16, ROTATED(20) | BACKWARD},
    {9, 4, 128, 3, ROTATED(64)},
    {5, 3, 96, 8, ROTATED(48) | BACKWARD},
    {3, 2, 7, 0, ROTATED(6)},
    {1, 1, 16, 0, ROTATED(2)},
    /* pairs side by side */
    {65, 9, 64, 0, INTERLEAVED},
    {17, 3, 16, 3, INTERLEAVED | BACKWARD},
    {9, 4, 128, 16, INTERLEAVED},
    {9, 2, 80, 1, INTERLEAVED | BACKWARD},
    {17, 3, 64, 8, INTERLEAVED | ROTATED(32)},
    {5, 3, 96, 16, INTERLEAVED | ROTATED(20) | BACKWARD},
    {3, 2, 7, 0, INTERLEAVED | ROTATED(6)},
};
static const params_t glu_fwd_cases[] = {
    {1, 1, 0, 0, ACT_SILU},          {1, 1003, 0, 0, ACT_SILU},         {3, 17001, 0, 0, ACT_SILU},
    {33, 64, 0, 0, ACT_SILU},        {17, 61, 0, 0, ACT_SILU},          {33, 64, 16, 0, ACT_SILU},
    {33, 64, 0, 16, ACT_SILU},       {17, 61, 3, 5, ACT_SILU},          {33, 64, 8, 16, ACT_SILU},
    {33, 64, 1, 0, ACT_SILU},        {65, 1536, 32, 16, ACT_SILU},      {1, 1, 0, 0, ACT_GELU_TANH},
    {3, 17001, 0, 0, ACT_GELU_TANH}, {17, 61, 3, 5, ACT_GELU_TANH},     {33, 64, 8, 16, ACT_GELU_TANH},
    {33, 64, 1, 0, ACT_GELU_TANH},   {65, 1536, 32, 16, ACT_GELU_TANH},
};
static const params_t glu_bwd_cases[] = {
    {1, 1, 0, 0, ACT_SILU},           {1, 1003, 0, 0, ACT_SILU},     {3, 17001, 0, 0, ACT_SILU},
    {1, 500, 0, 1, ACT_SILU},         {33, 64, 0, 0, ACT_SILU},      {17, 61, 0, 0, ACT_SILU},
    {33, 64, 16, 0, ACT_SILU},        {17, 61, 3, 0, ACT_SILU},      {33, 64, 8, 0, ACT_SILU},
    {33, 64, 1, 0, ACT_SILU},         {33, 64, 16, 8, ACT_SILU},     {33, 64, 16, 3, ACT_SILU},
    {65, 1536, 48, 0, ACT_SILU},      {1, 1, 0, 0, ACT_GELU_TANH},   {3, 17001, 0, 0, ACT_GELU_TANH},
    {17, 61, 3, 0, ACT_GELU_TANH},    {33, 64, 8, 0, ACT_GELU_TANH}, {33, 64, 16, 3, ACT_GELU_TANH},
    {65, 1536, 48, 0, ACT_GELU_TANH},
};
static const params_t ce_loss_cases[] = {
    {1, 1, 1, 0, 1},      {3, 61, 5, 0, 0},     {9, 1000, 40, 0, 1}, {5, 49152, 3, 0, 1},
    {2, 5000, 3, 0, 0},   {5, 16385, 10, 0, 1}, {9, 7, 3, 0, 1}, /* rows at every distance from an aligned address */
    {1, 1, 1, 2, 1},      {3, 61, 20, 1, 0},    {3, 61, 20, 1, 1},   {9, 1000, 40, 2, 1},
    {9, 7, 3, 3, 1},      {5, 16385, 10, 3, 1}, {2, 5000, 30, 2, 0}, {5, 49152, 9, 2, 1},
    {2, 2049, 200, 2, 1}, {5, 16385, 10, 0, 3}, {9, 1000, 40, 3, 3}, {3, 61, 5, 0, 2},
};
static const params_t adamw_8bit_cases[] = {
    {1, 1, 0, 0, 0}, {3, 37, 1, 0, 0}, {2, 4099, 5, 300, 0}, {7, 10240, 160, 0, 0}, {1, 70001, 274, 256, 0},
};
static const params_t adamw_cases[] = {{1, 0, 0, 0, 0}, {255, 0, 0, 0, 0}, {70001, 0, 0, 0, 0}, {300, 2, 0, 0, 0}};
static const params_t sumsq_cases[] = {
    {1, 0, 0, 0, 0},         {255, 0, 0, 0, 0},       {70001, 0, 0, 0, 0}, {2000003, 0, 0, 0, 0},
    {70001, 1, 35000, 0, 0}, {70001, 1, 70000, 0, 0}, {70001, 2, 0, 0, 0}, {5, 2, 4, 0, 0},
};

/* Segments of unlike lengths. */
static const params_t add_noise_cases[] = {
    {1, 1, 0, 0, 0}, {7, 61, 3, 0, 0}, {40, 96, 1, 5, 0}, {33, 1000, 7, 0, 0}, {300, 64, 11, 15, 0},
};

static const op_t ops[] = {
    {"embed", run_embed, CASES(embed_cases), SAME_BITS},
    {"add", run_add, CASES(add_cases), SAME_BITS},
    {"cast", run_cast, CASES(cast_cases), SAME_BITS},
    {"gather_rows", run_rows, CASES(gather_cases), SAME_BITS},
    {"scatter_rows", run_rows, CASES(scatter_cases), SAME_BITS},
    {"copy_rows", run_copy_rows, CASES(copy_rows_cases), SAME_BITS},
    {"add_noise", run_add_noise, CASES(add_noise_cases), SAME_BITS},
    {"scale_rows", run_scale_rows, CASES(scale_rows_cases), SAME_BITS},
    {"rmsnorm_fwd", run_rmsnorm_fwd, CASES(norm_cases), ROUNDED},
    {"add_rmsnorm_fwd", run_add_rmsnorm_fwd, CASES(add_norm_cases), ROUNDED},
    {"rmsnorm_bwd", run_rmsnorm_bwd, CASES(norm_bwd_cases), ROUNDED},
    {"rope", run_rope, CASES(rope_cases), ROUNDED},
    {"glu_fwd", run_glu_fwd, CASES(glu_fwd_cases), ROUNDED},
    {"glu_bwd", run_glu_bwd, CASES(glu_bwd_cases), ROUNDED},
    {"ce_loss", run_ce_loss, CASES(ce_loss_cases), ROUNDED},
    {"sumsq", run_sumsq, CASES(sumsq_cases), ROUNDED},
    {"adamw", run_adamw, CASES(adamw_cases), SAME_BITS},
    {"adamw_8bit", run_adamw_8bit, CASES(adamw_8bit_cases), SAME_BITS},
};

const op_t *ops_nth(size_t k) {
    const struct {
        const op_t *ops;
        size_t n;
    } tables[] = {
        {ops, sizeof ops / sizeof *ops},
        {attention_ops, n_attention_ops},
        {weight_ops, n_weight_ops},
        {linear_ops, n_linear_ops},
    };
    for (size_t i = 0; i < sizeof tables / sizeof *tables; k -= tables[i++].n)
        if (k < tables[i].n) return &tables[i].ops[k];
    return NULL;
}
