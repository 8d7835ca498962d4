/* silu(gate) * up and its backward: element-wise, 16 bytes of each operand a thread. */
#include "cuda/cuda_impl.h"
#include "cuda/vec.h"

enum { THREADS = 256 };

template <typename A, int N> static __device__ __forceinline__ void fwd_at(A *y, const A *gate, const A *up, size_t i) {
    float g[N], u[N];
    vec_load(g, gate + i);
    vec_load(u, up + i);
    #pragma unroll
    for (int j = 0; j < N; j++) u[j] *= silu(g[j]);
    vec_store(y + i, u);
}

template <typename A, int N> __global__ void __launch_bounds__(THREADS)
swiglu_fwd_kernel(A *y, const A *gate, const A *up, size_t n) {
    size_t i = ((size_t)blockIdx.x * THREADS + threadIdx.x) * N;
    if (i + N <= n) fwd_at<A, N>(y, gate, up, i);
    else for (; i < n; i++) fwd_at<A, 1>(y, gate, up, i);
}

static void swiglu_fwd(backend_t *be, void *y, const void *gate, const void *up, size_t n) {
    if (n == 0) return;
    by_lanes(be->act, aligned16(y, gate, up), [&](auto lanes) {
        using A = typename decltype(lanes)::type;
        constexpr int N = decltype(lanes)::N;
        LAUNCH((swiglu_fwd_kernel<A, N>), grid_for(n, THREADS * N), THREADS, 0, compute_stream(be), (A *)y,
               (const A *)gate, (const A *)up, n);
    });
}

/* Everything is read before anything is written: dgate may be gate, dup may be up. */
template <typename A, int N>
static __device__ __forceinline__ void bwd_at(A *dgate, A *dup, const A *dy, const A *gate, const A *up, size_t i) {
    float d[N], g[N], u[N];
    vec_load(d, dy + i);
    vec_load(g, gate + i);
    vec_load(u, up + i);
    #pragma unroll
    for (int j = 0; j < N; j++) {
        u[j] *= d[j] * silu_grad(g[j]);
        d[j] *= silu(g[j]);
    }
    vec_store(dgate + i, u);
    vec_store(dup + i, d);
}

template <typename A, int N> __global__ void __launch_bounds__(THREADS)
swiglu_bwd_kernel(A *dgate, A *dup, const A *dy, const A *gate, const A *up, size_t n) {
    size_t i = ((size_t)blockIdx.x * THREADS + threadIdx.x) * N;
    if (i + N <= n) bwd_at<A, N>(dgate, dup, dy, gate, up, i);
    else for (; i < n; i++) bwd_at<A, 1>(dgate, dup, dy, gate, up, i);
}

static void swiglu_bwd(backend_t *be, void *dgate, void *dup, const void *dy, const void *gate, const void *up,
                       size_t n) {
    if (n == 0) return;
    by_lanes(be->act, aligned16(dgate, dup, dy, gate, up), [&](auto lanes) {
        using A = typename decltype(lanes)::type;
        constexpr int N = decltype(lanes)::N;
        LAUNCH((swiglu_bwd_kernel<A, N>), grid_for(n, THREADS * N), THREADS, 0, compute_stream(be), (A *)dgate,
               (A *)dup, (const A *)dy, (const A *)gate, (const A *)up, n);
    });
}

void cuda_swiglu_ops(backend_t *be) {
    be->swiglu_fwd = swiglu_fwd;
    be->swiglu_bwd = swiglu_bwd;
}
