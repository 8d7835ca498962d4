/* What tables of BF16 products share: panels [K/2][32 columns][2] and the other ways to lay operands out. k that is
 * odd is padded by one zero; a table whose depth is more than 2 has to pad further itself. */
#ifndef CPU_KERNELS_TILES_BF16_H
#define CPU_KERNELS_TILES_BF16_H

#include <stddef.h>

enum { TILE_BF16_COLS = 32 };

void tiles_bf16_pack_columns(void *panel, const void *x, size_t ld, size_t n, size_t k);
void tiles_bf16_pack_rows(void *panel, const void *x, size_t ld, size_t k, size_t n);
void tiles_bf16_transpose(void *y, size_t ldy, const void *x, size_t ld, size_t k, size_t m);

#endif
