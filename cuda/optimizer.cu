/* Gradient norm and AdamW over flat fp32 arrays.
 *
 * Compiled with -fmad=false (cmake/cuda.cmake): a product and a sum are two roundings, as on the CPU, where
 * model/backend/element.h does not say fmaf(). So both give the same bits, and a run may move between them. */
#include "cuda/cuda_impl.h"
#include "cuda/reduce.h"
#include "cuda/vec.h"

enum { THREADS = 256 };

/* ---- sum of squares ---------------------------------------------------------------------------------- */

enum { MAX_PARTS = 1024 };

/* Each block sums its share in double; how the elements are shared out depends on n alone. */
template <int N> __global__ void __launch_bounds__(THREADS) sumsq_kernel(double *partials, const float *x, size_t n) {
    SHARED(double, scratch, BLOCK_WARPS);
    size_t whole = n / N * N;
    double sum = 0;
    for (size_t i = ((size_t)blockIdx.x * THREADS + threadIdx.x) * N; i < whole; i += (size_t)gridDim.x * THREADS * N) {
        float v[N];
        vec_load(v, x + i);
#pragma unroll
        for (int j = 0; j < N; j++) sum += (double)v[j] * v[j];
    }
    if (blockIdx.x == 0 && threadIdx.x < n - whole) sum += (double)x[whole + threadIdx.x] * x[whole + threadIdx.x];
    sum = block_sum(sum, scratch);
    if (threadIdx.x == 0) partials[blockIdx.x] = sum;
}

__global__ void __launch_bounds__(THREADS) sumsq_total_kernel(double *out, const double *partials, unsigned n) {
    SHARED(double, scratch, BLOCK_WARPS);
    double sum = 0;
    for (unsigned i = threadIdx.x; i < n; i += THREADS) sum += partials[i];
    sum = block_sum(sum, scratch);
    if (threadIdx.x == 0) *out = sum;
}

static void sumsq(backend_t *be, double *out, const float *x, size_t n) {
    double *partials = (double *)compute_scratch(be, MAX_PARTS * sizeof *partials);
    unsigned blocks = grid_for(n, THREADS * 4);
    if (blocks > MAX_PARTS) blocks = MAX_PARTS;
    if (aligned16(x)) LAUNCH((sumsq_kernel<4>), blocks, THREADS, 0, compute_stream(be), partials, x, n);
    else LAUNCH((sumsq_kernel<1>), blocks, THREADS, 0, compute_stream(be), partials, x, n);
    LAUNCH(sumsq_total_kernel, 1, THREADS, 0, compute_stream(be), out, partials, blocks);
}

/* ---- AdamW ------------------------------------------------------------------------------------------- */

template <int N> static __device__ __forceinline__ void adamw_at(float *p, const float *g, float *m, float *v, size_t i,
                                                                 const adamw_t &h) {
    float pv[N], gv[N], mv[N], vv[N];
    vec_load(pv, p + i);
    vec_load(gv, g + i);
    vec_load(mv, m + i);
    vec_load(vv, v + i);
#pragma unroll
    for (int j = 0; j < N; j++) adamw_element(&pv[j], gv[j], &mv[j], &vv[j], &h);
    vec_store(p + i, pv);
    vec_store(m + i, mv);
    vec_store(v + i, vv);
}

template <int N> __global__ void __launch_bounds__(THREADS)
    adamw_kernel(float *p, const float *g, float *m, float *v, size_t n, adamw_t h) {
    size_t i = ((size_t)blockIdx.x * THREADS + threadIdx.x) * N;
    if (i + N <= n) adamw_at<N>(p, g, m, v, i, h);
    else
        for (; i < n; i++) adamw_at<1>(p, g, m, v, i, h);
}

