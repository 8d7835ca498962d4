/* The rows between the products of attention: from scores to probabilities and to the gradients of scores, read once
 * and written as the next product reads them. In the language of the compiler's vectors, as what is narrowed to BF16
 * and what is summed by rows is not what compilers see of themselves. */
#include <math.h>

#include "cpu/kernels/exp.h"
#include "cpu/kernels/isa.h"

/* exp(x) within 2 ulp for x that is not above 0 but by rounding; below 2^-126 it is 0. Of larger x, which only masked
 * scores have, it is anything. Half the work of vec_exp_f32(): one factor 2^n, one ln 2 (x - n ln 2 is fused where that
 * matters), and the polynomial of degree 5 that is nearest to exp(r) for |r| <= ln(2)/2, but exact at 0. */
BODY vec_t exp_below(vec_t x) {
    const float magic = 12582912.0f; /* 1.5 * 2^23: adding it rounds to an integer, left in the low bits */
    x = vec_max(vec_set(-88.0f), x); /* rounds to 2^-127, of which the exponent's bits are 0 */
    vec_t z = x * 1.44269504088896341f + magic, n = z - magic;
    vec_t r = x - n * 0.693147180559945309f;
    vec_t p = vec_set(0.008290305733680725f);
    p = p * r + 0.0418979749083519f;
    p = p * r + 0.1666763722896576f;
    p = p * r + 0.4999915063381195f;
    p = p * r + 0.9999997019767761f;
    p = p * r + 1.0f;
    return p * (vec_t)(((vec_bits_t)z - (f32_to_bits(magic) - 127)) << 23);
}

typedef bf16_t halves_t __attribute__((vector_size(4 * VEC_LANES), aligned(2), may_alias));

/* The upper halves of two registers, one after the other. */
static const bf16_t upper[32] = {1,  3,  5,  7,  9,  11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31,
                                 33, 35, 37, 39, 41, 43, 45, 47, 49, 51, 53, 55, 57, 59, 61, 63};

/* Two registers to y[i ..]. To BF16 in two instructions for each: a value in the middle of two is rounded away from 0,
 * which one in 65536 is; and NaNs whose upper half alone is none are not cared for, as nothing computed from BF16 gives
 * them. */
BODY void store(void *y, dtype_t type, size_t i, vec_t x0, vec_t x1) {
    if (type == DT_BF16) {
        vec_bits_t u0 = (vec_bits_t)x0 + 0x8000u, u1 = (vec_bits_t)x1 + 0x8000u;
        *(halves_t *)((bf16_t *)y + i) = __builtin_shuffle((halves_t)u0, (halves_t)u1, *(const halves_t *)upper);
        return;
    }
    vec_store(y, DT_F32, i, VEC_LANES, x0);
    vec_store(y, DT_F32, i + VEC_LANES, VEC_LANES, x1);
}

BODY vec_t load(const float *x) { return vec_load(x, DT_F32, 0, VEC_LANES); }

/* ---- softmax ------------------------------------------------------------------------------------------ */

/* Rows that are gone through together, as their sums do not wait for one another. */
enum { TOGETHER = 4 };

BODY void row_maxima(const float *s, size_t ld, size_t rows, size_t n, float *top) {
    vec_t most[TOGETHER];
    _Pragma("GCC unroll 4") for (size_t r = 0; r < rows; r++) most[r] = vec_set(-INFINITY);
    for (size_t i = 0; i < n; i += VEC_LANES) {
        _Pragma("GCC unroll 4") for (size_t r = 0; r < rows; r++) most[r] = vec_max(load(s + r * ld + i), most[r]);
    }
    _Pragma("GCC unroll 4") for (size_t r = 0; r < rows; r++) top[r] = vec_top(most[r]);
}

/* p = exp(scale * s - shift), and the sums. */
BODY void row_exps(void *p, const float *s, size_t ld, size_t rows, size_t n, float scale, const float *shift,
                   float *sum, dtype_t type) {
    vec_t total[TOGETHER], by[TOGETHER];
    _Pragma("GCC unroll 4") for (size_t r = 0; r < rows; r++) total[r] = vec_set(0), by[r] = vec_set(shift[r]);
    for (size_t i = 0; i < n; i += 2 * VEC_LANES) {
        _Pragma("GCC unroll 4") for (size_t r = 0; r < rows; r++) {
            vec_t e0 = exp_below(scale * load(s + r * ld + i) - by[r]);
            vec_t e1 = exp_below(scale * load(s + r * ld + i + VEC_LANES) - by[r]);
            store(p, type, r * ld + i, e0, e1);
            total[r] += e0 + e1;
        }
    }
    _Pragma("GCC unroll 4") for (size_t r = 0; r < rows; r++) sum[r] = vec_sum(total[r]);
}

