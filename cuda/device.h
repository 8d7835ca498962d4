/* The one header through which kernel files reach the device. Under nvcc: CUDA and a little inline PTX. Under a host
 * compiler: the emulator of tests/cuda/host, which runs the same kernels thread by thread for the tests.
 *
 * Kernels use these wrappers instead of the language extensions that only nvcc parses:
 *   LAUNCH((kernel<64, 8>), grid, block, smem, stream, args...)   a launch; a configuration the device refuses aborts
 *   SHARED(type, name, n)                                         a static shared array, 16-byte aligned
 *   DYN_SMEM(type, name)                                          the dynamic shared memory, 128-byte aligned
 * Requires sm_80 or newer. */
#ifndef CUDA_DEVICE_H
#define CUDA_DEVICE_H

#ifndef __CUDACC__
#include "cuda_host.h"
#else
#include <cstdint>
#include <cuda_bf16.h>
#include <cuda_runtime.h>
#endif

/* An error of a call, or of work that ran before it: nothing in flight can be saved, so the process ends with status
 * 1 and one line that says where. While a pass is recorded nothing is in flight: the error is kept (cuda/record.cu). */
#define CUDA_CHECK(call) cuda_check((call), #call, __FILE__, __LINE__)
void cuda_check(cudaError_t status, const char *what, const char *file, int line);

#ifdef __CUDACC__

#define LAUNCH(kernel, grid, block, smem, stream, ...) \
    do { \
        kernel<<<grid, block, smem, stream>>>(__VA_ARGS__); \
        cuda_check(cudaGetLastError(), "launch of " #kernel, __FILE__, __LINE__); \
    } while (0)
#define SHARED(type, name, n) __shared__ __align__(16) type name[n]
#define DYN_SMEM(type, name) \
    extern __shared__ __align__(128) unsigned char dyn_smem_bytes[]; \
    type *name = reinterpret_cast<type *>(dyn_smem_bytes)

static __device__ __forceinline__ uint32_t smem_address(const void *p) { return (uint32_t)__cvta_generic_to_shared(p); }

/* Of what only the device can see: an id in a list, say. Stops the kernel, and with it the process. */
static __device__ __forceinline__ void device_check(bool ok) {
    if (!ok) __trap();
}

/* 2^x to about 2^-22 of itself; denormals are 0. */
static __device__ __forceinline__ float exp2_approx(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0,%1;\n" : "=f"(y) : "f"(x));
    return y;
}

/* d[16,8] += a[16,16] * b[16,8], bf16 with fp32 sums; the fragments as PTX defines them for m16n8k16. Not volatile:
 * it is a function of its operands, which the compiler may move. */
static __device__ __forceinline__ void mma_bf16_16816(float d[4], const uint32_t a[4], const uint32_t b[2]) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
        "{%0,%1,%2,%3},{%4,%5,%6,%7},{%8,%9},{%0,%1,%2,%3};\n"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

/* Four 8x8 matrices of 16-bit values from shared memory; lane i gives the address of row i % 8 of matrix i / 8. */
static __device__ __forceinline__ void ldmatrix_x4(uint32_t r[4], const void *row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3},[%4];\n"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(smem_address(row))
                 : "memory");
}

static __device__ __forceinline__ void ldmatrix_x4_trans(uint32_t r[4], const void *row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3},[%4];\n"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(smem_address(row))
                 : "memory");
}

/* 16 bytes from global to shared memory, done some time before a cp_async_wait that covers its group returns. */
static __device__ __forceinline__ void cp_async16(void *shared, const void *global) {
    asm volatile("cp.async.cg.shared.global [%0],[%1],16;\n" ::"r"(smem_address(shared)), "l"(global) : "memory");
}

/* The same, or 16 zero bytes where !valid: then `global` is not read. */
static __device__ __forceinline__ void cp_async16_zfill(void *shared, const void *global, bool valid) {
    asm volatile("cp.async.cg.shared.global [%0],[%1],16,%2;\n" ::"r"(smem_address(shared)), "l"(global),
                 "r"(valid ? 16 : 0)
                 : "memory");
}

static __device__ __forceinline__ void cp_async_commit() { asm volatile("cp.async.commit_group;\n" ::: "memory"); }

/* Until all groups that this thread committed, but for the latest `pending` ones, have landed. */
template <int pending> static __device__ __forceinline__ void cp_async_wait() {
    asm volatile("cp.async.wait_group %0;\n" ::"n"(pending) : "memory");
}

#endif
#endif
