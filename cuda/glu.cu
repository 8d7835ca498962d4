/* fn(gate) * up and its backward: element-wise, 16 bytes of each operand a thread. Gate and up lie side by side, so
 * rows are a grid's x and pieces of them its y: no thread divides to find its place. */
#include "cuda/cuda_impl.h"
#include "cuda/vec.h"

enum { THREADS = 256 };

/* The columns [c, c + N) of this thread; they may lie past the end. */
template <int N> static __device__ __forceinline__ size_t column() {
    return ((size_t)blockIdx.y * blockDim.x + threadIdx.x) * N;
}

template <act_fn_t fn, typename A, int N> __global__ void __launch_bounds__(THREADS)
    glu_fwd_kernel(A *y, size_t ldy, const A *gate_up, size_t ld, size_t F) {
    size_t c = column<N>();
    if (c >= F) return;
    const A *gate = gate_up + (size_t)blockIdx.x * ld + c;
    float g[N], u[N];
    vec_load(g, gate);
    vec_load(u, gate + F);
#pragma unroll
    for (int j = 0; j < N; j++) u[j] *= act_fn(fn, g[j]);
    vec_store(y + (size_t)blockIdx.x * ldy + c, u);
}

template <act_fn_t fn, typename A, int N> __global__ void __launch_bounds__(THREADS)
    glu_bwd_kernel(A *gate_up, size_t ld, A *dy, bool product, size_t F) {
    size_t c = column<N>();
    if (c >= F) return;
    A *gate = gate_up + (size_t)blockIdx.x * ld + c;
    dy += (size_t)blockIdx.x * F + c;
    float d[N], g[N], u[N];
    vec_load(d, dy);
    vec_load(g, gate);
    vec_load(u, gate + F);
#pragma unroll
    for (int j = 0; j < N; j++) {
        const float a = act_fn(fn, g[j]), up = u[j];
        u[j] *= d[j] * act_fn_grad(fn, g[j]);
        d[j] *= a;
        g[j] = up * a;
    }
    vec_store(gate, u);
    vec_store(gate + F, d);
    if (product) vec_store(dy, g);
}

/* F / N pieces to a row, in blocks of as many threads as these pieces spread over evenly. */
template <int N> static unsigned threads_for(size_t F) {
    size_t pieces = F / N;
    return block_of(ceil_div(pieces, ceil_div(pieces, THREADS)), THREADS);
}

template <int N> static dim3 grid_of(size_t T, size_t F) {
    return dim3(grid_for(T, 1), grid_for(F, (size_t)threads_for<N>(F) * N));
}

template <act_fn_t fn> static void fwd(backend_t *be, mat_t y, mat_t gate_up, size_t T, size_t F) {
    CHECK(y.ld >= F && gate_up.ld >= 2 * F);
    if (T == 0 || F == 0) return;
    bool wide = columns_aligned16(be->act, F, y, gate_up);
    by_lanes(be->act, wide, [&](auto lanes) {
        using A = typename decltype(lanes)::type;
        constexpr int N = decltype(lanes)::N;
        LAUNCH((glu_fwd_kernel<fn, A, N>), grid_of<N>(T, F), threads_for<N>(F), 0, compute_stream(be), (A *)y.p, y.ld,
               (const A *)gate_up.p, gate_up.ld, F);
    });
}

template <act_fn_t fn> static void bwd(backend_t *be, mat_t gate_up, void *dy, bool product, size_t T, size_t F) {
    CHECK(gate_up.ld >= 2 * F);
    if (T == 0 || F == 0) return;
    bool wide = columns_aligned16(be->act, F, gate_up) && aligned16(dy);
    by_lanes(be->act, wide, [&](auto lanes) {
        using A = typename decltype(lanes)::type;
        constexpr int N = decltype(lanes)::N;
        LAUNCH((glu_bwd_kernel<fn, A, N>), grid_of<N>(T, F), threads_for<N>(F), 0, compute_stream(be), (A *)gate_up.p,
               gate_up.ld, (A *)dy, product, F);
    });
}

static void glu_fwd(backend_t *be, act_fn_t fn, mat_t y, mat_t gate_up, size_t T, size_t F) {
    fn == ACT_SILU ? fwd<ACT_SILU>(be, y, gate_up, T, F) : fwd<ACT_GELU_TANH>(be, y, gate_up, T, F);
}

static void glu_bwd(backend_t *be, act_fn_t fn, mat_t gate_up, void *dy, bool product, size_t T, size_t F) {
    fn == ACT_SILU ? bwd<ACT_SILU>(be, gate_up, dy, product, T, F) : bwd<ACT_GELU_TANH>(be, gate_up, dy, product, T, F);
}

void cuda_glu_ops(backend_t *be) {
    be->glu_fwd = glu_fwd;
    be->glu_bwd = glu_bwd;
}
