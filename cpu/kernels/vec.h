/* Registers of fp32 values for the kernels, as wide as the instruction set that is being compiled for has them, read
 * from and written to F32 or BF16. Operators work on them lane by lane. `type` and a whole number of lanes are constants
 * where a function is called, so that no branch on them is left. */
#ifndef CPU_KERNELS_VEC_H
#define CPU_KERNELS_VEC_H

#include "cpu/kernels/isa.h"

#if defined(__AVX512F__)
#include <immintrin.h>
enum { VEC_LANES = 16 };
#elif defined(__AVX2__)
#include <immintrin.h>
enum { VEC_LANES = 8 };
#else
#if defined(__SSE2__)
#include <emmintrin.h>
#endif
enum { VEC_LANES = 4 };
#endif
typedef float vec_t __attribute__((vector_size(4 * VEC_LANES)));
typedef int32_t vec_int_t __attribute__((vector_size(4 * VEC_LANES)));
typedef uint32_t vec_bits_t __attribute__((vector_size(4 * VEC_LANES)));

/* What is done for each VEC_LANES of n values, and for those that are left: `statement` of i, the first of them, and m,
 * their number. */
#define EACH_VEC(n, statement) \
    do { \
        size_t i = 0; \
        for (; (n)-i >= VEC_LANES; i += VEC_LANES) { \
            const size_t m = VEC_LANES; \
            statement; \
        } \
        if (i < (n)) { \
            const size_t m = (n)-i; \
            statement; \
        } \
    } while (0)

/* total += the sum of `term` over the same, whose lanes past m are 0. In four registers, since an addition takes longer
 * than it takes until the next can begin. */
#define SUM_VEC(total, n, term) \
    do { \
        vec_t part_[4] = {(total)}; \
        size_t i = 0; \
        while ((n)-i >= 4 * VEC_LANES) { \
            const size_t m = VEC_LANES; \
            part_[0] += (term), i += VEC_LANES; \
            part_[1] += (term), i += VEC_LANES; \
            part_[2] += (term), i += VEC_LANES; \
            part_[3] += (term), i += VEC_LANES; \
        } \
        for (; (n)-i >= VEC_LANES; i += VEC_LANES) { \
            const size_t m = VEC_LANES; \
            part_[0] += (term); \
        } \
        if (i < (n)) { \
            const size_t m = (n)-i; \
            part_[1] += (term); \
        } \
        (total) = (part_[0] + part_[1]) + (part_[2] + part_[3]); \
    } while (0)

/* ---- memory ------------------------------------------------------------------------------------------------ */

#if defined(__AVX512F__)
/* The upper half of lane l is half l (widen); half l is the upper half of lane l (narrow). */
BODY vec_t vec_widen(__m256i halves) {
    const __m512i from = _mm512_set_epi32(15 << 16, 14 << 16, 13 << 16, 12 << 16, 11 << 16, 10 << 16, 9 << 16, 8 << 16,
                                          7 << 16, 6 << 16, 5 << 16, 4 << 16, 3 << 16, 2 << 16, 1 << 16, 0);
    return (vec_t)_mm512_maskz_permutexvar_epi16(0xaaaaaaaa, from, _mm512_castsi256_si512(halves));
}

/* The bits of bf16_from_f32(), in the upper half of each lane. The last instruction puts a quiet x where x is NaN of
 * either kind. */
BODY vec_bits_t vec_bf16_bits(vec_t x) {
    __m512i u = (__m512i)x, odd = _mm512_and_epi32(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
    __m512i rounded = _mm512_add_epi32(_mm512_add_epi32(u, _mm512_set1_epi32(0x7fff)), odd);
    return (vec_bits_t)_mm512_fixupimm_ps(_mm512_castsi512_ps(rounded), x, _mm512_set1_epi32(0x22), 0);
}

BODY __m256i vec_narrow(vec_t x) {
    const __m512i odds = _mm512_set_epi32(0, 0, 0, 0, 0, 0, 0, 0, 31 << 16 | 29, 27 << 16 | 25, 23 << 16 | 21,
                                          19 << 16 | 17, 15 << 16 | 13, 11 << 16 | 9, 7 << 16 | 5, 3 << 16 | 1);
    return _mm512_castsi512_si256(_mm512_permutexvar_epi16(odds, (__m512i)vec_bf16_bits(x)));
}

BODY __mmask16 vec_mask(size_t m) { return (__mmask16)(0xffffu >> (VEC_LANES - m)); }

/* Values [i, i+m) of p, the other lanes 0. */
BODY vec_t vec_load(const void *p, dtype_t type, size_t i, size_t m) {
    const void *at = act_at_const(p, type, i);
    if (type == DT_F32) return m == VEC_LANES ? _mm512_loadu_ps(at) : _mm512_maskz_loadu_ps(vec_mask(m), at);
    return vec_widen(m == VEC_LANES ? _mm256_loadu_si256(at) : _mm256_maskz_loadu_epi16(vec_mask(m), at));
}

BODY void vec_store(void *p, dtype_t type, size_t i, size_t m, vec_t x) {
    void *at = act_at(p, type, i);
    if (type == DT_F32 && m == VEC_LANES) _mm512_storeu_ps(at, x);
    else if (type == DT_F32) _mm512_mask_storeu_ps(at, vec_mask(m), x);
    else if (m == VEC_LANES) _mm256_storeu_si256(at, vec_narrow(x));
    else _mm256_mask_storeu_epi16(at, vec_mask(m), vec_narrow(x));
}
#else
#if defined(__AVX2__)
BODY vec_t vec_load_whole(const void *p, dtype_t type) {
    if (type == DT_F32) return _mm256_loadu_ps(p);
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(p)), 16));
}

