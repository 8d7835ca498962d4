/* Dequantization as the linear layers use it. */
#ifndef CUDA_QUANT_H
#define CUDA_QUANT_H

#include "cuda/cuda_impl.h"

/* All of w in be->act to rows that lie ld elements apart. */
void dequant_on(const backend_t *be, cudaStream_t stream, const qweight_t *w, void *out, size_t ld);

#endif
