/* What all tables of tiles.h share: transposition in units of 4 bytes, and what becomes of a finished tile. */
#ifndef CPU_KERNELS_PACK_H
#define CPU_KERNELS_PACK_H

#include "cpu/kernels/vec.h"

/* y [n, 16] from x [16, n], n <= 16 units, both 4 bytes each; rows of x ldx apart, those of y ldy. */
#if defined(__AVX512F__)
enum { TRANSPOSED = 16 };

/* Four steps that each exchange halves: of pairs of units, of quarters, of neighbouring quarters, of halves. */
BODY void transpose_square(uint32_t *y, size_t ldy, const uint32_t *x, size_t ldx) {
    __m512i a[16], b[16];
    _Pragma("GCC unroll 16") for (int i = 0; i < 16; i++) a[i] = _mm512_loadu_si512(x + (size_t)i * ldx);
    _Pragma("GCC unroll 16") for (int i = 0; i < 16; i += 2) {
        b[i] = _mm512_unpacklo_epi32(a[i], a[i + 1]);
        b[i + 1] = _mm512_unpackhi_epi32(a[i], a[i + 1]);
    }
    _Pragma("GCC unroll 16") for (int i = 0; i < 16; i += 4) {
        a[i] = _mm512_unpacklo_epi64(b[i], b[i + 2]);
        a[i + 1] = _mm512_unpackhi_epi64(b[i], b[i + 2]);
        a[i + 2] = _mm512_unpacklo_epi64(b[i + 1], b[i + 3]);
        a[i + 3] = _mm512_unpackhi_epi64(b[i + 1], b[i + 3]);
    }
    _Pragma("GCC unroll 16") for (int i = 0; i < 4; i++) {
        b[i] = _mm512_shuffle_i32x4(a[i], a[i + 4], 0x88);
        b[i + 4] = _mm512_shuffle_i32x4(a[i], a[i + 4], 0xdd);
        b[i + 8] = _mm512_shuffle_i32x4(a[i + 8], a[i + 12], 0x88);
        b[i + 12] = _mm512_shuffle_i32x4(a[i + 8], a[i + 12], 0xdd);
    }
    _Pragma("GCC unroll 16") for (int i = 0; i < 8; i++) {
        _mm512_storeu_si512(y + (size_t)i * ldy, _mm512_shuffle_i32x4(b[i], b[i + 8], 0x88));
        _mm512_storeu_si512(y + (size_t)(i + 8) * ldy, _mm512_shuffle_i32x4(b[i], b[i + 8], 0xdd));
    }
}
#elif defined(__AVX2__)
enum { TRANSPOSED = 8 };

BODY void transpose_square(uint32_t *y, size_t ldy, const uint32_t *x, size_t ldx) {
    __m256 a[8], b[8];
    _Pragma("GCC unroll 8") for (int i = 0; i < 8; i++) a[i] = _mm256_loadu_ps((const float *)(x + (size_t)i * ldx));
    _Pragma("GCC unroll 8") for (int i = 0; i < 8; i += 2) {
        b[i] = _mm256_unpacklo_ps(a[i], a[i + 1]);
        b[i + 1] = _mm256_unpackhi_ps(a[i], a[i + 1]);
    }
    _Pragma("GCC unroll 8") for (int i = 0; i < 8; i += 4) {
        a[i] = _mm256_shuffle_ps(b[i], b[i + 2], 0x44);
        a[i + 1] = _mm256_shuffle_ps(b[i], b[i + 2], 0xee);
        a[i + 2] = _mm256_shuffle_ps(b[i + 1], b[i + 3], 0x44);
        a[i + 3] = _mm256_shuffle_ps(b[i + 1], b[i + 3], 0xee);
    }
    _Pragma("GCC unroll 8") for (int i = 0; i < 4; i++) {
        _mm256_storeu_ps((float *)(y + (size_t)i * ldy), _mm256_permute2f128_ps(a[i], a[i + 4], 0x20));
        _mm256_storeu_ps((float *)(y + (size_t)(i + 4) * ldy), _mm256_permute2f128_ps(a[i], a[i + 4], 0x31));
    }
}
#else
enum { TRANSPOSED = 4 };

BODY void transpose_square(uint32_t *y, size_t ldy, const uint32_t *x, size_t ldx) {
    for (size_t i = 0; i < TRANSPOSED; i++)
        for (size_t j = 0; j < TRANSPOSED; j++) memcpy(y + j * ldy + i, x + i * ldx + j, sizeof *x);
}
#endif

/* y [m, k] = the transpose of x [k, m]. Values may be floats or pairs of BF16: they are moved, never looked at. */
BODY void transpose_dwords(void *to, size_t ldy, const void *from, size_t ldx, size_t k, size_t m) {
    unsigned char *y = to;
    const unsigned char *x = from;
    size_t whole_k = k / TRANSPOSED * TRANSPOSED, whole_m = m / TRANSPOSED * TRANSPOSED;
    for (size_t i = 0; i < whole_k; i += TRANSPOSED)
        for (size_t j = 0; j < whole_m; j += TRANSPOSED)
            transpose_square((uint32_t *)(void *)(y + 4 * (j * ldy + i)), ldy,
                             (const uint32_t *)(const void *)(x + 4 * (i * ldx + j)), ldx);
    for (size_t i = 0; i < k; i++)
        for (size_t j = i < whole_k ? whole_m : 0; j < m; j++) memcpy(y + 4 * (j * ldy + i), x + 4 * (i * ldx + j), 4);
}

/* n <= cols columns of B, x [n, k] in units of 4 bytes, rows ld units apart -> panel [k, cols], zeros from n on. */
BODY void pack_dword_columns(void *panel, size_t cols, const void *x, size_t ld, size_t n, size_t k) {
    transpose_dwords(panel, cols, x, ld, n, k);
    for (size_t p = 0; n < cols && p < k; p++) memset((unsigned char *)panel + 4 * (p * cols + n), 0, 4 * (cols - n));
}

BODY void store_row(void *y, dtype_t type, const float *c, size_t n, float alpha, float beta, const float *bias) {
    EACH_VEC(n, {
        vec_t sum = alpha * vec_load(c, DT_F32, i, m);
        if (bias) sum += vec_load(bias, DT_F32, i, m);
        if (beta != 0) sum += beta * vec_load(y, type, i, m);
        vec_store(y, type, i, m, sum);
    });
}

/* store of tiles_t. */
static void store_tile(void *y, dtype_t type, size_t ldy, const float *c, size_t ldc, size_t m, size_t n, float alpha,
                       float beta, const float *bias) {
    for (size_t i = 0; i < m; i++, c += ldc)
        BY_TYPE(type, store_row((float *)y + i * ldy, DT_F32, c, n, alpha, beta, bias),
                store_row((bf16_t *)y + i * ldy, DT_BF16, c, n, alpha, beta, bias));
}

#endif
