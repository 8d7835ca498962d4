/* Kernels that give the bits of the reference: no multiply-add is fused here but where the reference has fmaf()
 * (see cpu/CMakeLists.txt). */
#include "cpu/kernels/isa.h"
#include "model/backend/element.h"

/* ---- dequantization ---------------------------------------------------------------------------------- */

BODY float dequant_one(const qweight_t *w, size_t i) {
    float x;
    quant_decode(w, i, 1, &x);
    return x;
}

#ifdef __AVX512F__
#include <immintrin.h>

/* 64 values of a 4-bit block. The table sits in one register: a permutation looks up 16 codes. */
static void decode_block_4bit(const uint8_t *codes, const float *table, float absmax, float *out) {
    __m512 values = _mm512_loadu_ps(table), a = _mm512_set1_ps(absmax);
    for (int i = 0; i < 4; i++) {
        /* Each of 8 bytes spread over two 32-bit lanes, shifted so that the code is in the low bits. */
        __m512i pair = _mm512_cvtepu8_epi64(_mm_loadl_epi64((const __m128i *)(codes + 8 * i)));
        __m512i code = _mm512_or_si512(_mm512_srli_epi64(pair, 4), _mm512_slli_epi64(pair, 32));
        _mm512_storeu_ps(out + 16 * i, _mm512_mul_ps(_mm512_permutexvar_ps(code, values), a));
    }
}
#elif defined(__AVX2__)
#include <immintrin.h>

/* As above with two 8-value tables: bit 3 of the code chooses between their answers. */
static void decode_block_4bit(const uint8_t *codes, const float *table, float absmax, float *out) {
    __m256 low = _mm256_loadu_ps(table), high = _mm256_loadu_ps(table + 8), a = _mm256_set1_ps(absmax);
    for (int i = 0; i < 8; i++) {
        int32_t word;
        memcpy(&word, codes + 4 * i, 4);
        __m256i pair = _mm256_cvtepu8_epi64(_mm_cvtsi32_si128(word));
        __m256i code = _mm256_or_si256(_mm256_srli_epi64(pair, 4), _mm256_slli_epi64(pair, 32));
        __m256 bit3 = _mm256_castsi256_ps(_mm256_slli_epi32(code, 28));
        __m256 v = _mm256_blendv_ps(_mm256_permutevar8x32_ps(low, code), _mm256_permutevar8x32_ps(high, code), bit3);
        _mm256_storeu_ps(out + 8 * i, _mm256_mul_ps(v, a));
    }
}
#else
static void decode_block_4bit(const uint8_t *codes, const float *table, float absmax, float *out) {
    for (size_t i = 0; i < QUANT_BLOCK / 2; i++) {
        out[2 * i] = table[codes[i] >> 4] * absmax;
        out[2 * i + 1] = table[codes[i] & 15] * absmax;
    }
}
#endif

static void decode_block_int8(const uint8_t *codes, float absmax, float *out) {
    for (size_t i = 0; i < QUANT_BLOCK; i++) out[i] = (float)(int8_t)codes[i] / 127.0f * absmax;
}

BODY void emit(const float *x, size_t n, void *out, size_t at, dtype_t out_type, bool bf16) {
    for (size_t i = 0; i < n; i++) act_set(out, out_type, at + i, bf16 ? bf16_round(x[i]) : x[i]);
}

/* A block at a time; the pieces of blocks at both ends one value at a time. */
BODY void dequant_body(const qweight_t *w, size_t first, size_t n, void *out, dtype_t out_type, bool bf16) {
    const float *table = w->type == QUANT_INT8 ? NULL : quant_table(w->type);
    size_t end = first + n, code_bytes = w->type == QUANT_INT8 ? QUANT_BLOCK : QUANT_BLOCK / 2;
    for (size_t i = first; i < end;) {
        float block[QUANT_BLOCK], *x = block;
        size_t b = i / QUANT_BLOCK, len = QUANT_BLOCK;
        if (i % QUANT_BLOCK == 0 && end - i >= QUANT_BLOCK) {
            if (out_type == DT_F32 && !bf16) x = (float *)out + (i - first);
            if (table) decode_block_4bit(w->codes + b * code_bytes, table, quant_absmax(w, b), x);
            else decode_block_int8(w->codes + b * code_bytes, quant_absmax(w, b), x);
        } else {
            len = (b + 1) * QUANT_BLOCK < end ? (b + 1) * QUANT_BLOCK - i : end - i;
            for (size_t j = 0; j < len; j++) x[j] = dequant_one(w, i + j);
        }
        if (x == block) emit(x, len, out, i - first, out_type, bf16);
        i += len;
    }
}

