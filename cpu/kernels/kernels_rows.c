/* Kernels whose results may differ from the reference in the last bits: sums in lanes, fused multiply-add,
 * exp and tanh of our own. */
#include <math.h>

#include "cpu/kernels/exp.h"
#include "cpu/kernels/isa.h"
#include "model/backend/element.h"

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

BODY void rmsnorm_bwd_body(void *dx, bool add, const void *dy, const void *x, const float *w, float rstd, size_t C,
                           dtype_t type) {
    float sum = 0;
    _Pragma("omp simd reduction(+ : sum)") for (size_t c = 0; c < C; c++)
        sum += act_get(dy, type, c) * w[c] * act_get(x, type, c);
    float mean = sum * rstd / (float)C;
    _Pragma("omp simd") for (size_t c = 0; c < C; c++) {
        float g = act_get(dy, type, c) * w[c] - act_get(x, type, c) * rstd * mean;
        act_set(dx, type, c, add ? act_get(dx, type, c) + rstd * g : rstd * g);
    }
}

static void rmsnorm_bwd(void *dx, bool add, const void *dy, const void *x, const float *w, float rstd, size_t C,
                        dtype_t type) {
    if (add)
        BY_TYPE(type, rmsnorm_bwd_body(dx, true, dy, x, w, rstd, C, DT_F32),
                rmsnorm_bwd_body(dx, true, dy, x, w, rstd, C, DT_BF16));
    else
        BY_TYPE(type, rmsnorm_bwd_body(dx, false, dy, x, w, rstd, C, DT_F32),
                rmsnorm_bwd_body(dx, false, dy, x, w, rstd, C, DT_BF16));
}

/* ---- rotary positions -------------------------------------------------------------------------------- */

/* Pairs of one head: the firsts from `first` on, the seconds from `second` on, each `step` apart. */
BODY void rope_pairs(void *first, void *second, size_t step, const float *cos_sin, size_t pairs, float sign,
                     dtype_t type) {
    _Pragma("omp simd") for (size_t i = 0; i < pairs; i++) {
        float c = cos_sin[2 * i], s = sign * cos_sin[2 * i + 1];
        float a = act_get(first, type, step * i), b = act_get(second, type, step * i);
        act_set(first, type, step * i, a * c - b * s);
        act_set(second, type, step * i, b * c + a * s);
    }
}

BODY void rope_body(void *x, const rope_t *rope, const float *cos_sin, size_t H, float sign, dtype_t type) {
    size_t half = rope->R / 2;
    for (size_t h = 0; h < H; h++) {
        void *head = act_at(x, type, h * rope->D);
        if (rope->interleaved) rope_pairs(head, act_at(head, type, 1), 2, cos_sin, half, sign, type);
        else rope_pairs(head, act_at(head, type, half), 1, cos_sin, half, sign, type);
    }
}

static void rope(void *x, const rope_t *rope, const float *cos_sin, size_t H, float sign, dtype_t type) {
    BY_TYPE(type, rope_body(x, rope, cos_sin, H, sign, DT_F32), rope_body(x, rope, cos_sin, H, sign, DT_BF16));
}

/* ---- gates ------------------------------------------------------------------------------------------- */

/* As in model/backend/element.h, with an exp that vectorizes. */
BODY float sigmoid_f32(float x) { return 1.0f / (1.0f + exp_f32(-x)); }

BODY void glu_fwd_body(act_fn_t fn, void *y, const void *gate, const void *up, size_t n, dtype_t type) {
    _Pragma("omp simd") for (size_t i = 0; i < n; i++) {
        float g = act_get(gate, type, i);
        act_set(y, type, i, g / (1.0f + exp_f32(fn == ACT_SILU ? -g : -gelu_tanh_2z(g))) * act_get(up, type, i));
    }
}

static void glu_fwd(act_fn_t fn, void *y, const void *gate, const void *up, size_t n, dtype_t type) {
    if (fn == ACT_SILU)
        BY_TYPE(type, glu_fwd_body(ACT_SILU, y, gate, up, n, DT_F32), glu_fwd_body(ACT_SILU, y, gate, up, n, DT_BF16));
    else
        BY_TYPE(type, glu_fwd_body(ACT_GELU_TANH, y, gate, up, n, DT_F32),
                glu_fwd_body(ACT_GELU_TANH, y, gate, up, n, DT_BF16));
}

BODY void glu_bwd_body(act_fn_t fn, void *dgate, void *dup, const void *dy, const void *gate, const void *up, size_t n,
                       dtype_t type) {
    _Pragma("omp simd") for (size_t i = 0; i < n; i++) {
        float g = act_get(gate, type, i), u = act_get(up, type, i), d = act_get(dy, type, i);
        float s = sigmoid_f32(fn == ACT_SILU ? g : gelu_tanh_2z(g));
        float inner = fn == ACT_SILU ? g : g * gelu_tanh_2z_grad(g);
        act_set(dgate, type, i, d * u * (s * (1.0f + inner * (1.0f - s))));
        act_set(dup, type, i, d * (g * s));
    }
}

