#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "ops_cases.h"

static const dtype_t gemm_types[][3] = {
    {DT_F32, DT_F32, DT_F32},  {DT_F32, DT_BF16, DT_F32}, {DT_BF16, DT_BF16, DT_BF16},
    {DT_BF16, DT_F32, DT_F32}, {DT_F32, DT_F32, DT_BF16},
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
    r->be->gemm(r->be, ta, tb, M, N, K, 0.5f, (matrix_t){A, t[0], lda}, (matrix_t){B, t[1], ldb},
                p->flags & 4 ? 0.75f : 0, (matrix_t){C, t[2], ldc});
    rig_output(r, C, t[2], M * ldc); /* the padding too: it must stay */
}

/* a,b: rows, cols; c,d: first, n; flags: type | 8 double quantization | 16 to BF16. */
static void run_dequant(rig_t *r, const params_t *p) {
    qweight_t w = rig_weight(r, (quant_type_t)(p->flags & 7), p->flags & 8, p->a, p->b);
    dtype_t type = p->flags & 16 ? DT_BF16 : DT_F32;
    void *out = rig_alloc(r, p->d * dtype_size(type));
    r->be->dequant(r->be, &w, p->c, p->d, out, type);
    rig_output(r, out, type, p->d);
}

/* n values of a type; some are too small or too large for a normal F16. */
static void *host_values(rig_t *r, dtype_t type, size_t n) {
    float *x = xmalloc(n * sizeof *x);
    uint16_t *h = xmalloc(n * sizeof *h);
    rig_normal(r->key, x, n, 0.3f);
    for (size_t i = 0; i < n; i += 97) x[i] *= i % 2 ? 1e-5f : 1e-7f;
    if (type == DT_F32) {
        free(h);
        return x;
    }
    for (size_t i = 0; i < n; i++) h[i] = type == DT_F16 ? f16_from_f32(x[i]) : bf16_from_f32(x[i]);
    free(x);
    return h;
}

/* The halves of their bits, since a zero point is bits. */
static void output_constants(rig_t *r, const float *constants, size_t blocks) {
    uint16_t *half = xmalloc(blocks * sizeof(float));
    float *as_float = xmalloc(2 * blocks * sizeof *as_float);
    r->be->download(r->be, half, constants, blocks * sizeof(float));
    for (size_t i = 0; i < 2 * blocks; i++) as_float[i] = half[i];
    rig_output(r, rig_upload(r, as_float, 2 * blocks * sizeof *as_float), DT_F32, 2 * blocks);
    free(half);
    free(as_float);
}

/* a: elements; b: quantization; c: elements of a piece (0: all at once); d: type of the values. As bytes; then the
 * second level. */
static void run_quantize(rig_t *r, const params_t *p) {
    size_t n = p->a, blocks = quant_blocks(n), code_bytes = quant_code_bytes((quant_type_t)p->b, n);
    qweight_t w = {
        .type = (quant_type_t)p->b, .double_quant = quant_can_nest((quant_type_t)p->b), .rows = 1, .cols = n};
    unsigned char *x = host_values(r, (dtype_t)p->d, n);
    float *absmax = rig_alloc(r, blocks * sizeof(float));
    w.codes = rig_alloc(r, code_bytes);
    w.absmax_q = rig_alloc(r, blocks);
    w.nested_absmax = rig_alloc(r, quant_nested_blocks(n) * sizeof(float));
    size_t step = p->c ? p->c : n;
    for (size_t i = 0; i < n; i += step)
        r->be->quantize(r->be, &w, x + i * dtype_size((dtype_t)p->d), (dtype_t)p->d, i, n - i < step ? n - i : step,
                        absmax);
    uint8_t *bytes = xmalloc(code_bytes + blocks);
    float *as_float = xmalloc((code_bytes + blocks) * sizeof *as_float);
    r->be->download(r->be, bytes, w.codes, code_bytes);
    size_t n_bytes = code_bytes;
    if (w.double_quant) {
        r->be->quantize_constants(r->be, &w, absmax);
        r->be->download(r->be, bytes + code_bytes, w.absmax_q, blocks);
        n_bytes += blocks;
        rig_output(r, w.nested_absmax, DT_F32, quant_nested_blocks(n));
    }
    if (!quant_is_plain(w.type)) output_constants(r, absmax, blocks);
    for (size_t i = 0; i < n_bytes; i++) as_float[i] = bytes[i];
    float *codes = rig_upload(r, as_float, n_bytes * sizeof *as_float);
    rig_output(r, codes, DT_F32, n_bytes);
    free(x);
    free(bytes);
    free(as_float);
}

