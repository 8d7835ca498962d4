/* Sums over the threads of a warp and of a block, in an order that never changes. */
#ifndef CUDA_REDUCE_H
#define CUDA_REDUCE_H

#include "cuda/device.h"

enum { BLOCK_WARPS = 32 }; /* at most, in a block */

template <typename T> static __device__ __forceinline__ T warp_sum(T v) {
#pragma unroll
    for (int offset = 16; offset > 0; offset /= 2) v += __shfl_xor_sync(0xffffffffu, v, offset);
    return v;
}

static __device__ __forceinline__ float warp_max(float v) {
#pragma unroll
    for (int offset = 16; offset > 0; offset /= 2) v = fmaxf(v, __shfl_xor_sync(0xffffffffu, v, offset));
    return v;
}

/* Every thread gets the sum. Blocks of whole warps; `scratch` [BLOCK_WARPS] is shared memory that nothing else
 * uses until the next barrier. */
template <typename T> static __device__ __forceinline__ T block_sum(T v, T *scratch) {
    unsigned lane = threadIdx.x % 32;
    v = warp_sum(v);
    if (lane == 0) scratch[threadIdx.x / 32] = v;
    __syncthreads();
    return warp_sum(lane < blockDim.x / 32 ? scratch[lane] : T(0));
}

#endif
