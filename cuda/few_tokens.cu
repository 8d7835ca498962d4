/* y = x W^T + bias + u B^T for one to four tokens. A warp takes two rows of W from end to end and keeps the sums of all
 * tokens in registers: each code is read once, decoded in registers, and the sum of a row is always added up in one
 * order. Kept augmented weights are passed over: codes are a quarter of them, and the bits do not depend on it. */
#include "cuda/few_tokens.h"

#include <type_traits>

#include "cuda/decode.h"
#include "cuda/reduce.h"

/* A lane decodes RUN values at a time, or one where rows do not begin at multiples of it; PART of them are in fp32. */
enum { WARPS = 4, THREADS = 32 * WARPS, ROWS = 2, RUN = 16, PART = 8 };

typedef struct {
    coded_t w;
    const float *bias;    /* NULL: none */
    const void *b;        /* [rows, r] */
    uint32_t r, u;        /* of u, behind x: the first of r columns */
    uint32_t rows, first; /* of y: the first of its columns */
    uint32_t warps;
} few_layer_t;

/* Layers of one coding, side by side. */
typedef struct {
    uint32_t n, cols, tokens;
    bool b_is_f32; /* else BF16 */
    few_layer_t layer[LINEAR_MAX];
} few_t;

template <code_t CODE, int N> constexpr int run_bytes = N == 1 ? bits_of<CODE> / 16 + 1 : N *bits_of<CODE> / 8;

/* A run as words: of bytes, the compiler would give each a register. */
template <int BYTES> struct alignas(BYTES) words_t { uint32_t word[BYTES / 4]; };
template <code_t CODE, int N>
using held_t = std::conditional_t<N == 1, code_run_t<run_bytes<CODE, N>>, words_t<run_bytes<CODE, N == 1 ? RUN : N>>>;

/* The codes of ROWS rows from one column on, and their constants. */
template <code_t CODE, levels_t LEVELS, int N> struct runs_t {
    held_t<CODE, N> run[ROWS];
    float scale[ROWS];
    uint32_t odd[ROWS]; /* N 1: which half of its byte a 4-bit code is in */

    __device__ __forceinline__ void load(const coded_t &w, const uint32_t (&row)[ROWS], uint32_t c) {
#pragma unroll
        for (int r = 0; r < ROWS; r++) {
            const uint32_t i = row[r] + c;
            run[r] = *reinterpret_cast<const held_t<CODE, N> *>(w.codes + (size_t)i * bits_of<CODE> / 8);
            scale[r] = block_absmax<LEVELS>(w, i / (uint32_t)QUANT_BLOCK);
            odd[r] = i % 2;
        }
    }

    /* Values from place `at` of row r's run on, as products take them. */
    template <typename A, int M>
    __device__ __forceinline__ void values(float (&v)[M], int r, int at, const float *table) const {
        code_run_t<run_bytes<CODE, M>> part;
        memcpy(&part, reinterpret_cast<const uint8_t *>(&run[r]) + at * bits_of<CODE> / 8, sizeof part);
#pragma unroll
        for (int j = 0; j < M; j++)
            v[j] = scaled<CODE>(run_value<CODE>(part, N == 1 && CODE == TABLE4 ? (int)odd[r] : j, table), scale[r]);
        vec_round<A>(v);
    }
};

static __device__ __forceinline__ float b_value(const few_layer_t &l, bool is_f32, size_t i) {
    return is_f32 ? ((const float *)l.b)[i] : element_load((const bf16_t *)l.b + i);
}

template <code_t CODE, levels_t LEVELS, typename A, int TOKENS, int N> static __global__ void __launch_bounds__(THREADS)
    few_kernel(A *y, size_t ldy, const A *x, size_t ldx, const __grid_constant__ few_t f) {
    constexpr int M = N == 1 ? 1 : (int)PART;
    SHARED(float, table, 16);
    if constexpr (CODE == TABLE4) {
        if (threadIdx.x < 16) table[threadIdx.x] = f.layer[0].w.table[threadIdx.x];
        __syncthreads();
    }
    const uint32_t lane = threadIdx.x % 32, cols = f.cols;
    uint32_t warp = blockIdx.x * WARPS + threadIdx.x / 32, layer = 0;
    while (layer < f.n && warp >= f.layer[layer].warps) warp -= f.layer[layer++].warps;
    if (layer == f.n) return;
    const few_layer_t &l = f.layer[layer];

    uint32_t row[ROWS];
    const A *token[TOKENS];
    float sum[ROWS][TOKENS];
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
        row[r] = min(warp * ROWS + r, l.rows - 1) * cols;
        for (int t = 0; t < TOKENS; t++) sum[r][t] = 0;
    }
