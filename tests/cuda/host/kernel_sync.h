/* What a kernel sees of its block and warp: coordinates, shared memory, barriers, warp collectives, matrix
 * fragments, asynchronous copies, atomics. Thin wrappers: the work is in scheduler.cc, warp.cc and copies.cc, which
 * are not instrumented by ThreadSanitizer, so that what lanes exchange through them is no race. */
#ifndef CUDA_HOST_KERNEL_SYNC_H
#define CUDA_HOST_KERNEL_SYNC_H

#include "engine.h"

#define threadIdx (::cuda_host::self->thread)
#define blockIdx (::cuda_host::block_index)
#define blockDim (::cuda_host::block_size)
#define gridDim (::cuda_host::grid_size)
static const int warpSize = 32;

/* Each use of SHARED in each instantiation has a lambda type, and so an array, of its own. */
#define SHARED(type, name, n) type *name = ::cuda_host::shared_array<type, (n)>([] {})
#define DYN_SMEM(type, name) type *name = static_cast<type *>(::cuda_host::dynamic_shared())

/* Where a kernel called: a default argument is evaluated at the place of the call. */
#define CUDA_HOST_SITE ::cuda_host::site_t at = ::cuda_host::site_here()

namespace cuda_host {
template <class T, size_t n, class Use> static inline T *shared_array(Use) {
    static shared_t array = {nullptr, 0, 0};
    return static_cast<T *>(shared_memory(&array, n * sizeof(T)));
}

template <class T> static inline T shuffle(op_t op, uint32_t mask, T value, int operand, int width, site_t at) {
    static_assert(sizeof(T) == 4 || sizeof(T) == 8, "a shuffle moves 4 or 8 bytes");
    uint64_t bits = 0;
    memcpy(&bits, &value, sizeof value);
    bits = warp_shuffle(op, sizeof(T), mask, bits, operand, width, at);
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Compare-and-swap loop over the bits of a value, seen by ThreadSanitizer as atomic. */
template <class T, class F> static inline T atomic_change(T *p, F change) {
    static_assert(sizeof(T) == 4 || sizeof(T) == 8, "atomics of 4 or 8 bytes");
    using bits_t = typename bits_of<sizeof(T)>::type;
    bits_t *at = reinterpret_cast<bits_t *>(p), old = __atomic_load_n(at, __ATOMIC_RELAXED), desired;
    T before;
    do {
        memcpy(&before, &old, sizeof old);
        T after = change(before);
        memcpy(&desired, &after, sizeof after);
    } while (!__atomic_compare_exchange_n(at, &old, desired, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
    return before;
}
} // namespace cuda_host

static inline void __syncthreads(CUDA_HOST_SITE) { cuda_host::block_barrier(cuda_host::OP_BARRIER, 0, at); }
static inline int __syncthreads_count(int p, CUDA_HOST_SITE) {
    return cuda_host::block_barrier(cuda_host::OP_BARRIER_COUNT, p != 0, at).count;
}
static inline int __syncthreads_or(int p, CUDA_HOST_SITE) {
    return cuda_host::block_barrier(cuda_host::OP_BARRIER_OR, p != 0, at).count > 0;
}
static inline int __syncthreads_and(int p, CUDA_HOST_SITE) {
    auto met = cuda_host::block_barrier(cuda_host::OP_BARRIER_AND, p != 0, at);
    return met.count == met.threads;
}
static inline void __threadfence() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
static inline void __threadfence_block() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
static inline void __syncwarp(uint32_t mask = 0xffffffffu, CUDA_HOST_SITE) { cuda_host::warp_barrier(mask, at); }

template <class T> static inline T __shfl_sync(uint32_t mask, T v, int lane, int width = 32, CUDA_HOST_SITE) {
    return cuda_host::shuffle(cuda_host::OP_SHFL, mask, v, lane, width, at);
}
template <class T> static inline T __shfl_xor_sync(uint32_t mask, T v, int lanes, int width = 32, CUDA_HOST_SITE) {
    return cuda_host::shuffle(cuda_host::OP_SHFL_XOR, mask, v, lanes, width, at);
}
template <class T> static inline T __shfl_down_sync(uint32_t mask, T v, unsigned by, int width = 32, CUDA_HOST_SITE) {
    return cuda_host::shuffle(cuda_host::OP_SHFL_DOWN, mask, v, (int)by, width, at);
}
template <class T> static inline T __shfl_up_sync(uint32_t mask, T v, unsigned by, int width = 32, CUDA_HOST_SITE) {
    return cuda_host::shuffle(cuda_host::OP_SHFL_UP, mask, v, (int)by, width, at);
}

static inline unsigned __ballot_sync(uint32_t mask, int p, CUDA_HOST_SITE) {
    return cuda_host::warp_ballot(cuda_host::OP_BALLOT, mask, p != 0, at);
}
static inline int __any_sync(uint32_t mask, int p, CUDA_HOST_SITE) {
    return cuda_host::warp_ballot(cuda_host::OP_ANY, mask, p != 0, at) != 0;
}
static inline int __all_sync(uint32_t mask, int p, CUDA_HOST_SITE) {
    return cuda_host::warp_ballot(cuda_host::OP_ALL, mask, p != 0, at) == mask;
}

static inline unsigned __reduce_add_sync(uint32_t mask, unsigned v, CUDA_HOST_SITE) {
    return cuda_host::warp_reduce(cuda_host::OP_REDUCE_ADD, mask, v, at);
}
static inline int __reduce_add_sync(uint32_t mask, int v, CUDA_HOST_SITE) {
    return (int)cuda_host::warp_reduce(cuda_host::OP_REDUCE_ADD, mask, (unsigned)v, at);
}
static inline unsigned __reduce_min_sync(uint32_t mask, unsigned v, CUDA_HOST_SITE) {
    return cuda_host::warp_reduce(cuda_host::OP_REDUCE_MIN, mask, v, at);
}
static inline int __reduce_min_sync(uint32_t mask, int v, CUDA_HOST_SITE) {
    return (int)cuda_host::warp_reduce(cuda_host::OP_REDUCE_MIN_SIGNED, mask, (unsigned)v, at);
}
static inline unsigned __reduce_max_sync(uint32_t mask, unsigned v, CUDA_HOST_SITE) {
    return cuda_host::warp_reduce(cuda_host::OP_REDUCE_MAX, mask, v, at);
}
static inline int __reduce_max_sync(uint32_t mask, int v, CUDA_HOST_SITE) {
    return (int)cuda_host::warp_reduce(cuda_host::OP_REDUCE_MAX_SIGNED, mask, (unsigned)v, at);
}
static inline unsigned __reduce_or_sync(uint32_t mask, unsigned v, CUDA_HOST_SITE) {
    return cuda_host::warp_reduce(cuda_host::OP_REDUCE_OR, mask, v, at);
}
static inline unsigned __reduce_and_sync(uint32_t mask, unsigned v, CUDA_HOST_SITE) {
    return cuda_host::warp_reduce(cuda_host::OP_REDUCE_AND, mask, v, at);
}

static inline void device_check(bool ok, CUDA_HOST_SITE) {
    if (!ok) cuda_host::fault(at, "device_check() failed");
}
static inline float exp2_approx(float x) { return exp2f(x); }

static inline void mma_bf16_16816(float d[4], const uint32_t a[4], const uint32_t b[2], CUDA_HOST_SITE) {
    cuda_host::warp_mma(d, a, b, at);
}
/* The row is read here, by its own lane, so that the sanitizers see that lane read it. */
static inline void ldmatrix_x4(uint32_t r[4], const void *row, CUDA_HOST_SITE) {
    uint4 own = *cuda_host::aligned<uint4>(row, "ldmatrix: the row", at);
    cuda_host::warp_ldmatrix(cuda_host::OP_LDMATRIX, r, &own.x, at);
}
static inline void ldmatrix_x4_trans(uint32_t r[4], const void *row, CUDA_HOST_SITE) {
    uint4 own = *cuda_host::aligned<uint4>(row, "ldmatrix: the row", at);
    cuda_host::warp_ldmatrix(cuda_host::OP_LDMATRIX_TRANS, r, &own.x, at);
}

static inline void cp_async16_zfill(void *shared, const void *global, bool valid, CUDA_HOST_SITE) {
    cuda_host::copy_issue(cuda_host::aligned<uint4>(shared, "cp.async: the destination", at),
                          valid ? cuda_host::aligned<uint4>(global, "cp.async: the source", at) : nullptr);
}
static inline void cp_async16(void *shared, const void *global, CUDA_HOST_SITE) {
    cp_async16_zfill(shared, global, true, at);
}
static inline void cp_async_commit() { cuda_host::copy_commit(); }
template <int pending> static inline void cp_async_wait() { cuda_host::copy_wait(pending); }

template <class T> static inline T atomicAdd(T *p, typename cuda_host::same_t<T>::type v) {
    return cuda_host::atomic_change(p, [=](T x) { return (T)(x + v); });
}
template <class T> static inline T atomicMax(T *p, typename cuda_host::same_t<T>::type v) {
    return cuda_host::atomic_change(p, [=](T x) { return x < v ? v : x; });
}
template <class T> static inline T atomicMin(T *p, typename cuda_host::same_t<T>::type v) {
    return cuda_host::atomic_change(p, [=](T x) { return v < x ? v : x; });
}
template <class T> static inline T atomicExch(T *p, typename cuda_host::same_t<T>::type v) {
    return cuda_host::atomic_change(p, [=](T) { return v; });
}
template <class T> static inline T atomicOr(T *p, typename cuda_host::same_t<T>::type v) {
    return cuda_host::atomic_change(p, [=](T x) { return (T)(x | v); });
}
template <class T>
static inline T atomicCAS(T *p, typename cuda_host::same_t<T>::type expected, typename cuda_host::same_t<T>::type v) {
    return cuda_host::atomic_change(p, [=](T x) { return x == expected ? v : x; });
}
static inline unsigned atomicInc(unsigned *p, unsigned last) {
    return cuda_host::atomic_change(p, [=](unsigned x) { return x >= last ? 0 : x + 1; });
}

#endif
