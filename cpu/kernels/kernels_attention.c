/* The rows between the products of attention: from scores to probabilities and to the gradients of scores, read once
 * and written as the next product reads them. In the language of the compiler's vectors, as what is narrowed to BF16
 * and what is summed by rows is not what compilers see of themselves. */
#include <math.h>

#include "cpu/kernels/exp.h"
#include "cpu/kernels/isa.h"

#if defined(__SSE2__)
#include <immintrin.h>
#endif
#if defined(__AVX512F__)
enum { WIDTH = 16 };
#define LARGER _mm512_max_ps
#elif defined(__AVX2__)
enum { WIDTH = 8 };
#define LARGER _mm256_max_ps
#else
enum { WIDTH = 4 };
#if defined(__SSE2__)
#define LARGER _mm_max_ps
#endif
#endif

typedef float lanes_t __attribute__((vector_size(WIDTH * sizeof(float)), aligned(4), may_alias));
typedef uint32_t bits_t __attribute__((vector_size(WIDTH * sizeof(float)), aligned(4), may_alias));
typedef bf16_t half_t __attribute__((vector_size(WIDTH * sizeof(bf16_t)), aligned(2), may_alias));
typedef bf16_t halves_t __attribute__((vector_size(2 * WIDTH * sizeof(bf16_t)), aligned(2), may_alias));

BODY lanes_t all(float x) { return (lanes_t){0} + x; }

/* b where either is NaN. */
BODY lanes_t larger(lanes_t a, lanes_t b) {
#ifdef LARGER
    return LARGER(a, b);
#else
    bits_t is = (bits_t)(a > b);
    return (lanes_t)(((bits_t)a & is) | ((bits_t)b & ~is));
#endif
}

/* Lane i ^ 1, i ^ 2, i ^ 4, i ^ 8 for lane i. */
static const uint32_t partners[4][16] = {
    {1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14},
    {2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13},
    {4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11},
    {8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7},
};

BODY lanes_t swapped(lanes_t x, unsigned distance) { return __builtin_shuffle(x, *(const bits_t *)partners[distance]); }

/* Over the lanes, a half of them at a time. */
BODY float sum_of(lanes_t x) {
    if (WIDTH > 8) x += swapped(x, 3);
    if (WIDTH > 4) x += swapped(x, 2);
    x += swapped(x, 1);
    return x[0] + x[1];
}

BODY float largest_of(lanes_t x) {
    if (WIDTH > 8) x = larger(x, swapped(x, 3));
    if (WIDTH > 4) x = larger(x, swapped(x, 2));
    x = larger(x, swapped(x, 1));
    return x[0] > x[1] ? x[0] : x[1];
}

/* exp(x) within 2 ulp for x that is not above 0 but by rounding; below 2^-126 it is 0. Of larger x, which only masked
 * scores have, it is anything. Half the work of exp_f32(): one factor 2^n, one ln 2 (x - n ln 2 is fused where that
 * matters), and the polynomial of degree 5 that is nearest to exp(r) for |r| <= ln(2)/2, but exact at 0. */
BODY lanes_t exp_below(lanes_t x) {
    const float magic = 12582912.0f; /* 1.5 * 2^23: adding it rounds to an integer, left in the low bits */
    x = larger(all(-88.0f), x);      /* rounds to 2^-127, of which the exponent's bits are 0 */
    lanes_t z = x * 1.44269504088896341f + magic, n = z - magic;
    lanes_t r = x - n * 0.693147180559945309f;
    lanes_t p = all(0.008290305733680725f);
    p = p * r + 0.0418979749083519f;
    p = p * r + 0.1666763722896576f;
    p = p * r + 0.4999915063381195f;
    p = p * r + 0.9999997019767761f;
    p = p * r + 1.0f;
    return p * (lanes_t)(((bits_t)z - (f32_to_bits(magic) - 127)) << 23);
}

/* The upper halves of two vectors, one after the other. */
static const bf16_t upper[32] = {1,  3,  5,  7,  9,  11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31,
                                 33, 35, 37, 39, 41, 43, 45, 47, 49, 51, 53, 55, 57, 59, 61, 63};

/* Two vectors to y[i ..]. To BF16 in two instructions for each: a value in the middle of two is rounded away from 0,
 * which one in 65536 is; and NaNs whose upper half alone is none are not cared for, as nothing computed from BF16 gives
 * them. */
BODY void store(void *y, dtype_t type, size_t i, lanes_t x0, lanes_t x1) {
    if (type == DT_BF16) {
        bits_t u0 = (bits_t)x0 + 0x8000u, u1 = (bits_t)x1 + 0x8000u;
        *(halves_t *)((bf16_t *)y + i) = __builtin_shuffle((halves_t)u0, (halves_t)u1, *(const halves_t *)upper);
        return;
    }
    *(lanes_t *)((float *)y + i) = x0;
    *(lanes_t *)((float *)y + i + WIDTH) = x1;
}

BODY lanes_t load(const float *x) { return *(const lanes_t *)x; }

/* ---- softmax ------------------------------------------------------------------------------------------ */

