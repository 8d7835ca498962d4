/* Per-element mathematics, shared by every backend (host and device), so that kernels own only parallelism:
 * what is rounded, in which order, and what a random mask looks like, is decided here once. */
#ifndef MODEL_BACKEND_ELEMENT_H
#define MODEL_BACKEND_ELEMENT_H

#include <math.h>

#include "base/dtype.h"
#include "base/rng.h"
#include "model/backend/backend.h"

HOSTDEV float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

/* silu and its derivative share the sigmoid, so that a kernel that needs both computes one. */
HOSTDEV float silu(float x) { return x * sigmoid(x); }

HOSTDEV float silu_grad(float x) {
    float s = sigmoid(x);
    return s * (1.0f + x * (1.0f - s));
}

/* The tanh form of gelu, 0.5 x (1 + tanh z) with z = sqrt(2/pi) (x + 0.044715 x^3), as x sigmoid(2z). */
HOSTDEV float gelu_tanh_2z(float x) { return 1.5957691216057308f * (x + 0.044715f * x * x * x); }

HOSTDEV float gelu_tanh_2z_grad(float x) { return 1.5957691216057308f * (1.0f + 3.0f * 0.044715f * x * x); }

HOSTDEV float gelu_tanh(float x) { return x * sigmoid(gelu_tanh_2z(x)); }

HOSTDEV float gelu_tanh_grad(float x) {
    float s = sigmoid(gelu_tanh_2z(x));
    return s * (1.0f + x * gelu_tanh_2z_grad(x) * (1.0f - s));
}

HOSTDEV float act_fn(act_fn_t fn, float x) { return fn == ACT_SILU ? silu(x) : gelu_tanh(x); }

HOSTDEV float act_fn_grad(act_fn_t fn, float x) { return fn == ACT_SILU ? silu_grad(x) : gelu_tanh_grad(x); }

HOSTDEV float softcap(float x, float cap) { return cap * tanhf(x / cap); }

/* The derivative of softcap, from its value y. */
HOSTDEV float softcap_grad(float y, float cap) { return 1.0f - (y / cap) * (y / cap); }

HOSTDEV float logit_map(float l, logit_map_t map) {
    float z = map.scale * l;
    return map.cap > 0 ? softcap(z, map.cap) : z;
}

/* The derivative of logit_map, from its value z. */
HOSTDEV float logit_map_grad(float z, logit_map_t map) {
    return map.cap > 0 ? map.scale * softcap_grad(z, map.cap) : map.scale;
}

/* The key of one row of a mask: everything but the channel. */
HOSTDEV uint64_t dropout_row_key(uint64_t seed, uint64_t step, int32_t row, int32_t pos, uint32_t layer,
                                 uint32_t site) {
    uint64_t k = rng_mix(seed ^ 0x64726f706f7574u); /* "dropout" */
    k = rng_fold(k, step);
    k = rng_fold(k, (uint64_t)(uint32_t)row << 32 | (uint32_t)pos);
    return rng_fold(k, (uint64_t)layer << 32 | site);
}

/* What decides about channels 4g to 4g + 3 of that row, 16 bits each, the first in the lowest: output g of SplitMix64
 * begun at the row's key. */
HOSTDEV uint64_t dropout_word(uint64_t row_key, uint64_t g) { return rng_mix(row_key + g * 0x9e3779b97f4a7c15u); }

/* Of 65536 equally likely values of those bits these lowest ones drop the channel: p is rounded to a 65536th, but to
 * neither 0 nor 1 unless it is 0. */
HOSTDEV uint32_t dropout_least(float p) {
    uint32_t n = (uint32_t)(p * 65536.0f + 0.5f);
    return !(p > 0) ? 0 : n < 1 ? 1 : n > 65535 ? 65535 : n;
}

/* Whether channel c of that row is kept. */
HOSTDEV int dropout_keep(uint64_t row_key, size_t c, float p) {
    return (dropout_word(row_key, c / 4) >> c % 4 * 16 & 0xffff) >= dropout_least(p);
}

/* What is kept is scaled by this: 1/(1-p) for the p that is used, so that the mean stays what it was. */
HOSTDEV float dropout_scale(float p) { return 65536.0f / (float)(65536 - dropout_least(p)); }

