/* Linear layers with adapters. The augmented weight of as many layers of a site as there is room for is put together in
 * the workspace, on a stream of its own: frozen weights dequantized, adapters copied beside them. Then one product
 * reads it. Two such places take turns, so that the next is made while the product before it still runs. */
#include "cuda/dropout.h"
#include "cuda/quant.h"
#include "cuda/vec.h"

enum { THREADS = 256 };

/* ---- adapters in an augmented weight: kernels ------------------------------------------------------------ */

/* The columns behind the frozen weights: layer i has the rows up to `end`, B in the columns from `first` on. */
typedef struct {
    uint32_t r, columns;
    struct {
        const void *b; /* NULL: no adapter */
        uint32_t end, first;
    } layer[LINEAR_MAX];
} b_columns_t;

template <typename T, typename S> static __global__ void __launch_bounds__(THREADS)
    b_kernel(T *out, size_t ld, uint32_t n, const __grid_constant__ b_columns_t c) {
    uint32_t i = blockIdx.x * THREADS + threadIdx.x;
    if (i >= n) return;
    uint32_t row = i / c.columns, col = i % c.columns, layer = 0, begin = 0;
    while (row >= c.layer[layer].end) begin = c.layer[layer++].end;
    const S *b = (const S *)c.layer[layer].b;
    uint32_t k = col - c.layer[layer].first; /* wraps where col is less */
    element_store(out + row * ld + col, b && k < c.r ? element_load(b + (size_t)(row - begin) * c.r + k) : 0.0f);
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
    b_columns_t c = {(uint32_t)l->r, (uint32_t)g->u, {}};
    size_t first = 0, end = 0, n = g->rows * g->u;
    CHECK(n <= UINT32_MAX);
    for (size_t i = 0; i < g->end; i++) {
        if (i >= g->first) {
            end += l->w[i]->rows;
            c.layer[i - g->first] = {l->b[i], (uint32_t)end, (uint32_t)first};
        }
        if (l->b[i]) first += l->r;
    }
    if (n) LAUNCH((b_kernel<T, S>), grid_for(n, THREADS), THREADS, 0, stream, out, ld, (uint32_t)n, c);
}

template <typename T, typename S> static void fill_a(cudaStream_t stream, const linear_t *l, T *out, size_t ld) {
    size_t cols = l->w[0]->cols;
    CHECK(l->width <= 65535);
    if (l->width == 0) return;
    LAUNCH((a_kernel<T, S>), dim3(grid_for(cols, THREADS), (unsigned)l->width), THREADS, 0, stream, out, ld,
           (const S *)l->a, cols);
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
    size_t cols = l->w[0]->cols, ld = linear_ld(cols, l->width), row = 0;
    for (size_t i = g->first; i < g->end && parts & FROZEN; row += l->w[i++]->rows)
        dequant_on(be, stream, l->w[i], at(be, place, row * ld), ld);
    CHECK(be->act == DT_F32 || l->width == 0 || l->ab_type == DT_BF16);
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
    const void *p;
    dtype_t type;
    size_t ld;
    weight_slot_t *slot; /* NULL, or where it lies: the product is to record slot->read */
} weight_t;

/* Weights that are not quantized are multiplied where they are, if nothing has to stand beside them. */
static bool as_it_is(const linear_t *l, size_t i) { return l->width == 0 && l->w[i]->type == QUANT_NONE; }

static weight_t weight_of(backend_t *be, const linear_t *l, const group_t *g, int parts) {
    cuda_impl_t *impl = cuda_impl(be);
    const qweight_t *w = l->w[g->first];
    size_t ld = linear_ld(w->cols, l->width), i = impl->slot_next;
    if (as_it_is(l, g->first)) return {w->codes, DT_BF16, w->cols, NULL};
    if (l->augmented) return {at(be, l->augmented, g->row * ld), be->act, ld, NULL};
    weight_slot_t *slot = &impl->slot[i];
    void *place = weight_scratch(be, i, (g->rows + l->width) * ld * dtype_size(be->act));
    impl->slot_next = 1 - i;
    wait_for_compute(be);
    CUDA_CHECK(cudaStreamWaitEvent(impl->dequant, slot->read, 0)); /* the product before the last */
    fill(be, impl->dequant, l, g, parts, place);
    CUDA_CHECK(cudaEventRecord(slot->filled, impl->dequant));
    CUDA_CHECK(cudaStreamWaitEvent(compute_stream(be), slot->filled, 0));
    return {place, be->act, ld, slot};
}

static void weight_read(backend_t *be, const weight_t &w) {
    if (w.slot) CUDA_CHECK(cudaEventRecord(w.slot->read, compute_stream(be)));
}

/* The next layers of the site, as many as fit in a place. The same ones where the augmented weight is cached: a sum of
 * two products is rounded in between, and a cache must not change a bit. */
static bool next_group(const backend_t *be, const linear_t *l, group_t *g) {
    if (g->end == l->n) return false;
    size_t row_bytes = linear_ld(l->w[0]->cols, l->width) * dtype_size(be->act);
    size_t most = cuda_impl(be)->layout.weight / row_bytes;
    *g = {g->end, g->end, g->row + g->rows, 0, g->u};
    bool more = true;
    while (more) {
        g->rows += l->w[g->end]->rows;
        if (l->b[g->end++]) g->u += l->r;
        more = g->end < l->n && !as_it_is(l, g->first) && !as_it_is(l, g->end) &&
               g->rows + l->w[g->end]->rows + l->width <= most;
    }
    return true;
}

/* ---- the frozen layers and what their adapters add --------------------------------------------------------- */

