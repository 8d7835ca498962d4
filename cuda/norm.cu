/* RMSNorm of groups of channels, each of which is read twice; the second time it comes from the L1 cache. A block takes
 * one group of many channels (a row), or as many of few (the heads of rows) as fill it. */
#include "cuda/cuda_impl.h"
#include "cuda/reduce.h"
#include "cuda/vec.h"

enum { THREADS = 256 };

/* Group `index` of all groups of all rows, which begins at column `column` of row `row`; its threads are those of one
 * row of the block. Threads beyond the last group come along for the sums, with no channels. */
struct place_t {
    uint32_t index, row;
    size_t column, end; /* end: the channels */
    __device__ __forceinline__ place_t(uint32_t n, uint32_t groups, size_t C) {
        index = blockIdx.x * blockDim.y + threadIdx.y;
        bool real = index < n;
        end = real ? C : 0;
        row = real ? index / groups : 0;
        column = real ? index % groups * C : 0;
    }
};

/* The sum over the threads of a group: the block, or `few` of them, a power of two up to 32. */
template <bool few> static __device__ __forceinline__ float group_sum(float v, float *scratch) {
    if constexpr (few) {
        for (unsigned offset = blockDim.x / 2; offset > 0; offset /= 2) v += __shfl_xor_sync(0xffffffffu, v, offset);
        return v;
    } else {
        return block_sum(v, scratch);
    }
}

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

/* added: the input is x + b, which goes to `total`, where x lies; else these two are not used. One kernel, so that both
 * have the same bits. */
template <typename A, int N, bool few, bool added> __global__ void __launch_bounds__(THREADS)
    rmsnorm_fwd_kernel(A *__restrict__ y, size_t ldy, float *__restrict__ rstd, const A *__restrict__ x, size_t ldx,
                       const A *__restrict__ b, A *__restrict__ total, const __grid_constant__ norm_t norm,
                       uint32_t n) {
    SHARED(float, scratch, BLOCK_WARPS);
    const place_t at(n, (uint32_t)norm.groups, norm.C);
    size_t from = at.row * ldx + at.column;
    y += at.row * ldy + at.column;
    float v[N], wv[N], sum = 0;
    for (size_t c = (size_t)threadIdx.x * N; c < at.end; c += (size_t)blockDim.x * N) {
        load_input<A, N, added>(v, x, b, from + c);
        if constexpr (added) vec_store(total + from + c, v);
#pragma unroll
        for (int j = 0; j < N; j++) sum += v[j] * v[j];
    }
    float r = 1.0f / sqrtf(group_sum<few>(sum, scratch) / (float)norm.C + norm.eps);
    if (threadIdx.x == 0 && at.end) rstd[at.index] = r;
    for (size_t c = (size_t)threadIdx.x * N; c < at.end; c += (size_t)blockDim.x * N) {
        load_input<A, N, added>(v, x, b, from + c);
        vec_load(wv, norm.w + c);
#pragma unroll
        for (int j = 0; j < N; j++) v[j] = v[j] * r * wv[j];
        vec_store(y + c, v);
    }
}

/* With n = x * rstd: rstd * (dy*w - n * mean(dy*w*n)), added to dx or, without `add`, in its place, which may be that of
 * dy: a thread reads what it writes, and no other does. */
template <typename A, int N, bool few, bool add> __global__ void __launch_bounds__(THREADS)
    rmsnorm_bwd_kernel(A *dx, size_t lddx, const A *dy, size_t lddy, const A *__restrict__ x, size_t ldx,
                       const float *__restrict__ rstd, const __grid_constant__ norm_t norm, uint32_t n) {
    SHARED(float, scratch, BLOCK_WARPS);
    const place_t at(n, (uint32_t)norm.groups, norm.C);
    dx += at.row * lddx + at.column;
    dy += at.row * lddy + at.column;
    x += at.row * ldx + at.column;
    float dyv[N], xv[N], wv[N], dxv[N], sum = 0, r = at.end ? rstd[at.index] : 0;
    for (size_t c = (size_t)threadIdx.x * N; c < at.end; c += (size_t)blockDim.x * N) {
        vec_load(dyv, dy + c);
        vec_load(xv, x + c);
        vec_load(wv, norm.w + c);
#pragma unroll
        for (int j = 0; j < N; j++) sum += dyv[j] * wv[j] * xv[j];
    }
    float mean = group_sum<few>(sum, scratch) * r / (float)norm.C;
    for (size_t c = (size_t)threadIdx.x * N; c < at.end; c += (size_t)blockDim.x * N) {
        vec_load(dyv, dy + c);
        vec_load(xv, x + c);
        vec_load(wv, norm.w + c);
        if constexpr (add) vec_load(dxv, dx + c);
#pragma unroll
        for (int j = 0; j < N; j++) {
            float g = r * (dyv[j] * wv[j] - xv[j] * r * mean);
            dxv[j] = add ? dxv[j] + g : g;
        }
        vec_store(dx + c, dxv);
    }
}

