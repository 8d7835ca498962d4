/* Blocks of quantized values, decoded. The 16 values that a 4-bit block may hold are its type's table times its absmax:
 * they are multiplied, and rounded if that is asked for, once a block; then each code is looked up. */
#ifndef CPU_KERNELS_DECODE_H
#define CPU_KERNELS_DECODE_H

#include "cpu/kernels/vec.h"

/* ---- 4 bits ------------------------------------------------------------------------------------------------- */

#if defined(__AVX512F__)
/* table * absmax. */
BODY vec_t block_values(const float *table, float absmax) { return vec_load(table, DT_F32, 0, VEC_LANES) * absmax; }

BODY void decode_4bit_f32(const uint8_t *codes, const float *table, float absmax, bool bf16, float *out) {
    vec_t values = block_values(table, absmax);
    if (bf16) values = vec_round_bf16(values);
    for (int i = 0; i < 4; i++) {
        /* Each of 8 bytes spread over two 32-bit lanes, shifted so that the code is in the low bits. */
        __m512i pair = _mm512_cvtepu8_epi64(_mm_loadl_epi64((const __m128i *)(const void *)(codes + 8 * i)));
        __m512i code = _mm512_or_si512(_mm512_srli_epi64(pair, 4), _mm512_slli_epi64(pair, 32));
        _mm512_storeu_ps(out + 16 * i, _mm512_permutexvar_ps(code, values));
    }
}

/* As above in 16-bit lanes, which look among 32: twice the 16. */
BODY void decode_4bit_bf16(const uint8_t *codes, const float *table, float absmax, bf16_t *out) {
    __m512i values = _mm512_broadcast_i64x4(vec_narrow(block_values(table, absmax)));
    for (int i = 0; i < 2; i++) {
        __m512i pair = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)(codes + 16 * i)));
        __m512i code = _mm512_or_si512(_mm512_srli_epi32(pair, 4), _mm512_slli_epi32(pair, 16));
        _mm512_storeu_si512(out + 32 * i, _mm512_permutexvar_epi16(code, values));
    }
}
#elif defined(__AVX2__)
/* As above with two tables of 8: bit 3 of the code chooses between their answers. */
BODY void decode_4bit_f32(const uint8_t *codes, const float *table, float absmax, bool bf16, float *out) {
    vec_t low = vec_load(table, DT_F32, 0, VEC_LANES) * absmax, high = vec_load(table, DT_F32, 8, VEC_LANES) * absmax;
    if (bf16) low = vec_round_bf16(low), high = vec_round_bf16(high);
    for (int i = 0; i < 8; i++) {
        int32_t word;
        memcpy(&word, codes + 4 * i, 4);
        __m256i pair = _mm256_cvtepu8_epi64(_mm_cvtsi32_si128(word));
        __m256i code = _mm256_or_si256(_mm256_srli_epi64(pair, 4), _mm256_slli_epi64(pair, 32));
        __m256 bit3 = _mm256_castsi256_ps(_mm256_slli_epi32(code, 28));
        _mm256_storeu_ps(out + 8 * i, _mm256_blendv_ps(_mm256_permutevar8x32_ps(low, code),
                                                       _mm256_permutevar8x32_ps(high, code), bit3));
    }
}

/* Low and high bytes are looked up apart. Unpacking keeps to halves of a register: `a` is values 0-15 and 32-47, `b` the
 * others. */
BODY void decode_4bit_bf16(const uint8_t *codes, const float *table, float absmax, bf16_t *out) {
    bf16_t values[16];
    for (size_t i = 0; i < 16; i += 8) vec_store(values, DT_BF16, i, 8, vec_load(table, DT_F32, i, 8) * absmax);
    __m128i first = _mm_loadu_si128((const __m128i *)(const void *)values), byte = _mm_set1_epi16(0xff);
    __m128i second = _mm_loadu_si128((const __m128i *)(const void *)(values + 8));
    __m128i low = _mm_packus_epi16(_mm_and_si128(first, byte), _mm_and_si128(second, byte));
    __m128i high = _mm_packus_epi16(_mm_srli_epi16(first, 8), _mm_srli_epi16(second, 8));
    __m256i lows = _mm256_broadcastsi128_si256(low), highs = _mm256_broadcastsi128_si256(high);
    __m256i pairs = _mm256_loadu_si256((const __m256i *)(const void *)codes), nibble = _mm256_set1_epi8(15);
    __m256i even = _mm256_and_si256(_mm256_srli_epi16(pairs, 4), nibble), odd = _mm256_and_si256(pairs, nibble);
    __m256i a = _mm256_unpacklo_epi8(even, odd), b = _mm256_unpackhi_epi8(even, odd);
    for (int i = 0; i < 2; i++) {
        __m256i code = i ? b : a, l = _mm256_shuffle_epi8(lows, code), h = _mm256_shuffle_epi8(highs, code);
        __m256i x = _mm256_unpacklo_epi8(l, h), y = _mm256_unpackhi_epi8(l, h);
        _mm256_storeu_si256((__m256i *)(void *)(out + 16 * i), _mm256_permute2x128_si256(x, y, 0x20));
        _mm256_storeu_si256((__m256i *)(void *)(out + 16 * i + 32), _mm256_permute2x128_si256(x, y, 0x31));
    }
}
#else
BODY void decode_4bit_f32(const uint8_t *codes, const float *table, float absmax, bool bf16, float *out) {
    float values[16];
    for (int i = 0; i < 16; i++) values[i] = bf16 ? bf16_round(table[i] * absmax) : table[i] * absmax;
    for (size_t i = 0; i < QUANT_BLOCK / 2; i++) {
        out[2 * i] = values[codes[i] >> 4];
        out[2 * i + 1] = values[codes[i] & 15];
    }
}

