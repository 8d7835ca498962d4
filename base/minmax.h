/* The smaller and the larger of two sizes. */
#ifndef BASE_MINMAX_H
#define BASE_MINMAX_H

#include <stddef.h>

static inline size_t min_size(size_t a, size_t b) { return a < b ? a : b; }
static inline size_t max_size(size_t a, size_t b) { return a > b ? a : b; }

/* Where piece i of n things in so many pieces begins, and piece i - 1 ends: as equally large as pieces can be that begin
 * at multiples of `of`. None has more than n / pieces, rounded up to a multiple of `of`. */
static inline size_t piece_begin(size_t n, size_t pieces, size_t of, size_t i) {
    return min_size(n, (n * i / pieces + of - 1) / of * of);
}

#endif