/* The bits of bf16_from_f32(), in the upper half of each lane. */
BODY vec_bits_t vec_bf16_bits(vec_t x) {
    __m256i u = _mm256_castps_si256(x), odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
    __m256i rounded = _mm256_add_epi32(_mm256_add_epi32(u, _mm256_set1_epi32(0x7fff)), odd);
    __m256i quiet = _mm256_or_si256(u, _mm256_set1_epi32(0x400000));
    __m256 nan = _mm256_cmp_ps(x, x, _CMP_UNORD_Q);
    return (vec_bits_t)_mm256_blendv_ps(_mm256_castsi256_ps(rounded), _mm256_castsi256_ps(quiet), nan);
}

BODY void vec_store_whole(void *p, dtype_t type, vec_t x) {
    if (type == DT_F32) {
        _mm256_storeu_ps(p, x);
        return;
    }
    __m256i halves = _mm256_srli_epi32((__m256i)vec_bf16_bits(x), 16);
    _mm_storeu_si128(p, _mm_packus_epi32(_mm256_castsi256_si128(halves), _mm256_extracti128_si256(halves, 1)));
}
#else
BODY vec_t vec_load_whole(const void *p, dtype_t type) {
    vec_t x = {0};
    if (type == DT_F32) memcpy(&x, p, sizeof x);
    else
        for (size_t l = 0; l < VEC_LANES; l++) x[l] = act_get(p, DT_BF16, l);
    return x;
}

BODY vec_bits_t vec_bf16_bits(vec_t x) {
    vec_bits_t u = {0};
    for (size_t l = 0; l < VEC_LANES; l++) u[l] = (uint32_t)bf16_from_f32(x[l]) << 16;
    return u;
}

BODY void vec_store_whole(void *p, dtype_t type, vec_t x) {
    if (type == DT_F32) memcpy(p, &x, sizeof x);
    else
        for (size_t l = 0; l < VEC_LANES; l++) act_set(p, DT_BF16, l, x[l]);
}
#endif

/* Values [i, i+m) of p, the other lanes 0. */
BODY vec_t vec_load(const void *p, dtype_t type, size_t i, size_t m) {
    if (m == VEC_LANES) return vec_load_whole(act_at_const(p, type, i), type);
    _Alignas(float) char part[4 * VEC_LANES] = {0}; /* of either type, whose bytes may be read as either */
    act_copy(part, 0, p, i, m, type);
    return vec_load_whole(part, type);
}

BODY void vec_store(void *p, dtype_t type, size_t i, size_t m, vec_t x) {
    if (m == VEC_LANES) {
        vec_store_whole(act_at(p, type, i), type, x);
        return;
    }
    _Alignas(float) char part[4 * VEC_LANES];
    vec_store_whole(part, type, x);
    act_copy(p, i, part, 0, m, type);
}
#endif

/* x rounded to BF16. */
BODY vec_t vec_round_bf16(vec_t x) { return (vec_t)(vec_bf16_bits(x) & 0xffff0000u); }

/* ---- lanes -------------------------------------------------------------------------------------------------- */

#if defined(__AVX512F__)
#define LANE_NUMBERS ((vec_int_t){0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15})
#elif defined(__AVX2__)
#define LANE_NUMBERS ((vec_int_t){0, 1, 2, 3, 4, 5, 6, 7})
#else
#define LANE_NUMBERS ((vec_int_t){0, 1, 2, 3})
#endif

/* Lane l is lane from[l] of a, or from its number of lanes on of b. */
BODY vec_t vec_pick(vec_t a, vec_t b, vec_int_t from) {
#if defined(__clang__) /* has it for literal numbers alone */
    vec_t y;
    for (int l = 0; l < VEC_LANES; l++) y[l] = from[l] & VEC_LANES ? b[from[l] & (VEC_LANES - 1)] : a[from[l]];
    return y;
#else
    return __builtin_shuffle(a, b, from);
#endif
}

