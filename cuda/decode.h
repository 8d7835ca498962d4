/* Codes to values, in registers: what the kernels share that read quantized weights. The same values as the host codec's,
 * to the bit: where a product and a sum are two roundings there, they are here (__fmul_rn, __fadd_rn: never fused). */
#ifndef CUDA_DECODE_H
#define CUDA_DECODE_H

#include "cuda/cuda_impl.h"
#include "cuda/vec.h"

/* A weight as kernels see it. */
typedef struct {
    const uint8_t *codes;
    const float *table;  /* of a 4-bit type, [16] */
    const float *absmax; /* constants in one level, or those of the second: */
    const uint8_t *absmax_q;
    const float *map, *nested;
    float offset;
} coded_t;

/* How many levels of constants a weight has: a parameter of kernels, since a branch would keep the loads of one run of
 * codes behind the use of those before it. */
typedef enum { PLAIN, ONE_LEVEL, TWO_LEVELS } levels_t;

template <levels_t LEVELS> static __device__ __forceinline__ float block_absmax(const coded_t &w, uint32_t block) {
    if constexpr (LEVELS == PLAIN) return 1.0f;
    else if constexpr (LEVELS == ONE_LEVEL) return w.absmax[block];
    else
        return __fadd_rn(__fmul_rn(w.map[w.absmax_q[block]], w.nested[block / (uint32_t)QUANT_NESTED_BLOCK]), w.offset);
}

/* A run of codes, read at once. */
template <int BYTES> struct alignas(BYTES) code_run_t { uint8_t byte[BYTES]; };

/* x / 127 rounded as a division rounds it, for the 256 values that x can have. */
static __device__ __forceinline__ float over_127(float x) {
    const float r = 1.0f / 127.0f;
    float q = __fmul_rn(x, r);
    return fmaf(fmaf(-127.0f, q, x), r, q);
}

/* The table's value of the code in bits [shift, shift+4). */
static __device__ __forceinline__ float table_value(const float *table, uint32_t codes, int shift) {
    uint32_t at = (shift < 2 ? codes << (2 - shift) : codes >> (shift - 2)) & 15 * sizeof(float); /* in bytes */
    return *reinterpret_cast<const float *>(reinterpret_cast<const char *>(table) + at);
}

/* What a code is: a place in a table, a byte with a sign or above a zero point, or the value itself. */
typedef enum { TABLE4, BYTE8, ZEROPOINT8, AS_BF16, AS_F16 } code_t;
template <code_t CODE> constexpr int bits_of = CODE == TABLE4 ? 4 : CODE == BYTE8 || CODE == ZEROPOINT8 ? 8 : 16;

/* Value i of a run, before it is scaled. */
template <code_t CODE, int BYTES>
static __device__ __forceinline__ float run_value(const code_run_t<BYTES> &run, int i, const float *table) {
    if constexpr (CODE == TABLE4) {
        uint32_t codes = 0; /* little endian; the first value in the high half of a byte */
        memcpy(&codes, &run, BYTES);
        return table_value(table, codes, i / 2 * 8 + (i % 2 ? 0 : 4));
    } else if constexpr (CODE == BYTE8) {
        return over_127((float)(int8_t)run.byte[i]);
    } else if constexpr (CODE == ZEROPOINT8) {
        return (float)run.byte[i];
    } else {
        uint16_t bits = (uint16_t)(run.byte[2 * i] | run.byte[2 * i + 1] << 8);
        return CODE == AS_F16 ? f16_to_f32(bits) : bf16_to_f32(bits);
    }
}

/* A value of a run with its block's constant. */
template <code_t CODE> static __device__ __forceinline__ float scaled(float x, float constant) {
    if constexpr (CODE == ZEROPOINT8) {
        quant_zeropoint_t z = quant_zeropoint(constant);
        return __fmul_rn(x - z.zero, z.scale);
    } else {
        return x * constant;
    }
}

/* ---- what a launcher chooses ------------------------------------------------------------------------- */

/* w on this device. */
coded_t coded(const backend_t *be, const qweight_t *w);

template <code_t code, levels_t levels> struct coding_t {
    static constexpr code_t CODE = code;
    static constexpr levels_t LEVELS = levels;
};

/* f(coding_t<...>()) for that weight. */
template <typename F> static inline void by_coding(const qweight_t &w, F f) {
    if (w.type == QUANT_NONE) f(coding_t<AS_BF16, PLAIN>());
    else if (w.type == QUANT_F16) f(coding_t<AS_F16, PLAIN>());
    else if (w.type == QUANT_INT8_ZEROPOINT) f(coding_t<ZEROPOINT8, ONE_LEVEL>());
    else if (w.type == QUANT_INT8) w.double_quant ? f(coding_t<BYTE8, TWO_LEVELS>()) : f(coding_t<BYTE8, ONE_LEVEL>());
    else w.double_quant ? f(coding_t<TABLE4, TWO_LEVELS>()) : f(coding_t<TABLE4, ONE_LEVEL>());
}

#endif
