/* Attention without tensor cores: fp32 activations, and bf16 with head sizes that attention_fwd.cu and attention_bwd.cu
 * do not take. The same sums in the same structure, but a warp owns ROWS rows and meets 32 others at a time, one to a
 * lane; head sizes are bounded by shared memory only. */
#include "cuda/attention.h"
#include "cuda/reduce.h"
#include "cuda/vec.h"

extern "C" {
#include "cuda/attention_workspace.h"
}

#include <type_traits>

namespace {

enum {
    WARPS = 8,
    THREADS = 32 * WARPS,
    ROWS = 2,
    BLOCK_ROWS = WARPS * ROWS,
    CHUNK = PLAIN_CHUNK,
    TILE_STRIDE = PLAIN_STRIDE
};
static_assert((int)BLOCK_ROWS == (int)PLAIN_ROWS, "what is counted in advance");

/* n rows of D values, `stride` apart, of one head and segment. A row past the end stands for the last: masks take it
 * out. */
template <typename T> struct rows_t {
    const T *at;
    int n, stride, D;

    __device__ __forceinline__ const T *row(int i) const { return at + (int64_t)min(i, n - 1) * stride; }
};

/* What a warp has there: array i of its rows, its weights; the piece is the block's. */
struct shared_t {
    float *base;
    int arrays, D;