/* The key of the noise of one token: everything but the channel. */
HOSTDEV uint64_t noise_row_key(const neftune_t *n, size_t t) {
    uint64_t k = rng_mix(n->seed ^ 0x6e656674756e65u); /* "neftune" */
    k = rng_fold(k, n->step);
    return rng_fold(k, (uint64_t)(uint32_t)n->row[t] << 32 | (uint32_t)n->pos[t]);
}

/* How large the noise of token t may be. */
HOSTDEV float noise_scale(const neftune_t *n, size_t t, size_t C) {
    size_t low = 0, high = n->n_seg; /* t lies in one of the segments [low, high) */
    while (high - low > 1) {
        size_t mid = low + (high - low) / 2;
        if ((size_t)n->seg_off[mid] <= t) low = mid;
        else high = mid;
    }
    float tokens = (float)(n->seg_off[low + 1] - n->seg_off[low]);
    return n->alpha / sqrtf(tokens * (float)C);
}

/* Value x of channel c with its noise. */
HOSTDEV float noise_added(float x, uint64_t row_key, size_t c, float scale) {
    return fmaf(scale, 2.0f * rng_uniform(row_key, c) - 1.0f, x);
}

/* The step of one AdamW element from its new moments, PyTorch's order: decay, then the step. */
HOSTDEV void adamw_step(float *p, float m, float v, const adamw_t *h) {
    float denom = sqrtf(v) / sqrtf(h->c2) + h->eps;
    *p = *p * (1.0f - h->lr * h->weight_decay) - h->lr / h->c1 * (m / denom);
}

/* One AdamW element, its moments as PyTorch computes them. */
HOSTDEV void adamw_element(float *p, float g, float *m, float *v, const adamw_t *h) {
    g *= h->grad_scale;
    *m = *m + (float)(1.0 - h->beta1) * (g - *m);
    *v = (float)h->beta2 * *v + (float)(1.0 - h->beta2) * g * g;
    adamw_step(p, *m, *v, h);
}

/* The moments as bitsandbytes computes them, fused: to the bit, since a code depends on where rounding falls. */
HOSTDEV void adamw_8bit_moments(float g, float *m, float *v, const adamw_t *h) {
    g *= h->grad_scale;
    *m = fmaf(g, (float)(1.0 - h->beta1), (float)h->beta1 * *m);
    *v = fmaf((float)(1.0 - h->beta2) * g, g, (float)h->beta2 * *v);
}

/* Where in the table `nearest` of a dynamic map the code of x stands; x is cut off at -1 and 1. */
HOSTDEV int dynamic_place(float x) {
    x = x > -1.0f ? (x < 1.0f ? x : 1.0f) : -1.0f;
    return (int)fmaf((x + 1.0f) * 0.5f, 65535.0f, 0.5f);
}

HOSTDEV uint8_t dynamic_code(const uint8_t *nearest, float x) { return nearest[dynamic_place(x)]; }

/* What a block of INT8_ZEROPOINT has for its constant (quant.h), from its least and greatest value, lo <= 0 <= hi. */
HOSTDEV float quant_zeropoint_make(float lo, float hi) {
    uint32_t bits = (f32_to_bits((hi - lo) / 255.0f) + 255) & ~255u;
    float scale = f32_from_bits(bits), zero = rintf(-lo / (scale > QUANT_ABSMAX_MIN ? scale : QUANT_ABSMAX_MIN));
    return f32_from_bits(bits | (uint32_t)(zero >= 0.0f ? (zero <= 255.0f ? zero : 255.0f) : 0.0f));
}

HOSTDEV quant_zeropoint_t quant_zeropoint(float constant) {
    uint32_t bits = f32_to_bits(constant);
    quant_zeropoint_t z;
    z.scale = f32_from_bits(bits & ~255u);
    z.zero = (float)(bits & 255);
    return z;
}

HOSTDEV uint8_t quant_zeropoint_code(quant_zeropoint_t z, float x) {
    float code = rintf(x / (z.scale > QUANT_ABSMAX_MIN ? z.scale : QUANT_ABSMAX_MIN)) + z.zero;
    return (uint8_t)(code >= 0.0f ? (code <= 255.0f ? code : 255.0f) : 0.0f);
}

#endif