#pragma unroll
    for (int t = 0; t < TOKENS; t++) token[t] = x + min((uint32_t)t, f.tokens - 1) * ldx;

    runs_t<CODE, LEVELS, N> now, next; /* under way while those before are used; behind the end the last ones again */
    next.load(l.w, row, min(lane * N, cols - N));
    for (uint32_t c = lane * N; c < cols; c += 32 * N) {
        now = next;
        next.load(l.w, row, min(c + 32 * N, cols - N));
#pragma unroll
        for (int at = 0; at < N; at += M) {
            float w[ROWS][M];
#pragma unroll
            for (int r = 0; r < ROWS; r++) now.template values<A>(w[r], r, at, table);
#pragma unroll
            for (int t = 0; t < TOKENS; t++) {
                float v[M];
                vec_load(v, token[t] + c + at);
#pragma unroll
                for (int j = 0; j < M; j++)
                    for (int r = 0; r < ROWS; r++) sum[r][t] = fmaf(v[j], w[r][j], sum[r][t]);
            }
        }
    }
    for (uint32_t k = lane; k < l.r; k += 32)
#pragma unroll
        for (int r = 0; r < ROWS; r++) {
            const float b = b_value(l, f.b_is_f32, (size_t)min(warp * ROWS + r, l.rows - 1) * l.r + k);
#pragma unroll
            for (int t = 0; t < TOKENS; t++) sum[r][t] = fmaf(element_load(token[t] + cols + l.u + k), b, sum[r][t]);
        }
#pragma unroll
    for (int r = 0; r < ROWS; r++)
#pragma unroll
        for (int t = 0; t < TOKENS; t++) {
            const float all = warp_sum(sum[r][t]);
            const uint32_t o = warp * ROWS + r;
            if ((int)lane == r * TOKENS + t && o < l.rows && t < (int)f.tokens)
                element_store(y + t * ldy + l.first + o, all + (l.bias ? l.bias[o] : 0));
        }
}

/* ---- launchers ------------------------------------------------------------------------------------------- */

template <code_t CODE, levels_t LEVELS, typename A>
static void launch(cudaStream_t stream, mat_t y, mat_t x, const few_t &f, bool wide) {
    unsigned warps = 0;
    for (uint32_t i = 0; i < f.n; i++) warps += f.layer[i].warps;
    auto kernel = f.tokens == 1 ? wide ? few_kernel<CODE, LEVELS, A, 1, RUN> : few_kernel<CODE, LEVELS, A, 1, 1>
                  : wide ? few_kernel<CODE, LEVELS, A, FEW_TOKENS, RUN>
                                : few_kernel<CODE, LEVELS, A, FEW_TOKENS, 1>;
    LAUNCH(kernel, grid_for(warps, WARPS), THREADS, 0, stream, (A *)y.p, y.ld, (const A *)x.p, x.ld, f);
}

/* Whether rows of codes can be read in runs. */
static bool in_runs(const qweight_t *w) {
    return w->cols % RUN == 0 && (uintptr_t)w->codes % quant_code_bytes(w->type, RUN) == 0;
}

static bool same_coding(const qweight_t *a, const qweight_t *b) {
    return a->type == b->type && (quant_is_plain(a->type) || a->double_quant == b->double_quant);
}

/* Layer i of the site, whose first columns of y and u these are. */
static few_layer_t layer_of(const backend_t *be, const linear_t *l, size_t i, size_t first, size_t u) {
    const linear_part_t *p = &l->part[i];
    CHECK(qweight_count(p->w) <= UINT32_MAX);
    const uint32_t rows = (uint32_t)p->w->rows;
    return {coded(be, p->w), p->bias, p->b, (uint32_t)p->r, (uint32_t)u, rows, (uint32_t)first, grid_for(rows, ROWS)};
}

bool few_tokens_fwd(backend_t *be, size_t T, mat_t x, const linear_t *l, mat_t y) {
    if (T > FEW_TOKENS || !linear_is_augmented(l)) return false;
    const size_t cols = linear_cols_of(l);
    bool wide = columns_aligned16(be->act, cols, x);
    CHECK(linear_width(l) == 0 || be->act == DT_F32 || l->ab_type == DT_BF16);
    for (size_t i = 0; i < l->n; i++) wide &= in_runs(l->part[i].w);
    size_t first = 0, u = 0;
    for (size_t i = 0; i < l->n;) {
        const qweight_t *w = l->part[i].w;
        few_t f = {0, (uint32_t)cols, (uint32_t)T, l->ab_type == DT_F32, {}};
        for (; i < l->n && same_coding(w, l->part[i].w); i++) {
            f.layer[f.n++] = layer_of(be, l, i, first, u);
            first += l->part[i].w->rows;
            u += l->part[i].r;
        }
        by_coding(*w, [&](auto c) {
            if (be->act == DT_BF16) launch<c.CODE, c.LEVELS, bf16_t>(compute_stream(be), y, x, f, wide);
            else launch<c.CODE, c.LEVELS, float>(compute_stream(be), y, x, f, wide);
        });
    }
    return true;
}
