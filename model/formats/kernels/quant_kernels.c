#include "model/formats/kernels/quant_kernels.h"
#include "model/backend/element.h"

#include <math.h>
#include <string.h>

#ifdef __AVX2__
#include <immintrin.h>
#endif

#define ISA_JOIN_(name, isa) name##_##isa
#define ISA_JOIN(name, isa) ISA_JOIN_(name, isa)

/* Inlined, so that types and counts are constants. */
#define BODY static inline __attribute__((always_inline))

/* ---- values in ---------------------------------------------------------------------------------------------- */

/* The instruction makes a signalling NaN a quiet one; else both give the same bits. */
BODY void load_f16(const void *x, size_t first, size_t n, float *v) {
    const char *at = (const char *)x + 2 * first;
    size_t i = 0;
#ifdef __F16C__
    for (; i + 8 <= n; i += 8)
        _mm256_storeu_ps(v + i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)(at + 2 * i))));
#endif
    for (; i < n; i++) {
        uint16_t h;
        memcpy(&h, at + 2 * i, sizeof h);
        v[i] = f16_to_f32(h);
    }
}

BODY void load_bf16(const void *x, size_t first, size_t n, float *v) {
    const char *at = (const char *)x + 2 * first;
    for (size_t i = 0; i < n; i++) {
        bf16_t h;
        memcpy(&h, at + 2 * i, sizeof h);
        v[i] = bf16_to_f32(h);
    }
}

BODY void load_values(const void *x, dtype_t type, size_t first, size_t n, float *v) {
    if (type == DT_F32) memcpy(v, (const char *)x + 4 * first, 4 * n);
    else if (type == DT_BF16) load_bf16(x, first, n, v);
    else load_f16(x, first, n, v);
}

/* ---- blocks ------------------------------------------------------------------------------------------------- */

/* The order in which the greatest is looked for does not matter. NaN is none. */
#ifdef __AVX512F__
BODY float block_absmax(const float v[QUANT_BLOCK]) {
    __m512 top = _mm512_setzero_ps();
    for (int i = 0; i < 4; i++) top = _mm512_max_ps(_mm512_abs_ps(_mm512_loadu_ps(v + 16 * i)), top);
    return _mm512_reduce_max_ps(top);
}
#else
BODY float block_absmax(const float v[QUANT_BLOCK]) {
    float lane[16] = {0}, a = 0;
    for (size_t i = 0; i < QUANT_BLOCK; i += 16)
        for (size_t l = 0; l < 16; l++) lane[l] = fabsf(v[i + l]) > lane[l] ? fabsf(v[i + l]) : lane[l];
    for (size_t l = 0; l < 16; l++) a = lane[l] > a ? lane[l] : a;
    return a;
}
#endif

/* v /= absmax, as bitsandbytes does: a product with the reciprocal in full blocks, a quotient in a short one. */
BODY void block_normalize(float v[QUANT_BLOCK], float absmax, bool full) {
    float d = absmax > QUANT_ABSMAX_MIN ? absmax : QUANT_ABSMAX_MIN, inverse = 1.0f / d;
    for (size_t i = 0; i < QUANT_BLOCK; i++) v[i] = full ? v[i] * inverse : v[i] / d;
}

#ifdef __AVX512F__
/* The midpoints below v are counted by halving: bit 3 of their number from the comparison with the middle one, each bit
 * after it from that with the one that the bits before lead to. */
BODY void block_encode_4bit(const quant_order_t *o, const float v[QUANT_BLOCK], uint8_t *codes) {
    __m512 middle = _mm512_set1_ps(o->mid[7]), mid = _mm512_maskz_loadu_ps(0x7fff, o->mid);
    __m512 by_4 = _mm512_maskz_loadu_ps(0x0fff, o->mid + 3), by_2 = _mm512_maskz_loadu_ps(0x3fff, o->mid + 1);
    __m512i ascending = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)(const void *)o->ascending));
    for (int i = 0; i < 4; i++) {
        __m512 x = _mm512_loadu_ps(v + 16 * i);
        __m512i n = _mm512_maskz_set1_epi32(_mm512_cmp_ps_mask(x, middle, _CMP_GT_OQ), 8);
        __mmask16 above = _mm512_cmp_ps_mask(x, _mm512_permutexvar_ps(n, by_4), _CMP_GT_OQ);
        n = _mm512_mask_or_epi32(n, above, n, _mm512_set1_epi32(4));
        above = _mm512_cmp_ps_mask(x, _mm512_permutexvar_ps(n, by_2), _CMP_GT_OQ);
        n = _mm512_mask_or_epi32(n, above, n, _mm512_set1_epi32(2));
        above = _mm512_cmp_ps_mask(x, _mm512_permutexvar_ps(n, mid), _CMP_GT_OQ);
        n = _mm512_mask_or_epi32(n, above, n, _mm512_set1_epi32(1));
        __m512i code = _mm512_permutexvar_epi32(n, ascending);
        __m512i pair = _mm512_or_si512(_mm512_slli_epi64(code, 4), _mm512_srli_epi64(code, 32));
        _mm_storel_epi64((__m128i *)(void *)(codes + 8 * i), _mm512_cvtepi64_epi8(pair));
    }
}
#else
/* Not inlined: its loops are then vectorized for what they are, not for what surrounds them. */
__attribute__((noinline)) static void block_encode_4bit(const quant_order_t *o, const float v[QUANT_BLOCK],
                                                        uint8_t *codes) {
    int32_t place[QUANT_BLOCK] = {0};
    uint8_t c[QUANT_BLOCK];
    for (int k = 0; k < 15; k++)
        for (size_t i = 0; i < QUANT_BLOCK; i++) place[i] += v[i] > o->mid[k];
    for (size_t i = 0; i < QUANT_BLOCK; i++) c[i] = o->ascending[place[i]];
    for (size_t i = 0; i < QUANT_BLOCK / 2; i++) codes[i] = (uint8_t)(c[2 * i] << 4 | c[2 * i + 1]);
}
#endif