BODY void softmax_some(void *p, const float *s, size_t ld, size_t rows, size_t n, float scale, softmax_t *state,
                       dtype_t type) {
    float top[TOGETHER], shift[TOGETHER], sum[TOGETHER];
    row_maxima(s, ld, rows, n, top);
    for (size_t r = 0; r < rows; r++) {
        float max = scale * top[r] > state[r].max ? scale * top[r] : state[r].max;
        shift[r] = max == -INFINITY ? 0 : max; /* nothing is seen yet */
        state[r].shrink = state[r].max - shift[r];
        state[r].max = max;
    }
    for (size_t r = 0; r < rows; r++) state[r].shrink = exp_below(vec_set(state[r].shrink))[0];
    row_exps(p, s, ld, rows, n, scale, shift, sum, type);
    for (size_t r = 0; r < rows; r++) state[r].sum = state[r].sum * state[r].shrink + sum[r];
}

BODY void softmax_body(void *p, const float *s, size_t ld, size_t m, size_t n, float scale, softmax_t *state,
                       dtype_t type) {
    size_t r = 0;
    for (; r + TOGETHER <= m; r += TOGETHER)
        softmax_some(act_at(p, type, r * ld), s + r * ld, ld, TOGETHER, n, scale, state + r, type);
    for (; r < m; r++) softmax_some(act_at(p, type, r * ld), s + r * ld, ld, 1, n, scale, state + r, type);
}

static void softmax_rows(void *p, dtype_t type, const float *s, size_t ld, size_t m, size_t n, float scale,
                         softmax_t *state) {
    BY_TYPE(type, softmax_body(p, s, ld, m, n, scale, state, DT_F32),
            softmax_body(p, s, ld, m, n, scale, state, DT_BF16));
}

/* ---- its gradient ------------------------------------------------------------------------------------- */

BODY void score_grads_body(void *p, void *ds, const float *s, const float *dp, size_t ld, const float *lse,
                           const float *delta, size_t m, size_t n, float scale, dtype_t type) {
    for (size_t i = 0; i < n; i += 2 * VEC_LANES) {
        vec_t shift0 = load(lse + i), shift1 = load(lse + i + VEC_LANES);
        vec_t mean0 = load(delta + i), mean1 = load(delta + i + VEC_LANES);
        for (size_t r = 0; r < m; r++) {
            const float *s0 = s + r * ld + i, *dp0 = dp + r * ld + i;
            vec_t e0 = exp_below(scale * load(s0) - shift0), e1 = exp_below(scale * load(s0 + VEC_LANES) - shift1);
            store(p, type, r * ld + i, e0, e1);
            store(ds, type, r * ld + i, e0 * (load(dp0) - mean0), e1 * (load(dp0 + VEC_LANES) - mean1));
        }
    }
}

static void score_grads(void *p, void *ds, dtype_t type, const float *s, const float *dp, size_t ld, const float *lse,
                        const float *delta, size_t m, size_t n, float scale) {
    BY_TYPE(type, score_grads_body(p, ds, s, dp, ld, lse, delta, m, n, scale, DT_F32),
            score_grads_body(p, ds, s, dp, ld, lse, delta, m, n, scale, DT_BF16));
}

BODY void capped_grads_body(void *p, void *ds, const float *s, const float *dp, size_t ld, const float *lse,
                            const float *delta, size_t m, size_t n, float scale, float cap, dtype_t type) {
    for (size_t r = 0; r < m; r++) {
        for (size_t i = 0; i < n; i += 2 * VEC_LANES) {
            const float *s0 = s + r * ld + i, *dp0 = dp + r * ld + i;
            vec_t t0 = vec_tanh(scale / cap * load(s0)), t1 = vec_tanh(scale / cap * load(s0 + VEC_LANES));
            vec_t d0 = (load(dp0) - load(delta + i)) * (1.0f - t0 * t0);
            vec_t d1 = (load(dp0 + VEC_LANES) - load(delta + i + VEC_LANES)) * (1.0f - t1 * t1);
            vec_t e0 = exp_below(cap * t0 - load(lse + i)), e1 = exp_below(cap * t1 - load(lse + i + VEC_LANES));
            store(p, type, r * ld + i, e0, e1);
            store(ds, type, r * ld + i, e0 * d0, e1 * d1);
        }
    }
}

