/* Tiles of the tensor-core attention kernels: rows of bf16 in shared memory, fragments of mma m16n8k16 in registers.
 *
 * A tile has DP columns: the head size D, padded with zeros to a size that there is a kernel for. Its rows lie DP + 8
 * apart: the 8 rows of an ldmatrix then fall into different banks, whatever DP is (a multiple of 16). Blocks have four
 * warps; warp w owns rows [16 * MT * w, 16 * MT * (w + 1)) of the tile of results.
 *
 * Fragments of fp32 sums: c[0], c[1] are row lane / 4, columns lane % 4 * 2 and the next of a 16x8 tile; c[2], c[3] are
 * 8 rows below. */
#ifndef CUDA_ATTENTION_TILE_H
#define CUDA_ATTENTION_TILE_H

#include "cuda/attention.h"
#include "cuda/vec.h"

enum { ATTN_WARPS = 4, ATTN_THREADS = 32 * ATTN_WARPS };

template <int DP> constexpr int tile_stride = DP + 8;
template <int DP> constexpr size_t tile_bytes(int rows) { return (size_t)rows * tile_stride<DP> * sizeof(bf16_t); }

/* Over the four lanes that hold a row of a fragment. */
static __device__ __forceinline__ float row_max(float x) {
    x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 1));
    return fmaxf(x, __shfl_xor_sync(0xffffffffu, x, 2));
}

static __device__ __forceinline__ float row_sum(float x) {
    x += __shfl_xor_sync(0xffffffffu, x, 1);
    return x + __shfl_xor_sync(0xffffffffu, x, 2);
}

/* Starts the copy of rows [first, first + ROWS) of src, which has n rows, to a tile. Rows past the end repeat the last
 * one: finite values, which the masks take out. */
template <int ROWS, int DP>
static __device__ __forceinline__ void tile_load(bf16_t *tile, const bf16_t *src, int first, int n, int stride, int D) {
    constexpr int CHUNKS = DP / 8, STEP = ATTN_THREADS / CHUNKS; /* 16-byte pieces of a row; rows at a time */
    const int row = threadIdx.x / CHUNKS, col = threadIdx.x % CHUNKS * 8;
    if (row >= STEP || col >= D) return;
#pragma unroll
    for (int r = 0; r < ROWS; r += STEP) {
        if (ROWS % STEP && r + row >= ROWS) break;
        int from = min(first + r + row, n - 1);
        cp_async16(tile + (r + row) * tile_stride<DP> + col, src + (unsigned)from * (unsigned)stride + (unsigned)col);
    }
}

/* Zeros columns [D, DP), which tile_load() leaves alone. */
template <int DP> static __device__ __forceinline__ void tile_pad(bf16_t *tile, int rows, int D) {
    if (D == DP) return;
    for (int r = threadIdx.x; r < rows; r += ATTN_THREADS)
        for (int col = D; col < DP; col += 8) *(uint4 *)(tile + r * tile_stride<DP> + col) = make_uint4(0, 0, 0, 0);
}

/* Where a lane's ldmatrix rows begin in a 16x16 piece of a tile: for the operand A, or B from a tile of its rows; and
 * for B from a tile of its columns. */
template <int DP> static __device__ __forceinline__ int lane_rows() {
    const int lane = threadIdx.x % 32;
    return lane % 16 * tile_stride<DP> + lane / 16 * 8;
}

template <int DP> static __device__ __forceinline__ int lane_cols() {
    const int lane = threadIdx.x % 32;
    return (lane / 16 * 8 + lane % 8) * tile_stride<DP> + lane / 8 % 2 * 8;
}

/* s = A B^T for MT * 16 rows of the tile a and NT * 8 rows of the tile b. */
template <int DP, int MT, int NT>
static __device__ __forceinline__ void tile_scores(float (&s)[MT][NT][4], const bf16_t *a, const bf16_t *b) {
    static_assert(NT % 2 == 0 && DP % 16 == 0, "whole 16x16 pieces");
    a += lane_rows<DP>();
    b += lane_cols<DP>();
#pragma unroll
    for (int m = 0; m < MT; m++)
#pragma unroll
        for (int n = 0; n < NT; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) s[m][n][i] = 0;
#pragma unroll 2 /* all of them: the compiler loads so far ahead that it runs out of registers */
    for (int k = 0; k < DP; k += 16) {
        uint32_t fa[MT][4];
#pragma unroll
        for (int m = 0; m < MT; m++) ldmatrix_x4(fa[m], a + m * 16 * tile_stride<DP> + k);
#pragma unroll
        for (int n = 0; n < NT; n += 2) {
            uint32_t fb[4];
            ldmatrix_x4(fb, b + n * 8 * tile_stride<DP> + k);
#pragma unroll
            for (int m = 0; m < MT; m++) {
                mma_bf16_16816(s[m][n], fa[m], fb);
                mma_bf16_16816(s[m][n + 1], fa[m], fb + 2);
            }
        }
    }
}

/* Scores in base 2 are cap_t::factor times what the tiles hold once they have passed apply(): raw scores, or where there
 * is a soft cap, tanh(raw * scale / cap). To some 2^-23 of the cap, not of the value: it is an exponent. */
