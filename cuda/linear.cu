/* Linear layers with adapters. The augmented weight of as many layers of a site as there is room for is put together in
 * the workspace, on a stream of its own: frozen weights dequantized, adapters copied beside them. Then one product
 * reads it. Two such places take turns, so that the next is made while the product before it still runs. */
#include "cuda/dropout.h"
#include "cuda/few_tokens.h"
#include "cuda/low_rank.h"
#include "cuda/quant.h"
#include "cuda/vec.h"

enum { THREADS = 256 };

/* ---- adapters in an augmented weight: kernels ------------------------------------------------------------ */

/* The columns behind the frozen weights: layer i has the rows up to `end`, B in the r columns from `first` on. */
typedef struct {
    uint32_t columns;
    struct {
        const void *b;
        uint32_t r, end, first;
    } layer[LINEAR_MAX];
} b_columns_t;

template <typename T, typename S> static __global__ void __launch_bounds__(THREADS)
    b_kernel(T *out, size_t ld, uint32_t n, const __grid_constant__ b_columns_t c) {
    uint32_t i = blockIdx.x * THREADS + threadIdx.x;
    if (i >= n) return;
    uint32_t row = i / c.columns, col = i % c.columns, layer = 0, begin = 0;
    while (row >= c.layer[layer].end) begin = c.layer[layer++].end;
    const S *b = (const S *)c.layer[layer].b;
    uint32_t r = c.layer[layer].r, k = col - c.layer[layer].first; /* wraps where col is less */
    element_store(out + row * ld + col, k < r ? element_load(b + (size_t)(row - begin) * r + k) : 0.0f);
}

/* A row of A for each block of the second index. */
template <typename T, typename S> static __global__ void __launch_bounds__(THREADS)
    a_kernel(T *out, size_t ld, const S *a, size_t cols) {
    size_t c = (size_t)blockIdx.x * THREADS + threadIdx.x;
    if (c < cols) element_store(out + blockIdx.y * ld + c, element_load(a + blockIdx.y * cols + c));
}

/* ---- adapters in an augmented weight: launchers ----------------------------------------------------------- */

/* Layers [first, end) of a site, which are multiplied together. */
typedef struct {
    size_t first, end;
    size_t row, rows; /* their columns of the output */
    size_t u;         /* the columns of u up to their last */
} group_t;

template <typename T, typename S>
static void fill_b(cudaStream_t stream, const linear_t *l, const group_t *g, T *out, size_t ld) {
    b_columns_t c = {(uint32_t)g->u, {}};
    size_t first = 0, end = 0, n = g->rows * g->u;
    CHECK(n <= UINT32_MAX);
    for (size_t i = 0; i < g->end; first += l->part[i++].r) {
        const linear_part_t *p = &l->part[i];
        if (i < g->first) continue;
        end += p->w->rows;
        c.layer[i - g->first] = {p->b, (uint32_t)p->r, (uint32_t)end, (uint32_t)first};
    }
    if (n) LAUNCH((b_kernel<T, S>), grid_for(n, THREADS), THREADS, 0, stream, out, ld, (uint32_t)n, c);
}

template <typename T, typename S> static void fill_a(cudaStream_t stream, const linear_t *l, T *out, size_t ld) {
    size_t cols = linear_cols_of(l), width = linear_width(l);
    CHECK(width <= 65535);
    if (width == 0) return;
    LAUNCH((a_kernel<T, S>), dim3(grid_for(cols, THREADS), (unsigned)width), THREADS, 0, stream, out, ld,
           (const S *)linear_a(l), cols);
}

/* f(T(), S()): the types of activations and of adapters. */
template <typename F> static void by_types(const backend_t *be, const linear_t *l, F f) {
    if (be->act == DT_BF16) f(bf16_t(), bf16_t());
    else if (l->ab_type == DT_BF16) f(float(), bf16_t());
    else f(float(), float());
}

static void *at(const backend_t *be, const void *p, size_t i) { return (unsigned char *)p + i * dtype_size(be->act); }

