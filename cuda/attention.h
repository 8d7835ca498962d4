/* Attention on CUDA, after FlashAttention-2 (Dao 2023): what its files share.
 *
 * attention.cu chooses: attention_fwd.cu and attention_bwd.cu are for bf16 on tensor cores, attention_plain.cu takes
 * what they do not (fp32, head sizes that are odd or large), attention_token.cu one query at a time. No kernel adds to memory atomically: each output row is
 * the sum of one warp, in an order that the shapes alone decide, so the same input gives the same bytes. */
#ifndef CUDA_ATTENTION_H
#define CUDA_ATTENTION_H

#include "cuda/cuda_impl.h"

/* attn_shape_t and attn_segments_t as kernels take them. */
typedef struct {
    int Hq, Hkv, group; /* group: query heads to a head of k and v */
    int D;
    int ld_q, ld_k, ld_v, ld_o, ld_dout, ld_dqkv;
    int window; /* the most keys that a query sees; ATTN_NO_WINDOW when there is no limit */
    float scale;
    float softcap; /* 0: none */
    int n;         /* segments */
    const int32_t *q_off, *kv_off, *kv_len;
    int max_q; /* the longest segment's queries */
} attn_dims_t;

constexpr float LOG2E = 1.44269504088896341f;

enum { ATTN_NO_WINDOW = 1 << 30 }; /* more keys than there are, and a key's index can be added to it */

/* Of a query row and head, for the backward: a probability is exp2(score * log2(e) - lse2), the gradient of its score
 * is p * (dp - delta). In memory [Hq, T]. */
typedef struct __align__(8) {
    float lse2;  /* lse in base 2 */
    float delta; /* dout . o */
}
attn_stats_t;

typedef struct {
    const void *q, *k, *v;
    void *o;
    float *lse; /* may be NULL */
} attn_fwd_t;

typedef struct {
    const void *q, *k, *v, *dout;
    const attn_stats_t *stats;
    void *dq, *dk, *dv;
} attn_bwd_t;

/* One segment: queries [q0, q0 + n) are the last of the keys [kv0, kv0 + n_kv). Query j of them sees the keys up to
 * n_kv - n + j. */
typedef struct {
    int q0, n, kv0, n_kv;
} attn_segment_t;

static __device__ __forceinline__ attn_segment_t segment_at(const attn_dims_t &d, int s) {
    return {d.q_off[s], d.q_off[s + 1] - d.q_off[s], d.kv_off[s], d.kv_len[s]};
}

/* Elements from the start of a matrix to that head's columns in that row. */
static __device__ __forceinline__ int64_t head_at(int row, int ld, int head, const attn_dims_t &d) {
    return (int64_t)row * ld + head * d.D;
}

/* A block for each head of each segment, times `tiles`: the slowest index, so that the long tiles of all heads start
 * before the short ones. */
static inline dim3 attn_grid(const attn_dims_t &d, int heads, int tiles) {
    CHECK(tiles <= 65535 && (int64_t)heads * d.n <= INT32_MAX);
    return dim3((unsigned)(heads * d.n), (unsigned)tiles);
}

/* bf16 on tensor cores: head sizes that are multiples of 8, up to this. */
enum { ATTN_MMA_MAX_D = 256 };
void attn_fwd_mma(cudaStream_t stream, const attn_fwd_t &a, const attn_dims_t &d);
void attn_bwd_mma(cudaStream_t stream, const attn_bwd_t &a, const attn_dims_t &d);

/* act is F32 or BF16; any head size that shared memory has room for. */
void attn_fwd_plain(cudaStream_t stream, dtype_t act, const attn_fwd_t &a, const attn_dims_t &d);
void attn_bwd_plain(cudaStream_t stream, dtype_t act, const attn_bwd_t &a, const attn_dims_t &d);

/* One query to a segment, in rows that begin at 16-byte boundaries and have up to 32 lanes of 16 bytes; `max_keys`: the
 * most that one sees. scratch: cuda_token_bytes() for each segment, in attention_workspace.h. */
enum { ATTN_TOKEN_MAX_BYTES = 32 * 16 };
void attn_fwd_token(cudaStream_t stream, dtype_t act, const attn_fwd_t &a, const attn_dims_t &d, size_t max_keys,
                    void *scratch);

#endif
