/* RMSNorm: a block for each row, which it reads twice; the second time it comes from the L1 cache. */
#include "cuda/cuda_impl.h"
#include "cuda/reduce.h"
#include "cuda/vec.h"

enum { THREADS = 256 };

/* x, or the sum of x and b as add() stores it. */
template <typename A, int N, bool added>
static __device__ __forceinline__ void load_input(float (&v)[N], const A *x, const A *b, size_t i) {
    vec_load(v, x + i);
    if constexpr (added) {
        float u[N];
        vec_load(u, b + i);
#pragma unroll
        for (int j = 0; j < N; j++) v[j] += u[j];
        vec_round<A>(v);
    }
}

/* added: the input is x + b, which goes to `total`; else these two are not used. One kernel, so that both have the
 * same bits. */
template <typename A, int N, bool added> __global__ void __launch_bounds__(THREADS)
    rmsnorm_fwd_kernel(A *__restrict__ y, size_t ldy, float *__restrict__ rstd, const A *__restrict__ x,
                       const A *__restrict__ b, A *__restrict__ total, const float *__restrict__ w, size_t C,
                       float eps) {
    SHARED(float, scratch, BLOCK_WARPS);
    size_t row = (size_t)blockIdx.x * C;
    y += (size_t)blockIdx.x * ldy;
    float v[N], wv[N], sum = 0;
    for (size_t c = (size_t)threadIdx.x * N; c < C; c += (size_t)blockDim.x * N) {
        load_input<A, N, added>(v, x, b, row + c);
        if constexpr (added) vec_store(total + row + c, v);
#pragma unroll
        for (int j = 0; j < N; j++) sum += v[j] * v[j];
    }
    float r = 1.0f / sqrtf(block_sum(sum, scratch) / (float)C + eps);
    if (threadIdx.x == 0) rstd[blockIdx.x] = r;
    for (size_t c = (size_t)threadIdx.x * N; c < C; c += (size_t)blockDim.x * N) {
        load_input<A, N, added>(v, x, b, row + c);
        vec_load(wv, w + c);
#pragma unroll
        for (int j = 0; j < N; j++) v[j] = v[j] * r * wv[j];
        vec_store(y + c, v);
    }
}

static void rmsnorm_fwd(backend_t *be, void *y, size_t ldy, float *rstd, const void *x, const float *w, size_t T,
                        size_t C, float eps) {
    if (T == 0) return;
    CHECK(C > 0 && ldy >= C);
    bool wide = rows_aligned16(be->act, C, x) && rows_aligned16(be->act, ldy, y) && aligned16(w);
    by_lanes(be->act, wide, [&](auto lanes) {
        using A = typename decltype(lanes)::type;
        constexpr int N = decltype(lanes)::N;
        LAUNCH((rmsnorm_fwd_kernel<A, N, false>), grid_for(T, 1), block_of(C / N, THREADS), 0, compute_stream(be),
               (A *)y, ldy, rstd, (const A *)x, nullptr, nullptr, w, C, eps);
    });
}

static void add_rmsnorm_fwd(backend_t *be, void *sum, void *y, size_t ldy, float *rstd, const void *a, const void *b,
                            const float *w, size_t T, size_t C, float eps) {
    if (T == 0) return;
    CHECK(C > 0 && ldy >= C);
    bool wide = rows_aligned16(be->act, C, sum, a, b) && rows_aligned16(be->act, ldy, y) && aligned16(w);
    by_lanes(be->act, wide, [&](auto lanes) {
        using A = typename decltype(lanes)::type;
        constexpr int N = decltype(lanes)::N;
        LAUNCH((rmsnorm_fwd_kernel<A, N, true>), grid_for(T, 1), block_of(C / N, THREADS), 0, compute_stream(be),
               (A *)y, ldy, rstd, (const A *)a, (const A *)b, (A *)sum, w, C, eps);
    });
}

/* With n = x * rstd: dx += rstd * (dy*w - n * mean(dy*w*n)). */
template <typename A, int N> __global__ void __launch_bounds__(THREADS)
    rmsnorm_bwd_kernel(A *__restrict__ dx, size_t lddx, const A *__restrict__ dy, const A *__restrict__ x,
                       const float *__restrict__ w, const float *__restrict__ rstd, size_t C) {
    SHARED(float, scratch, BLOCK_WARPS);
    dx += (size_t)blockIdx.x * lddx;
    dy += (size_t)blockIdx.x * C;
    x += (size_t)blockIdx.x * C;
    float dyv[N], xv[N], wv[N], dxv[N], sum = 0, r = rstd[blockIdx.x];
    for (size_t c = (size_t)threadIdx.x * N; c < C; c += (size_t)blockDim.x * N) {
        vec_load(dyv, dy + c);
        vec_load(xv, x + c);
        vec_load(wv, w + c);
#pragma unroll
        for (int j = 0; j < N; j++) sum += dyv[j] * wv[j] * xv[j];
    }
    float mean = block_sum(sum, scratch) * r / (float)C;
    for (size_t c = (size_t)threadIdx.x * N; c < C; c += (size_t)blockDim.x * N) {
        vec_load(dyv, dy + c);
        vec_load(xv, x + c);
        vec_load(wv, w + c);
        vec_load(dxv, dx + c);
#pragma unroll
        for (int j = 0; j < N; j++) dxv[j] += r * (dyv[j] * wv[j] - xv[j] * r * mean);
        vec_store(dx + c, dxv);
    }
}

static void rmsnorm_bwd(backend_t *be, void *dx, size_t lddx, const void *dy, const void *x, const float *w,
                        const float *rstd, size_t T, size_t C) {
    if (T == 0) return;
    CHECK(C > 0 && lddx >= C);
    bool wide = rows_aligned16(be->act, C, dy, x) && rows_aligned16(be->act, lddx, dx) && aligned16(w);
    by_lanes(be->act, wide, [&](auto lanes) {
        using A = typename decltype(lanes)::type;
        constexpr int N = decltype(lanes)::N;
        LAUNCH((rmsnorm_bwd_kernel<A, N>), grid_for(T, 1), block_of(C / N, THREADS), 0, compute_stream(be), (A *)dx,
               lddx, (const A *)dy, (const A *)x, w, rstd, C);
    });
}

void cuda_norm_ops(backend_t *be) {
    be->rmsnorm_fwd = rmsnorm_fwd;
    be->add_rmsnorm_fwd = add_rmsnorm_fwd;
    be->rmsnorm_bwd = rmsnorm_bwd;
}
