/* The smaller and the larger of two sizes. */
#ifndef BASE_MINMAX_H
#define BASE_MINMAX_H

#include <stddef.h>

static inline size_t min_size(size_t a, size_t b) { return a < b ? a : b; }
static inline size_t max_size(size_t a, size_t b) { return a > b ? a : b; }

#endif
