/* The operations on tiles of cpu/kernels/amx.h in plain C, by Intel's Software Developer's Manual (palette 1, and the
 * operation of TDPBF16PS), for processors that have no tiles. What the processor would fault at is CHECKed. */
#ifndef TESTS_AMX_EMULATED_H
#define TESTS_AMX_EMULATED_H

#include <math.h>
#include <string.h>

#include "base/dtype.h"
#include "base/error.h"

enum { TILES = 8, TILE_ROWS = 16, ROW_BYTES = 64 };

typedef struct {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} tile_config_t;

typedef struct {
    tile_config_t config; /* palette 0: nothing is configured */
    unsigned char tiles[TILES][TILE_ROWS][ROW_BYTES];
} tile_state_t;

static _Thread_local tile_state_t tile_state;

/* Of LDTILECFG: a tile has rows and columns or neither, all of which a register has room for; all tiles become zero. */
static void tile_configure(const tile_config_t *c) {
    CHECK(sizeof *c == 64 && c->palette == 1 && c->start_row == 0);
    for (size_t i = 0; i < sizeof c->reserved; i++) CHECK(c->reserved[i] == 0);
    for (size_t t = 0; t < TILES; t++)
        CHECK((c->rows[t] == 0) == (c->row_bytes[t] == 0) && c->rows[t] <= TILE_ROWS && c->row_bytes[t] <= ROW_BYTES);
    for (size_t t = TILES; t < 16; t++) CHECK(c->rows[t] == 0 && c->row_bytes[t] == 0);
    tile_state = (tile_state_t){.config = *c};
}

static void check_tile(size_t t) { CHECK(tile_state.config.palette == 1 && t < TILES && tile_state.config.rows[t]); }

static void clear_tile(size_t t) { memset(tile_state.tiles[t], 0, sizeof tile_state.tiles[t]); }

static void tile_zero(size_t t) {
    check_tile(t);
    clear_tile(t);
}

static void tile_load(size_t t, const void *from, size_t stride) {
    const tile_config_t *c = &tile_state.config;
    check_tile(t);
    clear_tile(t);
    for (size_t i = 0; i < c->rows[t]; i++)
        memcpy(tile_state.tiles[t][i], (const char *)from + i * stride, c->row_bytes[t]);
}

static void tile_store(size_t t, void *to, size_t stride) {
    const tile_config_t *c = &tile_state.config;
    check_tile(t);
    for (size_t i = 0; i < c->rows[t]; i++) memcpy((char *)to + i * stride, tile_state.tiles[t][i], c->row_bytes[t]);
}

/* Subnormal numbers count as zero of their sign, in what is read and in what is written (DAZ and FTZ are both on). */
static float without_subnormal(float x) { return fpclassify(x) == FP_SUBNORMAL ? copysignf(0.0f, x) : x; }

static float tile_value(const unsigned char *row, size_t i) {
    bf16_t x;
    memcpy(&x, row + i * sizeof x, sizeof x);
    return without_subnormal(bf16_to_f32(x));
}

/* One sum: the products of the even k and those of the odd k in two chains of fused multiply-adds from zero, rounded to
 * nearest even at each; then the two together; then these and what was in the sum. */
static float pairs_sum(float sum, const unsigned char *a, const tile_config_t *c, size_t t_a, size_t t_b, size_t n) {
    float even = 0, odd = 0;
    for (size_t k = 0; k < c->row_bytes[t_a] / 4u; k++) {
        const unsigned char *b = tile_state.tiles[t_b][k];
        even = without_subnormal(fmaf(tile_value(a, 2 * k), tile_value(b, 2 * n), even));
        odd = without_subnormal(fmaf(tile_value(a, 2 * k + 1), tile_value(b, 2 * n + 1), odd));
    }
    return without_subnormal(without_subnormal(sum) + without_subnormal(even + odd));
}

static void tile_multiply(size_t t_c, size_t t_a, size_t t_b) {
    const tile_config_t *c = &tile_state.config;
    check_tile(t_c);
    check_tile(t_a);
    check_tile(t_b);
    CHECK(t_c != t_a && t_c != t_b && t_a != t_b);
    CHECK(c->rows[t_c] == c->rows[t_a] && c->row_bytes[t_c] == c->row_bytes[t_b]);
    CHECK(c->row_bytes[t_a] == 4 * c->rows[t_b]);
    for (size_t m = 0; m < c->rows[t_c]; m++) {
        for (size_t n = 0; n < c->row_bytes[t_c] / sizeof(float); n++) {
            unsigned char *at = tile_state.tiles[t_c][m] + n * sizeof(float);
            float sum;
            memcpy(&sum, at, sizeof sum);
            sum = pairs_sum(sum, tile_state.tiles[t_a][m], c, t_a, t_b, n);
            memcpy(at, &sum, sizeof sum);
        }
    }
}

/* Operands laid out in pairs; those of cpu/kernels/tiles_bf16.h need AVX-512. */
static bf16_t pair_value(const bf16_t *x, size_t at, size_t k_at, size_t k) { return k_at < k ? x[at] : 0; }

static void pairs_of_columns(void *panel, const void *x, size_t ld, size_t n, size_t k) {
    bf16_t *y = panel;
    for (size_t p = 0; p < (k + 1) / 2 * 2; p++)
        for (size_t j = 0; j < 32; j++) y[(p / 2 * 32 + j) * 2 + p % 2] = j < n ? pair_value(x, j * ld + p, p, k) : 0;
}

static void pairs_of_rows(void *panel, const void *x, size_t ld, size_t k, size_t n) {
    bf16_t *y = panel;
    for (size_t p = 0; p < (k + 1) / 2 * 2; p++)
        for (size_t j = 0; j < 32; j++) y[(p / 2 * 32 + j) * 2 + p % 2] = j < n ? pair_value(x, p * ld + j, p, k) : 0;
}

static void pairs_transposed(void *y, size_t ldy, const void *x, size_t ld, size_t k, size_t m) {
    for (size_t p = 0; p < (k + 1) / 2 * 2; p++)
        for (size_t i = 0; i < m; i++) ((bf16_t *)y)[i * ldy + p] = pair_value(x, p * ld + i, p, k);
}

#endif
