/* Kernels whose results may differ from the reference in the last bits: sums in lanes, fused multiply-add,
 * exp and tanh of our own. */
#include <math.h>

#include "cpu/kernels/exp.h"
#include "cpu/kernels/isa.h"
#include "model/backend/element.h"

/* Long sums go through fp32 lanes for this many elements, then into a double. */
enum { SUM_CHUNK = 2048 };

/* ---- norm -------------------------------------------------------------------------------------------- */

BODY vec_t squares(const void *x, dtype_t type, size_t i, size_t m) {
    vec_t v = vec_load(x, type, i, m);
    return v * v;
}

BODY float rmsnorm_fwd_body(void *y, const void *x, const float *w, size_t C, float eps, dtype_t type) {
    vec_t sum = {0};
    SUM_VEC(sum, C, squares(x, type, i, m));
    float rstd = 1.0f / sqrtf(vec_sum(sum) / (float)C + eps);
    EACH_VEC(C, vec_store(y, type, i, m, vec_load(x, type, i, m) * rstd * vec_load(w, DT_F32, i, m)));
    return rstd;
}

static float rmsnorm_fwd(void *y, const void *x, const float *w, size_t C, float eps, dtype_t type) {
    return BY_TYPE(type, rmsnorm_fwd_body(y, x, w, C, eps, DT_F32), rmsnorm_fwd_body(y, x, w, C, eps, DT_BF16));
}

BODY void rmsnorm_bwd_at(void *dx, bool add, const void *dy, const void *x, const float *w, float rstd, float factor,
                         size_t i, size_t m, dtype_t type) {
    vec_t g = vec_load(dy, type, i, m) * vec_load(w, DT_F32, i, m) - vec_load(x, type, i, m) * factor;
    vec_store(dx, type, i, m, add ? vec_load(dx, type, i, m) + rstd * g : rstd * g);
}

