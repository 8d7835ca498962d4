/* Products of BF16 by vectors (AVX512-BF16): each instruction adds two products to each of 16 sums. */
#include "cpu/kernels/isa.h"
#include "cpu/kernels/pack.h"
#include "cpu/kernels/tiles.h"
#include "cpu/kernels/tiles_bf16.h"

enum { ROWS = 14, COLS = TILE_BF16_COLS };

/* m and vectors are constants where this is inlined, so that the sums stay in registers. */
BODY void tile(size_t m, size_t vectors, size_t k, const bf16_t *a, size_t lda, const bf16_t *panel, float *c,
               size_t ldc, bool add) {
    __m512 sum[ROWS][2];
    _Pragma("GCC unroll 16") for (size_t i = 0; i < m; i++) sum[i][0] = sum[i][1] = _mm512_setzero_ps();
    for (size_t p = 0; p < k; p += 2, panel += 2 * COLS) {
        __m512bh b0 = (__m512bh)_mm512_loadu_si512(panel), b1 = b0;
        if (vectors == 2) b1 = (__m512bh)_mm512_loadu_si512(panel + COLS);
        _Pragma("GCC unroll 16") for (size_t i = 0; i < m; i++) {
            int32_t pair;
            memcpy(&pair, a + i * lda + p, sizeof pair);
            __m512bh x = (__m512bh)_mm512_set1_epi32(pair);
            sum[i][0] = _mm512_dpbf16_ps(sum[i][0], x, b0);
            if (vectors == 2) sum[i][1] = _mm512_dpbf16_ps(sum[i][1], x, b1);
        }
    }
    _Pragma("GCC unroll 16") for (size_t i = 0; i < m; i++) {
        for (size_t v = 0; v < vectors; v++) {
            float *y = c + i * ldc + 16 * v;
            _mm512_storeu_ps(y, add ? _mm512_add_ps(_mm512_loadu_ps(y), sum[i][v]) : sum[i][v]);
        }
    }
}

typedef void tile_fn(size_t k, const bf16_t *a, size_t lda, const bf16_t *panel, float *c, size_t ldc, bool add);

/* clang-format off */
#define TILE(m, vectors) \
    static void tile_##m##_##vectors(size_t k, const bf16_t *a, size_t lda, const bf16_t *panel, float *c, size_t ldc, \
                                     bool add) { \
        tile(m, vectors, k, a, lda, panel, c, ldc, add); \
    }
#define TILES(m) TILE(m, 1) TILE(m, 2)
#define ENTRY(m) {tile_##m##_1, tile_##m##_2}

TILES(1) TILES(2) TILES(3) TILES(4) TILES(5) TILES(6) TILES(7)
TILES(8) TILES(9) TILES(10) TILES(11) TILES(12) TILES(13) TILES(14)

static tile_fn *const tiles[ROWS][2] = {
    ENTRY(1), ENTRY(2), ENTRY(3), ENTRY(4), ENTRY(5), ENTRY(6), ENTRY(7),
    ENTRY(8), ENTRY(9), ENTRY(10), ENTRY(11), ENTRY(12), ENTRY(13), ENTRY(14),
};
/* clang-format on */

static void multiply(size_t m, size_t n, size_t k, const void *a, size_t lda, const void *panel, float *c, size_t ldc,
                     bool add) {
    tiles[m - 1][n > 16](k, a, lda, panel, c, ldc, add);
}

/* y[i] = (a[i], b[i]), n of them. */
BODY void pair_values(uint32_t *y, const bf16_t *a, const bf16_t *b, size_t n) {
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        __m512i low = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(const void *)(a + i)));
        __m512i high = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)(const void *)(b + i)));
        _mm512_storeu_si512(y + i, _mm512_or_si512(low, _mm512_slli_epi32(high, 16)));
    }
    for (; i < n; i++) y[i] = a[i] | (uint32_t)b[i] << 16;
}

/* The same for the last row, which has no partner. */
BODY void pair_with_zero(uint32_t *y, const bf16_t *a, size_t n) {
    for (size_t i = 0; i < n; i++) y[i] = a[i];
}

void tiles_bf16_pack_rows(void *panel, const void *x, size_t ld, size_t k, size_t n) {
    uint32_t *y = panel;
    const bf16_t *row = x;
    for (size_t p = 0; p < k; p += 2, y += COLS, row += 2 * ld) {
        if (p + 1 < k) pair_values(y, row, row + ld, n);
        else pair_with_zero(y, row, n);
        for (size_t i = n; i < COLS; i++) y[i] = 0;
    }
}

void tiles_bf16_pack_columns(void *panel, const void *x, size_t ld, size_t n, size_t k) {
    uint32_t *y = panel;
    if (ld % 2 == 0) { /* pairs of a row are whole units */
        pack_dword_columns(y, COLS, x, ld / 2, n, k / 2);
    } else {
        for (size_t p = 0; p < k / 2; p++)
            for (size_t j = 0; j < COLS; j++)
                if (j < n) memcpy(&y[p * COLS + j], (const bf16_t *)x + j * ld + 2 * p, sizeof *y);
                else y[p * COLS + j] = 0;
    }
    if (k % 2 == 0) return;
    for (size_t j = 0; j < COLS; j++) y[k / 2 * COLS + j] = j < n ? ((const bf16_t *)x)[j * ld + k - 1] : 0;
}

void tiles_bf16_transpose(void *to, size_t ldy, const void *from, size_t ld, size_t k, size_t m) {
    enum { N = TRANSPOSED };
    bf16_t *y = to;
    const bf16_t *x = from;
    uint32_t pairs[N * N], turned[N * N];
    for (size_t p = 0; p < k; p += 2 * N) {
        for (size_t j = 0; j < m; j += N) {
            size_t rows = k - p < 2 * N ? k - p : 2 * N, n = m - j < N ? m - j : N;
            if (rows < 2 * N || n < N) memset(pairs, 0, sizeof pairs);
            for (size_t i = 0; i < rows; i += 2) {
                const bf16_t *row = x + (p + i) * ld + j;
                if (i + 1 < rows) pair_values(pairs + i / 2 * N, row, row + ld, n);
                else pair_with_zero(pairs + i / 2 * N, row, n);
            }
            transpose_square(turned, N, pairs, N);
            for (size_t i = 0; i < n; i++)
                memcpy(y + (j + i) * ldy + p, turned + i * N, (rows + 1) / 2 * sizeof *turned);
        }
    }
}

const tiles_t tiles_bf16_avx512 = {
    .name = "AVX512-BF16",
    .type = DT_BF16,
    .rows = ROWS,
    .cols = COLS,
    .depth = 2,
    .multiply = multiply,
    .pack_columns = tiles_bf16_pack_columns,
    .pack_rows = tiles_bf16_pack_rows,
    .transpose = tiles_bf16_transpose,
    .store = store_tile,
};
