/* Element-wise ops and moves of rows. All are bound by memory: a thread takes 16 bytes of each operand where the
 * addresses allow it, and warps enough are in flight to keep the memory busy without a loop. */
#include "cuda/cuda_impl.h"
#include "cuda/vec.h"

enum { THREADS = 256 };

/* ---- flat: n elements -------------------------------------------------------------------------------- */

/* The first of the (up to N) elements of this thread; the last thread has what remains. */
template <int N> static __device__ __forceinline__ size_t flat_first() {
    return ((size_t)blockIdx.x * blockDim.x + threadIdx.x) * N;
}

template <typename A, int N> static __device__ __forceinline__ void add_at(A *y, const A *a, const A *b, size_t i) {
    float u[N], v[N];
    vec_load(u, a + i);
    vec_load(v, b + i);
#pragma unroll
    for (int j = 0; j < N; j++) u[j] += v[j];
    vec_store(y + i, u);
}

template <typename A, int N> __global__ void __launch_bounds__(THREADS)
    add_kernel(A *y, const A *a, const A *b, size_t n) {
    size_t i = flat_first<N>();
    if (i + N <= n) add_at<A, N>(y, a, b, i);
    else
        for (; i < n; i++) add_at<A, 1>(y, a, b, i);
}

static void add(backend_t *be, void *y, const void *a, const void *b, size_t n) {
    if (n == 0) return;
    by_lanes(be->act, aligned16(y, a, b), [&](auto lanes) {
        using A = typename decltype(lanes)::type;
        constexpr int N = decltype(lanes)::N;
        LAUNCH((add_kernel<A, N>), grid_for(n, THREADS * N), THREADS, 0, compute_stream(be), (A *)y, (const A *)a,
               (const A *)b, n);
    });
}

template <typename D, typename S, int N>
static __device__ __forceinline__ void cast_at(D *dst, const S *src, size_t i) {
    float v[N];
    vec_load(v, src + i);
    vec_store(dst + i, v);
}

template <typename D, typename S, int N> __global__ void __launch_bounds__(THREADS)
    cast_kernel(D *dst, const S *src, size_t n) {
    size_t i = flat_first<N>();
    if (i + N <= n) cast_at<D, S, N>(dst, src, i);
    else
        for (; i < n; i++) cast_at<D, S, 1>(dst, src, i);
}

template <typename D, typename S> static void cast_as(backend_t *be, void *dst, const void *src, size_t n) {
    if (aligned16(dst, src))
        LAUNCH((cast_kernel<D, S, 8>), grid_for(n, THREADS * 8), THREADS, 0, compute_stream(be), (D *)dst,
               (const S *)src, n);
    else
        LAUNCH((cast_kernel<D, S, 1>), grid_for(n, THREADS), THREADS, 0, compute_stream(be), (D *)dst, (const S *)src,
               n);
}

static void cast(backend_t *be, void *dst, dtype_t dst_type, const void *src, dtype_t src_type, size_t n) {
    CHECK(dst_type == DT_F32 || dst_type == DT_BF16);
    CHECK(src_type == DT_F32 || src_type == DT_BF16);
    if (n == 0) return;
    cuda_impl(be)->weights_touched = true; /* adapters are cast, and the dequant stream copies them: linear.cu */
    if (dst_type == src_type) be->copy(be, dst, src, n * dtype_size(dst_type));
    else if (dst_type == DT_BF16) cast_as<bf16_t, float>(be, dst, src, n);
    else cast_as<float, bf16_t>(be, dst, src, n);
}

/* ---- rows by index: a block moves one row ------------------------------------------------------------ */

template <typename D, typename S, int N>
static __device__ __forceinline__ void copy_row(D *dst, const S *src, size_t C) {
    for (size_t c = (size_t)threadIdx.x * N; c < C; c += (size_t)blockDim.x * N) cast_at<D, S, N>(dst, src, c);
}

template <typename A, typename S, int N> __global__ void __launch_bounds__(THREADS)
    embed_kernel(A *y, const S *table, const int32_t *ids, size_t V, size_t C) {
    int32_t id = ids[blockIdx.x];
    device_check(id >= 0 && (size_t)id < V);
    copy_row<A, S, N>(y + (size_t)blockIdx.x * C, table + (size_t)id * C, C);
}

template <typename S> static void embed_from(backend_t *be, void *y, const qweight_t *E, const int32_t *ids, size_t T) {
    size_t V = E->rows, C = E->cols;
    if (T == 0 || C == 0) return;
    bool wide = rows_aligned16(DT_BF16, C, y, E->codes);
    by_lanes(be->act, wide, [&](auto lanes) {
        using A = typename decltype(lanes)::type;
        constexpr int N = decltype(lanes)::N == 1 ? 1 : 8; /* 16 bytes of the table, whatever they become */
        LAUNCH((embed_kernel<A, S, N>), grid_for(T, 1), block_of(C / N, THREADS), 0, compute_stream(be), (A *)y,
               (const S *)E->codes, ids, V, C);
    });
}

static void embed(backend_t *be, void *y, const qweight_t *E, const int32_t *ids, size_t T) {
    CHECK(quant_is_plain(E->type));
    E->type == QUANT_F16 ? embed_from<f16_t>(be, y, E, ids, T) : embed_from<bf16_t>(be, y, E, ids, T);
}

/* A block for each token. */
template <typename A> __global__ void __launch_bounds__(THREADS)
    noise_kernel(A *x, const __grid_constant__ neftune_t noise, size_t C) {
    const size_t t = blockIdx.x;
    const uint64_t key = noise_row_key(&noise, t);
    const float scale = noise_scale(&noise, t, C);
    A *row = x + t * C;
    for (size_t c = threadIdx.x; c < C; c += blockDim.x)
        element_store(row + c, noise_added(element_load(row + c), key, c, scale));
}