BODY void rmsnorm_bwd_body(void *dx, bool add, const void *dy, const void *x, const float *w, float rstd, size_t C,
                           dtype_t type) {
    vec_t sum = {0};
    SUM_VEC(sum, C, vec_load(dy, type, i, m) * vec_load(w, DT_F32, i, m) * vec_load(x, type, i, m));
    float mean = vec_sum(sum) * rstd / (float)C;
    EACH_VEC(C, rmsnorm_bwd_at(dx, add, dy, x, w, rstd, rstd * mean, i, m, type));
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

/* Pairs [i, i+m) of each of H heads, D values apart: the firsts begin a head, the seconds are half further on. The
 * factors, pairs too, are taken apart once. */
BODY void rope_halves_at(void *x, size_t D, size_t half, const float *cos_sin, size_t H, float sign, size_t i, size_t m,
                         dtype_t type) {
    vec_t low = vec_load(cos_sin, DT_F32, 2 * i, 2 * m < VEC_LANES ? 2 * m : VEC_LANES), high = {0};
    if (2 * m > VEC_LANES) high = vec_load(cos_sin, DT_F32, 2 * i + VEC_LANES, 2 * m - VEC_LANES);
    vec_t c = vec_evens(low, high), s = sign * vec_odds(low, high);
    for (size_t first = i; first < H * D; first += D) {
        vec_t a = vec_load(x, type, first, m), b = vec_load(x, type, first + half, m);
        vec_store(x, type, first, m, a * c - b * s);
        vec_store(x, type, first + half, m, b * c + a * s);
    }
}

/* Values [i, i+m) of each head, an even number, where the values of a pair are neighbours. */
BODY void rope_neighbours_at(void *x, size_t D, const float *cos_sin, size_t H, float sign, size_t i, size_t m,
                             dtype_t type) {
    vec_t factors = vec_load(cos_sin, DT_F32, i, m), c = vec_double_evens(factors);
    vec_t s = sign * vec_negate_evens(vec_double_odds(factors));
    for (size_t first = i; first < H * D; first += D) {
        vec_t a = vec_load(x, type, first, m);
        vec_store(x, type, first, m, a * c + vec_swap_pairs(a) * s);
    }
}

BODY void rope_body(void *x, const rope_t *rope, const float *cos_sin, size_t H, float sign, dtype_t type) {
    size_t half = rope->R / 2;
    if (rope->interleaved) EACH_VEC(rope->R, rope_neighbours_at(x, rope->D, cos_sin, H, sign, i, m, type));
    else EACH_VEC(half, rope_halves_at(x, rope->D, half, cos_sin, H, sign, i, m, type));
}

static void rope(void *x, const rope_t *rope, const float *cos_sin, size_t H, float sign, dtype_t type) {
    BY_TYPE(type, rope_body(x, rope, cos_sin, H, sign, DT_F32), rope_body(x, rope, cos_sin, H, sign, DT_BF16));
}

/* ---- gates ------------------------------------------------------------------------------------------- */

/* As in model/backend/element.h. */
BODY vec_t gelu_2z(vec_t x) { return 1.5957691216057308f * (x + 0.044715f * x * x * x); }
BODY vec_t gelu_2z_grad(vec_t x) { return 1.5957691216057308f * (1.0f + 3.0f * 0.044715f * x * x); }

/* With e = exp(-z). */
BODY vec_t glu_product(vec_t g, vec_t u, vec_t e, dtype_t type) { return vec_divide(g, 1.0f + e, type) * u; }

BODY void glu_fwd_at(act_fn_t fn, void *y, const void *gate, const void *up, size_t i, size_t m, dtype_t type) {
    vec_t g = vec_load(gate, type, i, m), z = fn == ACT_SILU ? g : gelu_2z(g);
    vec_store(y, type, i, m, glu_product(g, vec_load(up, type, i, m), vec_exp(-z, type), type));
}

BODY void glu_fwd_body(act_fn_t fn, void *y, const void *gate, const void *up, size_t n, dtype_t type) {
    EACH_VEC(n, glu_fwd_at(fn, y, gate, up, i, m, type));
}

static void glu_fwd(act_fn_t fn, void *y, const void *gate, const void *up, size_t n, dtype_t type) {
    if (fn == ACT_SILU)
        BY_TYPE(type, glu_fwd_body(ACT_SILU, y, gate, up, n, DT_F32), glu_fwd_body(ACT_SILU, y, gate, up, n, DT_BF16));
    else
        BY_TYPE(type, glu_fwd_body(ACT_GELU_TANH, y, gate, up, n, DT_F32),
                glu_fwd_body(ACT_GELU_TANH, y, gate, up, n, DT_BF16));
}

BODY void glu_bwd_at(act_fn_t fn, void *dgate, void *dup, void *y, const void *dy, const void *gate, const void *up,
                     size_t i, size_t m, dtype_t type) {
    vec_t g = vec_load(gate, type, i, m), u = vec_load(up, type, i, m), d = vec_load(dy, type, i, m);
    vec_t z = fn == ACT_SILU ? g : gelu_2z(g), e = vec_exp(-z, type), s = vec_divide(vec_set(1.0f), 1.0f + e, type);
    vec_t inner = fn == ACT_SILU ? g : g * gelu_2z_grad(g);
    vec_store(dgate, type, i, m, d * u * (s * (1.0f + inner * (1.0f - s))));
    vec_store(dup, type, i, m, d * (g * s));
    if (y) vec_store(y, type, i, m, glu_product(g, u, e, type));
}

BODY void glu_bwd_body(act_fn_t fn, void *dgate, void *dup, void *y, const void *dy, const void *gate, const void *up,
                       size_t n, dtype_t type) {
    EACH_VEC(n, glu_bwd_at(fn, dgate, dup, y, dy, gate, up, i, m, type));
}

static void glu_bwd(act_fn_t fn, void *dgate, void *dup, void *y, const void *dy, const void *gate, const void *up,
                    size_t n, dtype_t type) {
    if (fn == ACT_SILU)
        BY_TYPE(type, glu_bwd_body(ACT_SILU, dgate, dup, y, dy, gate, up, n, DT_F32),
                glu_bwd_body(ACT_SILU, dgate, dup, y, dy, gate, up, n, DT_BF16));
    else
        BY_TYPE(type, glu_bwd_body(ACT_GELU_TANH, dgate, dup, y, dy, gate, up, n, DT_F32),
                glu_bwd_body(ACT_GELU_TANH, dgate, dup, y, dy, gate, up, n, DT_BF16));
}

/* ---- softmax ----------------------------------------------------------------------------------------- */

/* As logit_map() in model/backend/element.h. */
BODY vec_t mapped_logits(const void *x, size_t i, size_t m, logit_map_t map, bool capped, dtype_t type) {
    vec_t z = map.scale * vec_load(x, type, i, m);
    return capped ? map.cap * vec_tanh(z * (1.0f / map.cap)) : z;
}

/* A row's greatest logit and the sum of exp(logit - greatest). */
typedef struct {
    float max;
    double sum;
} logits_sum_t;

/* The logits of a chunk, whose map is costly only where it caps; a greater one than before shrinks the sum so far. */
BODY void softmax_chunk(logits_sum_t *s, const void *x, size_t n, logit_map_t map, bool capped, dtype_t type) {
    float z[SUM_CHUNK];
    vec_t top = vec_set(-INFINITY), sum = {0};
    EACH_VEC(n, {
        vec_t mapped = mapped_logits(x, i, m, map, capped, type);
        if (capped) vec_store(z, DT_F32, i, m, mapped);
        top = vec_max(vec_first(mapped, m, -INFINITY), top);
    });
    float max = vec_top(top);
    if (max > s->max) {
        s->sum *= exp((double)s->max - max);
        s->max = max;
    }
    if (s->max == -INFINITY) return;
    SUM_VEC(
        sum, n,
        vec_exp(vec_first(capped ? vec_load(z, DT_F32, i, m) : mapped_logits(x, i, m, map, false, type), m, -INFINITY) -
                    s->max,
                type));
    s->sum += vec_sum(sum);
}

BODY void ce_grad_at(void *logits, size_t i, size_t m, logit_map_t map, bool capped, float factor, float max,
                     dtype_t type) {
    vec_t z = mapped_logits(logits, i, m, map, capped, type), g = factor * vec_exp(z - max, type);
    vec_t y = z * (1.0f / map.cap);
    vec_store(logits, type, i, m, capped ? g * (1.0f - y * y) : g);
}

BODY float ce_loss_body(void *logits, size_t V, int32_t label, logit_map_t map, bool capped, bool want_grad,
                        float grad_scale, dtype_t type) {
    logits_sum_t s = {-INFINITY, 0};
    for (size_t first = 0; first < V; first += SUM_CHUNK)
        softmax_chunk(&s, act_at_const(logits, type, first), V - first < SUM_CHUNK ? V - first : SUM_CHUNK, map, capped,
                      type);
    float at_label = mapped_logits(logits, (size_t)label, 1, map, capped, type)[0];
    if (want_grad) {
        double scale = (double)grad_scale * map.scale, slope = capped ? softcap_grad(at_label, map.cap) : 1;
        float factor = (float)(scale / s.sum);
        EACH_VEC(V, ce_grad_at(logits, i, m, map, capped, factor, s.max, type));
        act_set(logits, type, (size_t)label, (float)(scale * slope * (exp((double)at_label - s.max) / s.sum - 1.0)));
    }
    return (float)(log(s.sum) + s.max - at_label);
}

static float ce_loss(void *logits, size_t V, int32_t label, logit_map_t map, bool want_grad, float grad_scale,
                     dtype_t type) {
    if (map.cap > 0)
        return BY_TYPE(type, ce_loss_body(logits, V, label, map, true, want_grad, grad_scale, DT_F32),
                       ce_loss_body(logits, V, label, map, true, want_grad, grad_scale, DT_BF16));
    return BY_TYPE(type, ce_loss_body(logits, V, label, map, false, want_grad, grad_scale, DT_F32),
                   ce_loss_body(logits, V, label, map, false, want_grad, grad_scale, DT_BF16));
}

/* ---- scores of attention ------------------------------------------------------------------------------ */

static void soft_cap_scores(float *x, size_t n, float scale, float cap) {
    float factor = scale / cap;
    EACH_VEC(n, vec_store(x, DT_F32, i, m, cap * vec_tanh(factor * vec_load(x, DT_F32, i, m))));
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
    k->softcap = soft_cap_scores;
    k->scale = scale;
}
