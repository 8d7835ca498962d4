/* The inner products of every matrix product on the CPU, one table for each way that a processor has of multiplying:
 * fp32 by vectors, BF16 pairs by vectors (AVX512-BF16), BF16 by tiles (AMX). What is around them, who decodes and packs
 * what and which thread does it, is the same for all (cpu/product.h, cpu/ops_attention.c).
 *
 * A tile of C [m, n] = A [m, K] B [K, n]. A is read where it lies, rows of K values `lda` apart. B is packed into a
 * panel, `cols` columns wide: units of 4 bytes, one fp32 value or two BF16 values of neighbouring k, ordered
 * [K/unit][cols], zeros where there is no value. Sums are fp32, over k in ascending order: what a product
 * gives does not depend on the place of a tile, so not on the number of threads either. It may depend on where K is
 * cut: a piece begins at zero and is then added to what is there, which keeps long sums accurate, or (AMX) with that. */
#ifndef CPU_KERNELS_TILES_H
#define CPU_KERNELS_TILES_H

#include <stdbool.h>
#include <stddef.h>

#include "base/dtype.h"

typedef struct {
    const char *name; /* for reports: "AVX512-BF16" */
    dtype_t type;     /* of A and of panels: F32 or BF16 */
    size_t rows;      /* most rows of a tile */
    size_t cols;      /* columns of a panel */
    size_t depth;     /* K is padded to a multiple of this: a panel by zeros, A by whatever is finite */

    /* c [m, n] fp32, rows ldc apart, = (add: +=) A B for 0 < m <= rows, 0 < n <= cols. Rows of c have room for `cols`
     * values, and what lies in n .. cols may be overwritten. */
    void (*multiply)(size_t m, size_t n, size_t k, const void *a, size_t lda, const void *panel, float *c, size_t ldc,
                     bool add);
    /* Packs n <= cols columns of B, rows [k] of x that are ld apart: x [n, k]. */
    void (*pack_columns)(void *panel, const void *x, size_t ld, size_t n, size_t k);
    /* The same from rows of B: x [k, n]. */
    void (*pack_rows)(void *panel, const void *x, size_t ld, size_t k, size_t n);
    /* y [m, k padded], rows ldy apart, = the transpose of x [k, m]. */
    void (*transpose)(void *y, size_t ldy, const void *x, size_t ld, size_t k, size_t m);
    /* y [n] of `type` = alpha c + beta y + bias for m rows; bias [n] NULL: none; beta 0 does not read y. */
    void (*store)(void *y, dtype_t type, size_t ldy, const float *c, size_t ldc, size_t m, size_t n, float alpha,
                  float beta, const float *bias);
} tiles_t;

/* Rows of A, of a table's type: ld values between the beginnings of two. */
typedef struct {
    const void *p;
    size_t ld;
} rows_t;

enum { TILE_MAX_ROWS = 32, TILE_MAX_COLS = 32, TILE_MAX_DEPTH = 32 };

static inline size_t tiles_padded(const tiles_t *t, size_t k) { return (k + t->depth - 1) / t->depth * t->depth; }

/* Bytes of a panel. */
static inline size_t tiles_panel_bytes(const tiles_t *t, size_t k) {
    return tiles_padded(t, k) * t->cols * dtype_size(t->type);
}

/* Table i that this processor can run, the plainest first; NULL past the last. For tests and benchmarks; what is used
 * cpu/tiles_choice.h says. */
const tiles_t *tiles_nth(int i);

#endif
