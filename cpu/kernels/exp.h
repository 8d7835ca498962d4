/* exp and tanh of registers of fp32 values. */
#ifndef CPU_KERNELS_EXP_H
#define CPU_KERNELS_EXP_H

#include "cpu/kernels/vec.h"

/* exp(r) - 1 for |r| <= ln(2)/2 to 3e-9: r + r^2 q(r), q fitted for the least greatest error. */
BODY vec_t expm1_reduced(vec_t r) {
    vec_t q = 1.38145986e-3f * r + 8.36871657e-3f;
    q = q * r + 4.16683890e-2f;
    q = q * r + 1.66665211e-1f;
    q = q * r + 4.99999940e-1f;
    return (q * r) * r + r;
}

/* r = x - n ln 2, ln 2 in two parts (Cody and Waite): n times the first is exact. */
BODY vec_t reduced(vec_t x, vec_t n) { return (x - n * 0.693145751953125f) - n * 1.42860682030941723212e-6f; }

/* exp(x) = 2^n exp(r), n = round(x / ln 2): within 1.02 ulp, with gradual underflow, inf and NaN as expf has them. Past the
 * clamps the answer is 0 or inf already. */
BODY vec_t vec_exp_f32(vec_t x) {
    x = vec_max(vec_set(-110.0f), vec_min(vec_set(90.0f), x));
    vec_t n = vec_rint(x * 1.44269504088896341f);
    return vec_scale_2(1.0f + expm1_reduced(reduced(x, n)), n);
}

/* exp(x) to 1e-5 of itself, for what is rounded to BF16 (4e-3 between neighbours): 2^n 2^f with n + f = x / ln 2. Adding
 * 1.5 * 2^23 leaves n in the low bits, and the clamps leave no exponent without a normal number. */
BODY vec_t vec_exp_bf16(vec_t x) {
    vec_t t = vec_max(vec_set(-125.0f), vec_min(vec_set(127.0f), x * 1.44269504088896341f));
    vec_t z = t + 12582912.0f, f = t - (z - 12582912.0f);
    vec_t p = 9.582838e-3f * f + 5.5906583e-2f;
    p = p * f + 2.4024099e-1f;
    p = p * f + 6.931242e-1f;
    p = p * f + 1.0f;
    return (vec_t)((vec_bits_t)p + ((vec_bits_t)z << 23));
}

/* As good as a result of `type` can use: exp(x), and a / b. */
BODY vec_t vec_exp(vec_t x, dtype_t type) { return type == DT_BF16 ? vec_exp_bf16(x) : vec_exp_f32(x); }
BODY vec_t vec_divide(vec_t a, vec_t b, dtype_t type) { return type == DT_BF16 ? vec_ratio(a, b) : a / b; }

/* tanh(x) = e / (e + 2) with e = exp(2x) - 1 = 2^n (exp(r) - 1) + (2^n - 1), reduced as above: near 0 n is 0, and
 * nothing cancels. Past the clamps the answer is 1. Within 3 ulp. */
BODY vec_t vec_tanh(vec_t x) {
    x = vec_max(vec_set(-10.0f), vec_min(vec_set(10.0f), x));
    vec_t n = vec_rint(x * 2.88539008177792681f), two_n = vec_scale_2(vec_set(1.0f), n);
    vec_t e = two_n * expm1_reduced(reduced(2.0f * x, n)) + (two_n - 1.0f);
    return e / (e + 2.0f);
}

#endif
