/* u = x A^T and dA = du^T x: cuda/low_rank.h. In the first a block has 128 tokens and a share of the channels, in the
 * second 128 channels and a share of the tokens; of both, what it reads next is under way while it multiplies. */
#include "cuda/low_rank.h"

#include <type_traits>

#include "cuda/low_rank_tile.h"

namespace {

enum { WARPS = 4, THREADS = 32 * WARPS, STAGES = 3, SUM_THREADS = 256 };

/* ---- u = x A^T ----------------------------------------------------------------------------------------- */

/* W: the width, up to a multiple of 16. */
template <int W> struct fwd_t {
    enum { ROWS = 128, K = 64, MT = ROWS / WARPS / 16, NT = W / 8, LD = tile_ld<K>, STAGE = (ROWS + W) * LD };
    static constexpr size_t bytes = STAGES * STAGE * sizeof(bf16_t);
};

typedef struct {
    float *slabs; /* [gridDim.y][T][W] */
    const bf16_t *x, *a;
    uint32_t ldx;
    uint32_t T, cols, width, share; /* share: of the channels */
} fwd_args_t;

template <int W> __device__ __forceinline__ void fwd_product(float (&sum)[fwd_t<W>::MT][W / 8][4], const bf16_t *tile) {
    using F = fwd_t<W>;
    const bf16_t *x = tile + threadIdx.x / 32 * F::MT * 16 * F::LD + lane_straight<F::K>();
    const bf16_t *a = tile + F::ROWS * F::LD + lane_across<F::K>();
#pragma unroll
    for (int k = 0; k < F::K; k += 16) {
        uint32_t fx[F::MT][4];
#pragma unroll
        for (int m = 0; m < F::MT; m++) ldmatrix_x4(fx[m], x + m * 16 * F::LD + k);
#pragma unroll
        for (int n = 0; n < F::NT; n += 2) {
            uint32_t fa[4];
            ldmatrix_x4(fa, a + n * 8 * F::LD + k);
#pragma unroll
            for (int m = 0; m < F::MT; m++) {
                mma_bf16_16816(sum[m][n], fx[m], fa);
                mma_bf16_16816(sum[m][n + 1], fx[m], fa + 2);
            }
        }
    }
}

template <int W> __global__ void __launch_bounds__(THREADS) fwd_kernel(const __grid_constant__ fwd_args_t g) {
    using F = fwd_t<W>;
    DYN_SMEM(bf16_t, tiles);
    const uint32_t first = blockIdx.x * F::ROWS, k0 = blockIdx.y * g.share;
    const int rows = (int)(g.T - first), n = (int)min(g.share, g.cols - k0);
    const bf16_t *x = g.x + (size_t)first * g.ldx + k0, *a = g.a + k0;
    auto load = [&](int step) {
        bf16_t *tile = tiles + step % STAGES * F::STAGE;
        const int k = step * F::K;
        if (k < n) {
            load_tile<F::ROWS, F::K, THREADS>(tile, x + k, g.ldx, rows, n - k);
            load_tile<W, F::K, THREADS>(tile + F::ROWS * F::LD, a + k, g.cols, (int)g.width, n - k);
        }
        cp_async_commit();
    };
    float sum[F::MT][F::NT][4] = {};
    for (int step = 0; step < STAGES - 1; step++) load(step);
    for (int step = 0; step * F::K < n; step++) {
        cp_async_wait<STAGES - 2>();
        __syncthreads(); /* this tile has landed for all, and all have read the one that is loaded over */
        load(step + STAGES - 1);
        fwd_product<W>(sum, tiles + step % STAGES * F::STAGE);
    }
    const int lane = threadIdx.x % 32, row = threadIdx.x / 32 * F::MT * 16 + lane / 4;
    float *slab = g.slabs + ((size_t)blockIdx.y * g.T + first) * W + lane % 4 * 2;
#pragma unroll
    for (int m = 0; m < F::MT; m++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            const int r = row + m * 16 + h * 8;
            if (r >= rows) continue;
#pragma unroll
            for (int c = 0; c < F::NT; c++)
                *(float2 *)(slab + r * W + c * 8) = make_float2(sum[m][c][2 * h], sum[m][c][2 * h + 1]);
        }
}

/* ---- dA = du^T x ---------------------------------------------------------------------------------------- */

template <int W> struct grad_t {
    enum { COLS = 128, K = 64, MT = W / 16, NT = COLS / WARPS / 8, LDX = tile_ld<COLS>, LDU = tile_ld<W> };
    enum { STAGE = K * (LDX + LDU) };
    static constexpr size_t bytes = STAGES * STAGE * sizeof(bf16_t);
};

typedef struct {
    float *slabs; /* [gridDim.y][width][cols] */
    const bf16_t *du, *x;
    uint32_t ldu, ldx;
    uint32_t T, cols, width, share; /* share: of the tokens */
} grad_args_t;

template <int W>
__device__ __forceinline__ void grad_product(float (&sum)[W / 16][grad_t<W>::NT][4], const bf16_t *tile) {
    using G = grad_t<W>;
    const bf16_t *x = tile + threadIdx.x / 32 * G::NT * 8 + lane_straight<G::COLS>();
    const bf16_t *du = tile + G::K * G::LDX + lane_across<W>();
#pragma unroll
    for (int t = 0; t < G::K; t += 16) {
        uint32_t fu[G::MT][4];
#pragma unroll
        for (int m = 0; m < G::MT; m++) ldmatrix_x4_trans(fu[m], du + t * G::LDU + m * 16);
#pragma unroll
        for (int n = 0; n < G::NT; n += 2) {
            uint32_t fx[4];
            ldmatrix_x4_trans(fx, x + t * G::LDX + n * 8);
#pragma unroll
            for (int m = 0; m < G::MT; m++) {
                mma_bf16_16816(sum[m][n], fu[m], fx);
                mma_bf16_16816(sum[m][n + 1], fu[m], fx + 2);
            }
        }
    }
}

template <int W> __global__ void __launch_bounds__(THREADS) grad_kernel(const __grid_constant__ grad_args_t g) {
    using G = grad_t<W>;
    DYN_SMEM(bf16_t, tiles);
    const uint32_t first = blockIdx.x * G::COLS, t0 = blockIdx.y * g.share;
    const int cols = (int)(g.cols - first), n = (int)min(g.share, g.T - t0);
    const bf16_t *x = g.x + (size_t)t0 * g.ldx + first, *du = g.du + (size_t)t0 * g.ldu; /* go on with each tile */
    auto load = [&](int step) {
        bf16_t *tile = tiles + step % STAGES * G::STAGE;
        const int t = step * G::K;
        if (t < n) {
            load_tile<G::K, G::COLS, THREADS>(tile, x, g.ldx, n - t, cols);
            load_tile<G::K, W, THREADS>(tile + G::K * G::LDX, du, g.ldu, n - t, (int)g.width);
            x += (size_t)G::K * g.ldx;
            du += (size_t)G::K * g.ldu;
        }
        cp_async_commit();
    };
    float sum[G::MT][G::NT][4] = {};
    for (int step = 0; step < STAGES - 1; step++) load(step);
    for (int step = 0; step * G::K < n; step++) {
        cp_async_wait<STAGES - 2>();
        __syncthreads(); /* as in fwd_kernel() */
        load(step + STAGES - 1);
        grad_product<W>(sum, tiles + step % STAGES * G::STAGE);
    }
    const int lane = threadIdx.x % 32, col = threadIdx.x / 32 * G::NT * 8 + lane % 4 * 2;
    float *slab = g.slabs + (size_t)blockIdx.y * g.width * g.cols + first;
#pragma unroll
    for (int m = 0; m < G::MT; m++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            const uint32_t row = m * 16 + h * 8 + lane / 4;
            if (row >= g.width) continue;
#pragma unroll
            for (int c = 0; c < G::NT; c++)
                if (col + c * 8 < cols)
                    *(float2 *)(slab + (size_t)row * g.cols + col + c * 8) = make_float2(sum[m][c][2 * h],
                                                                                         sum[m][c][2 * h + 1]);
        }
}

/* ---- slabs ---------------------------------------------------------------------------------------------- */

__device__ __forceinline__ float slab_sum(const slabs_t &s, uint32_t row, uint32_t col) {
    const float *p = s.p + (size_t)row * s.ld + col;
    float sum = 0;
#pragma unroll 4
    for (uint32_t i = 0; i < s.n; i++) sum += p[i * s.stride];
    return sum;
}

__global__ void __launch_bounds__(SUM_THREADS)
    rows_kernel(bf16_t *out, size_t ld, const __grid_constant__ slabs_t s, float scale) {
    const uint32_t i = blockIdx.x * SUM_THREADS + threadIdx.x, row = i / s.cols, col = i % s.cols;
    if (row < s.rows) element_store(out + row * ld + col, scale * slab_sum(s, row, col));
}

__global__ void __launch_bounds__(SUM_THREADS)
    add_kernel(float *out, size_t ld, const __grid_constant__ slabs_t s, float scale) {
    const uint32_t i = blockIdx.x * SUM_THREADS + threadIdx.x, row = i / s.cols, col = i % s.cols;
    if (row < s.rows) out[row * ld + col] += scale * slab_sum(s, row, col);
}

/* ---- launchers ------------------------------------------------------------------------------------------ */

template <typename Args>
void launch(void (*kernel)(Args), const backend_t *be, dim3 grid, size_t bytes, const Args &args) {
    CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes));
    LAUNCH(kernel, grid, THREADS, bytes, compute_stream(be), args);
}