BODY void block_encode_int8(const float v[QUANT_BLOCK], uint8_t *codes) {
    for (size_t i = 0; i < QUANT_BLOCK; i++) {
        float x = rintf(v[i] * 127.0f);
        codes[i] = (uint8_t)(int8_t)(x >= -127.0f ? (x <= 127.0f ? x : 127.0f) : -127.0f);
    }
}

/* The order in which least and greatest are looked for does not matter. NaN is neither. */
BODY float block_encode_zeropoint(const float v[QUANT_BLOCK], uint8_t *codes) {
    float least[16] = {0}, greatest[16] = {0}, lo = 0, hi = 0;
    for (size_t i = 0; i < QUANT_BLOCK; i += 16) {
        for (size_t l = 0; l < 16; l++) least[l] = v[i + l] < least[l] ? v[i + l] : least[l];
        for (size_t l = 0; l < 16; l++) greatest[l] = v[i + l] > greatest[l] ? v[i + l] : greatest[l];
    }
    for (size_t l = 0; l < 16; l++) lo = least[l] < lo ? least[l] : lo, hi = greatest[l] > hi ? greatest[l] : hi;
    float constant = quant_zeropoint_make(lo, hi);
    quant_zeropoint_t z = quant_zeropoint(constant);
    for (size_t i = 0; i < QUANT_BLOCK; i++) codes[i] = quant_zeropoint_code(z, v[i]);
    return constant;
}

/* Gives the block's constant. o: that of a 4-bit type. */
BODY float encode_block(quant_type_t type, const quant_order_t *o, const void *x, dtype_t x_type, size_t first,
                        size_t n, uint8_t *codes) {
    float v[QUANT_BLOCK];
    if (n < QUANT_BLOCK) memset(v, 0, sizeof v);
    load_values(x, x_type, first, n, v);
    if (type == QUANT_INT8_ZEROPOINT) return block_encode_zeropoint(v, codes);
    float absmax = block_absmax(v);
    block_normalize(v, absmax, n == QUANT_BLOCK);
    if (o) block_encode_4bit(o, v, codes);
    else block_encode_int8(v, codes);
    return absmax;
}

BODY void encode_blocks(quant_type_t type, const quant_order_t *o, const void *x, dtype_t x_type, size_t n,
                        uint8_t *codes, float *absmax) {
    size_t step = o ? QUANT_BLOCK / 2 : QUANT_BLOCK, full = n / QUANT_BLOCK, rest = n % QUANT_BLOCK;
    for (size_t b = 0; b < full; b++)
        absmax[b] = encode_block(type, o, x, x_type, b * QUANT_BLOCK, QUANT_BLOCK, codes + b * step);
    if (rest == 0) return;
    uint8_t last[QUANT_BLOCK];
    absmax[full] = encode_block(type, o, x, x_type, full * QUANT_BLOCK, rest, last);
    memcpy(codes + full * step, last, quant_code_bytes(type, rest));
}

BODY void encode(quant_type_t type, const quant_order_t *o, const void *x, dtype_t x_type, size_t n, uint8_t *codes,
                 float *absmax) {
    if (x_type == DT_F32) encode_blocks(type, o, x, DT_F32, n, codes, absmax);
    else if (x_type == DT_BF16) encode_blocks(type, o, x, DT_BF16, n, codes, absmax);
    else encode_blocks(type, o, x, DT_F16, n, codes, absmax);
}

/* Rounded to what is held, if it is not that already. */
static void encode_plain(quant_type_t type, const void *x, dtype_t x_type, size_t n, uint8_t *codes) {
    dtype_t held = type == QUANT_F16 ? DT_F16 : DT_BF16;
    if (x_type == held) {
        memcpy(codes, x, 2 * n);
        return;
    }
    for (size_t first = 0; first < n; first += QUANT_BLOCK) {
        size_t len = n - first < QUANT_BLOCK ? n - first : QUANT_BLOCK;
        float v[QUANT_BLOCK];
        uint16_t h[QUANT_BLOCK];
        load_values(x, x_type, first, len, v);
        for (size_t i = 0; i < len; i++) h[i] = held == DT_F16 ? f16_from_f32(v[i]) : bf16_from_f32(v[i]);
        memcpy(codes + 2 * first, h, 2 * len);
    }
}

void ISA_JOIN(quant_encode, ISA)(quant_type_t type, const void *x, dtype_t x_type, size_t n, uint8_t *codes,
                                 float *absmax) {
    if (quant_is_plain(type)) {
        encode_plain(type, x, x_type, n, codes);
    } else if (type == QUANT_INT8) {
        encode(QUANT_INT8, NULL, x, x_type, n, codes, absmax);
    } else if (type == QUANT_INT8_ZEROPOINT) {
        encode(QUANT_INT8_ZEROPOINT, NULL, x, x_type, n, codes, absmax);
    } else {
        const quant_order_t order = quant_order(type);
        encode(type, &order, x, x_type, n, codes, absmax);
    }
}