template <bool capped> struct cap_t {
    float factor, inner; /* exp2(raw * inner) = exp(2 * raw * scale / cap) */

    __device__ __forceinline__ cap_t(const attn_dims_t &d)
        : factor((capped ? d.softcap : d.scale) * LOG2E), inner(capped ? 2 * LOG2E * d.scale / d.softcap : 0) {}

    template <int MT, int NT> __device__ __forceinline__ void apply(float (&s)[MT][NT][4]) const {
        if constexpr (capped) {
#pragma unroll
            for (int m = 0; m < MT; m++)
#pragma unroll
                for (int n = 0; n < NT; n++)
#pragma unroll
                    for (int i = 0; i < 4; i++) s[m][n][i] = 1 - __fdividef(2, exp2_approx(s[m][n][i] * inner) + 1);
        }
    }

    /* What a gradient of the capped score is multiplied by; finite where the mask is, too. */
    __device__ __forceinline__ float through(float s) const {
        if constexpr (capped) {
            s = fmaxf(s, -1.0f);
            return 1 - s * s;
        } else {
            return 1;
        }
    }
};

/* Takes scores that visible(row, column), counted from this lane's first, refuses to minus infinity. */
template <int MT, int NT, class F> static __device__ __forceinline__ void tile_mask(float (&s)[MT][NT][4], F visible) {
#pragma unroll
    for (int m = 0; m < MT; m++)
#pragma unroll
        for (int n = 0; n < NT; n++)
#pragma unroll
            for (int i = 0; i < 4; i++)
                if (!visible(m * 16 + i / 2 * 8, n * 8 + i % 2)) s[m][n][i] = -INFINITY;
}

/* Fragments of fp32 sums, MT * 16 rows of KT * 16 columns, as operands A in bf16: the same lanes hold them. */
template <int MT, int NT, int KT>
static __device__ __forceinline__ void tile_pack(uint32_t (&p)[MT][KT][4], const float (&s)[MT][NT][4]) {
    static_assert(NT == 2 * KT, "two 16x8 pieces to an operand");
#pragma unroll
    for (int m = 0; m < MT; m++)
#pragma unroll
        for (int k = 0; k < KT; k++)
#pragma unroll
            for (int i = 0; i < 4; i++)
                p[m][k][i] = bf16_pair(s[m][2 * k + i / 2][i % 2 * 2], s[m][2 * k + i / 2][i % 2 * 2 + 1]);
}

/* acc += P B: MT * 16 rows of P from tile_pack(), KT * 16 rows and CT * 8 columns of the tile b. */
template <int DP, int MT, int KT, int CT>
static __device__ __forceinline__ void tile_accumulate(float (&acc)[MT][CT][4], const uint32_t (&p)[MT][KT][4],
                                                       const bf16_t *b) {
    static_assert(CT % 2 == 0, "whole 16x16 pieces");
    b += lane_rows<DP>();
#pragma unroll
    for (int k = 0; k < KT; k++)
#pragma unroll
        for (int n = 0; n < CT; n += 2) {
            uint32_t fb[4];
            ldmatrix_x4_trans(fb, b + k * 16 * tile_stride<DP> + n * 8);
#pragma unroll
            for (int m = 0; m < MT; m++) {
                mma_bf16_16816(acc[m][n], p[m][k], fb);
                mma_bf16_16816(acc[m][n + 1], p[m][k], fb + 2);
            }
        }
}

/* Writes the warp's MT * 16 rows acc * factor to rows [first, ...) of dst, n rows of `cols` columns in all, 16 bytes at
 * a time. `stage` is the warp's own rows of a tile that no other warp reads. */
template <int DP, int MT, int CT>
static __device__ __forceinline__ void tile_store(const float (&acc)[MT][CT][4], const float (&factor)[MT][2],
                                                  bf16_t *stage, bf16_t *dst, int first, int n, int stride, int cols) {
    const int lane = threadIdx.x % 32;
    __syncwarp(); /* all lanes have read what is overwritten */
#pragma unroll
    for (int m = 0; m < MT; m++)
#pragma unroll
        for (int c = 0; c < CT; c++)
#pragma unroll
            for (int h = 0; h < 2; h++)
                *(uint32_t *)(stage + (m * 16 + h * 8 + lane / 4) * tile_stride<DP> + c * 8 + lane % 4 * 2) = bf16_pair(
                    acc[m][c][2 * h] * factor[m][h], acc[m][c][2 * h + 1] * factor[m][h]);
    __syncwarp();
    for (int i = lane; i < MT * 16 * CT; i += 32) {
        int row = i / CT, col = i % CT * 8;
        if (first + row < n && col < cols)
            *(uint4 *)(dst + (int64_t)(first + row) * stride + col) = *(const uint4 *)(stage + row * tile_stride<DP> +
                                                                                       col);
    }
    __syncwarp(); /* the stage may be written again */
}

/* ---- what a launcher chooses ------------------------------------------------------------------------- */

template <int size, bool is_capped> struct tile_choice_t {
    static constexpr int DP = size;
    static constexpr bool capped = is_capped;
};

/* f(tile_choice_t<the first of these sizes that D fits in>()) */
template <bool capped, int DP, int... more, typename F> static inline void by_size(const attn_dims_t &d, F f) {
    if (d.D <= DP) f(tile_choice_t<DP, capped>());
    else if constexpr (sizeof...(more)) by_size<capped, more...>(d, f);
}

/* With a soft cap fewer sizes, since few models have one. */
template <typename F> static inline void by_tile(const attn_dims_t &d, F f) {
    if (d.softcap > 0) by_size<true, 64, 128, ATTN_MMA_MAX_D>(d, f);
    else by_size<false, 16, 32, 64, 80, 96, 128, ATTN_MMA_MAX_D>(d, f);
}

#endif