/* f(std::integral_constant<int, the width up to a multiple of 16>()) */
template <typename F> void by_width(size_t width, F f) {
    if (width <= 16) f(std::integral_constant<int, 16>());
    else if (width <= 32) f(std::integral_constant<int, 32>());
    else if (width <= 48) f(std::integral_constant<int, 48>());
    else f(std::integral_constant<int, 64>());
}

unsigned sum_grid(const slabs_t &s) {
    const size_t n = (size_t)s.rows * s.cols;
    CHECK(n <= UINT32_MAX - SUM_THREADS);
    return grid_for(n, SUM_THREADS);
}

/* The columns of u that have one scale, after what the caller did with those before. */
template <typename F> void by_scale(const linear_t *l, F f) {
    for (size_t i = 0, at = 0; i < l->n;) {
        const float scale = l->part[i].scale;
        size_t r = 0;
        for (; i < l->n && (l->part[i].scale == scale || l->part[i].r == 0); i++) r += l->part[i].r;
        if (r) f(at, r, scale);
        at += r;
    }
}

} // namespace

float *slab_place(const backend_t *be) { return (float *)compute_scratch(be, CUDA_BLAS_BYTES); }

void slabs_to_rows(backend_t *be, const slabs_t &s, float scale, mat_t out) {
    LAUNCH(rows_kernel, sum_grid(s), SUM_THREADS, 0, compute_stream(be), (bf16_t *)out.p, out.ld, s, scale);
}