BODY void decode_4bit_bf16(const uint8_t *codes, const float *table, float absmax, bf16_t *out) {
    bf16_t values[16];
    for (int i = 0; i < 16; i++) values[i] = bf16_from_f32(table[i] * absmax);
    for (size_t i = 0; i < QUANT_BLOCK / 2; i++) {
        out[2 * i] = values[codes[i] >> 4];
        out[2 * i + 1] = values[codes[i] & 15];
    }
}
#endif

/* ---- 8 bits, and F16 ------------------------------------------------------------------------------------------ */

/* VEC_LANES codes with a sign or without, or F16 values at any address, as fp32. */
#if defined(__AVX512F__)
BODY vec_t vec_from_int8(const uint8_t *p) {
    return (vec_t)_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)(const void *)p)));
}
BODY vec_t vec_from_uint8(const uint8_t *p) {
    return (vec_t)_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)p)));
}
BODY vec_t vec_from_f16(const uint8_t *p) {
    return (vec_t)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)p));
}
#elif defined(__AVX2__)
BODY vec_t vec_from_int8(const uint8_t *p) {
    return (vec_t)_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)p)));
}
BODY vec_t vec_from_uint8(const uint8_t *p) {
    return (vec_t)_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)p)));
}
BODY vec_t vec_from_f16(const uint8_t *p) {
    return (vec_t)_mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)p));
}
#else
BODY vec_t vec_from_int8(const uint8_t *p) {
    vec_t x;
    for (size_t l = 0; l < VEC_LANES; l++) x[l] = (float)(int8_t)p[l];
    return x;
}
BODY vec_t vec_from_uint8(const uint8_t *p) {
    vec_t x;
    for (size_t l = 0; l < VEC_LANES; l++) x[l] = (float)p[l];
    return x;
}
BODY vec_t vec_from_f16(const uint8_t *p) {
    uint16_t h[VEC_LANES];
    vec_t x;
    memcpy(h, p, sizeof h);
    for (size_t l = 0; l < VEC_LANES; l++) x[l] = f16_to_f32(h[l]);
    return x;
}
#endif

BODY void decode_int8(const uint8_t *codes, float absmax, void *out, dtype_t out_type, bool bf16) {
    for (size_t i = 0; i < QUANT_BLOCK; i += VEC_LANES) {
        vec_t x = vec_from_int8(codes + i) / 127.0f * absmax;
        vec_store(out, out_type, i, VEC_LANES, bf16 ? vec_round_bf16(x) : x);
    }
}

BODY void decode_int8_zeropoint(const uint8_t *codes, quant_zeropoint_t z, void *out, dtype_t out_type, bool bf16) {
    for (size_t i = 0; i < QUANT_BLOCK; i += VEC_LANES) {
        vec_t x = (vec_from_uint8(codes + i) - z.zero) * z.scale;
        vec_store(out, out_type, i, VEC_LANES, bf16 ? vec_round_bf16(x) : x);
    }
}

/* n values; what is left of them through a copy, as whole registers are read. */
BODY void decode_f16(const uint8_t *codes, size_t n, void *out, dtype_t out_type, bool bf16) {
    for (size_t i = 0; i < n; i += VEC_LANES) {
        uint8_t part[2 * VEC_LANES] = {0};
        size_t m = n - i < VEC_LANES ? n - i : VEC_LANES;
        if (m < VEC_LANES) memcpy(part, codes + 2 * i, 2 * m);
        vec_t x = vec_from_f16(m < VEC_LANES ? part : codes + 2 * i);
        if (bf16) x = vec_round_bf16(x);
        if (m < VEC_LANES) vec_store(out, out_type, i, m, x);
        else vec_store(out, out_type, i, VEC_LANES, x);
    }
}

#endif
