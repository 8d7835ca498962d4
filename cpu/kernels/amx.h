/* The operations on tiles that tiles_amx.c is written in: those of the processor. tests/ops/amx_emulated.h has the same
 * in plain C. A tile is named by a literal number, 0 to 7. */
#ifndef CPU_KERNELS_AMX_H
#define CPU_KERNELS_AMX_H

#include <immintrin.h>

#include "cpu/kernels/tiles_bf16.h"

/* What LDTILECFG reads: rows and bytes of a row of each tile; 0 and 0 for one that is not used. */
typedef struct {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} tile_config_t;

/* The intrinsic names the first 8 bytes only as what it reads, so the compiler is told that memory is read. */
static inline void tile_configure(const tile_config_t *c) {
    __asm__ volatile("" : : "r"(c) : "memory");
    _tile_loadconfig(c);
}

#define tile_zero(t) _tile_zero(t)
#define tile_load(t, from, stride) _tile_loadd(t, from, stride)
#define tile_store(t, to, stride) _tile_stored(t, to, stride)
/* c += a b, where a has pairs of neighbouring k in its rows, and b's rows are pairs. */
#define tile_multiply(c, a, b) _tile_dpbf16ps(c, a, b)

/* Operands laid out in pairs. */
#define pairs_of_columns tiles_bf16_pack_columns
#define pairs_of_rows tiles_bf16_pack_rows
#define pairs_transposed tiles_bf16_transpose

#endif