typedef enum { FROZEN = 1, COLUMNS_B = 2, ROWS_A = 4 } part_t;

/* Those parts of a group's augmented weight, to `place`. */
static void fill(backend_t *be, cudaStream_t stream, const linear_t *l, const group_t *g, int parts, void *place) {
    size_t cols = linear_cols_of(l), width = linear_width(l), ld = linear_ld(cols, width), row = 0;
    for (size_t i = g->first; i < g->end && parts & FROZEN; row += l->part[i++].w->rows)
        dequant_on(be, stream, l->part[i].w, at(be, place, row * ld), ld);
    CHECK(be->act == DT_F32 || width == 0 || l->ab_type == DT_BF16);
    by_types(be, l, [&](auto t, auto s) {
        using T = decltype(t);
        using S = decltype(s);
        T *out = (T *)place;
        if (parts & COLUMNS_B) fill_b<T, S>(stream, l, g, out + cols, ld);
        if (parts & ROWS_A) fill_a<T, S>(stream, l, out + g->rows * ld, ld);
    });
}

/* ---- places ----------------------------------------------------------------------------------------------- */

/* What LANE_COMPUTE was given may write weights or adapters, or lie where the slots lie now: the dequant stream waits
 * for it. */
static void wait_for_compute(backend_t *be) {
    cuda_impl_t *impl = cuda_impl(be);
    if (!impl->weights_touched && impl->slot_workspace == be->workspace) return;
    CUDA_CHECK(cudaEventRecord(impl->touched, compute_stream(be)));
    CUDA_CHECK(cudaStreamWaitEvent(impl->dequant, impl->touched, 0));
    impl->weights_touched = false;
    impl->slot_workspace = be->workspace;
}

/* The operand of a product with a group. */
typedef struct {
    matrix_t m;
    weight_slot_t *slot; /* NULL, or where it lies: the product is to record slot->read */
} weight_t;

/* Weights in BF16 are multiplied where they are, if nothing has to stand beside them. */
static bool as_it_is(const linear_t *l, size_t i) { return l->part[i].w->type == QUANT_NONE && linear_width(l) == 0; }

static weight_t weight_of(backend_t *be, const linear_t *l, const group_t *g, int parts) {
    cuda_impl_t *impl = cuda_impl(be);
    const qweight_t *w = l->part[g->first].w;
    size_t width = linear_width(l), ld = linear_ld(w->cols, width), i = impl->slot_next;
    if (as_it_is(l, g->first)) return {{w->codes, DT_BF16, w->cols}, NULL};
    if (l->augmented) return {{at(be, l->augmented, g->row * ld), be->act, ld}, NULL};
    weight_slot_t *slot = &impl->slot[i];
    void *place = weight_scratch(be, i, (g->rows + width) * ld * dtype_size(be->act));
    impl->slot_next = 1 - i;
    wait_for_compute(be);
    CUDA_CHECK(cudaStreamWaitEvent(impl->dequant, slot->read, 0)); /* the product before the last */
    fill(be, impl->dequant, l, g, parts, place);
    CUDA_CHECK(cudaEventRecord(slot->filled, impl->dequant));
    CUDA_CHECK(cudaStreamWaitEvent(compute_stream(be), slot->filled, 0));
    return {{place, be->act, ld}, slot};
}

static void weight_read(backend_t *be, const weight_t &w) {
    if (w.slot) CUDA_CHECK(cudaEventRecord(w.slot->read, compute_stream(be)));
}

/* The next layers of the site, as many as fit in a place. The same ones where the augmented weight is cached: a sum of
 * two products is rounded in between, and a cache must not change a bit. */
static bool next_group(const backend_t *be, const linear_t *l, group_t *g) {
    if (g->end == l->n) return false;
    size_t width = linear_width(l), row_bytes = linear_ld(linear_cols_of(l), width) * dtype_size(be->act);
    size_t most = cuda_impl(be)->layout.weight / row_bytes;
    *g = {g->end, g->end, g->row + g->rows, 0, g->u};
    bool more = true;
    while (more) {
        const linear_part_t *p = &l->part[g->end++];
        g->rows += p->w->rows;
        g->u += p->r;
        more = g->end < l->n && !as_it_is(l, g->first) && !as_it_is(l, g->end) &&
               g->rows + l->part[g->end].w->rows + width <= most;
    }
    return true;
}