static void add_noise(backend_t *be, void *x, const neftune_t *noise, size_t T, size_t C) {
    if (T == 0 || C == 0) return;
    by_lanes(be->act, false, [&](auto lanes) {
        using A = typename decltype(lanes)::type;
        LAUNCH((noise_kernel<A>), grid_for(T, 1), block_of(C, THREADS), 0, compute_stream(be), (A *)x, *noise, C);
    });
}

template <typename A, int N> __global__ void __launch_bounds__(THREADS)
    gather_kernel(A *y, size_t ldy, const A *x, size_t ldx, const int32_t *idx, size_t C) {
    copy_row<A, A, N>(y + (size_t)blockIdx.x * ldy, x + (size_t)idx[blockIdx.x] * ldx, C);
}

/* Whether C columns of both can be moved 16 bytes at a time. */
static bool can_move16(const backend_t *be, mat_t y, mat_t x, size_t C) {
    CHECK(y.ld >= C && x.ld >= C);
    return columns_aligned16(be->act, C, y, x);
}

static void gather_rows(backend_t *be, mat_t y, mat_t x, const int32_t *idx, size_t n, size_t C) {
    if (n == 0 || C == 0) return;
    by_lanes(be->act, can_move16(be, y, x, C), [&](auto lanes) {
        using A = typename decltype(lanes)::type;
        constexpr int N = decltype(lanes)::N;
        LAUNCH((gather_kernel<A, N>), grid_for(n, 1), block_of(C / N, THREADS), 0, compute_stream(be), (A *)y.p, y.ld,
               (const A *)x.p, x.ld, idx, C);
    });
}

template <typename A, int N> __global__ void __launch_bounds__(THREADS)
    scatter_kernel(A *y, size_t ldy, const A *x, size_t ldx, const int32_t *idx, size_t C) {
    copy_row<A, A, N>(y + (size_t)idx[blockIdx.x] * ldy, x + (size_t)blockIdx.x * ldx, C);
}

static void scatter_rows(backend_t *be, mat_t y, mat_t x, const int32_t *idx, size_t n, size_t C) {
    if (n == 0 || C == 0) return;
    by_lanes(be->act, can_move16(be, y, x, C), [&](auto lanes) {
        using A = typename decltype(lanes)::type;
        constexpr int N = decltype(lanes)::N;
        LAUNCH((scatter_kernel<A, N>), grid_for(n, 1), block_of(C / N, THREADS), 0, compute_stream(be), (A *)y.p, y.ld,
               (const A *)x.p, x.ld, idx, C);
    });
}

/* ---- columns of a wider matrix ------------------------------------------------------------------------- */

/* Block [pieces of a row, rows]: rows may be short, so a block takes as many as fill it. */
template <typename A, int N> __global__ void __launch_bounds__(THREADS)
    copy_rows_kernel(A *y, size_t ldy, const A *x, size_t ldx, size_t T, size_t C) {
    size_t t = (size_t)blockIdx.x * blockDim.y + threadIdx.y;
    if (t < T) copy_row<A, A, N>(y + t * ldy, x + t * ldx, C);
}

template <typename A, int N> __global__ void __launch_bounds__(THREADS)
    scale_rows_kernel(A *y, size_t ldy, const A *x, size_t ldx, float a, size_t T, size_t C) {
    size_t t = (size_t)blockIdx.x * blockDim.y + threadIdx.y;
    for (size_t c = (size_t)threadIdx.x * N; c < C && t < T; c += (size_t)blockDim.x * N) {
        float v[N];
        vec_load(v, x + t * ldx + c);
#pragma unroll
        for (int j = 0; j < N; j++) v[j] *= a;
        vec_store(y + t * ldy + c, v);
    }
}

/* f(lanes, grid, block) for T rows of C elements. */
template <typename F> static void by_short_rows(const backend_t *be, mat_t y, mat_t x, size_t T, size_t C, F f) {
    if (T == 0 || C == 0) return;
    by_lanes(be->act, can_move16(be, y, x, C), [&](auto lanes) {
        size_t pieces = C / decltype(lanes)::N, across = pieces < THREADS ? pieces : (size_t)THREADS;
        size_t down = THREADS / across;
        f(lanes, grid_for(T, down), dim3((unsigned)across, (unsigned)down));
    });
}

static void copy_rows(backend_t *be, mat_t y, mat_t x, size_t T, size_t C) {
    by_short_rows(be, y, x, T, C, [&](auto lanes, unsigned grid, dim3 block) {
        using A = typename decltype(lanes)::type;
        LAUNCH((copy_rows_kernel<A, decltype(lanes)::N>), grid, block, 0, compute_stream(be), (A *)y.p, y.ld,
               (const A *)x.p, x.ld, T, C);
    });
}

static void scale_rows(backend_t *be, mat_t y, mat_t x, float a, size_t T, size_t C) {
    by_short_rows(be, y, x, T, C, [&](auto lanes, unsigned grid, dim3 block) {
        using A = typename decltype(lanes)::type;
        LAUNCH((scale_rows_kernel<A, decltype(lanes)::N>), grid, block, 0, compute_stream(be), (A *)y.p, y.ld,
               (const A *)x.p, x.ld, a, T, C);
    });
}

void cuda_row_ops(backend_t *be) {
    be->embed = embed;
    be->add = add;
    be->scale_rows = scale_rows;
    be->add_noise = add_noise;
    be->cast = cast;
    be->gather_rows = gather_rows;
    be->scatter_rows = scatter_rows;
    be->copy_rows = copy_rows;
}