    __device__ __forceinline__ float *own(int i) const { return base + ((int)threadIdx.x / 32 + i * WARPS) * ROWS * D; }
    __device__ __forceinline__ float *piece() const { return base + arrays * BLOCK_ROWS * D; }
    __device__ __forceinline__ float *weights() const {
        return piece() + 32 * TILE_STRIDE + (int)threadIdx.x / 32 * ROWS * 32;
    }
};

template <typename T> __device__ __forceinline__ void load_own(float *own, const rows_t<T> &src, int first) {
    for (int r = 0; r < ROWS; r++)
        for (int c = threadIdx.x % 32; c < src.D; c += 32) own[r * src.D + c] = element_load(&src.row(first + r)[c]);
    __syncwarp();
}

/* dot[r] = own row r . row first + lane of src. All threads of the block come along. */
template <typename T> __device__ __forceinline__ void dots(float (&dot)[ROWS], const float *own, float *piece,
                                                           const rows_t<T> &src, int first) {
    for (int r = 0; r < ROWS; r++) dot[r] = 0;
    for (int c0 = 0; c0 < src.D; c0 += CHUNK) {
        const int width = min((int)CHUNK, src.D - c0), lane = threadIdx.x % 32;
        __syncthreads(); /* all have read the last piece */
        if (lane < width)
            for (int i = (int)threadIdx.x / 32; i < 32; i += WARPS)
                piece[i * TILE_STRIDE + lane] = element_load(&src.row(first + i)[c0 + lane]);
        __syncthreads();
        for (int c = 0; c < width; c++) {
            float x = piece[lane * TILE_STRIDE + c];
            for (int r = 0; r < ROWS; r++) dot[r] = fmaf(own[r * src.D + c0 + c], x, dot[r]);
        }
    }
}

/* acc[r] = shrink[r] * acc[r] + sum over the 32 rows of weight[r], which is this lane's row's, times that row. */
template <typename T> __device__ __forceinline__ void accumulate(float *acc, const float (&shrink)[ROWS],
                                                                 const float (&weight)[ROWS], float *weights,
                                                                 const rows_t<T> &src, int first) {
    const int lane = threadIdx.x % 32;
    __syncwarp(); /* all have read the last weights */
    for (int r = 0; r < ROWS; r++) weights[r * 32 + lane] = weight[r];
    __syncwarp();
    for (int c = lane; c < src.D; c += 32) {
        float sum[ROWS];
        for (int r = 0; r < ROWS; r++) sum[r] = shrink[r] * acc[r * src.D + c];
        for (int i = 0; i < 32; i++) {
            float x = element_load(&src.row(first + i)[c]);
            for (int r = 0; r < ROWS; r++) sum[r] = fmaf(weights[r * 32 + i], x, sum[r]);
        }
        for (int r = 0; r < ROWS; r++) acc[r * src.D + c] = sum[r];
    }
}

__device__ __forceinline__ void zero_own(float *own, int D) {
    for (int i = threadIdx.x % 32; i < ROWS * D; i += 32) own[i] = 0;
    __syncwarp();
}

/* Row r of the result is acc[r] * factor[r], for rows below n; each lane its own columns, as accumulate() has them. */
template <typename T> __device__ __forceinline__ void store_own(T *dst, const float *acc, const float (&factor)[ROWS],
                                                                int first, int n, int stride, int D) {
    for (int r = 0; r < ROWS && first + r < n; r++)
        for (int c = threadIdx.x % 32; c < D; c += 32)
            element_store(dst + (int64_t)(first + r) * stride + c, acc[r * D + c] * factor[r]);
}

/* What all three kernels find out first: their head, segment and rows. */
struct place_t {
    attn_segment_t seg;
    int head, kv_head, first, row0; /* first row of the block, of the warp; in the segment */
};

__device__ __forceinline__ place_t place_of(const attn_dims_t &d, bool by_key) {
    place_t p;
    const int heads = by_key ? d.Hkv : d.Hq, head = (int)blockIdx.x % heads;
    p.head = by_key ? head * d.group : head;
    p.kv_head = p.head / d.group;
    p.seg = segment_at(d, (int)blockIdx.x / heads);
    p.first = (int)blockIdx.y * BLOCK_ROWS;
    p.row0 = p.first + (int)threadIdx.x / 32 * ROWS;
    return p;
}

/* The rows of the segment in m, which is q or dout; and in k or v. */
template <typename T>
__device__ __forceinline__ rows_t<T> q_rows(const void *m, int ld, const place_t &p, int head, const attn_dims_t &d) {
    return {(const T *)m + head_at(p.seg.q0, ld, head, d), p.seg.n, ld, d.D};
}

template <typename T>
__device__ __forceinline__ rows_t<T> kv_rows(const void *m, int ld, const place_t &p, const attn_dims_t &d) {
    return {(const T *)m + head_at(p.seg.kv0, ld, p.kv_head, d), p.seg.n_kv, ld, d.D};
}

/* A score from the product of a query and a key; and what the gradient of a score is multiplied by. */
template <bool capped> __device__ __forceinline__ float score(float dot, const attn_dims_t &d) {
    return capped ? softcap(dot * d.scale, d.softcap) : dot * d.scale;
}

template <bool capped> __device__ __forceinline__ float through(float score, const attn_dims_t &d) {
    return capped ? softcap_grad(score, d.softcap) : 1;
}

template <typename T, bool capped> __global__ void __launch_bounds__(THREADS, 2)
    plain_fwd_kernel(attn_fwd_t a, attn_dims_t d) {
    const place_t p = place_of(d, false);
    if (p.first >= p.seg.n) return;
    const rows_t<T> q = q_rows<T>(a.q, d.ld_q, p, p.head, d);
    const rows_t<T> k = kv_rows<T>(a.k, d.ld_k, p, d), v = kv_rows<T>(a.v, d.ld_v, p, d);
    DYN_SMEM(float, smem);
    const shared_t shared = {smem, 2, d.D};
    float *own_q = shared.own(0), *o = shared.own(1);
    load_own(own_q, q, p.row0);
    zero_own(o, d.D);

    const int shift = p.seg.n_kv - p.seg.n, lane = threadIdx.x % 32;
    const int end = min(p.first + BLOCK_ROWS, p.seg.n) + shift;
    float max[ROWS], sum[ROWS];
    for (int r = 0; r < ROWS; r++) {
        max[r] = -INFINITY;
        sum[r] = 0;
    }
    for (int key = ::max(p.first + shift + 1 - d.window, 0); key < end; key += 32) {
        float s[ROWS], shrink[ROWS];
        dots(s, own_q, shared.piece(), k, key);
        for (int r = 0; r < ROWS; r++) {
            const int last = p.row0 + r + shift;
            s[r] = key + lane <= last && key + lane + d.window > last ? score<capped>(s[r], d) : -INFINITY;
            const float top = fmaxf(max[r], warp_max(s[r])), base = top == -INFINITY ? 0 : top;
            shrink[r] = expf(max[r] - base);
            max[r] = top;
            s[r] = expf(s[r] - base);
            sum[r] = sum[r] * shrink[r] + s[r];
        }
        accumulate(o, shrink, s, shared.weights(), v, key);
    }
    for (int r = 0; r < ROWS; r++) {
        const float total = warp_sum(sum[r]);
        if (a.lse && lane == 0 && p.row0 + r < p.seg.n)
            a.lse[(int64_t)(p.seg.q0 + p.row0 + r) * d.Hq + p.head] = max[r] + logf(total);
        sum[r] = 1 / total;
    }
    store_own((T *)a.o + head_at(p.seg.q0, d.ld_o, p.head, d), o, sum, p.row0, p.seg.n, d.ld_o, d.D);
}

template <typename T, bool capped> __global__ void __launch_bounds__(THREADS, 2)
    plain_dq_kernel(attn_bwd_t a, attn_dims_t d) {
    const place_t p = place_of(d, false);
    if (p.first >= p.seg.n) return;
    const int n = p.seg.n, lane = threadIdx.x % 32;
    const rows_t<T> q = q_rows<T>(a.q, d.ld_q, p, p.head, d), dout = q_rows<T>(a.dout, d.ld_dout, p, p.head, d);
    const rows_t<T> k = kv_rows<T>(a.k, d.ld_k, p, d), v = kv_rows<T>(a.v, d.ld_v, p, d);
    DYN_SMEM(float, smem);
    const shared_t shared = {smem, 3, d.D};
    float *own_q = shared.own(0), *own_dout = shared.own(1), *dq = shared.own(2);
    load_own(own_q, q, p.row0);
    load_own(own_dout, dout, p.row0);
    zero_own(dq, d.D);

    attn_stats_t stats[ROWS];
    float one[ROWS], scale[ROWS];
    for (int r = 0; r < ROWS; r++) {
        stats[r] = a.stats[(int64_t)p.head * d.q_off[d.n] + p.seg.q0 + min(p.row0 + r, n - 1)];
        one[r] = 1;
        scale[r] = d.scale;
    }
    for (int key = max(p.first + 1 - d.window, 0); key < min(p.first + BLOCK_ROWS, n); key += 32) {
        float s[ROWS], dp[ROWS];
        dots(s, own_q, shared.piece(), k, key);
        dots(dp, own_dout, shared.piece(), v, key);
        for (int r = 0; r < ROWS; r++) {
            const int j = key + lane, row = p.row0 + r;
            const bool visible = j <= row && j + d.window > row;
            s[r] = score<capped>(s[r], d);
            const float share = exp2f(s[r] * LOG2E - stats[r].lse2), ds = share * (dp[r] - stats[r].delta);
            dp[r] = visible ? ds * through<capped>(s[r], d) : 0;
        }
        accumulate(dq, one, dp, shared.weights(), k, key);
    }
    store_own((T *)a.dq + head_at(p.seg.q0, d.ld_dqkv, p.head, d), dq, scale, p.row0, n, d.ld_dqkv, d.D);
}

template <typename T, bool capped> __global__ void __launch_bounds__(THREADS, 2)
    plain_dkv_kernel(attn_bwd_t a, attn_dims_t d) {
    const place_t p = place_of(d, true);
    if (p.first >= p.seg.n) return;
    const int n = p.seg.n, lane = threadIdx.x % 32;
    const rows_t<T> k = kv_rows<T>(a.k, d.ld_k, p, d), v = kv_rows<T>(a.v, d.ld_v, p, d);
    DYN_SMEM(float, smem);
    const shared_t shared = {smem, 4, d.D};
    float *own_k = shared.own(0), *own_v = shared.own(1), *dk = shared.own(2), *dv = shared.own(3);
    load_own(own_k, k, p.row0);
    load_own(own_v, v, p.row0);
    zero_own(dk, d.D);
    zero_own(dv, d.D);

    float one[ROWS], scale[ROWS];
    for (int r = 0; r < ROWS; r++) {
        one[r] = 1;
        scale[r] = d.scale;
    }
    const int end = min(p.first + BLOCK_ROWS - 1 + d.window, n);
    for (int g = 0; g < d.group; g++) {
        const rows_t<T> q = q_rows<T>(a.q, d.ld_q, p, p.head + g, d);
        const rows_t<T> dout = q_rows<T>(a.dout, d.ld_dout, p, p.head + g, d);
        const attn_stats_t *stats = a.stats + (int64_t)(p.head + g) * d.q_off[d.n] + p.seg.q0;
        for (int query = p.first; query < end; query += 32) {
            const int i = query + lane;
            const attn_stats_t st = stats[min(i, n - 1)];
            float s[ROWS], dp[ROWS];
            dots(s, own_k, shared.piece(), q, query);
            dots(dp, own_v, shared.piece(), dout, query);
            for (int r = 0; r < ROWS; r++) {
                const int key = p.row0 + r;
                const bool visible = i < n && key <= i && key + d.window > i;
                s[r] = score<capped>(s[r], d);
                const float share = visible ? exp2f(s[r] * LOG2E - st.lse2) : 0;
                dp[r] = visible ? share * (dp[r] - st.delta) * through<capped>(s[r], d) : 0;
                s[r] = share;
            }
            accumulate(dv, one, s, shared.weights(), dout, query);
            accumulate(dk, one, dp, shared.weights(), q, query);
        }
    }
    const int64_t at = head_at(p.seg.kv0, d.ld_dqkv, p.kv_head, d);
    store_own((T *)a.dk + at, dk, scale, p.row0, n, d.ld_dqkv, d.D);
    store_own((T *)a.dv + at, dv, one, p.row0, n, d.ld_dqkv, d.D);
}

template <typename Args> void launch(void (*kernel)(Args, attn_dims_t), cudaStream_t stream, const Args &a,
                                     const attn_dims_t &d, int heads, int arrays) {
    CHECK(arrays <= PLAIN_MAX_ARRAYS);
    const size_t bytes = cuda_plain_bytes((size_t)arrays, (size_t)d.D);
    CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes));
    LAUNCH(kernel, attn_grid(d, heads, (d.max_q + BLOCK_ROWS - 1) / BLOCK_ROWS), THREADS, bytes, stream, a, d);
}

/* f(T(), std::bool_constant<whether there is a cap>()) */
template <typename F> void by_kind(dtype_t act, const attn_dims_t &d, F f) {
    const bool capped = d.softcap > 0;
    if (act == DT_BF16) capped ? f(bf16_t(), std::true_type()) : f(bf16_t(), std::false_type());
    else capped ? f(float(), std::true_type()) : f(float(), std::false_type());
}

} // namespace

void attn_fwd_plain(cudaStream_t stream, dtype_t act, const attn_fwd_t &a, const attn_dims_t &d) {
    by_kind(act, d,
            [&](auto t, auto capped) { launch(plain_fwd_kernel<decltype(t), capped.value>, stream, a, d, d.Hq, 2); });
}

void attn_bwd_plain(cudaStream_t stream, dtype_t act, const attn_bwd_t &a, const attn_dims_t &d) {
    by_kind(act, d, [&](auto t, auto capped) {
        launch(plain_dkv_kernel<decltype(t), capped.value>, stream, a, d, d.Hkv, 4);
        launch(plain_dq_kernel<decltype(t), capped.value>, stream, a, d, d.Hq, 3);
    });
}