/* ---- launchers ----------------------------------------------------------------------------------------- */

template <typename lanes, bool is_few> struct group_lanes_t : lanes { static constexpr bool few = is_few; };

/* f(lanes, grid, block) with lanes::type, ::N and ::few for n groups of C channels. A warp goes twice over the most
 * that counts as few. */
template <typename F> static void by_groups(dtype_t act, bool wide, size_t n, size_t C, F f) {
    by_lanes(act, wide, [&](auto lanes) {
        using L = decltype(lanes);
        size_t pieces = C / L::N;
        if (pieces > 64) {
            f(group_lanes_t<L, false>(), dim3(grid_for(n, 1)), dim3(block_of(pieces, THREADS)));
            return;
        }
        unsigned across = 1;
        while (across < pieces && across < 32) across *= 2;
        f(group_lanes_t<L, true>(), dim3(grid_for(n, THREADS / across)), dim3(across, THREADS / across));
    });
}

static bool is_wide(const backend_t *be, const norm_t *norm, mat_t a, mat_t b, mat_t c) {
    const size_t width = norm->groups * norm->C;
    CHECK(norm->C > 0 && norm->groups > 0 && a.ld >= width && b.ld >= width && c.ld >= width);
    return columns_aligned16(be->act, norm->C, a, b, c) && aligned16(norm->w);
}

/* All groups of T rows, which kernels count in 32 bits. */
static uint32_t groups_of(const norm_t *norm, size_t T) {
    CHECK(T * norm->groups <= INT32_MAX);
    return (uint32_t)(T * norm->groups);
}

static void rmsnorm_fwd(backend_t *be, mat_t y, float *rstd, mat_t x, const norm_t *norm, size_t T) {
    if (T == 0) return;
    uint32_t n = groups_of(norm, T);
    by_groups(be->act, is_wide(be, norm, y, x, x), n, norm->C, [&](auto lanes, dim3 grid, dim3 block) {
        using L = decltype(lanes);
        using A = typename L::type;
        LAUNCH((rmsnorm_fwd_kernel<A, L::N, L::few, false>), grid, block, 0, compute_stream(be), (A *)y.p, y.ld, rstd,
               (const A *)x.p, x.ld, nullptr, nullptr, *norm, n);
    });
}

static void add_rmsnorm_fwd(backend_t *be, void *sum, mat_t y, float *rstd, const void *a, const void *b,
                            const norm_t *norm, size_t T) {
    const size_t C = norm->C;
    CHECK(norm->groups == 1);
    if (T == 0) return;
    bool wide = is_wide(be, norm, y, y, y) && aligned16(sum, a, b);
    by_groups(be->act, wide, T, C, [&](auto lanes, dim3 grid, dim3 block) {
        using L = decltype(lanes);
        using A = typename L::type;
        LAUNCH((rmsnorm_fwd_kernel<A, L::N, L::few, true>), grid, block, 0, compute_stream(be), (A *)y.p, y.ld, rstd,
               (const A *)a, C, (const A *)b, (A *)sum, *norm, groups_of(norm, T));
    });
}

static void rmsnorm_bwd(backend_t *be, mat_t dx, bool add, mat_t dy, mat_t x, const norm_t *norm, const float *rstd,
                        size_t T) {
    if (T == 0) return;
    uint32_t n = groups_of(norm, T);
    by_groups(be->act, is_wide(be, norm, dx, dy, x), n, norm->C, [&](auto lanes, dim3 grid, dim3 block) {
        using L = decltype(lanes);
        using A = typename L::type;
        auto kernel = add ? rmsnorm_bwd_kernel<A, L::N, L::few, true> : rmsnorm_bwd_kernel<A, L::N, L::few, false>;
        LAUNCH(kernel, grid, block, 0, compute_stream(be), (A *)dx.p, dx.ld, (const A *)dy.p, dy.ld, (const A *)x.p,
               x.ld, rstd, *norm, n);
    });
}

void cuda_norm_ops(backend_t *be) {
    be->rmsnorm_fwd = rmsnorm_fwd;
    be->add_rmsnorm_fwd = add_rmsnorm_fwd;
    be->rmsnorm_bwd = rmsnorm_bwd;
}