static void linear_fwd(backend_t *be, size_t T, const void *x, size_t ldx, const linear_t *l, void *y, size_t ldy) {
    size_t cols = l->w[0]->cols;
    group_t g = {};
    if (T == 0) return;
    while (next_group(be, l, &g)) {
        weight_t w = weight_of(be, l, &g, FROZEN | COLUMNS_B);
        be->gemm(be, false, true, T, g.rows, cols + g.u, 1.0f, x, be->act, ldx, w.p, w.type, w.ld, 0.0f,
                 at(be, y, g.row), be->act, ldy);
        weight_read(be, w);
    }
}

/* What dropout keeps is scaled by this, in the products with it. */
static float kept_scale(const dropout_t *d) { return d ? 1.0f / (1.0f - d->p) : 1.0f; }

/* Rows of `cols` elements that are masked at a time: they come back from the cache. */
static size_t dropped_rows(const backend_t *be, size_t cols) {
    size_t n = CUDA_DROPPED_BYTES / (cols * dtype_size(be->act));
    CHECK(n > 0);
    return n;
}

/* dx = drop(du A) */
static void dropped_bwd(backend_t *be, size_t T, const void *du, size_t lddu, const linear_t *l, const dropout_t *drop,
                        void *dx, size_t lddx) {
    size_t cols = l->w[0]->cols, step = dropped_rows(be, cols);
    for (size_t t = 0; t < T; t += step) {
        size_t n = min_size(step, T - t);
        void *rows = at(be, dx, t * lddx);
        be->gemm(be, false, false, n, cols, l->width, kept_scale(drop), at(be, du, t * lddu), be->act, lddu, l->a,
                 l->ab_type, cols, 0.0f, rows, be->act, lddx);
        dropout_rows(be, rows, lddx, rows, lddx, n, cols, t, drop);
    }
}

static void linear_bwd(backend_t *be, size_t T, const void *dy, size_t lddy, const linear_t *l, const dropout_t *drop,
                       void *dx, size_t lddx) {
    group_t g = {};
    float beta = 0;
    if (T == 0) return;
    if (drop && l->width) {
        dropped_bwd(be, T, at(be, dy, linear_rows_of(l)), lddy, l, drop, dx, lddx);
        beta = 1;
    }
    while (next_group(be, l, &g)) {
        /* du lies behind the columns of the last layer, A behind its rows. */
        bool with_a = g.end == l->n && l->width && !drop;
        weight_t w = weight_of(be, l, &g, FROZEN | (with_a ? ROWS_A : 0));
        be->gemm(be, false, false, T, l->w[0]->cols, g.rows + (with_a ? l->width : 0), 1.0f, at(be, dy, g.row), be->act,
                 lddy, w.p, w.type, w.ld, beta, dx, be->act, lddx);
        weight_read(be, w);
        beta = 1;
    }
}

static void linear_cache(backend_t *be, const linear_t *l, bool frozen) {
    const group_t all = {0, l->n, 0, linear_rows_of(l), l->width};
    CHECK(l->augmented);
    fill(be, compute_stream(be), l, &all, (frozen ? FROZEN : 0) | COLUMNS_B | ROWS_A, l->augmented);
}

/* ---- the low-rank side -------------------------------------------------------------------------------------- */

/* f(x, ldx, t, n): rows [t, t + n) of what dropout leaves of x, one piece after another; without it x itself. */
template <typename F> static void by_dropped_rows(backend_t *be, size_t T, const void *x, size_t ldx, size_t cols,
                                                  const dropout_t *drop, F f) {
    if (!drop) {
        f(x, ldx, (size_t)0, T);
        return;
    }
    void *place = (unsigned char *)compute_scratch(be, CUDA_SCRATCH_MIN) + CUDA_BLAS_BYTES + CUDA_MIXED_BYTES;
    size_t step = dropped_rows(be, cols);
    for (size_t t = 0; t < T; t += step) {
        size_t n = min_size(step, T - t);
        dropout_rows(be, place, cols, at(be, x, t * ldx), ldx, n, cols, t, drop);
        f(place, cols, t, n);
    }
}

static void adapter_fwd(backend_t *be, size_t T, const void *x, size_t ldx, const linear_t *l, float scale,
                        const dropout_t *drop, void *u, size_t ldu) {
    size_t cols = l->w[0]->cols;
    by_dropped_rows(be, T, x, ldx, cols, drop, [&](const void *rows, size_t ld, size_t t, size_t n) {
        be->gemm(be, false, true, n, l->width, cols, scale * kept_scale(drop), rows, be->act, ld, l->a, l->ab_type,
                 cols, 0.0f, at(be, u, t * ldu), be->act, ldu);
    });
}

static void adapter_grad(backend_t *be, size_t T, const void *du, size_t lddu, const void *x, size_t ldx,
                         const linear_t *l, const dropout_t *drop, float *dA) {
    size_t cols = l->w[0]->cols;
    by_dropped_rows(be, T, x, ldx, cols, drop, [&](const void *rows, size_t ld, size_t t, size_t n) {
        be->gemm(be, true, false, l->width, cols, n, kept_scale(drop), at(be, du, t * lddu), be->act, lddu, rows,
                 be->act, ld, 1.0f, dA, DT_F32, cols);
    });
}

void cuda_linear_ops(backend_t *be) {
    be->linear_fwd = linear_fwd;
    be->linear_bwd = linear_bwd;
    be->linear_cache = linear_cache;
    be->adapter_fwd = adapter_fwd;
    be->adapter_grad = adapter_grad;
}