/* ---- bias ------------------------------------------------------------------------------------------------- */

/* What a product is added to, so that y is rounded once: the bias in each row. */
typedef struct {
    struct {
        const float *bias; /* NULL: zeros */
        size_t end;        /* columns up to this */
    } layer[LINEAR_MAX];
} bias_t;

enum { BIAS_ROWS = 64 }; /* of a block, whose threads keep their columns */
template <typename A, int N> static __global__ void __launch_bounds__(THREADS)
    bias_kernel(A *y, size_t ldy, size_t T, size_t cols, const __grid_constant__ bias_t b) {
    size_t c = ((size_t)blockIdx.y * blockDim.x + threadIdx.x) * N, first = (size_t)blockIdx.x * BIAS_ROWS;
    float v[N];
    if (c >= cols) return;
#pragma unroll
    for (int j = 0; j < N; j++) {
        size_t layer = 0, begin = 0;
        while (c + j >= b.layer[layer].end) begin = b.layer[layer++].end;
        const float *bias = b.layer[layer].bias;
        v[j] = bias ? bias[c + j - begin] : 0;
    }
    for (size_t t = first; t < T && t < first + BIAS_ROWS; t++) vec_store(y + t * ldy + c, v);
}

/* To the columns y of a group; false: none of its layers has one, and y stays. */
static bool fill_bias(backend_t *be, const linear_t *l, const group_t *g, size_t T, mat_t y) {
    bias_t b = {};
    size_t end = 0;
    bool any = false;
    for (size_t i = g->first; i < g->end; i++) {
        b.layer[i - g->first] = {l->part[i].bias, end += l->part[i].w->rows};
        any |= l->part[i].bias != NULL;
    }
    if (!any) return false;
    by_lanes(be->act, columns_aligned16(be->act, g->rows, y), [&](auto lanes) {
        using A = typename decltype(lanes)::type;
        constexpr int N = decltype(lanes)::N;
        unsigned threads = block_of(g->rows / N, THREADS);
        dim3 grid(grid_for(T, BIAS_ROWS), grid_for(g->rows, (size_t)threads * N));
        LAUNCH((bias_kernel<A, N>), grid, threads, 0, compute_stream(be), (A *)y.p, y.ld, T, g->rows, b);
    });
    return true;
}

/* ---- the frozen layers and what their adapters add --------------------------------------------------------- */

/* From column c on; from row t on. */
static mat_t columns(const backend_t *be, mat_t m, size_t c) { return {at(be, m.p, c), m.ld}; }
static mat_t rows_from(const backend_t *be, mat_t m, size_t t) { return {at(be, m.p, t * m.ld), m.ld}; }

static matrix_t in_act(const backend_t *be, mat_t m) { return {m.p, be->act, m.ld}; }

/* What the adapter of a layer that is apart adds to y. */
static void apart_fwd(backend_t *be, size_t T, mat_t x, const linear_t *l, mat_t y) {
    const linear_part_t *p = &l->part[0];
    matrix_t b = {(void *)(uintptr_t)p->b, l->ab_type, p->r};
    be->gemm(be, false, true, T, p->w->rows, p->r, 1, in_act(be, columns(be, x, p->w->cols)), b, 1, in_act(be, y));
}

/* The layer without its adapter; false: it is not apart, or has none. */
static bool without_adapter(const linear_t *l, linear_t *frozen) {
    if (!l->apart || linear_width(l) == 0) return false;
    CHECK(l->n == 1);
    *frozen = *l;
    frozen->part[0].r = 0;
    return true;
}