/* Of two registers with pairs: all the firsts; all the seconds. */
BODY vec_t vec_evens(vec_t low, vec_t high) { return vec_pick(low, high, 2 * LANE_NUMBERS); }
BODY vec_t vec_odds(vec_t low, vec_t high) { return vec_pick(low, high, 2 * LANE_NUMBERS + 1); }
/* Of one: the firsts in both places; the seconds; one in the place of the other; the firsts negated. */
BODY vec_t vec_double_evens(vec_t x) { return vec_pick(x, x, LANE_NUMBERS & ~1); }
BODY vec_t vec_double_odds(vec_t x) { return vec_pick(x, x, LANE_NUMBERS | 1); }
BODY vec_t vec_swap_pairs(vec_t x) { return vec_pick(x, x, LANE_NUMBERS ^ 1); }
BODY vec_t vec_negate_evens(vec_t x) { return (vec_t)((vec_bits_t)x ^ (vec_bits_t)(LANE_NUMBERS ^ 1) << 31); }

/* x with `rest` in the lanes from m on. */
BODY vec_t vec_first(vec_t x, size_t m, float rest) {
    if (m == VEC_LANES) return x;
    vec_int_t inside = LANE_NUMBERS < (int32_t)m;
    return (vec_t)(((vec_int_t)x & inside) | ((vec_int_t)(rest - (vec_t){0}) & ~inside));
}

/* ---- arithmetic --------------------------------------------------------------------------------------------- */

BODY vec_t vec_set(float x) { return x - (vec_t){0}; }

/* The greater and the lesser; b where one is NaN. */
#if defined(__AVX512F__)
BODY vec_t vec_max(vec_t a, vec_t b) { return _mm512_max_ps(a, b); }
BODY vec_t vec_min(vec_t a, vec_t b) { return _mm512_min_ps(a, b); }
/* To an integer; p 2^n, which is 0 or infinite where it must be. */
BODY vec_t vec_rint(vec_t x) { return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
BODY vec_t vec_scale_2(vec_t p, vec_t n) { return _mm512_scalef_ps(p, n); }
/* a / b to 2^-14 of itself. */
BODY vec_t vec_ratio(vec_t a, vec_t b) { return a * (vec_t)_mm512_rcp14_ps(b); }
#elif defined(__AVX2__)
BODY vec_t vec_max(vec_t a, vec_t b) { return _mm256_max_ps(a, b); }
BODY vec_t vec_min(vec_t a, vec_t b) { return _mm256_min_ps(a, b); }
BODY vec_t vec_rint(vec_t x) { return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
#else
#if defined(__SSE2__)
BODY vec_t vec_max(vec_t a, vec_t b) { return _mm_max_ps(a, b); }
BODY vec_t vec_min(vec_t a, vec_t b) { return _mm_min_ps(a, b); }
#else
BODY vec_t vec_max(vec_t a, vec_t b) {
    vec_int_t greater = a > b;
    return (vec_t)(((vec_int_t)a & greater) | ((vec_int_t)b & ~greater));
}
BODY vec_t vec_min(vec_t a, vec_t b) {
    vec_int_t less = a < b;
    return (vec_t)(((vec_int_t)a & less) | ((vec_int_t)b & ~less));
}
#endif
/* 1.5 * 2^23 leaves no room for a fraction. */
BODY vec_t vec_rint(vec_t x) { return (x + 12582912.0f) - 12582912.0f; }
#endif

#ifndef __AVX512F__
BODY vec_t vec_ratio(vec_t a, vec_t b) { return a / b; }

/* p 2^n for an integer |n| < 250: in two factors, as n reaches beyond the exponents of normal numbers. */
BODY vec_t vec_scale_2(vec_t p, vec_t n) {
    vec_int_t e = __builtin_convertvector(n, vec_int_t), half = e >> 1;
    return p * (vec_t)((vec_bits_t)(half + 127) << 23) * (vec_t)((vec_bits_t)(e - half + 127) << 23);
}
#endif

/* Over the lanes, in halves. */
BODY float vec_sum(vec_t x) {
    _Pragma("GCC unroll 4") for (int n = VEC_LANES / 2; n; n /= 2) x += vec_pick(x, x, LANE_NUMBERS ^ n);
    return x[0];
}

BODY float vec_top(vec_t x) {
    _Pragma("GCC unroll 4") for (int n = VEC_LANES / 2; n; n /= 2) x = vec_max(x, vec_pick(x, x, LANE_NUMBERS ^ n));
    return x[0];
}

#endif
