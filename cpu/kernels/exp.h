/* exp and tanh in fp32 as straight-line code that a compiler vectorizes. exp is within 1 ulp, with gradual underflow,
 * inf and NaN as expf has them; tanh within 3 ulp. */
#ifndef CPU_KERNELS_EXP_H
#define CPU_KERNELS_EXP_H

#include "base/dtype.h"

/* exp(x) = 2^n * exp(r), n = round(x / ln 2), |r| <= ln(2)/2: Cody-Waite reduction with ln 2 in two parts, then
 * the Taylor series. Past the clamps the answer is 0 or inf already. */
static inline __attribute__((always_inline)) float exp_f32(float x) {
    const float magic = 12582912.0f; /* 1.5 * 2^23: adding it rounds to an integer, left in the low bits */
    x = x > 90.0f ? 90.0f : x;
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
    /* 2^n in two factors, as n reaches beyond the exponents of normal numbers. */
    int32_t e = (int32_t)(f32_to_bits(z) - f32_to_bits(magic)), half = e >> 1;
    return p * f32_from_bits((uint32_t)(half + 127) << 23) * f32_from_bits((uint32_t)(e - half + 127) << 23);
}

/* tanh(x) = e / (e + 2) with e = exp(2x) - 1 = 2^n (exp(r) - 1) + (2^n - 1), reduced as above: near 0 n is 0, and
 * nothing cancels. Past the clamp the answer is 1. */
static inline __attribute__((always_inline)) float tanh_f32(float x) {
    const float magic = 12582912.0f;
    x = x > 10.0f ? 10.0f : x;
    x = x < -10.0f ? -10.0f : x;
    float z = x * 2.88539008177792681f + magic, n = z - magic;
    float r = 2.0f * x - n * 0.693145751953125f;
    r = r - n * 1.42860682030941723212e-6f;
    float p = 1.0f / 5040.0f;
    p = p * r + 1.0f / 720.0f;
    p = p * r + 1.0f / 120.0f;
    p = p * r + 1.0f / 24.0f;
    p = p * r + 1.0f / 6.0f;
    p = p * r + 0.5f;
    p = (p * r) * r + r;
    float two_n = f32_from_bits((f32_to_bits(z) - f32_to_bits(magic) + 127) << 23);
    float e = two_n * p + (two_n - 1.0f);
    return e / (e + 2.0f);
}

#endif