static void linear_fwd(backend_t *be, size_t T, mat_t x, const linear_t *l, mat_t y) {
    group_t g = {};
    linear_t frozen;
    if (T == 0 || few_tokens_fwd(be, T, x, l, y)) return;
    if (without_adapter(l, &frozen)) {
        linear_fwd(be, T, x, &frozen, y);
        apart_fwd(be, T, x, l, y);
        return;
    }
    while (next_group(be, l, &g)) {
        mat_t to = columns(be, y, g.row);
        weight_t w = weight_of(be, l, &g, FROZEN | COLUMNS_B);
        float beta = fill_bias(be, l, &g, T, to) ? 1 : 0;
        be->gemm(be, false, true, T, g.rows, linear_cols_of(l) + g.u, 1, in_act(be, x), w.m, beta, in_act(be, to));
        weight_read(be, w);
    }
}

/* What dropout keeps is scaled by this, in the products with it. */
static float kept_scale(const dropout_t *d) { return d ? dropout_scale(d->p) : 1.0f; }

/* f(t, n): of T rows of `cols` elements rows [t, t + n), which are masked at a time: they come back from the cache, and
 * fill the tiles of products with them. */
template <typename F> static void by_dropped_pieces(const backend_t *be, size_t T, size_t cols, F f) {
    size_t most = cuda_dropped_bytes(be->act) / (cols * dtype_size(be->act));
    CHECK(most > 0);
    size_t tile = most < CUDA_TILE_ROWS ? 1 : CUDA_TILE_ROWS, pieces = ceil_div(T, most / tile * tile);
    for (size_t i = 0; i < pieces; i++) {
        size_t t = piece_begin(T, pieces, tile, i);
        f(t, piece_begin(T, pieces, tile, i + 1) - t);
    }
}

/* Matrices A one behind another: all of the site, or some. */
static matrix_t a_matrix(const linear_t *l, const void *a) { return {(void *)a, l->ab_type, linear_cols_of(l)}; }

/* dx = drop(du A); drop NULL: du A */
static void dropped_bwd(backend_t *be, size_t T, mat_t du, const linear_t *l, const dropout_t *drop, mat_t dx) {
    size_t cols = linear_cols_of(l);
    by_dropped_pieces(be, T, cols, [&](size_t t, size_t n) {
        mat_t rows = rows_from(be, dx, t);
        be->gemm(be, false, false, n, cols, linear_width(l), kept_scale(drop), in_act(be, rows_from(be, du, t)),
                 a_matrix(l, linear_a(l)), 0, in_act(be, rows));
        if (drop) dropout_rows(be, rows, rows, n, cols, t, drop);
    });
}

static void linear_bwd(backend_t *be, size_t T, mat_t dy, const linear_t *l, const dropout_t *drop, mat_t dx) {
    const size_t width = linear_width(l);
    group_t g = {};
    float beta = 0;
    if (T == 0) return;
    linear_t frozen;
    const bool apart = without_adapter(l, &frozen);
    if ((drop || apart) && width) {
        dropped_bwd(be, T, columns(be, dy, linear_rows_of(l)), l, drop, dx);
        beta = 1;
    }
    if (apart) l = &frozen;
    while (next_group(be, l, &g)) {
        /* du lies behind the columns of the last layer, A behind its rows. */
        bool with_a = g.end == l->n && linear_width(l) && !drop;
        weight_t w = weight_of(be, l, &g, FROZEN | (with_a ? ROWS_A : 0));
        be->gemm(be, false, false, T, linear_cols_of(l), g.rows + (with_a ? width : 0), 1,
                 in_act(be, columns(be, dy, g.row)), w.m, beta, in_act(be, dx));
        weight_read(be, w);
        beta = 1;
    }
}

static void linear_cache(backend_t *be, const linear_t *l, bool frozen) {
    const group_t all = {0, l->n, 0, linear_rows_of(l), linear_width(l)};
    CHECK(l->augmented);
    fill(be, compute_stream(be), l, &all, (frozen ? FROZEN : 0) | COLUMNS_B | ROWS_A, l->augmented);
}

/* ---- the low-rank side -------------------------------------------------------------------------------------- */

