/* Single-threaded inner loops over contiguous memory, compiled once per instruction set and chosen at run
 * time. The ops around them (cpu/ops_*.c) own threads, shapes and scratch.
 *
 * "type" is DT_F32 or DT_BF16. Those marked exact give the same bits as the reference ops for every
 * instruction set; the others may use fused multiply-add and sum in lanes. */
#ifndef CPU_KERNELS_KERNELS_H
#define CPU_KERNELS_KERNELS_H

#include <stdbool.h>

#include "model/backend/backend.h"

/* Of a row of a softmax, as far as its scores are known. */
typedef struct {
    float max, sum; /* of the scaled scores; of exp(scaled score - max): at first -inf and 0 */
    float shrink;   /* exp(previous max - max): what sums with the previous probabilities are to be multiplied by */
} softmax_t;

typedef struct {
    const char *isa; /* for reports */

    /* ---- exact: kernels_exact.c ---- */
    /* Elements [first, first+n) of w; bf16: rounded to BF16 (always so when out_type is BF16). */
    void (*dequant)(const qweight_t *w, size_t first, size_t n, void *out, dtype_t out_type, bool bf16);
    void (*add)(void *y, const void *a, const void *b, size_t n, dtype_t type);
    void (*scale_row)(void *y, const void *x, size_t n, float a, dtype_t type); /* y = a * x */
    void (*cast)(void *dst, dtype_t dst_type, const void *src, dtype_t src_type, size_t n);
    /* Zeros what is dropped of channels [first, first+n), which x and y hold; what is kept is not scaled. */
    void (*dropout_row)(void *y, const void *x, size_t first, size_t n, uint64_t row_key, float p, dtype_t type);
    void (*adamw)(float *p, const float *g, float *m, float *v, size_t n, const adamw_t *h);
    /* One block of n elements of an adamw_8bit_state_t. */
    void (*adamw_8bit_block)(float *p, const float *g, uint8_t *m, uint8_t *v, float *m_absmax, float *v_absmax,
                             size_t n, const adamw_t *h);

    /* ---- rows: kernels_rows.c ---- */
    float (*rmsnorm_fwd)(void *y, const void *x, const float *w, size_t C, float eps, dtype_t type); /* gives rstd */
    /* add: dx += the gradient; else dx = it, and dx may be dy. */
    void (*rmsnorm_bwd)(void *dx, bool add, const void *dy, const void *x, const float *w, float rstd, size_t C,
                        dtype_t type);
    /* One row, at the position whose factors are cos_sin. */
    void (*rope)(void *x, const rope_t *rope, const float *cos_sin, size_t H, float sign, dtype_t type);
    void (*glu_fwd)(act_fn_t fn, void *y, const void *gate, const void *up, size_t n, dtype_t type);
    /* y, which may be dy: what glu_fwd gives, to the bit; NULL: not wanted. */
    void (*glu_bwd)(act_fn_t fn, void *dgate, void *dup, void *y, const void *dy, const void *gate, const void *up,
                    size_t n, dtype_t type);
    /* Loss of one row; want_grad overwrites it by grad_scale * (softmax - onehot), through the map. */
    float (*ce_loss)(void *logits, size_t V, int32_t label, logit_map_t map, bool want_grad, float grad_scale,
                     dtype_t type);
    double (*sumsq)(const float *x, size_t n);
    float (*dot)(const float *a, const float *b, size_t n);
    void (*softcap)(float *x, size_t n, float scale, float cap); /* x = softcap(scale * x) */
    void (*scale)(float *x, size_t n, float factor);

    /* ---- attention: kernels_attention.c ---- */
    /* n more scores, a multiple of 32, of each of m rows, ld apart in s and in p: p = exp(scale * s - max). Scores that
     * are not seen are -inf. */
    void (*softmax_rows)(void *p, dtype_t type, const float *s, size_t ld, size_t m, size_t n, float scale,
                         softmax_t *state);
    /* Of the products s and dp of m keys with n queries, a multiple of 32, and with the gradients of their outputs, rows
     * ld apart: p = exp(scale * s - lse), and ds = p * (dp - delta), the gradient of the scaled scores. */
    void (*score_grads)(void *p, void *ds, dtype_t type, const float *s, const float *dp, size_t ld, const float *lse,
                        const float *delta, size_t m, size_t n, float scale);
    /* The same of capped scores. */
    void (*capped_grads)(void *p, void *ds, dtype_t type, const float *s, const float *dp, size_t ld, const float *lse,
                         const float *delta, size_t m, size_t n, float scale, float cap);
    /* y[i] = row i of a . row i of b, both [n, D], rows lda and ldb apart. */
    void (*dots)(float *y, const void *a, size_t lda, const void *b, size_t ldb, size_t n, size_t D, dtype_t type);
    /* y [D] += the sum of w[i] * row i of x [n, D]. */
    void (*add_rows)(float *y, const float *w, const void *x, size_t ld, size_t n, size_t D, dtype_t type);
} cpu_kernels_t;

/* The best set that this processor can run. */
const cpu_kernels_t *kernels_best(void);
/* Set i that this processor can run, the plainest first; NULL past the last. For tests and benchmarks. */
const cpu_kernels_t *kernels_nth(int i);

#endif