BODY void cast_body(void *dst, dtype_t dst_type, const void *src, dtype_t src_type, size_t n) {
    for (size_t i = 0; i < n; i++) act_set(dst, dst_type, i, act_get(src, src_type, i));
}

static void cast(void *dst, dtype_t dst_type, const void *src, dtype_t src_type, size_t n) {
    if (dst_type == src_type) memcpy(dst, src, n * dtype_size(dst_type));
    else if (dst_type == DT_BF16) cast_body(dst, DT_BF16, src, DT_F32, n);
    else cast_body(dst, DT_F32, src, DT_BF16, n);
}

/* 16 values at `codes`, which is at any address. */
#if defined(__AVX512F__)
static void decode_16_f16(const uint8_t *codes, float *x) {
    _mm512_storeu_ps(x, _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)(const void *)codes)));
}
#elif defined(__F16C__)
static void decode_16_f16(const uint8_t *codes, float *x) {
    for (int i = 0; i < 16; i += 8)
        _mm256_storeu_ps(x + i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)(codes + 2 * i))));
}
#else
static void decode_16_f16(const uint8_t *codes, float *x) {
    uint16_t h[16];
    memcpy(h, codes, sizeof h);
    for (int i = 0; i < 16; i++) x[i] = f16_to_f32(h[i]);
}
#endif

BODY void dequant_f16_body(const uint8_t *codes, size_t n, void *out, dtype_t out_type, bool bf16) {
    size_t i = 0;
    for (; n - i >= 16; i += 16) {
        float x[16];
        decode_16_f16(codes + 2 * i, x);
        emit(x, 16, out, i, out_type, bf16);
    }
    for (; i < n; i++) {
        uint16_t h;
        memcpy(&h, codes + 2 * i, sizeof h);
        float x = f16_to_f32(h);
        emit(&x, 1, out, i, out_type, bf16);
    }
}

static void dequant_f16(const uint8_t *codes, size_t n, void *out, dtype_t out_type, bool bf16) {
    if (out_type == DT_BF16) dequant_f16_body(codes, n, out, DT_BF16, false);
    else if (bf16) dequant_f16_body(codes, n, out, DT_F32, true);
    else dequant_f16_body(codes, n, out, DT_F32, false);
}

static void dequant(const qweight_t *w, size_t first, size_t n, void *out, dtype_t out_type, bool bf16) {
    if (w->type == QUANT_F16) dequant_f16(w->codes + 2 * first, n, out, out_type, bf16);
    else if (w->type == QUANT_NONE) cast(out, out_type, (const bf16_t *)(const void *)w->codes + first, DT_BF16, n);
    else if (out_type == DT_BF16) dequant_body(w, first, n, out, DT_BF16, false);
    else if (bf16) dequant_body(w, first, n, out, DT_F32, true);
    else dequant_body(w, first, n, out, DT_F32, false);
}

/* ---- element-wise ------------------------------------------------------------------------------------ */

BODY void add_body(void *y, const void *a, const void *b, size_t n, dtype_t type) {
    _Pragma("omp simd") for (size_t i = 0; i < n; i++) act_set(y, type, i, act_get(a, type, i) + act_get(b, type, i));
}

static void add(void *y, const void *a, const void *b, size_t n, dtype_t type) {
    BY_TYPE(type, add_body(y, a, b, n, DT_F32), add_body(y, a, b, n, DT_BF16));
}

BODY void scale_row_body(void *y, const void *x, size_t n, float a, dtype_t type) {
    _Pragma("omp simd") for (size_t i = 0; i < n; i++) act_set(y, type, i, a * act_get(x, type, i));
}

