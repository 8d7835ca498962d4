/* Attention forward in bf16 on tensor cores: scores of a tile of queries with one tile of keys after another, softmax
 * by running maxima and sums, probabilities straight from the registers of one product into the next. */
#include "cuda/attention_tile.h"

namespace {

/* A block's tile: BM queries (16 * MT to a warp) against BN keys at a time. Two row pieces to a warp halve the traffic
 * of shared memory for each product; head size 256 has registers for one only, and 128 not for 64 keys. */
template <int DP> struct tile_t {
    static constexpr int MT = DP <= 128 ? 2 : 1, BM = 16 * MT * ATTN_WARPS, BN = DP <= 96 ? 64 : DP <= 128 ? 48 : 32;
    static constexpr int NT = BN / 8, CT = DP / 8;
    static constexpr size_t bytes = tile_bytes<DP>(BM + 2 * BN);
};

/* The state of the warp's rows: the maximum of the scores so far in base 2, the sum of exponentials (this lane's
 * columns only) and the weighted sum of v, both relative to that maximum. */
template <int MT, int CT> struct softmax_t { float max[MT][2], sum[MT][2], o[MT][CT][4]; };

/* What exponents are relative to. For a row that has seen no key yet any finite number serves: no infinities are
 * subtracted. */
__device__ __forceinline__ float base_of(float max) { return max == -INFINITY ? 0 : max; }

/* Scores become probabilities relative to the new maxima; in base 2 they are scale2 times what is in s. */
template <int MT, int NT, int CT>
__device__ __forceinline__ void softmax_step(softmax_t<MT, CT> &x, float (&s)[MT][NT][4], float scale2) {
    float shrink[MT][2];
    bool moved = false;
#pragma unroll
    for (int m = 0; m < MT; m++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            float max = s[m][0][2 * h];
#pragma unroll
            for (int n = 0; n < NT; n++) max = fmaxf(max, fmaxf(s[m][n][2 * h], s[m][n][2 * h + 1]));
            max = fmaxf(x.max[m][h], row_max(max) * scale2);
            shrink[m][h] = exp2_approx(x.max[m][h] - base_of(max));
            moved |= max != x.max[m][h];
            x.max[m][h] = max;
        }
    /* Maxima move early; later this branch saves more than it costs. */
    if (__any_sync(0xffffffffu, moved)) {
#pragma unroll
        for (int m = 0; m < MT; m++)
#pragma unroll
            for (int h = 0; h < 2; h++) {
                x.sum[m][h] *= shrink[m][h];
#pragma unroll
                for (int c = 0; c < CT; c++) {
                    x.o[m][c][2 * h] *= shrink[m][h];
                    x.o[m][c][2 * h + 1] *= shrink[m][h];
                }
            }
    }
#pragma unroll
    for (int m = 0; m < MT; m++)
#pragma unroll
        for (int n = 0; n < NT; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                s[m][n][i] = exp2_approx(fmaf(s[m][n][i], scale2, -base_of(x.max[m][i / 2])));
                x.sum[m][i / 2] += s[m][n][i];
            }
}

template <int DP, bool capped> __global__ void __launch_bounds__(ATTN_THREADS, 2)
    attn_fwd_kernel(attn_fwd_t a, attn_dims_t d) {
    using T = tile_t<DP>;
    constexpr int MT = T::MT, BM = T::BM, BN = T::BN;
    const int head = (int)blockIdx.x % d.Hq;
    const attn_segment_t seg = segment_at(d, (int)blockIdx.x / d.Hq);
    const int tile = (seg.n + BM - 1) / BM - 1 - (int)blockIdx.y; /* the last sees the most keys */
    if (tile < 0) return;

    DYN_SMEM(bf16_t, smem);
    bf16_t *sq = smem, *sk = sq + BM * tile_stride<DP>, *sv = sk + BN * tile_stride<DP>;
    const bf16_t *k = (const bf16_t *)a.k + head_at(seg.kv0, d.ld_k, head / d.group, d);
    const bf16_t *v = (const bf16_t *)a.v + head_at(seg.kv0, d.ld_v, head / d.group, d);

    /* Keys that this tile's queries and this warp's see, counted in the segment. */
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, shift = seg.n_kv - seg.n;
    const int row0 = tile * BM + warp * 16 * MT;
    const int first_key = max(tile * BM + shift + 1 - d.window, 0), last_key = min(tile * BM + BM, seg.n) - 1 + shift;
    const int warp_first = row0 + shift + 1 - d.window, warp_last = min(row0 + 16 * MT, seg.n) - 1 + shift;
    const cap_t<capped> cap(d);

    softmax_t<MT, T::CT> x;
#pragma unroll
    for (int m = 0; m < MT; m++) {
        x.max[m][0] = x.max[m][1] = -INFINITY;
        x.sum[m][0] = x.sum[m][1] = 0;
#pragma unroll
        for (int c = 0; c < T::CT; c++)
#pragma unroll
            for (int i = 0; i < 4; i++) x.o[m][c][i] = 0;
    }

    tile_pad<DP>(smem, BM + 2 * BN, d.D);
    tile_load<BM, DP>(sq, (const bf16_t *)a.q + head_at(seg.q0, d.ld_q, head, d), tile * BM, seg.n, d.ld_q, d.D);
    tile_load<BN, DP>(sk, k, last_key / BN * BN, seg.n_kv, d.ld_k, d.D);
    cp_async_commit();
    for (int key = last_key / BN * BN; key + BN > first_key; key -= BN) {
        const bool visible = row0 < seg.n && key <= warp_last && key + BN > warp_first;
        const bool masked = key + BN - 1 > row0 + shift || key + d.window <= warp_last;
        float s[MT][T::NT][4];
        cp_async_wait<0>();
        __syncthreads(); /* k is here; all are done with the last v */
        tile_load<BN, DP>(sv, v, key, seg.n_kv, d.ld_v, d.D);
        cp_async_commit();
        if (visible) {
            tile_scores<DP>(s, sq + warp * 16 * MT * tile_stride<DP>, sk);
            cap.apply(s);
            if (masked)
                tile_mask(s, [&](int row, int col) {
                    int last = row0 + lane / 4 + shift + row, k = key + lane % 4 * 2 + col;
                    return k <= last && k + d.window > last;
                });
        }
        cp_async_wait<0>();
        __syncthreads(); /* v is here; all are done with k */
        if (key > first_key) tile_load<BN, DP>(sk, k, key - BN, seg.n_kv, d.ld_k, d.D);
        cp_async_commit();
        if (visible) {
            uint32_t p[MT][T::NT / 2][4];
            softmax_step(x, s, cap.factor);
            tile_pack(p, s);
            tile_accumulate<DP>(x.o, p, sv);
        }
    }

    float inverse[MT][2];
#pragma unroll
    for (int m = 0; m < MT; m++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
            float sum = row_sum(x.sum[m][h]);
            int row = row0 + m * 16 + h * 8 + lane / 4;
            inverse[m][h] = 1 / sum;
            if (a.lse && lane % 4 == 0 && row < seg.n)
                a.lse[(int64_t)(seg.q0 + row) * d.Hq + head] = x.max[m][h] / LOG2E + logf(sum);
        }
    tile_store<DP>(x.o, inverse, sq + warp * 16 * MT * tile_stride<DP>,
                   (bf16_t *)a.o + head_at(seg.q0, d.ld_o, head, d), row0, seg.n, d.ld_o, d.D);
}

template <int DP, bool capped> void launch_as(cudaStream_t stream, const attn_fwd_t &a, const attn_dims_t &d) {
    using T = tile_t<DP>;
    const auto kernel = attn_fwd_kernel<DP, capped>;
    CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)T::bytes));
    dim3 grid = attn_grid(d, d.Hq, (d.max_q + T::BM - 1) / T::BM);
    LAUNCH(kernel, grid, ATTN_THREADS, T::bytes, stream, a, d);
}

} // namespace

void attn_fwd_mma(cudaStream_t stream, const attn_fwd_t &a, const attn_dims_t &d) {
    by_tile(d, [&](auto tile) {
        using T = decltype(tile);
        launch_as<T::DP, T::capped>(stream, a, d);
    });
}
