/* Products with the adapters' A and B in BF16, on tensor cores: one operand is wide, as activations are, the other a few
 * columns or rows, and the time is that of reading the wide one once. Its channels or tokens are shared out among blocks
 * by the shape alone; each block leaves its sums in a slab, and the slabs are added up in their order. So the same input
 * gives the same bytes, on any GPU. Slabs lie where cuBLAS has its workspace, in the first CUDA_BLAS_BYTES of the
 * scratch: what is too large for it goes in pieces.
 *
 * Each of these answers false, and does nothing, for what it does not cover: F32, wide adapters, rows that do not begin
 * at multiples of 16 bytes. Then the library's product does it. */
#ifndef CUDA_LOW_RANK_H
#define CUDA_LOW_RANK_H

#include "cuda/cuda_impl.h"

enum { LOW_RANK_WIDTH = 64, LOW_RANK_RANK = 32 }; /* the widest: of all adapters of a site; of one */

/* u = kept * s x A^T, without dropout: adapter_fwd(). */
bool low_rank_fwd(backend_t *be, size_t T, mat_t x, const linear_t *l, float kept, mat_t u);
/* dA += kept * du^T x, the same of adapter_grad(). */
bool low_rank_grad(backend_t *be, size_t T, mat_t du, mat_t x, const linear_t *l, float kept, float *dA);
/* adapter_bwd(): du = s dy B, dB[i] += dy_i^T u_i. */
bool low_rank_bwd(backend_t *be, size_t T, mat_t dy, mat_t u, const linear_t *l, mat_t du, float *const dB[LINEAR_MAX]);

#endif