/* f(x, t, n): rows [t, t + n) of what dropout leaves of x, one piece after another; without it x itself. */
template <typename F>
static void by_dropped_rows(backend_t *be, size_t T, mat_t x, size_t cols, const dropout_t *drop, F f) {
    if (!drop) {
        f(x, (size_t)0, T);
        return;
    }
    unsigned char *scratch = (unsigned char *)compute_scratch(be, cuda_scratch_min(be->act));
    mat_t place = {scratch + cuda_dropped_at(be->act), cols};
    by_dropped_pieces(be, T, cols, [&](size_t t, size_t n) {
        dropout_rows(be, place, rows_from(be, x, t), n, cols, t, drop);
        f(place, t, n);
    });
}

/* Adapters that lie side by side and have one scale. */
typedef struct {
    size_t next;     /* the layer that the next run begins at */
    const void *a;   /* of the first */
    size_t u, width; /* its columns of u */
    float scale;
} run_t;

static bool next_run(const linear_t *l, run_t *run) {
    *run = {run->next, NULL, run->u + run->width, 0, 0};
    for (; run->next < l->n; run->next++) {
        const linear_part_t *p = &l->part[run->next];
        if (p->r == 0) continue;
        if (run->width && p->scale != run->scale) return true;
        if (run->width == 0) run->a = p->a;
        run->scale = p->scale;
        run->width += p->r;
    }
    return run->width > 0;
}

static void adapter_fwd(backend_t *be, size_t T, mat_t x, const linear_t *l, const dropout_t *drop, mat_t u) {
    size_t cols = linear_cols_of(l);
    by_dropped_rows(be, T, x, cols, drop, [&](mat_t rows, size_t t, size_t n) {
        run_t run = {};
        if (low_rank_fwd(be, n, rows, l, kept_scale(drop), rows_from(be, u, t))) return;
        while (next_run(l, &run))
            be->gemm(be, false, true, n, run.width, cols, run.scale * kept_scale(drop), in_act(be, rows),
                     a_matrix(l, run.a), 0, in_act(be, columns(be, rows_from(be, u, t), run.u)));
    });
}

static void adapter_bwd(backend_t *be, size_t T, mat_t dy, mat_t u, const linear_t *l, mat_t du,
                        float *const dB[LINEAR_MAX]) {
    size_t first = 0, at = 0;
    if (low_rank_bwd(be, T, dy, u, l, du, dB)) return;
    for (size_t i = 0; i < l->n; first += l->part[i++].w->rows) {
        const linear_part_t *p = &l->part[i];
        if (!p->r) continue;
        size_t rows = p->w->rows, r = p->r;
        matrix_t dy_i = in_act(be, columns(be, dy, first)), u_i = in_act(be, columns(be, u, at));
        matrix_t b = {(void *)(uintptr_t)p->b, l->ab_type, r};
        be->gemm(be, false, false, T, r, rows, p->scale, dy_i, b, 0, in_act(be, columns(be, du, at)));
        be->gemm(be, true, false, rows, r, T, 1, dy_i, u_i, 1, {dB[i], DT_F32, r});
        at += r;
    }
}

static void adapter_grad(backend_t *be, size_t T, mat_t du, mat_t x, const linear_t *l, const dropout_t *drop,
                         float *dA) {
    size_t cols = linear_cols_of(l);
    by_dropped_rows(be, T, x, cols, drop, [&](mat_t rows, size_t t, size_t n) {
        if (low_rank_grad(be, n, rows_from(be, du, t), rows, l, kept_scale(drop), dA)) return;
        be->gemm(be, true, false, linear_width(l), cols, n, kept_scale(drop), in_act(be, rows_from(be, du, t)),
                 in_act(be, rows), 1, {dA, DT_F32, cols});
    });
}

void cuda_linear_ops(backend_t *be) {
    be->linear_fwd = linear_fwd;
    be->linear_bwd = linear_bwd;
    be->linear_cache = linear_cache;
    be->adapter_fwd = adapter_fwd;
    be->adapter_bwd = adapter_bwd;
    be->adapter_grad = adapter_grad;
}
