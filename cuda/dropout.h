/* Dropout as the adapters use it: piece by piece, in linear.cu. */
#ifndef CUDA_DROPOUT_H
#define CUDA_DROPOUT_H

#include "cuda/cuda_impl.h"

/* y[t,c] = keep ? x[t,c] : 0, act values, on LANE_COMPUTE: not scaled by 1/(1-p), which the products with it are, so
 * that no value is rounded again. These T rows are rows [first, first+T) of the micro-batch: row t has the mask of
 * d->row[first+t] and d->pos[first+t]. y may be x, with the same rows. */
void dropout_rows(backend_t *be, mat_t y, mat_t x, size_t T, size_t C, size_t first, const dropout_t *d);

#endif