static void capped_grads(void *p, void *ds, dtype_t type, const float *s, const float *dp, size_t ld, const float *lse,
                         const float *delta, size_t m, size_t n, float scale, float cap) {
    BY_TYPE(type, capped_grads_body(p, ds, s, dp, ld, lse, delta, m, n, scale, cap, DT_F32),
            capped_grads_body(p, ds, s, dp, ld, lse, delta, m, n, scale, cap, DT_BF16));
}

/* ---- single queries ----------------------------------------------------------------------------------- */

BODY void dots_some(float *y, const void *a, size_t lda, const void *b, size_t ldb, size_t rows, size_t D,
                    dtype_t type) {
    vec_t sum[TOGETHER];
    size_t d = 0;
    _Pragma("GCC unroll 4") for (size_t r = 0; r < rows; r++) sum[r] = vec_set(0);
    for (; d + VEC_LANES <= D; d += VEC_LANES) {
        _Pragma("GCC unroll 4") for (size_t r = 0; r < rows; r++)
            sum[r] += vec_load(a, type, r * lda + d, VEC_LANES) * vec_load(b, type, r * ldb + d, VEC_LANES);
    }
    _Pragma("GCC unroll 4") for (size_t r = 0; r < rows; r++) y[r] = vec_sum(sum[r]);
    for (; d < D; d++)
        for (size_t r = 0; r < rows; r++) y[r] += act_get(a, type, r * lda + d) * act_get(b, type, r * ldb + d);
}

BODY void dots_body(float *y, const void *a, size_t lda, const void *b, size_t ldb, size_t n, size_t D, dtype_t type) {
    size_t i = 0;
    for (; i + TOGETHER <= n; i += TOGETHER)
        dots_some(y + i, act_at_const(a, type, i * lda), lda, act_at_const(b, type, i * ldb), ldb, TOGETHER, D, type);
    for (; i < n; i++)
        dots_some(y + i, act_at_const(a, type, i * lda), lda, act_at_const(b, type, i * ldb), ldb, 1, D, type);
}

static void dots(float *y, const void *a, size_t lda, const void *b, size_t ldb, size_t n, size_t D, dtype_t type) {
    BY_TYPE(type, dots_body(y, a, lda, b, ldb, n, D, DT_F32), dots_body(y, a, lda, b, ldb, n, D, DT_BF16));
}

/* Four rows at a time, so that y is not read and written for each. */
BODY void add_rows_body(float *y, const float *w, const void *x, size_t ld, size_t n, size_t D, dtype_t type) {
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        const void *a = act_at_const(x, type, i * ld), *b = act_at_const(a, type, ld);
        const void *c = act_at_const(b, type, ld), *e = act_at_const(c, type, ld);
        _Pragma("omp simd") for (size_t d = 0; d < D; d++)
            y[d] += w[i] * act_get(a, type, d) + w[i + 1] * act_get(b, type, d) + w[i + 2] * act_get(c, type, d) +
                    w[i + 3] * act_get(e, type, d);
    }
    for (; i < n; i++) {
        const void *a = act_at_const(x, type, i * ld);
        _Pragma("omp simd") for (size_t d = 0; d < D; d++) y[d] += w[i] * act_get(a, type, d);
    }
}

static void add_rows(float *y, const float *w, const void *x, size_t ld, size_t n, size_t D, dtype_t type) {
    BY_TYPE(type, add_rows_body(y, w, x, ld, n, D, DT_F32), add_rows_body(y, w, x, ld, n, D, DT_BF16));
}

void ISA_NAME(kernels_attention)(cpu_kernels_t *k) {
    k->softmax_rows = softmax_rows;
    k->score_grads = score_grads;
    k->capped_grads = capped_grads;
    k->dots = dots;
    k->add_rows = add_rows;
}