/* Rows that are gone through together, as their sums do not wait for one another. */
enum { TOGETHER = 4 };

BODY void row_maxima(const float *s, size_t ld, size_t rows, size_t n, float *top) {
    lanes_t most[TOGETHER];
    _Pragma("GCC unroll 4") for (size_t r = 0; r < rows; r++) most[r] = all(-INFINITY);
    for (size_t i = 0; i < n; i += WIDTH) {
        _Pragma("GCC unroll 4") for (size_t r = 0; r < rows; r++) most[r] = larger(load(s + r * ld + i), most[r]);
    }
    _Pragma("GCC unroll 4") for (size_t r = 0; r < rows; r++) top[r] = largest_of(most[r]);
}

/* p = exp(scale * s - shift), and the sums. */
BODY void row_exps(void *p, const float *s, size_t ld, size_t rows, size_t n, float scale, const float *shift,
                   float *sum, dtype_t type) {
    lanes_t total[TOGETHER], by[TOGETHER];
    _Pragma("GCC unroll 4") for (size_t r = 0; r < rows; r++) total[r] = all(0), by[r] = all(shift[r]);
    for (size_t i = 0; i < n; i += 2 * WIDTH) {
        _Pragma("GCC unroll 4") for (size_t r = 0; r < rows; r++) {
            lanes_t e0 = exp_below(scale * load(s + r * ld + i) - by[r]);
            lanes_t e1 = exp_below(scale * load(s + r * ld + i + WIDTH) - by[r]);
            store(p, type, r * ld + i, e0, e1);
            total[r] += e0 + e1;
        }
    }
    _Pragma("GCC unroll 4") for (size_t r = 0; r < rows; r++) sum[r] = sum_of(total[r]);
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
    for (size_t r = 0; r < rows; r++) state[r].shrink = exp_below(all(state[r].shrink))[0];
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
    for (size_t i = 0; i < n; i += 2 * WIDTH) {
        lanes_t shift0 = load(lse + i), shift1 = load(lse + i + WIDTH);
        lanes_t mean0 = load(delta + i), mean1 = load(delta + i + WIDTH);
        for (size_t r = 0; r < m; r++) {
            const float *s0 = s + r * ld + i, *dp0 = dp + r * ld + i;
            lanes_t e0 = exp_below(scale * load(s0) - shift0), e1 = exp_below(scale * load(s0 + WIDTH) - shift1);
            store(p, type, r * ld + i, e0, e1);
            store(ds, type, r * ld + i, e0 * (load(dp0) - mean0), e1 * (load(dp0 + WIDTH) - mean1));
        }
    }
}

static void score_grads(void *p, void *ds, dtype_t type, const float *s, const float *dp, size_t ld, const float *lse,
                        const float *delta, size_t m, size_t n, float scale) {
    BY_TYPE(type, score_grads_body(p, ds, s, dp, ld, lse, delta, m, n, scale, DT_F32),
            score_grads_body(p, ds, s, dp, ld, lse, delta, m, n, scale, DT_BF16));
}

BODY lanes_t tanh_of(lanes_t x) { return vec_tanh((vec_t)x); }

BODY void capped_grads_body(void *p, void *ds, const float *s, const float *dp, size_t ld, const float *lse,
                            const float *delta, size_t m, size_t n, float scale, float cap, dtype_t type) {
    for (size_t r = 0; r < m; r++) {
        for (size_t i = 0; i < n; i += 2 * WIDTH) {
            const float *s0 = s + r * ld + i, *dp0 = dp + r * ld + i;
            lanes_t t0 = tanh_of(scale / cap * load(s0)), t1 = tanh_of(scale / cap * load(s0 + WIDTH));
            lanes_t d0 = (load(dp0) - load(delta + i)) * (1.0f - t0 * t0);
            lanes_t d1 = (load(dp0 + WIDTH) - load(delta + i + WIDTH)) * (1.0f - t1 * t1);
            lanes_t e0 = exp_below(cap * t0 - load(lse + i)), e1 = exp_below(cap * t1 - load(lse + i + WIDTH));
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

BODY lanes_t load_act(const void *x, dtype_t type, size_t i) {
    if (type == DT_F32) return load((const float *)x + i);
    return (lanes_t)(__builtin_convertvector(*(const half_t *)((const bf16_t *)x + i), bits_t) << 16);
}

BODY void dots_some(float *y, const void *a, size_t lda, const void *b, size_t ldb, size_t rows, size_t D,
                    dtype_t type) {
    lanes_t sum[TOGETHER];
    size_t d = 0;
    _Pragma("GCC unroll 4") for (size_t r = 0; r < rows; r++) sum[r] = all(0);
    for (; d + WIDTH <= D; d += WIDTH) {
        _Pragma("GCC unroll 4") for (size_t r = 0; r < rows; r++)
            sum[r] += load_act(a, type, r * lda + d) * load_act(b, type, r * ldb + d);
    }
    _Pragma("GCC unroll 4") for (size_t r = 0; r < rows; r++) y[r] = sum_of(sum[r]);
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
