/* Kernels whose results may differ from the reference in the last bits: sums in lanes, fused multiply-add,
 * an exp of our own. */
#include <math.h>

#include "cpu/kernels/exp.h"
#include "cpu/kernels/isa.h"

/* Long sums go through fp32 lanes for this many elements, then into a double. */
enum { SUM_CHUNK = 2048 };

/* ---- norm -------------------------------------------------------------------------------------------- */

BODY float rmsnorm_fwd_body(void *y, const void *x, const float *w, size_t C, float eps, dtype_t type) {
    float sum = 0;
    _Pragma("omp simd reduction(+ : sum)") for (size_t c = 0; c < C; c++)
        sum += act_get(x, type, c) * act_get(x, type, c);
    float rstd = 1.0f / sqrtf(sum / (float)C + eps);
    _Pragma("omp simd") for (size_t c = 0; c < C; c++) act_set(y, type, c, act_get(x, type, c) * rstd * w[c]);
    return rstd;
}

static float rmsnorm_fwd(void *y, const void *x, const float *w, size_t C, float eps, dtype_t type) {
    return BY_TYPE(type, rmsnorm_fwd_body(y, x, w, C, eps, DT_F32), rmsnorm_fwd_body(y, x, w, C, eps, DT_BF16));
}

BODY void rmsnorm_bwd_body(void *dx, const void *dy, const void *x, const float *w, float rstd, size_t C,
                           dtype_t type) {
    float sum = 0;
    _Pragma("omp simd reduction(+ : sum)") for (size_t c = 0; c < C; c++)
        sum += act_get(dy, type, c) * w[c] * act_get(x, type, c);
    float mean = sum * rstd / (float)C;
    _Pragma("omp simd") for (size_t c = 0; c < C; c++) {
        float g = act_get(dy, type, c) * w[c] - act_get(x, type, c) * rstd * mean;
        act_set(dx, type, c, act_get(dx, type, c) + rstd * g);
    }
}

static void rmsnorm_bwd(void *dx, const void *dy, const void *x, const float *w, float rstd, size_t C, dtype_t type) {
    BY_TYPE(type, rmsnorm_bwd_body(dx, dy, x, w, rstd, C, DT_F32), rmsnorm_bwd_body(dx, dy, x, w, rstd, C, DT_BF16));
}

/* ---- rotary positions -------------------------------------------------------------------------------- */

BODY void rope_body(void *x, const float *cos_sin, size_t H, size_t D, float sign, dtype_t type) {
    for (size_t h = 0; h < H; h++) {
        void *lo = act_at(x, type, h * D), *hi = act_at(x, type, h * D + D / 2);
        _Pragma("omp simd") for (size_t i = 0; i < D / 2; i++) {
            float c = cos_sin[2 * i], s = sign * cos_sin[2 * i + 1];
            float a = act_get(lo, type, i), b = act_get(hi, type, i);
            act_set(lo, type, i, a * c - b * s);
            act_set(hi, type, i, b * c + a * s);
        }
    }
}

static void rope(void *x, const float *cos_sin, size_t H, size_t D, float sign, dtype_t type) {
    BY_TYPE(type, rope_body(x, cos_sin, H, D, sign, DT_F32), rope_body(x, cos_sin, H, D, sign, DT_BF16));
}

/* ---- SwiGLU ------------------------------------------------------------------------------------------ */

BODY void swiglu_fwd_body(void *y, const void *gate, const void *up, size_t n, dtype_t type) {
    _Pragma("omp simd") for (size_t i = 0; i < n; i++) {
        float g = act_get(gate, type, i);
        act_set(y, type, i, g / (1.0f + exp_f32(-g)) * act_get(up, type, i));
    }
}

static void swiglu_fwd(void *y, const void *gate, const void *up, size_t n, dtype_t type) {
    BY_TYPE(type, swiglu_fwd_body(y, gate, up, n, DT_F32), swiglu_fwd_body(y, gate, up, n, DT_BF16));
}

