/* Products of BF16 by tiles (AMX-BF16). Tiles 0 to 3 are the sums, 2 x 2 of 16 rows and 16 columns; each step takes 32
 * values of k, 16 pairs: tiles 4 and 5 of A, 6 and 7 of B, each of them used twice.
 *
 * An instruction adds up the products of its 32 k first and then adds that to the sum, so a sum that is long is added
 * up in pieces anyway, and beginning with what is in c gives the same bits as if K had not been cut there.
 *
 * A thread's tiles stay configured between products. Releasing them would let the system save less when it takes the
 * thread's core away, 8 KiB each way, less than a microsecond where waking a thread takes many; configuring them anew
 * takes hundreds of cycles, as long as a product of 32 x 32 with K = 128 to 256. And there is no place to release them
 * at: a product does not know whether it is the thread's last. Linux saves tiles across signals and releases those of
 * an idle core itself. */
#include "cpu/kernels/isa.h"
#include "cpu/kernels/pack.h"
#include "cpu/kernels/tiles.h"

#ifdef AMX_EMULATED
#include "amx_emulated.h"
#else
#include "cpu/kernels/amx.h"
#endif

enum { HALF = 16, ROWS = 2 * HALF, COLS = 2 * HALF, DEPTH = 32, TILE_BYTES = 64 };
enum { PANEL_ROW_BYTES = COLS * 2 * (int)sizeof(bf16_t), PANEL_STEP_BYTES = DEPTH / 2 * PANEL_ROW_BYTES };

static _Thread_local size_t configured_rows; /* of a product; 0: none yet */

static void configure(size_t m) {
    if (m == configured_rows) return;
    const uint8_t top = (uint8_t)(m < HALF ? m : HALF), bottom = (uint8_t)(m - top);
    const uint8_t rows[] = {top, top, bottom, bottom, top, bottom, DEPTH / 2, DEPTH / 2};
    tile_config_t c = {.palette = 1};
    for (size_t i = 0; i < sizeof rows; i++) {
        c.rows[i] = rows[i];
        c.row_bytes[i] = rows[i] ? TILE_BYTES : 0;
    }
    tile_configure(&c);
    configured_rows = m;
}

/* tall: more than 16 rows; wide: more than 16 columns. Both are constants where this is inlined. */
BODY void product(bool tall, bool wide, size_t k, const bf16_t *a, size_t lda, const unsigned char *panel, float *c,
                  size_t ldc, bool add) {
    const size_t a_stride = lda * sizeof *a, c_stride = ldc * sizeof *c;
    const bf16_t *a_bottom = tall ? a + HALF * lda : a;
    float *c_bottom = tall ? c + HALF * ldc : c;
    if (add) {
        tile_load(0, c, c_stride);
        if (wide) tile_load(1, c + HALF, c_stride);
        if (tall) tile_load(2, c_bottom, c_stride);
        if (tall && wide) tile_load(3, c_bottom + HALF, c_stride);
    } else {
        tile_zero(0);
        if (wide) tile_zero(1);
        if (tall) tile_zero(2);
        if (tall && wide) tile_zero(3);
    }
    for (size_t p = 0; p < k; p += DEPTH, panel += PANEL_STEP_BYTES) {
        tile_load(6, panel, PANEL_ROW_BYTES);
        tile_load(4, a + p, a_stride);
        tile_multiply(0, 4, 6);
        if (wide) tile_load(7, panel + TILE_BYTES, PANEL_ROW_BYTES);
        if (wide) tile_multiply(1, 4, 7);
        if (tall) tile_load(5, a_bottom + p, a_stride);
        if (tall) tile_multiply(2, 5, 6);
        if (tall && wide) tile_multiply(3, 5, 7);
    }
    tile_store(0, c, c_stride);
    if (wide) tile_store(1, c + HALF, c_stride);
    if (tall) tile_store(2, c_bottom, c_stride);
    if (tall && wide) tile_store(3, c_bottom + HALF, c_stride);
}

static void multiply(size_t m, size_t n, size_t k, const void *a, size_t lda, const void *panel, float *c, size_t ldc,
                     bool add) {
    configure(m);
    if (m > HALF && n > HALF) product(true, true, k, a, lda, panel, c, ldc, add);
    else if (m > HALF) product(true, false, k, a, lda, panel, c, ldc, add);
    else if (n > HALF) product(false, true, k, a, lda, panel, c, ldc, add);
    else product(false, false, k, a, lda, panel, c, ldc, add);
}

static size_t padded(size_t k) { return (k + DEPTH - 1) / DEPTH * DEPTH; }

/* The pairs beyond those that k has. */
static void pad_panel(void *panel, size_t k) {
    size_t pairs = (k + 1) / 2;
    memset((unsigned char *)panel + pairs * PANEL_ROW_BYTES, 0, (padded(k) / 2 - pairs) * PANEL_ROW_BYTES);
}

static void pack_columns(void *panel, const void *x, size_t ld, size_t n, size_t k) {
    pairs_of_columns(panel, x, ld, n, k);
    pad_panel(panel, k);
}

static void pack_rows(void *panel, const void *x, size_t ld, size_t k, size_t n) {
    pairs_of_rows(panel, x, ld, k, n);
    pad_panel(panel, k);
}

static void transpose(void *y, size_t ldy, const void *x, size_t ld, size_t k, size_t m) {
    pairs_transposed(y, ldy, x, ld, k, m);
    size_t even = (k + 1) / 2 * 2;
    for (size_t i = 0; i < m; i++) memset((bf16_t *)y + i * ldy + even, 0, (padded(k) - even) * sizeof(bf16_t));
}

const tiles_t ISA_NAME(tiles_bf16) = {
    .name = "AMX-BF16",
    .type = DT_BF16,
    .rows = ROWS,
    .cols = COLS,
    .depth = DEPTH,
    .multiply = multiply,
    .pack_columns = pack_columns,
    .pack_rows = pack_rows,
    .transpose = transpose,
    .store = store_tile,
};
