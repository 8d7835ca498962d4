/* Cross entropy of rows of products with the head and, in their place, its gradient: a block for each row, two passes
 * over it.
 *
 * A row has V of them and need not begin at a multiple of 16 bytes (V = 32001, say). Its whole 16-byte pieces go
 * through the loops; of the few elements before and after them each is one thread's. */
#include <float.h>

#include "cuda/cuda_impl.h"
#include "cuda/reduce.h"
#include "cuda/vec.h"

/* Large blocks: the fewer rows at a time, the more of a row is still in the L2 cache for the second pass. */
enum { THREADS = 1024 };

/* Maximum and sum of exp(x - max) of what was seen. The maximum starts at a finite number, so that no difference of
 * infinities arises from a logit of -inf. */
typedef struct {
    float max, sum;
} softmax_t;

template <int N> static __device__ __forceinline__ void softmax_see(softmax_t &s, const float (&v)[N]) {
    float max = s.max, sum = 0;
#pragma unroll
    for (int j = 0; j < N; j++) max = fmaxf(max, v[j]);
#pragma unroll
    for (int j = 0; j < N; j++) sum += __expf(v[j] - max);
    s.sum = s.sum * __expf(s.max - max) + sum;
    s.max = max;
}

static __device__ __forceinline__ softmax_t block_softmax(softmax_t s, softmax_t *scratch) {
    unsigned lane = threadIdx.x % 32;
    float max = warp_max(s.max);
    s = {max, warp_sum(s.sum * __expf(s.max - max))};
    if (lane == 0) scratch[threadIdx.x / 32] = s;
    __syncthreads();
    s = lane < blockDim.x / 32 ? scratch[lane] : softmax_t{-FLT_MAX, 0};
    max = warp_max(s.max);
    return {max, warp_sum(s.sum * __expf(s.max - max))};
}

/* Where the 16-byte pieces of a row lie, and which element beside them is this thread's (V: none). */
template <typename A, int N> struct row_cut_t {
    size_t first, pieces, edge;
    __device__ __forceinline__ row_cut_t(const A *row, size_t V) {
        size_t before = (16 - (uintptr_t)row % 16) % 16 / sizeof(A);
        first = before < V ? before : V;
        pieces = (V - first) / N;
        edge = threadIdx.x < first ? threadIdx.x : threadIdx.x + pieces * N;
        if (edge > V) edge = V;
    }
};

/* Products with the head become logits; unless mapped, they are. */
template <bool mapped, int N> static __device__ __forceinline__ void to_logits(float (&v)[N], logit_map_t map) {
    if constexpr (mapped) {
#pragma unroll
        for (int j = 0; j < N; j++) v[j] = logit_map(v[j], map);
    }
}

/* Of these products; `at` is the place of the first in its row. */
template <bool mapped, int N> static __device__ __forceinline__ void gradient(float (&v)[N], float max, float factor,
                                                                              float scale, size_t at, size_t label,
                                                                              logit_map_t map) {
    float through[N];
    to_logits<mapped>(v, map);
#pragma unroll
    for (int j = 0; j < N; j++) {
        if constexpr (mapped) through[j] = logit_map_grad(v[j], map);
        v[j] = factor * __expf(v[j] - max);
    }
    if (label - at < N) { /* not when label < at: the difference is unsigned */
#pragma unroll
        for (int j = 0; j < N; j++)
            if (label - at == (size_t)j) v[j] -= scale;
    }
    if constexpr (mapped) {
#pragma unroll
        for (int j = 0; j < N; j++) v[j] *= through[j];
    }
}

template <typename A, int N, bool mapped> __global__ void __launch_bounds__(THREADS)
    ce_loss_kernel(A *logits, size_t ld, float *row_loss, const int32_t *labels, size_t V, logit_map_t map,
                   bool want_grad, float scale) {
    SHARED(softmax_t, scratch, BLOCK_WARPS);
    device_check(labels[blockIdx.x] >= 0 && (size_t)labels[blockIdx.x] < V);
    size_t label = (size_t)labels[blockIdx.x];
    A *row = logits + (size_t)blockIdx.x * ld;
    const row_cut_t<A, N> cut(row, V);
    float v[N], at_label[1];
    vec_load(at_label, row + label);
    to_logits<mapped>(at_label, map);
    softmax_t s = {-FLT_MAX, 0};
    for (size_t k = threadIdx.x; k < cut.pieces; k += blockDim.x) {
        vec_load(v, row + cut.first + k * N);
        to_logits<mapped>(v, map);
        softmax_see(s, v);
    }
    if (cut.edge < V) {
        float e[1];
        vec_load(e, row + cut.edge);
        to_logits<mapped>(e, map);
        softmax_see(s, e);
    }
    s = block_softmax(s, scratch); /* its barrier also parts all reads of the label's logit from the writes below */
    if (threadIdx.x == 0) row_loss[blockIdx.x] = logf(s.sum) + (s.max - at_label[0]);
    if (!want_grad) return;
    float factor = scale / s.sum;
    /* Backwards: what was read last is the likeliest to be in the cache. */
    unsigned pieces = (unsigned)cut.pieces, rounds = (pieces + blockDim.x - 1 - threadIdx.x) / blockDim.x;
    while (rounds-- > 0) {
        size_t i = cut.first + (threadIdx.x + (size_t)rounds * blockDim.x) * N;
        vec_load(v, row + i);
        gradient<mapped>(v, s.max, factor, scale, i, label, map);
        vec_store(row + i, v);
    }
    if (cut.edge < V) {
        float e[1];
        vec_load(e, row + cut.edge);
        gradient<mapped>(e, s.max, factor, scale, cut.edge, label, map);
        vec_store(row + cut.edge, e);
    }
}

static void ce_loss(backend_t *be, mat_t logits, float *row_loss, const int32_t *labels, size_t R, size_t V,
                    logit_map_t map, bool want_grad, float grad_scale) {
    if (R == 0) return;
    CHECK(V > 0 && V <= INT32_MAX);
    const bool mapped = map.scale != 1 || map.cap > 0;
    by_lanes(be->act, true, [&](auto lanes) {
        using A = typename decltype(lanes)::type;
        constexpr int N = decltype(lanes)::N;
        auto kernel = mapped ? ce_loss_kernel<A, N, true> : ce_loss_kernel<A, N, false>;
        LAUNCH(kernel, grid_for(R, 1), block_of(ceil_div(V, N), THREADS), 0, compute_stream(be), (A *)logits.p,
               logits.ld, row_loss, labels, V, map, want_grad, grad_scale);
    });
}

void cuda_loss_ops(backend_t *be) { be->ce_loss = ce_loss; }
