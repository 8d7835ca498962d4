/* The rows between the products of attention: from scores to probabilities and to the gradients of scores, read once
 * and written as the next product reads them. */
#include <math.h>

#include "cpu/kernels/exp.h"
#include "cpu/kernels/isa.h"

/* exp(x) for x that is not above 0 but by rounding, which spares half of exp_f32()'s scaling: below 2^-126 it is 0. Of
 * larger x, which only masked scores have, it is anything. */
BODY float exp_below(float x) {
    const float magic = 12582912.0f; /* 1.5 * 2^23: adding it rounds to an integer, left in the low bits */
    x = x < -110.0f ? -110.0f : x;
    float z = x * 1.44269504088896341f + magic, n = z - magic;
    float r = x - n * 0.693145751953125f;
    r = r - n * 1.42860682030941723212e-6f;
    float p = 1.0f / 5040.0f;
    p = p * r + 1.0f / 720.0f;
    p = p * r + 1.0f / 120.0f;
    p = p * r + 1.0f / 24.0f;
    p = p * r + 1.0f / 6.0f;
    p = p * r + 0.5f;
    p = (p * r) * r + r + 1.0f;
    int32_t e = (int32_t)(f32_to_bits(z) - f32_to_bits(magic)) + 127;
    e = e < 0 ? 0 : e;
    return p * f32_from_bits((uint32_t)e << 23);
}

/* act_set() without its care for NaNs whose low half is set: what is computed from BF16 has none. */
BODY void set_value(void *y, dtype_t type, size_t i, float x) {
    uint32_t u = f32_to_bits(x);
    if (type == DT_BF16) ((bf16_t *)y)[i] = (bf16_t)((u + 0x7fffu + ((u >> 16) & 1)) >> 16);
    else ((float *)y)[i] = x;
}

BODY float exp_row(void *p, const float *s, size_t n, float scale, float shift, dtype_t type) {
    float sum = 0;
    _Pragma("omp simd reduction(+ : sum)") for (size_t i = 0; i < n; i++) {
        float e = exp_below(scale * s[i] - shift);
        set_value(p, type, i, e);
        sum += e;
    }
    return sum;
}

static float softmax_row(void *p, dtype_t type, const float *s, size_t n, float scale, float *max, float *sum) {
    float top = -INFINITY;
    _Pragma("omp simd reduction(max : top)") for (size_t i = 0; i < n; i++) top = s[i] > top ? s[i] : top;
    top = scale * top;
    top = top > *max ? top : *max;
    float shrink = top > *max ? exp_below(*max - top) : 1;
    float added = BY_TYPE(type, exp_row(p, s, n, scale, top, DT_F32), exp_row(p, s, n, scale, top, DT_BF16));
    *max = top;
    *sum = *sum * shrink + added;
    return shrink;
}

BODY void score_grads_body(void *p, void *ds, const float *s, const float *dp, const float *lse, const float *delta,
                           size_t n, float scale, float cap, bool capped, dtype_t type) {
    float factor = capped ? scale / cap : 0;
    _Pragma("omp simd") for (size_t i = 0; i < n; i++) {
        float t = capped ? tanh_f32(factor * s[i]) : 0, z = capped ? cap * t : scale * s[i];
        float e = exp_below(z - lse[i]), g = e * (dp[i] - delta[i]) * scale;
        set_value(p, type, i, e);
        set_value(ds, type, i, capped ? g * (1 - t * t) : g);
    }
}

static void score_grads(void *p, void *ds, dtype_t type, const float *s, const float *dp, const float *lse,
                        const float *delta, size_t n, float scale, float cap) {
    if (cap > 0)
        BY_TYPE(type, score_grads_body(p, ds, s, dp, lse, delta, n, scale, cap, true, DT_F32),
                score_grads_body(p, ds, s, dp, lse, delta, n, scale, cap, true, DT_BF16));
    else
        BY_TYPE(type, score_grads_body(p, ds, s, dp, lse, delta, n, scale, 0, false, DT_F32),
                score_grads_body(p, ds, s, dp, lse, delta, n, scale, 0, false, DT_BF16));
}

BODY void dots_body(float *y, const void *a, size_t lda, const void *b, size_t ldb, size_t n, size_t D, dtype_t type) {
    for (size_t i = 0; i < n; i++) {
        const void *x = act_at_const(a, type, i * lda), *z = act_at_const(b, type, i * ldb);
        float sum = 0;
        _Pragma("omp simd reduction(+ : sum)") for (size_t d = 0; d < D; d++)
            sum += act_get(x, type, d) * act_get(z, type, d);
        y[i] = sum;
    }
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
    k->softmax_row = softmax_row;
    k->score_grads = score_grads;
    k->dots = dots;
    k->add_rows = add_rows;
}
