/* What a kernel sees of CUDA C++ that needs no emulation: qualifiers, vector types, bf16 and intrinsics of one thread.
 * Fast approximations (__expf) are the exact functions here; their error on a GPU is not simulated. */
#ifndef CUDA_HOST_KERNEL_TYPES_H
#define CUDA_HOST_KERNEL_TYPES_H

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#define __global__
#define __device__
#define __host__
#define __constant__
#define __grid_constant__
#define __launch_bounds__(...)
#define __forceinline__ inline __attribute__((always_inline))
#define __align__(n) alignas(n)

struct uint3 {
    unsigned x, y, z;
};
struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

#define CUDA_HOST_VECTOR2(name, type, bytes) \
    struct alignas(bytes) name { \
        type x, y; \
    }; \
    static inline name make_##name(type x, type y) { return {x, y}; }
#define CUDA_HOST_VECTOR4(name, type, bytes) \
    struct alignas(bytes) name { \
        type x, y, z, w; \
    }; \
    static inline name make_##name(type x, type y, type z, type w) { return {x, y, z, w}; }
CUDA_HOST_VECTOR2(float2, float, 8)
CUDA_HOST_VECTOR2(int2, int, 8)
CUDA_HOST_VECTOR2(uint2, unsigned, 8)
CUDA_HOST_VECTOR2(double2, double, 16)
CUDA_HOST_VECTOR2(ushort2, unsigned short, 4)
CUDA_HOST_VECTOR2(uchar2, unsigned char, 2)
CUDA_HOST_VECTOR2(longlong2, long long, 16)
CUDA_HOST_VECTOR2(ulonglong2, unsigned long long, 16)
CUDA_HOST_VECTOR4(float4, float, 16)
CUDA_HOST_VECTOR4(int4, int, 16)
CUDA_HOST_VECTOR4(uint4, unsigned, 16)
CUDA_HOST_VECTOR4(ushort4, unsigned short, 8)
CUDA_HOST_VECTOR4(uchar4, unsigned char, 4)
CUDA_HOST_VECTOR4(char4, signed char, 4)
#undef CUDA_HOST_VECTOR2
#undef CUDA_HOST_VECTOR4

template <class T, class B> static inline T cuda_host_bits(B b) {
    static_assert(sizeof(T) == sizeof(B), "the same bits");
    T t;
    memcpy(&t, &b, sizeof t);
    return t;
}

static inline float __uint_as_float(unsigned u) { return cuda_host_bits<float>(u); }
static inline float __int_as_float(int i) { return cuda_host_bits<float>(i); }
static inline unsigned __float_as_uint(float f) { return cuda_host_bits<unsigned>(f); }
static inline int __float_as_int(float f) { return cuda_host_bits<int>(f); }

struct alignas(2) __nv_bfloat16 {
    uint16_t bits;
};
struct alignas(4) __nv_bfloat162 {
    __nv_bfloat16 x, y;
};
static inline float __bfloat162float(__nv_bfloat16 h) { return __uint_as_float((uint32_t)h.bits << 16); }
static inline __nv_bfloat16 __float2bfloat16_rn(float f) {
    uint32_t u = __float_as_uint(f);
    if ((u & 0x7fffffffu) > 0x7f800000u) return {0x7fff}; /* the one NaN that cvt.rn.bf16 gives */
    return {(uint16_t)((u + 0x7fffu + ((u >> 16) & 1u)) >> 16)};
}
static inline __nv_bfloat16 __float2bfloat16(float f) { return __float2bfloat16_rn(f); }
static inline __nv_bfloat162 __floats2bfloat162_rn(float a, float b) {
    return {__float2bfloat16_rn(a), __float2bfloat16_rn(b)};
}
static inline __nv_bfloat162 __float22bfloat162_rn(float2 a) { return __floats2bfloat162_rn(a.x, a.y); }
static inline float2 __bfloat1622float2(__nv_bfloat162 h) { return {__bfloat162float(h.x), __bfloat162float(h.y)}; }
static inline unsigned short __bfloat16_as_ushort(__nv_bfloat16 h) { return h.bits; }
static inline __nv_bfloat16 __ushort_as_bfloat16(unsigned short u) { return {u}; }

using std::max;
using std::min;
static inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
static inline float __fdividef(float a, float b) { return a / b; }
static inline float __frcp_rn(float x) { return 1.0f / x; }
static inline float __fadd_rn(float a, float b) { return a + b; }
static inline float __fsub_rn(float a, float b) { return a - b; }
static inline float __fmul_rn(float a, float b) { return a * b; }
static inline float __fdiv_rn(float a, float b) { return a / b; }
static inline float __fsqrt_rn(float a) { return sqrtf(a); }
static inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
static inline double __dadd_rn(double a, double b) { return a + b; }
static inline double __dmul_rn(double a, double b) { return a * b; }
static inline float __saturatef(float x) { return x > 0.0f ? (x < 1.0f ? x : 1.0f) : 0.0f; }
static inline int __float2int_rn(float x) { return (int)rintf(x); }
static inline int __float2int_rd(float x) { return (int)floorf(x); }
static inline int __float2int_rz(float x) { return (int)x; }
static inline float __int2float_rn(int x) { return (float)x; }
static inline int __popc(unsigned x) { return __builtin_popcount(x); }
static inline int __clz(int x) { return x ? __builtin_clz((unsigned)x) : 32; }
static inline int __ffs(int x) { return __builtin_ffs(x); }
static inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned)((uint64_t)a * b >> 32); }
static inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
    return (unsigned long long)((unsigned __int128)a * b >> 64);
}
static inline unsigned __byte_perm(unsigned a, unsigned b, unsigned selector) {
    uint64_t bytes = (uint64_t)b << 32 | a;
    unsigned r = 0;
    for (unsigned i = 0; i < 4; i++) {
        unsigned s = selector >> (4 * i) & 15, byte = (unsigned)(bytes >> (8 * (s & 7))) & 255;
        r |= (s & 8 ? (byte & 128 ? 255u : 0u) : byte) << (8 * i);
    }
    return r;
}
static inline unsigned __funnelshift_r(unsigned lo, unsigned hi, unsigned n) {
    return (unsigned)(((uint64_t)hi << 32 | lo) >> (n & 31));
}
static inline unsigned __funnelshift_l(unsigned lo, unsigned hi, unsigned n) {
    return (unsigned)(((uint64_t)hi << 32 | lo) << (n & 31) >> 32);
}

/* Macros, since the C library has functions of these names of its own. */
#define __expf(x) expf(x)
#define __exp10f(x) exp10f(x)
#define __logf(x) logf(x)
#define __log2f(x) log2f(x)
#define __log10f(x) log10f(x)
#define __powf(x, y) powf(x, y)
#define __sinf(x) sinf(x)
#define __cosf(x) cosf(x)
#define __tanhf(x) tanhf(x)

/* Cache hints change nothing here. */
template <class T> static inline T __ldg(const T *p) { return *p; }
template <class T> static inline T __ldcs(const T *p) { return *p; }
template <class T> static inline T __ldcg(const T *p) { return *p; }
template <class T> static inline T __ldca(const T *p) { return *p; }
template <class T> static inline void __stcs(T *p, T v) { *p = v; }
template <class T> static inline void __stcg(T *p, T v) { *p = v; }
template <class T> static inline void __stwt(T *p, T v) { *p = v; }

#endif