static void glu_bwd(act_fn_t fn, void *dgate, void *dup, const void *dy, const void *gate, const void *up, size_t n,
                    dtype_t type) {
    if (fn == ACT_SILU)
        BY_TYPE(type, glu_bwd_body(ACT_SILU, dgate, dup, dy, gate, up, n, DT_F32),
                glu_bwd_body(ACT_SILU, dgate, dup, dy, gate, up, n, DT_BF16));
    else
        BY_TYPE(type, glu_bwd_body(ACT_GELU_TANH, dgate, dup, dy, gate, up, n, DT_F32),
                glu_bwd_body(ACT_GELU_TANH, dgate, dup, dy, gate, up, n, DT_BF16));
}

/* ---- softmax ----------------------------------------------------------------------------------------- */

BODY float soft_cap_f32(float x, float cap) { return cap * tanh_f32(x / cap); }

/* As logit_map() in model/backend/element.h. */
BODY float logit_f32(const void *x, size_t i, logit_map_t map, bool capped, dtype_t type) {
    float z = map.scale * act_get(x, type, i);
    return capped ? soft_cap_f32(z, map.cap) : z;
}

BODY float max_body(const void *x, size_t n, logit_map_t map, bool capped, dtype_t type) {
    float max = -INFINITY;
    _Pragma("omp simd reduction(max : max)") for (size_t i = 0; i < n; i++) {
        float z = logit_f32(x, i, map, capped, type);
        max = z > max ? z : max;
    }
    return max;
}

static float max(const float *x, size_t n) { return max_body(x, n, (logit_map_t){1, 0}, false, DT_F32); }

BODY void ce_grad_body(void *logits, size_t V, logit_map_t map, bool capped, float factor, float max, dtype_t type) {
    _Pragma("omp simd") for (size_t v = 0; v < V; v++) {
        float z = logit_f32(logits, v, map, capped, type), g = factor * exp_f32(z - max);
        act_set(logits, type, v, capped ? g * softcap_grad(z, map.cap) : g);
    }
}

BODY float ce_loss_body(void *logits, size_t V, int32_t label, logit_map_t map, bool capped, bool want_grad,
                        float grad_scale, dtype_t type) {
    float max = max_body(logits, V, map, capped, type), at_label = logit_f32(logits, (size_t)label, map, capped, type);
    double total = 0;
    for (size_t first = 0; first < V; first += SUM_CHUNK) {
        size_t n = V - first < SUM_CHUNK ? V - first : SUM_CHUNK;
        const void *x = act_at_const(logits, type, first);
        float sum = 0;
        _Pragma("omp simd reduction(+ : sum)") for (size_t i = 0; i < n; i++)
            sum += exp_f32(logit_f32(x, i, map, capped, type) - max);
        total += sum;
    }
    if (want_grad) {
        double scale = (double)grad_scale * map.scale, slope = capped ? softcap_grad(at_label, map.cap) : 1;
        ce_grad_body(logits, V, map, capped, (float)(scale / total), max, type);
        act_set(logits, type, (size_t)label, (float)(scale * slope * (exp((double)at_label - max) / total - 1.0)));
    }
    return (float)(log(total) + max - at_label);
}

static float ce_loss(void *logits, size_t V, int32_t label, logit_map_t map, bool want_grad, float grad_scale,
                     dtype_t type) {
    if (map.cap > 0)
        return BY_TYPE(type, ce_loss_body(logits, V, label, map, true, want_grad, grad_scale, DT_F32),
                       ce_loss_body(logits, V, label, map, true, want_grad, grad_scale, DT_BF16));
    return BY_TYPE(type, ce_loss_body(logits, V, label, map, false, want_grad, grad_scale, DT_F32),
                   ce_loss_body(logits, V, label, map, false, want_grad, grad_scale, DT_BF16));
}

static void soft_cap_scores(float *x, size_t n, float scale, float cap, float *slope) {
    float factor = scale / cap;
    if (!slope) {
        _Pragma("omp simd") for (size_t i = 0; i < n; i++) x[i] = cap * tanh_f32(factor * x[i]);
        return;
    }
    _Pragma("omp simd") for (size_t i = 0; i < n; i++) {
        float t = tanh_f32(factor * x[i]);
        x[i] = cap * t;
        slope[i] = 1.0f - t * t;
    }
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

static void multiply(float *y, const float *x, size_t n) {
    _Pragma("omp simd") for (size_t i = 0; i < n; i++) y[i] *= x[i];
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
    k->glu_fwd = glu_fwd;
    k->glu_bwd = glu_bwd;
    k->ce_loss = ce_loss;
    k->sumsq = sumsq;
    k->dot = dot;
    k->max = max;
    k->exp_sum = exp_sum;
    k->softcap = soft_cap_scores;
    k->score_grad = score_grad;
    k->multiply = multiply;
    k->scale = scale;
}
