/* Dequantization as the linear layers use it: on a stream of their own. */
#ifndef CUDA_QUANT_H
#define CUDA_QUANT_H

#include "cuda/cuda_impl.h"

/* Elements [first, first+n) of w to `out`, F32 or BF16. */
void dequant_on(const backend_t *be, cudaStream_t stream, const qweight_t *w, size_t first, size_t n, void *out,
                dtype_t out_type);

#endif
