/* Attention backward in bf16 on tensor cores. Two kernels compute the scores anew: one over tiles of queries for dq,
 * one over tiles of keys for dk and dv, so that every output row belongs to one warp and nothing is added
 * atomically. */
#include "cuda/attention_tile.h"

namespace {

template <int MT, int CT> __device__ __forceinline__ void zero(float (&acc)[MT][CT][4]) {
#pragma unroll
    for (int m = 0; m < MT; m++)
#pragma unroll
        for (int c = 0; c < CT; c++)
#pragma unroll
            for (int i = 0; i < 4; i++) acc[m][c][i] = 0;
}

template <int MT> __device__ __forceinline__ void fill(float (&factor)[MT][2], float x) {
#pragma unroll
    for (int m = 0; m < MT; m++) factor[m][0] = factor[m][1] = x;
}

/* ---- dq -------------------------------------------------------------------------------------------------- */

/* BM queries against BN keys at a time: q and dout stay in shared memory, k has two buffers (it is the last to be
 * read), v one. With a cap 128 columns have no registers for 32 keys. */
template <int DP, bool capped> struct dq_tile_t {
    static constexpr int MT = DP <= 128 ? 2 : 1, BM = 16 * MT * ATTN_WARPS;
    static constexpr int BN = DP < 128 || (DP == 128 && !capped) ? 32 : 16, NT = BN / 8, CT = DP / 8;
    static constexpr size_t bytes = tile_bytes<DP>(2 * BM + 3 * BN);
};

/* ds = p * (dp - delta) in place of dp, through the cap, from the scores s, for rows of queries. */
template <bool capped, int MT, int NT>
__device__ __forceinline__ void query_gradients(const float (&s)[MT][NT][4], float (&dp)[MT][NT][4],
                                                const attn_stats_t (&stats)[MT][2], const cap_t<capped> &cap) {
#pragma unroll
    for (int m = 0; m < MT; m++)
#pragma unroll
        for (int n = 0; n < NT; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                float p = exp2_approx(fmaf(s[m][n][i], cap.factor, -stats[m][i / 2].lse2));
                dp[m][n][i] = p * (dp[m][n][i] - stats[m][i / 2].delta) * cap.through(s[m][n][i]);
            }
}

template <int DP, bool capped> __global__ void __launch_bounds__(ATTN_THREADS, 2)
    attn_dq_kernel(attn_bwd_t a, attn_dims_t d) {
    using T = dq_tile_t<DP, capped>;
    constexpr int MT = T::MT, BM = T::BM, BN = T::BN, STRIDE = tile_stride<DP>;
    const int head = (int)blockIdx.x % d.Hq;
    const attn_segment_t seg = segment_at(d, (int)blockIdx.x / d.Hq);
    const int tile = (seg.n + BM - 1) / BM - 1 - (int)blockIdx.y; /* the last sees the most keys */
    if (tile < 0) return;

    DYN_SMEM(bf16_t, smem);
    bf16_t *sq = smem, *sdo = sq + BM * STRIDE, *sv = sdo + BM * STRIDE, *sk = sv + BN * STRIDE;
    const bf16_t *q = (const bf16_t *)a.q + head_at(seg.q0, d.ld_q, head, d);
    const bf16_t *dout = (const bf16_t *)a.dout + head_at(seg.q0, d.ld_dout, head, d);
    const bf16_t *k = (const bf16_t *)a.k + head_at(seg.kv0, d.ld_k, head / d.group, d);
    const bf16_t *v = (const bf16_t *)a.v + head_at(seg.kv0, d.ld_v, head / d.group, d);

    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, row0 = tile * BM + warp * 16 * MT;
    const int first_key = max(tile * BM + 1 - d.window, 0), last_key = min(tile * BM + BM, seg.n) - 1;
    const int warp_first = row0 + 1 - d.window, warp_last = min(row0 + 16 * MT, seg.n) - 1;
    const cap_t<capped> cap(d);

    tile_pad<DP>(smem, 2 * BM + 3 * BN, d.D);
    tile_load<BM, DP>(sq, q, tile * BM, seg.n, d.ld_q, d.D);
    tile_load<BM, DP>(sdo, dout, tile * BM, seg.n, d.ld_dout, d.D);
    tile_load<BN, DP>(sk + last_key / BN % 2 * BN * STRIDE, k, last_key / BN * BN, seg.n, d.ld_k, d.D);
    tile_load<BN, DP>(sv, v, last_key / BN * BN, seg.n, d.ld_v, d.D);
    cp_async_commit();

    attn_stats_t stats[MT][2];
#pragma unroll
    for (int m = 0; m < MT; m++)
#pragma unroll
        for (int h = 0; h < 2; h++)
            stats[m][h] =
                a.stats[(int64_t)head * d.q_off[d.n] + seg.q0 + min(row0 + m * 16 + h * 8 + lane / 4, seg.n - 1)];

    float dq[MT][T::CT][4];
    zero(dq);
    for (int key = last_key / BN * BN; key + BN > first_key; key -= BN) {
        const bool visible = row0 < seg.n && key <= warp_last && key + BN > warp_first;
        const bf16_t *sk_now = sk + key / BN % 2 * BN * STRIDE;
        float s[MT][T::NT][4], dp[MT][T::NT][4];
        cp_async_wait<0>();
        __syncthreads(); /* k and v are here; all are done with the other k */
        if (key > first_key) tile_load<BN, DP>(sk + (key / BN + 1) % 2 * BN * STRIDE, k, key - BN, seg.n, d.ld_k, d.D);
        cp_async_commit();
        if (visible) {
            tile_scores<DP>(s, sq + warp * 16 * MT * STRIDE, sk_now);
            cap.apply(s);
            if (key + BN - 1 > row0 || key + d.window <= warp_last)
                tile_mask(s, [&](int row, int col) {
                    int query = row0 + lane / 4 + row, k = key + lane % 4 * 2 + col;
                    return k <= query && k + d.window > query;
                });
            tile_scores<DP>(dp, sdo + warp * 16 * MT * STRIDE, sv);
        }
        __syncthreads(); /* all are done with v */
        if (key > first_key) tile_load<BN, DP>(sv, v, key - BN, seg.n, d.ld_v, d.D);
        cp_async_commit();
        if (visible) {
            query_gradients(s, dp, stats, cap);
            uint32_t ds[MT][T::NT / 2][4];
            tile_pack(ds, dp);
            tile_accumulate<DP>(dq, ds, sk_now);
        }
    }
    float factor[MT][2];
    fill(factor, d.scale);
    tile_store<DP>(dq, factor, sq + warp * 16 * MT * STRIDE, (bf16_t *)a.dq + head_at(seg.q0, d.ld_dqkv, head, d), row0,
                   seg.n, d.ld_dqkv, d.D);
}

/* ---- dk and dv ------------------------------------------------------------------------------------------- */

/* BN keys (16 * MT to a warp) against BM queries at a time, of each query head of the group: k and v stay in shared
 * memory, q has two buffers (it is the last to be read), dout one. Scores are computed as K Q^T, so that their
 * fragments are those of the products with dout and q. They are taken PASS queries at a time, as registers allow. Head
 * size 256 has registers for half of its columns of dk and dv: its blocks come in pairs. */
template <int DP> struct dkv_tile_t {
    static constexpr int MT = DP <= 64 ? 2 : 1, BN = 16 * MT * ATTN_WARPS;
    static constexpr int BM = DP <= 128 ? 32 : 16, PASS = DP == 64 ? 16 : BM, PASSES = BM / PASS, NT = PASS / 8;
    static constexpr int PARTS = DP <= 128 ? 1 : 2, CT = DP / 8 / PARTS;
    static constexpr size_t rows_bytes = tile_bytes<DP>(2 * BN + 3 * BM); /* then the stats of BM queries */
    static constexpr size_t bytes = rows_bytes + BM * sizeof(attn_stats_t);
};

/* p in place of the scores s and ds = p * (dp - delta), through the cap, in place of dp, for rows of keys; stats of the
 * columns, which are queries. */
template <bool capped, int MT, int NT>
__device__ __forceinline__ void key_gradients(float (&s)[MT][NT][4], float (&dp)[MT][NT][4], const attn_stats_t *stats,
                                              const cap_t<capped> &cap) {
#pragma unroll
    for (int n = 0; n < NT; n++) {
        const float4 two = *(const float4 *)(stats + n * 8 + threadIdx.x % 4 * 2);
#pragma unroll
        for (int m = 0; m < MT; m++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const float through = cap.through(s[m][n][i]);
                s[m][n][i] = exp2_approx(fmaf(s[m][n][i], cap.factor, -(i % 2 ? two.z : two.x)));
                dp[m][n][i] = s[m][n][i] * (dp[m][n][i] - (i % 2 ? two.w : two.y)) * through;
            }
    }
}

template <int DP, bool capped> __global__ void __launch_bounds__(ATTN_THREADS, 2)
    attn_dkv_kernel(attn_bwd_t a, attn_dims_t d) {
    using T = dkv_tile_t<DP>;
    constexpr int MT = T::MT, BM = T::BM, BN = T::BN, STRIDE = tile_stride<DP>;
    const int part = (int)blockIdx.x % T::PARTS, kv_head = (int)blockIdx.x / T::PARTS % d.Hkv;
    const attn_segment_t seg = segment_at(d, (int)blockIdx.x / T::PARTS / d.Hkv);
    const int key0 = (int)blockIdx.y * BN; /* the first tile is seen by the most queries */
    if (key0 >= seg.n) return;

    DYN_SMEM(bf16_t, smem);
    bf16_t *sk = smem, *sv = sk + BN * STRIDE, *sdo = sv + BN * STRIDE, *sq = sdo + BM * STRIDE;
    attn_stats_t *s_stats = (attn_stats_t *)((char *)smem + T::rows_bytes);
    const int tokens = d.q_off[d.n];
    const bf16_t *q = (const bf16_t *)a.q + head_at(seg.q0, d.ld_q, kv_head * d.group, d);
    const bf16_t *dout = (const bf16_t *)a.dout + head_at(seg.q0, d.ld_dout, kv_head * d.group, d);
    const unsigned stats_at = (unsigned)(kv_head * d.group) * (unsigned)tokens + (unsigned)seg.q0;

    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const int row0 = key0 + warp * 16 * MT, row_last = row0 + 16 * MT - 1; /* keys of this warp */
    const cap_t<capped> cap(d);

    /* Steps: for each head of the group the tiles of queries that see any of the keys. */
    const int first_query = key0 / BM * BM, end_query = min(key0 + BN - 1 + d.window, seg.n);
    const int steps = (end_query - first_query + BM - 1) / BM * d.group;
    const int stats_row = min((int)threadIdx.x, BM - 1);

    tile_pad<DP>(smem, 2 * BN + 3 * BM, d.D);
    tile_load<BN, DP>(sk, (const bf16_t *)a.k + head_at(seg.kv0, d.ld_k, kv_head, d), key0, seg.n, d.ld_k, d.D);
    tile_load<BN, DP>(sv, (const bf16_t *)a.v + head_at(seg.kv0, d.ld_v, kv_head, d), key0, seg.n, d.ld_v, d.D);
    tile_load<BM, DP>(sq, q, first_query, seg.n, d.ld_q, d.D);
    tile_load<BM, DP>(sdo, dout, first_query, seg.n, d.ld_dout, d.D);
    cp_async_commit();
    attn_stats_t next_stats = a.stats[stats_at + (unsigned)min(first_query + stats_row, seg.n - 1)];

    float dk[MT][T::CT][4], dv[MT][T::CT][4];
    zero(dk);
    zero(dv);
    int query = first_query, next_head = 0;
    for (int step = 0; step < steps; step++) {
        int next_query = query + BM;
        if (next_query >= end_query) {
            next_query = first_query;
            next_head++;
        }
        const bool visible = query + BM > row0 && row0 < seg.n && query < row_last + d.window;
        const bf16_t *sq_now = sq + step % 2 * BM * STRIDE;
        uint32_t ds[T::PASSES][MT][T::NT / 2][4];
        if (threadIdx.x < BM) s_stats[threadIdx.x] = next_stats;
        cp_async_wait<0>();
        __syncthreads(); /* q, dout and stats are here; all are done with the other q */
        if (step + 1 < steps)
            tile_load<BM, DP>(sq + (step + 1) % 2 * BM * STRIDE, q + next_head * d.D, next_query, seg.n, d.ld_q, d.D);
        cp_async_commit();
        if (visible) {
#pragma unroll
            for (int i = 0; i < T::PASSES; i++) {
                const int first = query + i * T::PASS;
                float s[MT][T::NT][4], dp[MT][T::NT][4];
                uint32_t p[MT][T::NT / 2][4];
                tile_scores<DP>(s, sk + warp * 16 * MT * STRIDE, sq_now + i * T::PASS * STRIDE);
                cap.apply(s);
                if (first < row_last || first + T::PASS > seg.n || first + T::PASS - 1 >= row0 + d.window)
                    tile_mask(s, [&](int row, int col) {
                        int k = row0 + lane / 4 + row, j = first + lane % 4 * 2 + col;
                        return j < seg.n && k <= j && k + d.window > j;
                    });
                tile_scores<DP>(dp, sv + warp * 16 * MT * STRIDE, sdo + i * T::PASS * STRIDE);
                key_gradients(s, dp, s_stats + i * T::PASS, cap);
                tile_pack(p, s);
                tile_pack(ds[i], dp);
                tile_accumulate<DP>(dv, p, sdo + i * T::PASS * STRIDE + part * T::CT * 8);
            }
        }
        __syncthreads(); /* all are done with dout and stats */
        if (step + 1 < steps) {
            tile_load<BM, DP>(sdo, dout + next_head * d.D, next_query, seg.n, d.ld_dout, d.D);
            next_stats = a.stats[stats_at + (unsigned)next_head * (unsigned)tokens +
                                 (unsigned)min(next_query + stats_row, seg.n - 1)];
        }
        cp_async_commit();
        if (visible) {
#pragma unroll
            for (int i = 0; i < T::PASSES; i++)
                tile_accumulate<DP>(dk, ds[i], sq_now + i * T::PASS * STRIDE + part * T::CT * 8);
        }
        query = next_query;
    }
    float factor[MT][2];
    const int col = part * T::CT * 8;
    const int64_t to = head_at(seg.kv0, d.ld_dqkv, kv_head, d) + col;
    bf16_t *stage = sk + warp * 16 * MT * STRIDE;
    fill(factor, d.scale);
    tile_store<DP>(dk, factor, stage, (bf16_t *)a.dk + to, row0, seg.n, d.ld_dqkv, d.D - col);
    fill(factor, 1);
    tile_store<DP>(dv, factor, stage, (bf16_t *)a.dv + to, row0, seg.n, d.ld_dqkv, d.D - col);
}

/* ---- launches -------------------------------------------------------------------------------------------- */

template <int DP, bool capped> void launch_as(cudaStream_t stream, const attn_bwd_t &a, const attn_dims_t &d) {
    using Q = dq_tile_t<DP, capped>;
    using K = dkv_tile_t<DP>;
    const auto attribute = cudaFuncAttributeMaxDynamicSharedMemorySize;
    const auto dkv_kernel = attn_dkv_kernel<DP, capped>, dq_kernel = attn_dq_kernel<DP, capped>;
    CUDA_CHECK(cudaFuncSetAttribute(dkv_kernel, attribute, (int)K::bytes));
    CUDA_CHECK(cudaFuncSetAttribute(dq_kernel, attribute, (int)Q::bytes));
    dim3 dkv_grid = attn_grid(d, d.Hkv * K::PARTS, (d.max_q + K::BN - 1) / K::BN);
    dim3 dq_grid = attn_grid(d, d.Hq, (d.max_q + Q::BM - 1) / Q::BM);
    LAUNCH(dkv_kernel, dkv_grid, ATTN_THREADS, K::bytes, stream, a, d);
    LAUNCH(dq_kernel, dq_grid, ATTN_THREADS, Q::bytes, stream, a, d);
}

} // namespace

void attn_bwd_mma(cudaStream_t stream, const attn_bwd_t &a, const attn_dims_t &d) {
    by_tile(d, [&](auto tile) {
        using T = decltype(tile);
        launch_as<T::DP, T::capped>(stream, a, d);
    });
}
