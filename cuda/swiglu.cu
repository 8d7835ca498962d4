/* silu(gate) * up and its backward: element-wise, 16 bytes of each operand a thread. Gate and up lie side by side, so
 * rows are a grid's x and pieces of them its y: no thread divides to find its place. */
#include "cuda/cuda_impl.h"
#include "cuda/vec.h"

enum { THREADS = 256 };

/* The columns [c, c + N) of this thread; they may lie past the end. */
template <int N> static __device__ __forceinline__ size_t column() {
    return ((size_t)blockIdx.y * blockDim.x + threadIdx.x) * N;
}

template <typename A, int N> __global__ void __launch_bounds__(THREADS)
    swiglu_fwd_kernel(A *y, size_t ldy, const A *gate_up, size_t ld, size_t F) {
    size_t c = column<N>();
    if (c >= F) return;
    const A *gate = gate_up + (size_t)blockIdx.x * ld + c;
    float g[N], u[N];
    vec_load(g, gate);
    vec_load(u, gate + F);
#pragma unroll
    for (int j = 0; j < N; j++) u[j] *= silu(g[j]);
    vec_store(y + (size_t)blockIdx.x * ldy + c, u);
}

/* F / N pieces to a row, in blocks of as many threads as these pieces spread over evenly. */
template <int N> static unsigned threads_for(size_t F) {
    size_t pieces = F / N;
    return block_of(ceil_div(pieces, ceil_div(pieces, THREADS)), THREADS);
}

template <int N> static dim3 grid_of(size_t T, size_t F) {
    return dim3(grid_for(T, 1), grid_for(F, (size_t)threads_for<N>(F) * N));
}

static void swiglu_fwd(backend_t *be, void *y, size_t ldy, const void *gate_up, size_t ld, size_t T, size_t F) {
    CHECK(ldy >= F && ld >= 2 * F);
    if (T == 0 || F == 0) return;
    bool wide = rows_aligned16(be->act, F) && rows_aligned16(be->act, ldy, y) && rows_aligned16(be->act, ld, gate_up);
    by_lanes(be->act, wide, [&](auto lanes) {
        using A = typename decltype(lanes)::type;
        constexpr int N = decltype(lanes)::N;
        LAUNCH((swiglu_fwd_kernel<A, N>), grid_of<N>(T, F), threads_for<N>(F), 0, compute_stream(be), (A *)y, ldy,
               (const A *)gate_up, ld, F);
    });
}

template <typename A, int N> __global__ void __launch_bounds__(THREADS)
    swiglu_bwd_kernel(A *gate_up, size_t ld, const A *dy, size_t F) {
    size_t c = column<N>();
    if (c >= F) return;
    A *gate = gate_up + (size_t)blockIdx.x * ld + c;
    float d[N], g[N], u[N];
    vec_load(d, dy + (size_t)blockIdx.x * F + c);
    vec_load(g, gate);
    vec_load(u, gate + F);
#pragma unroll
    for (int j = 0; j < N; j++) {
        u[j] *= d[j] * silu_grad(g[j]);
        d[j] *= silu(g[j]);
    }
    vec_store(gate, u);
    vec_store(gate + F, d);
}

static void swiglu_bwd(backend_t *be, void *gate_up, size_t ld, const void *dy, size_t T, size_t F) {
    CHECK(ld >= 2 * F);
    if (T == 0 || F == 0) return;
    bool wide = rows_aligned16(be->act, F, dy) && rows_aligned16(be->act, ld, gate_up);
    by_lanes(be->act, wide, [&](auto lanes) {
        using A = typename decltype(lanes)::type;
        constexpr int N = decltype(lanes)::N;
        LAUNCH((swiglu_bwd_kernel<A, N>), grid_of<N>(T, F), threads_for<N>(F), 0, compute_stream(be), (A *)gate_up, ld,
               (const A *)dy, F);
    });
}

void cuda_swiglu_ops(backend_t *be) {
    be->swiglu_fwd = swiglu_fwd;
    be->swiglu_bwd = swiglu_bwd;
}
