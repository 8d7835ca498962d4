/* Products of fp32 by vectors: the same code for every width. */
#include "cpu/kernels/isa.h"
#include "cpu/kernels/pack.h"
#include "cpu/kernels/tiles.h"

/* Two vectors of a row of B, and as many rows of A as leave registers for them. */
#if defined(__AVX512F__)
enum { ROWS = 14 };
#define NAME "AVX-512"
#elif defined(__AVX2__)
enum { ROWS = 6 };
#define NAME "AVX2"
#else
enum { ROWS = 6 };
#define NAME "vectors of 16 bytes"
#endif
enum { COLS = 2 * VEC_LANES };

/* m and vectors are constants where this is inlined, so that the sums stay in registers. */
BODY void tile(size_t m, size_t vectors, size_t k, const float *a, size_t lda, const float *panel, float *c, size_t ldc,
               bool add) {
    vec_t sum[ROWS][2];
    _Pragma("GCC unroll 16") for (size_t i = 0; i < m; i++) sum[i][0] = sum[i][1] = (vec_t){0};
    for (size_t p = 0; p < k; p++, panel += COLS) {
        vec_t b0 = vec_load(panel, DT_F32, 0, VEC_LANES), b1 = b0;
        if (vectors == 2) b1 = vec_load(panel, DT_F32, VEC_LANES, VEC_LANES);
        _Pragma("GCC unroll 16") for (size_t i = 0; i < m; i++) {
            float x = a[i * lda + p];
            sum[i][0] += x * b0;
            if (vectors == 2) sum[i][1] += x * b1;
        }
    }
    _Pragma("GCC unroll 16") for (size_t i = 0; i < m; i++) {
        _Pragma("GCC unroll 2") for (size_t v = 0; v < vectors; v++) {
            float *y = c + i * ldc + v * VEC_LANES;
            if (add) sum[i][v] += vec_load(y, DT_F32, 0, VEC_LANES);
            vec_store(y, DT_F32, 0, VEC_LANES, sum[i][v]);
        }
    }
}

typedef void tile_fn(size_t k, const float *a, size_t lda, const float *panel, float *c, size_t ldc, bool add);

/* clang-format off */
#define TILE(m, vectors) \
    static void tile_##m##_##vectors(size_t k, const float *a, size_t lda, const float *panel, float *c, size_t ldc, \
                                     bool add) { \
        tile(m, vectors, k, a, lda, panel, c, ldc, add); \
    }
#define TILES(m) TILE(m, 1) TILE(m, 2)
#define ENTRY(m) {tile_##m##_1, tile_##m##_2}

TILES(1) TILES(2) TILES(3) TILES(4) TILES(5) TILES(6)
#if defined(__AVX512F__)
TILES(7) TILES(8) TILES(9) TILES(10) TILES(11) TILES(12) TILES(13) TILES(14)
#endif

static tile_fn *const tiles[ROWS][2] = {
    ENTRY(1), ENTRY(2), ENTRY(3), ENTRY(4), ENTRY(5), ENTRY(6),
#if defined(__AVX512F__)
    ENTRY(7), ENTRY(8), ENTRY(9), ENTRY(10), ENTRY(11), ENTRY(12), ENTRY(13), ENTRY(14),
#endif
};
/* clang-format on */

static void multiply(size_t m, size_t n, size_t k, const void *a, size_t lda, const void *panel, float *c, size_t ldc,
                     bool add) {
    tiles[m - 1][n > VEC_LANES](k, a, lda, panel, c, ldc, add);
}

static void pack_columns(void *panel, const void *x, size_t ld, size_t n, size_t k) {
    pack_dword_columns(panel, COLS, x, ld, n, k);
}

static void pack_rows(void *panel, const void *x, size_t ld, size_t k, size_t n) {
    float *y = panel;
    const float *row = x;
    for (size_t p = 0; p < k; p++, y += COLS, row += ld) {
        if (n == COLS) {
            for (size_t i = 0; i < COLS; i++) y[i] = row[i];
            continue;
        }
        for (size_t i = 0; i < COLS; i++) y[i] = i < n ? row[i] : 0.0f;
    }
}

static void transpose(void *y, size_t ldy, const void *x, size_t ld, size_t k, size_t m) {
    transpose_dwords(y, ldy, x, ld, k, m);
}

const tiles_t ISA_NAME(tiles_f32) = {
    .name = NAME,
    .type = DT_F32,
    .rows = ROWS,
    .cols = COLS,
    .depth = 1,
    .multiply = multiply,
    .pack_columns = pack_columns,
    .pack_rows = pack_rows,
    .transpose = transpose,
    .store = store_tile,
};