BODY void swiglu_bwd_body(void *dgate, void *dup, const void *dy, const void *gate, const void *up, size_t n,
                          dtype_t type) {
    _Pragma("omp simd") for (size_t i = 0; i < n; i++) {
        float g = act_get(gate, type, i), u = act_get(up, type, i), d = act_get(dy, type, i);
        float s = 1.0f / (1.0f + exp_f32(-g));
        act_set(dgate, type, i, d * u * (s * (1.0f + g * (1.0f - s))));
        act_set(dup, type, i, d * (g * s));
    }
}

static void swiglu_bwd(void *dgate, void *dup, const void *dy, const void *gate, const void *up, size_t n,
                       dtype_t type) {
    BY_TYPE(type, swiglu_bwd_body(dgate, dup, dy, gate, up, n, DT_F32),
            swiglu_bwd_body(dgate, dup, dy, gate, up, n, DT_BF16));
}

/* ---- softmax ----------------------------------------------------------------------------------------- */

BODY float max_body(const void *x, size_t n, dtype_t type) {
    float max = -INFINITY;
    _Pragma("omp simd reduction(max : max)") for (size_t i = 0; i < n; i++)
        max = act_get(x, type, i) > max ? act_get(x, type, i) : max;
    return max;
}

static float max(const float *x, size_t n) { return max_body(x, n, DT_F32); }

BODY float ce_loss_body(void *logits, size_t V, int32_t label, bool want_grad, float grad_scale, dtype_t type) {
    float max = max_body(logits, V, type), at_label = act_get(logits, type, (size_t)label);
    double total = 0;
    for (size_t first = 0; first < V; first += SUM_CHUNK) {
        size_t n = V - first < SUM_CHUNK ? V - first : SUM_CHUNK;
        const void *x = act_at_const(logits, type, first);
        float sum = 0;
        _Pragma("omp simd reduction(+ : sum)") for (size_t i = 0; i < n; i++) sum += exp_f32(act_get(x, type, i) - max);
        total += sum;
    }
    if (want_grad) {
        float factor = (float)(grad_scale / total);
        _Pragma("omp simd") for (size_t v = 0; v < V; v++)
            act_set(logits, type, v, factor * exp_f32(act_get(logits, type, v) - max));
        act_set(logits, type, (size_t)label, (float)(grad_scale * (exp((double)at_label - max) / total - 1.0)));
    }
    return (float)(log(total) + max - at_label);
}

static float ce_loss(void *logits, size_t V, int32_t label, bool want_grad, float grad_scale, dtype_t type) {
    return BY_TYPE(type, ce_loss_body(logits, V, label, want_grad, grad_scale, DT_F32),
                   ce_loss_body(logits, V, label, want_grad, grad_scale, DT_BF16));
}

static float exp_sum(float *x, size_t n, float scale, float shift) {
    float sum = 0;
    _Pragma("omp simd reduction(+ : sum)") for (size_t i = 0; i < n; i++) {
        x[i] = exp_f32(x[i] * scale - shift);
        sum += x[i];
    }
    return sum;
}

static void score_grad(float *dp, const float *p, size_t n, float delta) {
    _Pragma("omp simd") for (size_t i = 0; i < n; i++) dp[i] = p[i] * (dp[i] - delta);
}

/* ---- sums -------------------------------------------------------------------------------------------- */

static double sumsq(const float *x, size_t n) {
    double sum = 0;
    _Pragma("omp simd reduction(+ : sum)") for (size_t i = 0; i < n; i++) sum += (double)x[i] * (double)x[i];
    return sum;
}

static float dot(const float *a, const float *b, size_t n) {
    float sum = 0;
    _Pragma("omp simd reduction(+ : sum)") for (size_t i = 0; i < n; i++) sum += a[i] * b[i];
    return sum;
}

static void scale(float *x, size_t n, float factor) {
    _Pragma("omp simd") for (size_t i = 0; i < n; i++) x[i] *= factor;
}

void ISA_NAME(kernels_rows)(cpu_kernels_t *k) {
    k->rmsnorm_fwd = rmsnorm_fwd;
    k->rmsnorm_bwd = rmsnorm_bwd;
    k->rope = rope;
    k->swiglu_fwd = swiglu_fwd;
    k->swiglu_bwd = swiglu_bwd;
    k->ce_loss = ce_loss;
    k->sumsq = sumsq;
    k->dot = dot;
    k->max = max;
    k->exp_sum = exp_sum;
    k->score_grad = score_grad;
    k->scale = scale;
}