void slabs_add(backend_t *be, const slabs_t &s, float scale, float *out, size_t ld) {
    LAUNCH(add_kernel, sum_grid(s), SUM_THREADS, 0, compute_stream(be), out, ld, s, scale);
}

template <int W> static void fwd(backend_t *be, size_t T, mat_t x, const linear_t *l, float kept, mat_t u) {
    using F = fwd_t<W>;
    enum { LEAST = 4 * F::K }; /* channels of a block */
    const size_t cols = linear_cols_of(l), room = SLAB_FLOATS / W;
    const size_t most = min_size(ceil_div(cols, LEAST), room / F::ROWS);
    const size_t share = share_of(cols, parts_for(ceil_div(T, F::ROWS), most, LOW_RANK_BLOCKS), F::K);
    const size_t parts = ceil_div(cols, share), step = room / parts / F::ROWS * F::ROWS;
    float *place = slab_place(be);
    for (size_t t = 0; t < T; t += step) {
        const size_t n = min_size(step, T - t);
        const fwd_args_t args = {place,
                                 (const bf16_t *)x.p + t * x.ld,
                                 (const bf16_t *)linear_a(l),
                                 (uint32_t)x.ld,
                                 (uint32_t)n,
                                 (uint32_t)cols,
                                 (uint32_t)linear_width(l),
                                 (uint32_t)share};
        launch(fwd_kernel<W>, be, dim3(grid_for(n, F::ROWS), (unsigned)parts), F::bytes, args);
        by_scale(l, [&](size_t at, size_t r, float scale) {
            const slabs_t slabs = {place + at, (uint32_t)n, (uint32_t)r, W, (uint32_t)parts, n * W};
            slabs_to_rows(be, slabs, scale * kept, {(bf16_t *)u.p + t * u.ld + at, u.ld});
        });
    }
}

bool low_rank_fwd(backend_t *be, size_t T, mat_t x, const linear_t *l, float kept, mat_t u) {
    const size_t width = linear_width(l);
    if (!is_low_rank(be, l, width, max_size(x.ld, linear_cols_of(l))) ||
        !columns_aligned16(DT_BF16, linear_cols_of(l), x) || !aligned16(linear_a(l)))
        return false;
    if (T) by_width(width, [&](auto w) { fwd<w()>(be, T, x, l, kept, u); });
    return true;
}

template <int W>
static void grad(backend_t *be, size_t T, mat_t du, mat_t x, const linear_t *l, float kept, float *dA) {
    using G = grad_t<W>;
    enum { LEAST = 4 * G::K }; /* tokens of a block */
    const size_t cols = linear_cols_of(l), width = linear_width(l), room = SLAB_FLOATS / width;
    const size_t most = min_size(ceil_div(T, LEAST), room / G::COLS);
    const size_t share = share_of(T, parts_for(ceil_div(cols, G::COLS), most, LOW_RANK_BLOCKS), G::K);
    const size_t parts = ceil_div(T, share), step = room / parts / G::COLS * G::COLS;
    float *place = slab_place(be);
    for (size_t c = 0; c < cols; c += step) {
        const size_t n = min_size(step, cols - c);
        const grad_args_t args = {place,           (const bf16_t *)du.p, (const bf16_t *)x.p + c,
                                  (uint32_t)du.ld, (uint32_t)x.ld,       (uint32_t)T,
                                  (uint32_t)n,     (uint32_t)width,      (uint32_t)share};
        launch(grad_kernel<W>, be, dim3(grid_for(n, G::COLS), (unsigned)parts), G::bytes, args);
        const slabs_t slabs = {place, (uint32_t)width, (uint32_t)n, (uint32_t)n, (uint32_t)parts, width * n};
        slabs_add(be, slabs, kept, dA + c, cols);
    }
}

bool low_rank_grad(backend_t *be, size_t T, mat_t du, mat_t x, const linear_t *l, float kept, float *dA) {
    const size_t width = linear_width(l);
    if (!is_low_rank(be, l, width, max_size(x.ld, du.ld)) || !columns_aligned16(DT_BF16, linear_cols_of(l), x) ||
        !columns_aligned16(DT_BF16, width, du))
        return false;
    if (T) by_width(width, [&](auto w) { grad<w()>(be, T, du, x, l, kept, dA); });
    return true;
}