static void adamw(backend_t *be, float *p, const float *g, float *m, float *v, size_t n, const adamw_t *h) {
    if (n == 0) return;
    cuda_impl(be)->weights_touched = true; /* adapters in fp32 are read as they are */
    if (aligned16(p, g, m, v))
        LAUNCH((adamw_kernel<4>), grid_for(n, THREADS * 4), THREADS, 0, compute_stream(be), p, g, m, v, n, *h);
    else LAUNCH((adamw_kernel<1>), grid_for(n, THREADS), THREADS, 0, compute_stream(be), p, g, m, v, n, *h);
}

/* ---- AdamW with 8-bit moments ------------------------------------------------------------------------ */

/* A warp for each block; lane l has its elements l, l + 32, ... Blocks begin anywhere (at a tensor's beginning), so
 * single elements, side by side, are what can be read together. */
enum { LANE_ELEMENTS = (int)ADAMW_8BIT_BLOCK / 32 };

/* The reciprocal of a block's new constant; 0 marks a block of zeros, whose codes are 0. */
static __device__ __forceinline__ float renew_absmax(float *absmax, float lane_max) {
    float max = warp_max(lane_max);
    __syncwarp(); /* every lane has read the old one; a shuffle orders no memory */
    if (threadIdx.x % 32 == 0) *absmax = max;
    return max > 0 ? 1.0f / max : 0;
}

static __device__ __forceinline__ uint8_t encode(const dynamic_map_t *map, float x, float inverse) {
    return inverse > 0 ? dynamic_code(map->nearest, x * inverse) : 0;
}

__global__ void __launch_bounds__(THREADS)
    adamw_8bit_kernel(float *p, const float *g, adamw_8bit_state_t s, size_t n_blocks, const dynamic_map_t *m_map,
                      const dynamic_map_t *v_map, adamw_t h) {
    size_t b = ((size_t)blockIdx.x * THREADS + threadIdx.x) / 32;
    if (b >= n_blocks) return;
    unsigned lane = threadIdx.x % 32;
    size_t first = s.start[b] - s.start[0], n = s.start[b + 1] - s.start[b];
    float m_absmax = s.m_absmax[b], v_absmax = s.v_absmax[b], m[LANE_ELEMENTS], v[LANE_ELEMENTS], m_max = 0, v_max = 0;
#pragma unroll
    for (int k = 0; k < LANE_ELEMENTS; k++) {
        size_t i = first + lane + 32 * k;
        if (i >= first + n) continue;
        m[k] = m_map->value[s.m[i]] * m_absmax;
        v[k] = v_map->value[s.v[i]] * v_absmax;
        adamw_8bit_moments(g[i], &m[k], &v[k], &h);
        adamw_step(&p[i], m[k], v[k], &h);
        m_max = fmaxf(m_max, fabsf(m[k]));
        v_max = fmaxf(v_max, fabsf(v[k]));
    }
    float m_inverse = renew_absmax(&s.m_absmax[b], m_max), v_inverse = renew_absmax(&s.v_absmax[b], v_max);
#pragma unroll
    for (int k = 0; k < LANE_ELEMENTS; k++) {
        size_t i = first + lane + 32 * k;
        if (i >= first + n) continue;
        s.m[i] = encode(m_map, m[k], m_inverse);
        s.v[i] = encode(v_map, v[k], v_inverse);
    }
}

static void adamw_8bit(backend_t *be, float *p, const float *g, const adamw_8bit_state_t *s, size_t n_blocks,
                       const adamw_t *h) {
    if (n_blocks == 0) return;
    cuda_impl_t *impl = cuda_impl(be);
    impl->weights_touched = true;
    LAUNCH(adamw_8bit_kernel, grid_for(n_blocks, THREADS / 32), THREADS, 0, compute_stream(be), p, g, *s, n_blocks,
           impl->signed_map, impl->unsigned_map, *h);
}

void cuda_optimizer_ops(backend_t *be) {
    be->sumsq = sumsq;
    be->adamw = adamw;
    be->adamw_8bit = adamw_8bit;
}
