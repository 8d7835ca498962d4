/* Attention of one query to a segment: generation. Its keys are split among blocks, since one query of a few heads would
 * leave most of the machine idle; a second kernel merges what they found, in the order of the keys. The heads that
 * share keys are taken together, four at a time, so that keys and values are read once.
 *
 * A group of lanes has the channels of a head, N to a lane, and meets keys one `groups` behind another: online softmax
 * in registers. The groups of a block are merged in shared memory. */
#include <type_traits>

#include "cuda/attention.h"
#include "cuda/vec.h"

extern "C" {
#include "cuda/attention_workspace.h"
}

namespace {

enum { THREADS = 128, HEADS = 4, KEYS = 4 }; /* keys that a group of lanes has in flight */

/* Where a split leaves its sums: of each segment and head, [splits]. */
typedef struct {
    float *max, *sum, *o; /* o [.., D], not yet divided by the sum */
    int splits, keys;     /* keys of a split */
} splits_t;

/* Of a segment, that its query sees. */
__device__ __forceinline__ int first_key(const attn_segment_t &seg, const attn_dims_t &d) {
    return max(seg.n_kv - d.window, 0);
}

template <bool capped> __device__ __forceinline__ float score(float dot, const attn_dims_t &d) {
    return capped ? softcap(dot * d.scale, d.softcap) : dot * d.scale;
}

/* What exponents are counted from where the largest score is `max`: of no keys it is -infinity, whose exponential is to
 * be 0, not NaN. */
__device__ __forceinline__ float base_of(float max) { return max == -INFINITY ? 0 : max; }

/* What is known of H heads from some keys: the largest score, the sum of exponentials, the weighted values of this
 * lane's channels. */
template <int H, int N> struct state_t {
    float max[H], sum[H], o[H][N];

    __device__ __forceinline__ void clear() {
#pragma unroll
        for (int h = 0; h < H; h++) {
            max[h] = -INFINITY;
            sum[h] = 0;
#pragma unroll
            for (int j = 0; j < N; j++) o[h][j] = 0;
        }
    }

    /* KEYS scores of each head, -infinity for a key that does not count, and the rows of v. */
    __device__ __forceinline__ void add(float (&s)[H][KEYS], const float (&v)[KEYS][N]) {
#pragma unroll
        for (int h = 0; h < H; h++) {
            float top = max[h];
#pragma unroll
            for (int i = 0; i < KEYS; i++) top = fmaxf(top, s[h][i]);
            const float base = base_of(top), factor = expf(max[h] - base);
            max[h] = top;
            sum[h] *= factor;
#pragma unroll
            for (int j = 0; j < N; j++) o[h][j] *= factor;
#pragma unroll
            for (int i = 0; i < KEYS; i++) {
                const float weight = expf(s[h][i] - base);
                sum[h] += weight;
#pragma unroll
                for (int j = 0; j < N; j++) o[h][j] = fmaf(weight, v[i][j], o[h][j]);
            }
        }
    }
};

/* The block of split blockIdx.y. With one split in all it writes the result. */
template <typename T, int H, bool capped> __global__ void __launch_bounds__(THREADS)
    token_kernel(attn_fwd_t a, attn_dims_t d, splits_t splits, int lanes) {
    constexpr int N = 16 / sizeof(T);
    SHARED(float, group_o, THREADS *N *H);
    SHARED(float, group_max, THREADS *H);
    SHARED(float, group_sum, THREADS *H);
    const int chunks = (d.group + H - 1) / H, at = (int)blockIdx.x, chunk = at % chunks;
    const int kv_head = at / chunks % d.Hkv, segment = at / chunks / d.Hkv;
    const attn_segment_t seg = segment_at(d, segment);
    if (seg.n == 0) return;
    const int first_head = kv_head * d.group + chunk * H, heads = min((int)H, d.group - chunk * H);
    const int first = first_key(seg, d) + (int)blockIdx.y * splits.keys, end = min(first + splits.keys, seg.n_kv);
    const int group = (int)threadIdx.x / lanes, groups = THREADS / lanes, c = (int)threadIdx.x % lanes * N;
    const bool mine = c < d.D; /* lanes beyond the head's channels come along */
    const T *q = (const T *)a.q + head_at(seg.q0, d.ld_q, first_head, d) + (mine ? c : 0);
    const T *k = (const T *)a.k + head_at(seg.kv0, d.ld_k, kv_head, d) + (mine ? c : 0);
    const T *v = (const T *)a.v + head_at(seg.kv0, d.ld_v, kv_head, d) + (mine ? c : 0);
    float own_q[H][N];
#pragma unroll
    for (int h = 0; h < H; h++) {
        vec_load(own_q[h], q + min(h, heads - 1) * d.D);
#pragma unroll
        for (int j = 0; j < N; j++) own_q[h][j] = mine ? own_q[h][j] : 0;
    }
    state_t<H, N> state;
    state.clear();
    for (int key = first; key < end; key += KEYS * groups) { /* of all groups alike: they shuffle */
        float s[H][KEYS], k_row[KEYS][N], v_row[KEYS][N];
#pragma unroll
        for (int i = 0; i < KEYS; i++) {
            const int64_t row = min(key + i * groups + group, end - 1);
            vec_load(k_row[i], k + row * d.ld_k);
            vec_load(v_row[i], v + row * d.ld_v);
        }
#pragma unroll
        for (int h = 0; h < H; h++)
#pragma unroll
            for (int i = 0; i < KEYS; i++) {
                s[h][i] = 0;
#pragma unroll
                for (int j = 0; j < N; j++) s[h][i] = fmaf(own_q[h][j], k_row[i][j], s[h][i]);
            }
        for (int apart = lanes / 2; apart > 0; apart /= 2)
#pragma unroll
            for (int h = 0; h < H; h++)
#pragma unroll
                for (int i = 0; i < KEYS; i++) s[h][i] += __shfl_xor_sync(0xffffffffu, s[h][i], apart);
#pragma unroll
        for (int h = 0; h < H; h++)
#pragma unroll
            for (int i = 0; i < KEYS; i++)
                s[h][i] = key + i * groups + group < end ? score<capped>(s[h][i], d) : -INFINITY;
        state.add(s, v_row);
    }

    /* The groups one after another, each thread a head and some of its channels. */
    const int row = lanes * N;
#pragma unroll
    for (int h = 0; h < H; h++) {
        vec_store(group_o + (group * H + h) * row + c, state.o[h]);
        if (c == 0) {
            group_max[group * H + h] = state.max[h];
            group_sum[group * H + h] = state.sum[h];
        }
    }
    __syncthreads();
    for (int i = threadIdx.x; i < heads * d.D; i += THREADS) {
        const int h = i / d.D, column = i % d.D, head = first_head + h;
        float top = -INFINITY, sum = 0, o = 0;
        for (int g = 0; g < groups; g++) top = fmaxf(top, group_max[g * H + h]);
        for (int g = 0; g < groups; g++) {
            const float factor = expf(group_max[g * H + h] - base_of(top));
            sum = fmaf(factor, group_sum[g * H + h], sum);
            o = fmaf(factor, group_o[(g * H + h) * row + column], o);
        }
        if (splits.splits == 1) {
            element_store((T *)a.o + head_at(seg.q0, d.ld_o, head, d) + column, o / sum);
            if (a.lse && column == 0) a.lse[(int64_t)seg.q0 * d.Hq + head] = top + logf(sum);
            continue;
        }
        const int64_t place = ((int64_t)segment * d.Hq + head) * splits.splits + blockIdx.y;
        splits.o[place * d.D + column] = o;
        if (column == 0) {
            splits.max[place] = top;
            splits.sum[place] = sum;
        }
    }
}

/* A block for each head of each segment. */
template <typename T> __global__ void __launch_bounds__(THREADS)
    merge_kernel(attn_fwd_t a, attn_dims_t d, splits_t splits) {
    const int head = (int)blockIdx.x % d.Hq, segment = (int)blockIdx.x / d.Hq;
    const attn_segment_t seg = segment_at(d, segment);
    if (seg.n == 0) return;
    const int64_t place = ((int64_t)segment * d.Hq + head) * splits.splits;
    float top = -INFINITY, sum = 0;
    for (int i = 0; i < splits.splits; i++) top = fmaxf(top, splits.max[place + i]);
    for (int i = 0; i < splits.splits; i++) sum = fmaf(expf(splits.max[place + i] - top), splits.sum[place + i], sum);
    for (int c = threadIdx.x; c < d.D; c += THREADS) {
        float o = 0;
        for (int i = 0; i < splits.splits; i++)
            o = fmaf(expf(splits.max[place + i] - top), splits.o[(place + i) * d.D + c], o);
        element_store((T *)a.o + head_at(seg.q0, d.ld_o, head, d) + c, o / sum);
    }
    if (a.lse && threadIdx.x == 0) a.lse[(int64_t)seg.q0 * d.Hq + head] = top + logf(sum);
}

/* f(T(), std::integral_constant<int, heads at a time>(), std::bool_constant<whether there is a cap>()) */
template <typename F> void by_kind(dtype_t act, const attn_dims_t &d, F f) {
    auto by_heads = [&](auto t, auto capped) {
        if (d.group == 1) f(t, std::integral_constant<int, 1>(), capped);
        else f(t, std::integral_constant<int, HEADS>(), capped);
    };
    auto by_type = [&](auto capped) { act == DT_BF16 ? by_heads(bf16_t(), capped) : by_heads(float(), capped); };
    d.softcap > 0 ? by_type(std::true_type()) : by_type(std::false_type());
}

template <typename T> int lanes_of(int D) {
    int lanes = 1;
    while (lanes * (int)(16 / sizeof(T)) < D) lanes *= 2;
    CHECK(lanes <= 32);
    return lanes;
}

} // namespace

void attn_fwd_token(cudaStream_t stream, dtype_t act, const attn_fwd_t &a, const attn_dims_t &d, size_t max_keys,
                    void *scratch) {
    const size_t n = cuda_token_splits(max_keys), places = (size_t)d.n * (size_t)d.Hq * n;
    float *max = (float *)scratch, *sum = max + places;
    const splits_t splits = {max, sum, sum + places, (int)n, (int)cuda_token_keys(max_keys)};
    by_kind(act, d, [&](auto t, auto heads, auto capped) {
        using T = decltype(t);
        const dim3 grid = attn_grid(d, d.Hkv * ((d.group + heads.value - 1) / heads.value), splits.splits);
        LAUNCH((token_kernel<T, heads.value, capped.value>), grid, THREADS, 0, stream, a, d, splits, lanes_of<T>(d.D));
        if (splits.splits > 1) LAUNCH((merge_kernel<T>), attn_grid(d, d.Hq, 1), THREADS, 0, stream, a, d, splits);
    });
}