/* ---- the table --------------------------------------------------------------------------------------- */

static const params_t gemm_cases[] = {
    {1, 1, 1, 0, 0},
    {7, 5, 3, 0, 1},
    {33, 65, 17, 0, 2},
    {64, 16, 96, 0, 7},
    {129, 17, 40, 0, 12},
    {300, 16, 576, 0, 2},
    {300, 31, 64, 0, 9},
    {16, 300, 200, 0, 1},
    {70, 90, 0, 0, 4},
    {70, 90, 0, 0, 0},
    {300, 16, 576, 1, 2},
    {300, 576, 16, 1, 2},
    {65, 33, 1500, 1, 4},
    {65, 33, 1500, 2, 6},
    {70, 1100, 64, 2, 8},
    {600, 600, 40, 2, 13},
    {600, 40, 1100, 3, 1},
    {40, 600, 1100, 3, 3},
    {530, 1030, 20, 4, 12},
    {530, 1030, 20, 4, 0},
    /* a K that is no multiple of anything, in several passes; nothing */
    {40, 70, 3361, 2, 2},
    {40, 70, 3361, 2, 4},
    {70, 40, 3361, 2, 13},
    {37, 90, 1697, 0, 5},
    {33, 40, 1665, 4, 1},
    {0, 90, 33, 2, 2},
    {70, 0, 33, 2, 1},
    {0, 0, 0, 0, 4},
    {70, 90, 0, 2, 6},
    {70, 9, 0, 2, 1},
};
static const params_t dequant_cases[] = {
    {8, 64, 0, 512, QUANT_NF4},
    {50, 30, 0, 1500, QUANT_NF4 | 8},
    {50, 30, 37, 1001, QUANT_NF4 | 8},
    {50, 30, 70, 3, QUANT_NF4},
    {50, 30, 0, 1500, QUANT_FP4 | 16},
    {50, 30, 1, 1499, QUANT_FP4 | 24},
    {50, 30, 64, 640, QUANT_INT4},
    {5, 13, 0, 65, QUANT_INT4 | 16},
    {50, 30, 3, 1490, QUANT_INT8 | 8},
    {50, 30, 0, 1500, QUANT_INT8 | 16},
    {50, 30, 3, 1490, QUANT_INT8_ZEROPOINT},
    {50, 30, 0, 1500, QUANT_INT8_ZEROPOINT | 16},
    {300, 577, 5, 173000, QUANT_INT8_ZEROPOINT | 16},
    {131, 97, 77, 12345, QUANT_INT8_ZEROPOINT},
    {64, 128, 64, 8000, QUANT_INT8_ZEROPOINT},
    {50, 30, 9, 900, QUANT_NONE},
    {50, 30, 9, 900, QUANT_NONE | 16},
    {50, 30, 9, 900, QUANT_F16},
    {50, 30, 0, 1500, QUANT_F16 | 16},
    {300, 577, 5, 173000, QUANT_F16},
    {300, 577, 5, 173000, QUANT_NF4 | 8},
    /* from inside a block of codes, and to the end of one that is not whole */
    {300, 577, 8, 173092, QUANT_NF4 | 24},
    {300, 577, 40, 173060, QUANT_NF4 | 8},
    {300, 577, 56, 60000, QUANT_FP4 | 16},
    {50, 24, 8, 1192, QUANT_NF4 | 24},
    {50, 24, 60, 1140, QUANT_INT4},
    {50, 24, 72, 1128, QUANT_INT8 | 24},
    {50, 24, 100, 1100, QUANT_INT8 | 8},
    {50, 24, 24, 1176, QUANT_INT8_ZEROPOINT | 16},
    {50, 24, 36, 1164, QUANT_INT8_ZEROPOINT},
    {50, 24, 120, 1080, QUANT_F16 | 16},
    {50, 24, 68, 1132, QUANT_NONE},
    /* a few values alone */
    {8, 64, 0, 12, QUANT_NF4 | 8},
    {8, 64, 64, 4, QUANT_FP4},
    {8, 64, 8, 8, QUANT_NF4 | 24},
    {8, 64, 0, 1, QUANT_INT4},
    {8, 64, 16, 4, QUANT_INT8},
    {8, 64, 17, 5, QUANT_INT8_ZEROPOINT},
    {8, 64, 8, 8, QUANT_INT8_ZEROPOINT | 16},
    {8, 64, 4, 3, QUANT_NONE | 16},
    {8, 64, 4, 3, QUANT_F16},
    {8, 64, 7, 17, QUANT_F16 | 16},
};
static const params_t quantize_cases[] = {
    {1, QUANT_NF4, 0, DT_BF16, 0},
    {1500, QUANT_NF4, 0, DT_BF16, 0},
    {1500, QUANT_NF4, 192, DT_BF16, 0},
    {1501, QUANT_FP4, 640, DT_BF16, 0},
    {1501, QUANT_INT4, 64, DT_BF16, 0},
    {1501, QUANT_INT8, 128, DT_BF16, 0},
    {1501, QUANT_NONE, 640, DT_BF16, 0},
    {70000, QUANT_NF4, 8256, DT_BF16, 0},
    {70001, QUANT_FP4, 0, DT_BF16, 0},
    {40001, QUANT_INT8, 0, DT_BF16, 0},
    {1501, QUANT_NF4, 192, DT_F16, 0},
    {70001, QUANT_NF4, 8256, DT_F32, 0},
    {1501, QUANT_FP4, 640, DT_F16, 0},
    {1501, QUANT_FP4, 0, DT_F32, 0},
    {1501, QUANT_INT4, 64, DT_F32, 0},
    {1501, QUANT_INT8, 128, DT_F16, 0},
    {40001, QUANT_INT8, 0, DT_F32, 0},
    {1501, QUANT_NONE, 640, DT_F16, 0},
    {40001, QUANT_NONE, 0, DT_F32, 0},
    {1501, QUANT_F16, 640, DT_F16, 0},
    {1501, QUANT_F16, 64, DT_BF16, 0},
    {40001, QUANT_F16, 8256, DT_F32, 0},
    {1, QUANT_F16, 0, DT_F32, 0},
    {1, QUANT_INT8_ZEROPOINT, 0, DT_F32, 0},
    {1501, QUANT_INT8_ZEROPOINT, 128, DT_F16, 0},
    {64, QUANT_INT8_ZEROPOINT, 0, DT_F32, 0},
    {40001, QUANT_INT8_ZEROPOINT, 0, DT_F32, 0},
    {70009, QUANT_INT8_ZEROPOINT, 8256, DT_BF16, 0},
};

const op_t weight_ops[] = {
    {"gemm", run_gemm, CASES(gemm_cases), ROUNDED},
    {"dequant", run_dequant, CASES(dequant_cases), SAME_BITS},
    {"quantize", run_quantize, CASES(quantize_cases), SAME_BITS},
};
const size_t n_weight_ops = sizeof weight_ops / sizeof *weight_ops;