static void scale_row(void *y, const void *x, size_t n, float a, dtype_t type) {
    BY_TYPE(type, scale_row_body(y, x, n, a, DT_F32), scale_row_body(y, x, n, a, DT_BF16));
}

BODY void dropout_body(void *y, const void *x, size_t first, size_t n, uint64_t row_key, float p, dtype_t type) {
    _Pragma("omp simd") for (size_t c = 0; c < n; c++)
        act_set(y, type, c, dropout_keep(row_key, first + c, p) ? act_get(x, type, c) : 0.0f);
}

static void dropout_row(void *y, const void *x, size_t first, size_t n, uint64_t row_key, float p, dtype_t type) {
    BY_TYPE(type, dropout_body(y, x, first, n, row_key, p, DT_F32), dropout_body(y, x, first, n, row_key, p, DT_BF16));
}

static void adamw(float *p, const float *g, float *m, float *v, size_t n, const adamw_t *h) {
    const adamw_t k = *h;
    _Pragma("omp simd") for (size_t i = 0; i < n; i++) adamw_element(&p[i], g[i], &m[i], &v[i], &k);
}

/* The maximum of 16 lanes' maxima: which order it is taken in does not matter. */
BODY float absmax_of(const float *x, size_t n) {
    float lane[16] = {0}, a = 0;
    size_t whole = n / 16 * 16;
    for (size_t i = 0; i < whole; i += 16)
        for (size_t l = 0; l < 16; l++) lane[l] = fabsf(x[i + l]) > lane[l] ? fabsf(x[i + l]) : lane[l];
    for (size_t i = whole; i < n; i++) a = fabsf(x[i]) > a ? fabsf(x[i]) : a;
    for (size_t l = 0; l < 16; l++) a = lane[l] > a ? lane[l] : a;
    return a;
}

BODY void decode_dynamic(const uint8_t *codes, size_t n, const dynamic_map_t *map, float absmax, float *x) {
    _Pragma("omp simd") for (size_t i = 0; i < n; i++) x[i] = map->value[codes[i]] * absmax;
}

/* The look-ups, which do not vectorize, apart from the arithmetic, which does. */
BODY void encode_dynamic(const float *x, size_t n, const dynamic_map_t *map, uint8_t *codes, float *absmax) {
    int32_t place[ADAMW_8BIT_BLOCK];
    float a = *absmax = absmax_of(x, n);
    if (!(a > 0)) {
        memset(codes, 0, n);
        return;
    }
    float inverse = 1.0f / a;
    _Pragma("omp simd") for (size_t i = 0; i < n; i++) place[i] = dynamic_place(x[i] * inverse);
    for (size_t i = 0; i < n; i++) codes[i] = map->nearest[place[i]];
}

static void adamw_8bit_block(float *p, const float *g, uint8_t *m_codes, uint8_t *v_codes, float *m_absmax,
                             float *v_absmax, size_t n, const adamw_t *h) {
    const adamw_t k = *h;
    const dynamic_map_t *m_map = quant_dynamic_signed(), *v_map = quant_dynamic_unsigned();
    float m[ADAMW_8BIT_BLOCK], v[ADAMW_8BIT_BLOCK];
    decode_dynamic(m_codes, n, m_map, *m_absmax, m);
    decode_dynamic(v_codes, n, v_map, *v_absmax, v);
    _Pragma("omp simd") for (size_t i = 0; i < n; i++) {
        adamw_8bit_moments(g[i], &m[i], &v[i], &k);
        adamw_step(&p[i], m[i], v[i], &k);
    }
    encode_dynamic(m, n, m_map, m_codes, m_absmax);
    encode_dynamic(v, n, v_map, v_codes, v_absmax);
}

void ISA_NAME(kernels_exact)(cpu_kernels_t *k) {
    k->dequant = dequant;
    k->add = add;
    k->scale_row = scale_row;
    k->cast = cast;
    k->dropout_row = dropout_row;
    k->adamw = adamw;
    k->adamw_8bit_block = adamw_8bit_block;
}
