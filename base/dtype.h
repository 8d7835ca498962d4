/* Element types of tensors in memory and in files, and the 16-bit float conversions.
 * Usable from C, C++ and CUDA (host and device). */
#ifndef BASE_DTYPE_H
#define BASE_DTYPE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __CUDACC__
#define HOSTDEV static __host__ __device__ inline
#else
#define HOSTDEV static inline
#endif

typedef enum {
    DT_F32,
    DT_F16,
    DT_BF16,
    DT_F64,
    DT_U8,
    DT_I8,
    DT_I16,
    DT_I32,
    DT_I64,
    DT_BOOL,
    DT_U16,
    DT_U32,
    DT_U64,
    DT_F8_E4M3,
    DT_F8_E5M2,
    DT_OTHER, /* of a file: a type that nothing here reads */
    DT_COUNT
} dtype_t;

HOSTDEV size_t dtype_size(dtype_t t) {
    if (t == DT_F64 || t == DT_I64 || t == DT_U64) return 8;
    if (t == DT_F32 || t == DT_I32 || t == DT_U32) return 4;
    return t == DT_F16 || t == DT_BF16 || t == DT_I16 || t == DT_U16 ? 2 : 1;
}

typedef uint16_t bf16_t; /* the upper half of an IEEE binary32 */

HOSTDEV float f32_from_bits(uint32_t u) {
    float f;
    memcpy(&f, &u, 4);
    return f;
}

HOSTDEV uint32_t f32_to_bits(float f) {
    uint32_t u;
    memcpy(&u, &f, 4);
    return u;
}

HOSTDEV float bf16_to_f32(bf16_t h) { return f32_from_bits((uint32_t)h << 16); }

/* Round to nearest even; NaN stays NaN (quiet). */
HOSTDEV bf16_t bf16_from_f32(float f) {
    uint32_t u = f32_to_bits(f);
    uint32_t rounded = (u + 0x7fffu + ((u >> 16) & 1)) >> 16;
    return (bf16_t)((u & 0x7fffffffu) > 0x7f800000u ? (u >> 16) | 0x40 : rounded);
}

HOSTDEV float bf16_round(float f) { return bf16_to_f32(bf16_from_f32(f)); }

/* IEEE binary16 to binary32, exact, subnormals included. */
HOSTDEV float f16_to_f32(uint16_t h) {
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, mag = h & 0x7fff;
    if (mag >= 0x7c00) return f32_from_bits(sign | 0x7f800000u | (mag & 0x3ff) << 13);
    /* (mag << 13) read as binary32 has an exponent bias of 127 instead of 15: times 2^112 mends both cases. */
    return f32_from_bits(sign | f32_to_bits(f32_from_bits(mag << 13) * 5192296858534827628530496329220096.0f));
}

/* Rounded to nearest even; beyond 65504 infinite. */
HOSTDEV uint16_t f16_from_f32(float f) {
    uint32_t u = f32_to_bits(f), sign = u >> 16 & 0x8000u, a = u & 0x7fffffffu;
    if (a > 0x7f800000u) return (uint16_t)(sign | 0x7e00u);
    if (a >= 0x477ff000u) return (uint16_t)(sign | 0x7c00u); /* 65520 and more */
    if (a < 0x38800000u) {                                   /* below 2^-14: a multiple of 2^-24 */
        float m = f32_from_bits(a) + 0.5f;                   /* whose last bit is 2^-24: the sum rounds to it */
        return (uint16_t)(sign | (f32_to_bits(m) - 0x3f000000u));
    }
    a += 0xfffu + (a >> 13 & 1u);
    return (uint16_t)(sign | ((a - 0x38000000u) >> 13));
}

#endif
