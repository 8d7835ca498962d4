/* N elements of a tensor as N floats in registers. float, bf16_t and (read only) f16_t alike; 16-byte accesses where N elements fill
 * them (the address must be a multiple of 16 then), one element where N is 1. */
#ifndef CUDA_VEC_H
#define CUDA_VEC_H

#include "cuda/device.h"

extern "C" {
#include "base/dtype.h"
#include "base/error.h"
}

/* The rounding of bf16_from_f32() in one instruction; only the bits of a NaN differ. */
static __device__ __forceinline__ uint32_t bf16_pair(float low, float high) {
    __nv_bfloat162 h = __floats2bfloat162_rn(low, high);
    uint32_t u;
    memcpy(&u, &h, sizeof u);
    return u;
}

/* One element. */
static __device__ __forceinline__ float element_load(const float *p) { return *p; }
static __device__ __forceinline__ float element_load(const bf16_t *p) { return bf16_to_f32(*p); }
static __device__ __forceinline__ void element_store(float *p, float x) { *p = x; }
static __device__ __forceinline__ void element_store(bf16_t *p, float x) {
    *p = __bfloat16_as_ushort(__float2bfloat16_rn(x));
}

/* An F16 value of a weight: not an integer as bf16_t is, so that the two are told apart. */
typedef struct {
    uint16_t bits;
} f16_t;
static __device__ __forceinline__ float element_load(const f16_t *p) { return f16_to_f32(p->bits); }

/* What a store and a load as A would leave of v. By pairs: a GPU converts two as fast as it converts many, and one at a
 * quarter of that. */
template <typename A, int N> static __device__ __forceinline__ void vec_round(float (&v)[N]) {
    if constexpr (sizeof(A) == sizeof(bf16_t)) {
#pragma unroll
        for (int j = 0; j + 1 < N; j += 2) {
            const uint32_t pair = bf16_pair(v[j], v[j + 1]);
            v[j] = f32_from_bits(pair << 16);
            v[j + 1] = f32_from_bits(pair & 0xffff0000u);
        }
        if constexpr (N % 2) v[N - 1] = f32_from_bits(bf16_pair(v[N - 1], 0) << 16);
    }
}

template <int N> static __device__ __forceinline__ void vec_load(float (&v)[N], const float *p) {
    static_assert(N == 1 || N % 4 == 0, "whole 16-byte accesses");
    if constexpr (N == 1) {
        v[0] = *p;
    } else {
#pragma unroll
        for (int i = 0; i < N; i += 4) {
            float4 q = *reinterpret_cast<const float4 *>(p + i);
            v[i] = q.x;
            v[i + 1] = q.y;
            v[i + 2] = q.z;
            v[i + 3] = q.w;
        }
    }
}

template <int N> static __device__ __forceinline__ void vec_load(float (&v)[N], const bf16_t *p) {
    static_assert(N == 1 || N % 8 == 0, "whole 16-byte accesses");
    if constexpr (N == 1) {
        v[0] = element_load(p);
    } else {
#pragma unroll
        for (int i = 0; i < N; i += 8) {
            uint4 q = *reinterpret_cast<const uint4 *>(p + i);
            const uint32_t pair[4] = {q.x, q.y, q.z, q.w};
#pragma unroll
            for (int k = 0; k < 4; k++) {
                v[i + 2 * k] = f32_from_bits(pair[k] << 16);
                v[i + 2 * k + 1] = f32_from_bits(pair[k] & 0xffff0000u);
            }
        }
    }
}

template <int N> static __device__ __forceinline__ void vec_load(float (&v)[N], const f16_t *p) {
    static_assert(N == 1 || N % 8 == 0, "whole 16-byte accesses");
    if constexpr (N == 1) {
        v[0] = element_load(p);
    } else {
#pragma unroll
        for (int i = 0; i < N; i += 8) {
            uint4 q = *reinterpret_cast<const uint4 *>(p + i);
            const uint32_t pair[4] = {q.x, q.y, q.z, q.w};
#pragma unroll
            for (int k = 0; k < 8; k++) v[i + k] = f16_to_f32((uint16_t)(pair[k / 2] >> k % 2 * 16));
        }
    }
}

/* The 16 bytes that a store leaves of four floats, or of eight as BF16. */
static __device__ __forceinline__ void vec_bits(uint32_t (&word)[4], const float (&v)[4]) {
#pragma unroll
    for (int i = 0; i < 4; i++) word[i] = __float_as_uint(v[i]);
}

static __device__ __forceinline__ void vec_bits(uint32_t (&word)[4], const float (&v)[8]) {
#pragma unroll
    for (int i = 0; i < 4; i++) word[i] = bf16_pair(v[2 * i], v[2 * i + 1]);
}

template <int N> static __device__ __forceinline__ void vec_store(float *p, const float (&v)[N]) {
    static_assert(N == 1 || N % 4 == 0, "whole 16-byte accesses");
    if constexpr (N == 1) {
        *p = v[0];
    } else {
#pragma unroll
        for (int i = 0; i < N; i += 4)
            *reinterpret_cast<float4 *>(p + i) = make_float4(v[i], v[i + 1], v[i + 2], v[i + 3]);
    }
}

template <int N> static __device__ __forceinline__ void vec_store(bf16_t *p, const float (&v)[N]) {
    static_assert(N == 1 || N % 8 == 0, "whole 16-byte accesses");
    if constexpr (N == 1) {
        element_store(p, v[0]);
    } else {
#pragma unroll
        for (int i = 0; i < N; i += 8) {
            *reinterpret_cast<uint4 *>(p + i) = make_uint4(bf16_pair(v[i], v[i + 1]), bf16_pair(v[i + 2], v[i + 3]),
                                                           bf16_pair(v[i + 4], v[i + 5]),
                                                           bf16_pair(v[i + 6], v[i + 7]));
        }
    }
}

/* ---- what a launcher chooses ------------------------------------------------------------------------- */

/* The element type of a kernel and how many elements its threads take at a time. */
template <typename element_t, int n> struct lanes_t {
    using type = element_t;
    static constexpr int N = n;
};

/* f(lanes_t<...>()) for that type; wide: 16 bytes at a time. */
template <typename F> static inline void by_lanes(dtype_t type, bool wide, F f) {
    CHECK(type == DT_F32 || type == DT_BF16);
    if (type == DT_F32) wide ? f(lanes_t<float, 4>()) : f(lanes_t<float, 1>());
    else wide ? f(lanes_t<bf16_t, 8>()) : f(lanes_t<bf16_t, 1>());
}

template <typename... P> static inline bool aligned16(const P *...p) { return (((uintptr_t)p % 16 == 0) && ...); }

/* Whether all these matrices of rows of C elements of that type, which lie one behind another, can be read 16 bytes at a
 * time. */
template <typename... P> static inline bool rows_aligned16(dtype_t type, size_t C, const P *...p) {
    return C * dtype_size(type) % 16 == 0 && aligned16(p...);
}

/* Whether C columns of all these matrices can. */
template <typename... M> static inline bool columns_aligned16(dtype_t type, size_t C, M... m) {
    return C * dtype_size(type) % 16 == 0 && (rows_aligned16(type, m.ld, m.p) && ...);
}

static inline size_t ceil_div(size_t a, size_t b) { return (a + b - 1) / b; }

/* Threads of a block for `work` items, one each: whole warps, at most `max`. */
static inline unsigned block_of(size_t work, unsigned max) {
    size_t threads = ceil_div(work, 32) * 32;
    return threads < max ? (unsigned)threads : max;
}

#endif
