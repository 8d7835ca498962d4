/* The scratch of the CUDA backend's ops, as a function of what will be called. Plain C, built with or without a CUDA
 * toolkit, so that a plan for a card can be made on any machine.
 *
 * Layout: [scratch | augmented weight 0 | augmented weight 1]. The scratch belongs to the op that is running on
 * LANE_COMPUTE, whatever it is: it is worth nothing to the next. The two weights are filled ahead of the product
 * that needs them, while another runs, so nothing else may lie there. */
#ifndef CUDA_WORKSPACE_H
#define CUDA_WORKSPACE_H

#include "model/backend/backend.h"

/* The tests that run on the host define less: then even small operands take several pieces. */
#ifndef CUDA_BLAS_BYTES
#define CUDA_BLAS_BYTES ((size_t)32 << 20)  /* at the scratch's start; what cuBLAS advises for Hopper */
#define CUDA_MIXED_BYTES ((size_t)32 << 20) /* after it: operands of a product of mixed types, widened piece by piece */
#define CUDA_DROPPED_BYTES ((size_t)16 << 20) /* after these: rows of F32 under dropout, a share of the L2 cache */
#endif

/* Rows of BF16 under dropout are in no product of mixed types, and lie where what is widened would. */
static inline size_t cuda_dropped_at(dtype_t act) { return CUDA_BLAS_BYTES + (act == DT_BF16 ? 0 : CUDA_MIXED_BYTES); }
static inline size_t cuda_dropped_bytes(dtype_t act) { return act == DT_BF16 ? CUDA_MIXED_BYTES : CUDA_DROPPED_BYTES; }

/* An op that needs less asks for nothing. */
static inline size_t cuda_scratch_min(dtype_t act) { return cuda_dropped_at(act) + cuda_dropped_bytes(act); }

/* Indices of kernels that decode weights run up to this far beyond them, in 32 bits. */
#define CUDA_DEQUANT_AHEAD ((size_t)1 << 14)

enum { CUDA_TILE_ROWS = 128 }; /* of most products: tile_rows of the backend */

typedef struct {
    size_t scratch; /* bytes */
    size_t weight;  /* bytes of each of the two augmented weights */
    size_t total;
} cuda_workspace_t;

cuda_workspace_t cuda_workspace_layout(dtype_t act, const workspace_need_t *need);
size_t cuda_workspace_bytes(dtype_t act, const workspace_need_t *need); /* .total of that */

bool cuda_exceeds(const workspace_need_t *need, limit_t *limit); /* `exceeds` of the backend */

#endif
