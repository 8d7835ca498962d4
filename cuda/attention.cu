/* The attention ops: which kernels take a call, and the pass that precedes the backward. */
#include "cuda/attention.h"
#include "cuda/vec.h"

extern "C" {
#include "cuda/attention_workspace.h"
}

namespace {

enum { STATS_THREADS = 256, STATS_LANES = 8 };
const unsigned STATS_BLOCKS = 2048; /* each takes rows until there are none left */

/* Eight lanes to a query row and head, N elements at a time; D is a multiple of N. */
template <typename T, int N> __global__ void __launch_bounds__(STATS_THREADS)
    stats_kernel(attn_stats_t *stats, const T *o, const T *dout, const float *lse, attn_dims_t d, uint64_t capacity) {
    const uint64_t tokens = (uint64_t)d.q_off[d.n], rows = tokens * d.Hq; /* token by token */
    const uint64_t step = (uint64_t)gridDim.x * (STATS_THREADS / STATS_LANES);
    const int lane = threadIdx.x % STATS_LANES;
    device_check(rows <= capacity && rows <= UINT32_MAX); /* of which threads find theirs in 32 bits */
    /* All lanes of a warp stay together for the shuffles; those past the end do nothing in between. */
    for (uint64_t first = blockIdx.x * (uint64_t)(STATS_THREADS / STATS_LANES); first < rows; first += step) {
        const uint64_t row = first + threadIdx.x / STATS_LANES;
        const int token = (int)((uint32_t)row / (uint32_t)d.Hq), head = (int)((uint32_t)row % (uint32_t)d.Hq);
        const T *o_row = o + head_at(token, d.ld_o, head, d), *dout_row = dout + head_at(token, d.ld_dout, head, d);
        float sum = 0;
        for (int c = lane * N; c < d.D && row < rows; c += STATS_LANES * N) {
            float a[N], b[N];
            vec_load(a, o_row + c);
            vec_load(b, dout_row + c);
            for (int i = 0; i < N; i++) sum = fmaf(a[i], b[i], sum);
        }
        for (int i = 1; i < STATS_LANES; i *= 2) sum += __shfl_xor_sync(0xffffffffu, sum, i);
        if (lane == 0 && row < rows) stats[head * tokens + token] = {lse[row] * LOG2E, sum};
    }
}

template <typename T, int N> void launch_stats(backend_t *be, attn_stats_t *stats, const void *o, const void *dout,
                                               const float *lse, const attn_dims_t &d) {
    size_t most = (size_t)d.n * (size_t)d.max_q * (size_t)d.Hq;
    unsigned grid = grid_for(most, STATS_THREADS / STATS_LANES);
    LAUNCH((stats_kernel<T, N>), grid < STATS_BLOCKS ? grid : STATS_BLOCKS, STATS_THREADS, 0, compute_stream(be), stats,
           (const T *)o, (const T *)dout, lse, d, (uint64_t)(cuda_impl(be)->layout.scratch / sizeof(attn_stats_t)));
}

/* Between rows of `width` elements; kernels count those of one segment, `rows` at most, in 32 bits. */
int distance(size_t ld, size_t width, size_t rows) {
    CHECK(ld >= width && ld <= INT32_MAX && rows * ld <= UINT32_MAX);
    return (int)ld;
}

attn_dims_t dims(const attn_shape_t *shape, const attn_segments_t *seg, bool backward) {
    const attn_shape_t *s = shape;
    const size_t q_width = s->Hq * s->D, kv_width = s->Hkv * s->D;
    CHECK(s->D > 0 && s->Hkv > 0 && s->Hq % s->Hkv == 0 && s->scale > 0);
    CHECK(seg->n <= INT32_MAX && seg->max_q <= seg->max_kv && seg->max_kv < ATTN_NO_WINDOW);
    attn_dims_t d = {};
    d.Hq = (int)s->Hq;
    d.Hkv = (int)s->Hkv;
    d.group = (int)(s->Hq / s->Hkv);
    d.D = (int)s->D;
    d.ld_q = distance(s->ld_q, q_width, seg->max_q);
    d.ld_k = distance(s->ld_k, kv_width, seg->max_kv);
    d.ld_v = distance(s->ld_v, kv_width, seg->max_kv);
    d.ld_o = distance(s->ld_o, q_width, seg->max_q);
    if (backward) {
        d.ld_dout = distance(s->ld_dout, q_width, seg->max_q);
        d.ld_dqkv = distance(s->ld_dqkv, q_width, seg->max_q);
    }
    d.window = s->window && s->window < ATTN_NO_WINDOW ? (int)s->window : ATTN_NO_WINDOW;
    d.scale = s->scale;
    d.softcap = s->softcap > 0 ? s->softcap : 0;
    d.n = (int)seg->n;
    d.q_off = seg->q_off;
    d.kv_off = seg->kv_off;
    d.kv_len = seg->kv_len;
    d.max_q = (int)seg->max_q;
    return d;
}

/* Tensor cores take bf16 rows that begin at 16-byte boundaries; p: all matrices of the call. */
template <typename... P> bool has_mma(const backend_t *be, const attn_dims_t &d, const P *...p) {
    const bool rows = (d.ld_q | d.ld_k | d.ld_v | d.ld_o | d.ld_dout | d.ld_dqkv) % 8 == 0;
    return be->act == DT_BF16 && d.D % 8 == 0 && d.D <= ATTN_MMA_MAX_D && rows && aligned16(p...);
}

/* The most keys that a query sees. */
size_t max_keys(const attn_dims_t &d, const attn_segments_t *seg) { return min_size(seg->max_kv, (size_t)d.window); }

/* Segments of one query: rows in 16-byte pieces. Of several segments only what needs no scratch, which is counted for
 * one: it is the cache that has many keys. */
bool is_token(const backend_t *be, const attn_dims_t &d, const attn_segments_t *seg, const attn_fwd_t &a) {
    const size_t size = dtype_size(be->act), row = (size_t)d.D * size;
    const size_t ld = (size_t)(d.ld_q | d.ld_k | d.ld_v) * size;
    return d.max_q == 1 && row <= ATTN_TOKEN_MAX_BYTES && (row | ld) % 16 == 0 && aligned16(a.q, a.k, a.v) &&
           (d.n == 1 || cuda_token_splits(max_keys(d, seg)) == 1);
}

void attn_fwd(backend_t *be, void *o, float *lse, const void *q, const void *k, const void *v,
              const attn_shape_t *shape, const attn_segments_t *seg) {
    const attn_dims_t d = dims(shape, seg, false);
    const attn_fwd_t a = {q, k, v, o, lse};
    if (!d.n || !d.max_q) return;
    if (is_token(be, d, seg, a)) {
        const size_t keys = max_keys(d, seg);
        attn_fwd_token(compute_stream(be), be->act, a, d, keys,
                       compute_scratch(be, cuda_token_bytes(shape->Hq, shape->D, keys)));
    } else if (has_mma(be, d, q, k, v, o)) attn_fwd_mma(compute_stream(be), a, d);
    else attn_fwd_plain(compute_stream(be), be->act, a, d);
}

void attn_bwd(backend_t *be, void *dq, void *dk, void *dv, const void *dout, const void *q, const void *k,
              const void *v, const void *o, const float *lse, const attn_shape_t *shape, const attn_segments_t *seg) {
    const attn_dims_t d = dims(shape, seg, true);
    if (!d.n || !d.max_q) return;
    CHECK(seg->max_q == seg->max_kv);
    attn_stats_t *stats = (attn_stats_t *)compute_scratch(be, seg->max_q * shape->Hq * sizeof(attn_stats_t));
    const attn_bwd_t a = {q, k, v, dout, stats, dq, dk, dv};
    if (has_mma(be, d, q, k, v, o, dout, dq, dk, dv)) {
        launch_stats<bf16_t, 8>(be, stats, o, dout, lse, d);
        attn_bwd_mma(compute_stream(be), a, d);
        return;
    }
    if (be->act == DT_BF16) launch_stats<bf16_t, 1>(be, stats, o, dout, lse, d);
    else launch_stats<float, 1>(be, stats, o, dout, lse, d);
    attn_bwd_plain(compute_stream(be), be->act, a, d);
}

} // namespace

void cuda_attention_ops(backend_t *be) {
    be->attn_fwd = attn_fwd;
    be->attn_bwd = attn_bwd;
}
