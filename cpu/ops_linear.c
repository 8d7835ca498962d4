/* Linear layers with adapters: a bias and the adapter's part of an output first, then the frozen weight's product adds
 * to it, a panel of decoded rows at a time. Sums are kept in fp32: in the output itself, or where activations are BF16
 * in an accumulator for a block of tokens. */
#include <string.h>

#include "base/minmax.h"
#include "cpu/act.h"
#include "cpu/ops.h"
#include "model/backend/element.h"

enum {
    PANEL_FLOATS = 1024 * 1024, /* of W, decoded for one call of sgemm: a share of the last-level cache */
    TOKEN_BLOCK = 512,          /* rows of an fp32 accumulator where activations are BF16 */
    SUM_COLUMNS = 1024,         /* and its columns at most in a forward: rows of a panel */
    FEW_TOKENS = 4,             /* up to this many, decode and multiply in one pass over the weight; measured */
    FUSED_CHUNK = 2048,         /* values decoded at a time there: the first-level cache */
    DROPPED_ROWS = 256          /* rows of drop(x) at a time: the second-level cache */
};

size_t tuned_linear_floats(const backend_t *be, const workspace_need_t *need) {
    /* A panel is at least one row and at most PANEL_FLOATS, unless a row is longer. */
    size_t panel = min_size(need->max_weight, max_size(PANEL_FLOATS, need->max_width));
    size_t bf16 = be->act == DT_BF16 ? TOKEN_BLOCK * max_size(need->max_width, SUM_COLUMNS) + tuned_gemm_floats() : 0;
    size_t few = FEW_TOKENS * need->max_width, dropped = DROPPED_ROWS * need->max_width + tuned_gemm_floats();
    return max_size(panel + bf16, max_size(few, dropped));
}

/* ---- the frozen weight ---------------------------------------------------------------------------------- */

static size_t panel_rows(const qweight_t *w) { return min_size(max_size(PANEL_FLOATS / w->cols, 1), w->rows); }

/* Columns of a matrix of act values from its row t and column c on. */
static mat_t mat_at(const backend_t *be, mat_t m, size_t t, size_t c) {
    return (mat_t){act_at(m.p, be->act, t * m.ld + c), m.ld};
}

static matrix_t matrix_of(const backend_t *be, mat_t m) { return (matrix_t){m.p, be->act, m.ld}; }

static matrix_t f32_matrix(float *p, size_t ld) { return (matrix_t){p, DT_F32, ld}; }

/* One part of a site: what it takes of the input, and its columns of the output. */
typedef struct {
    const linear_part_t *part;
    dtype_t ab_type;
    mat_t x, u, y;
} part_fwd_t;

/* [x | u] of few tokens side by side in fp32. */
static float *widened_tokens(backend_t *be, size_t T, const part_fwd_t *f) {
    size_t cols = f->part->w->cols, r = f->part->r, ld = cols + r;
    float *wide = be->workspace;
    CHECK(be->workspace_size >= sizeof(float) * T * ld);
    for (size_t t = 0; t < T; t++) {
        cpu_kernels(be)->cast(wide + t * ld, DT_F32, mat_at(be, f->x, t, 0).p, be->act, cols);
        cpu_kernels(be)->cast(wide + t * ld + cols, DT_F32, mat_at(be, f->u, t, 0).p, be->act, r);
    }
    return wide;
}

/* For few rows of x, which is what generating text needs: a row of W is decoded into the first-level cache and
 * multiplied there, without a trip through memory, and so is its row of B. */
static void few_tokens(backend_t *be, size_t T, const part_fwd_t *f) {
    const cpu_kernels_t *k = cpu_kernels(be);
    const linear_part_t *p = f->part;
    size_t cols = p->w->cols, rank = p->r, ldx = f->x.ld, ldu = f->u.ld;
    const float *x = f->x.p, *u = f->u.p;
    if (be->act == DT_BF16) {
        x = widened_tokens(be, T, f);
        u = x + cols;
        ldx = ldu = cols + rank;
    }
#pragma omp parallel for schedule(static) num_threads(be->threads)
    for (size_t r = 0; r < p->w->rows; r++) {
        float chunk[FUSED_CHUNK], sum[FEW_TOKENS] = {0};
        for (size_t c = 0; c < cols; c += FUSED_CHUNK) {
            size_t n = min_size(FUSED_CHUNK, cols - c);
            k->dequant(p->w, r * cols + c, n, chunk, DT_F32, be->act == DT_BF16);
            for (size_t t = 0; t < T; t++) sum[t] += k->dot(chunk, x + t * ldx + c, n);
        }
        for (size_t c = 0; c < rank; c += FUSED_CHUNK) {
            size_t n = min_size(FUSED_CHUNK, rank - c);
            k->cast(chunk, DT_F32, act_at_const(p->b, f->ab_type, r * rank + c), f->ab_type, n);
            for (size_t t = 0; t < T; t++) sum[t] += k->dot(chunk, u + t * ldu + c, n);
        }
        for (size_t t = 0; t < T; t++)
            act_set(f->y.p, be->act, t * f->y.ld + r, p->bias ? sum[t] + p->bias[r] : sum[t]);
    }
}

/* Outputs [first, first+n) of tokens [t, t+T) without what the frozen weight adds to them; false: that is nothing, and
 * the sum is not written. */
static bool begin_sum(backend_t *be, const part_fwd_t *f, size_t t, size_t T, size_t first, size_t n, float *sum,
                      size_t ld, float *scratch) {
    const linear_part_t *p = f->part;
    if (p->bias) {
#pragma omp parallel for schedule(static) num_threads(be->threads)
        for (size_t i = 0; i < T; i++) memcpy(sum + i * ld, p->bias + first, n * sizeof *sum);
    }
    if (p->r) {
        const matrix_t b = {act_at((void *)p->b, f->ab_type, first * p->r), f->ab_type, p->r};
        tuned_gemm_at(be, scratch, false, true, T, n, p->r, 1, matrix_of(be, mat_at(be, f->u, t, 0)), b,
                      p->bias ? 1 : 0, f32_matrix(sum, ld));
    }
    return p->bias || p->r;
}

/* One panel of rows of W after another. */
static void many_tokens(backend_t *be, size_t T, const part_fwd_t *f) {
    const qweight_t *w = f->part->w;
    bool wide = be->act == DT_BF16, begun = false;
    size_t rows = wide ? min_size(panel_rows(w), SUM_COLUMNS) : panel_rows(w), cols = w->cols;
    float *panel = be->workspace, *acc = panel + rows * cols, *scratch = acc + TOKEN_BLOCK * rows;
    CHECK(be->workspace_size >= sizeof(float) * rows * (cols + (wide ? TOKEN_BLOCK : 0)));
    for (size_t r = 0; r < w->rows; r += rows) {
        size_t n = min_size(rows, w->rows - r), block = wide ? TOKEN_BLOCK : T;
        /* The panel comes after what is scratch to the adapter's product. */
        if (!wide) begun = begin_sum(be, f, 0, T, r, n, mat_at(be, f->y, 0, r).p, f->y.ld, be->workspace);
        tuned_dequant(be, w, r * cols, n * cols, panel, DT_F32, wide);
        for (size_t t = 0; t < T; t += block) {
            size_t tokens = min_size(block, T - t);
            mat_t y = mat_at(be, f->y, t, r);
            const matrix_t sum = wide ? f32_matrix(acc, n) : matrix_of(be, y);
            if (wide) begun = begin_sum(be, f, t, tokens, r, n, acc, n, scratch);
            tuned_gemm_at(be, scratch, false, true, tokens, n, cols, 1, matrix_of(be, mat_at(be, f->x, t, 0)),
                          f32_matrix(panel, cols), begun ? 1 : 0, sum);
            for (size_t i = 0; wide && i < tokens; i++)
                cpu_kernels(be)->cast(mat_at(be, y, i, 0).p, DT_BF16, acc + i * n, DT_F32, n);
        }
    }
}

/* sum[T,cols] += dy W, one panel of rows of W after another; first: = instead of += */
static void frozen_bwd(backend_t *be, size_t T, mat_t dy, const qweight_t *w, bool first, matrix_t sum, float *panel,
                       float *scratch) {
    size_t rows = panel_rows(w), cols = w->cols;
    for (size_t r = 0; r < w->rows; r += rows) {
        size_t n = min_size(rows, w->rows - r);
        tuned_dequant(be, w, r * cols, n * cols, panel, DT_F32, be->act == DT_BF16);
        tuned_gemm_at(be, scratch, false, false, T, cols, n, 1, matrix_of(be, mat_at(be, dy, 0, r)),
                      f32_matrix(panel, cols), first && r == 0 ? 0 : 1, sum);
    }
}

/* ---- dropout -------------------------------------------------------------------------------------------- */

/* What is kept is scaled by this: the products with it are, so that the values themselves are not rounded again. */
static float kept_scale(const dropout_t *d) { return d ? 1.0f / (1.0f - d->p) : 1.0f; }

/* y = x, or 0 where it is dropped, for T rows, which are rows [first, first+T) of the micro-batch; y may be x. */
static void drop_rows(const backend_t *be, matrix_t y, matrix_t x, size_t T, size_t C, size_t first,
                      const dropout_t *d) {
    const cpu_kernels_t *k = cpu_kernels(be);
#pragma omp parallel for schedule(static) num_threads(be->threads)
    for (size_t t = 0; t < T; t++) {
        int32_t row = d->row[first + t], pos = d->pos[first + t];
        uint64_t key = dropout_row_key(d->seed, d->step, row, pos, d->layer, d->site);
        k->dropout_row(act_at(y.p, y.type, t * y.ld), act_at(x.p, x.type, t * x.ld), 0, C, key, d->p, y.type);
    }
}

/* Rows of what is left of x that are dealt with at a time, at the beginning of the workspace; without dropout x
 * itself. */
typedef struct {
    mat_t x;
    size_t n;
    float *scratch; /* behind them */
} dropped_t;

static dropped_t dropped_rows(const backend_t *be, mat_t x, size_t t, size_t T, size_t C, const dropout_t *d) {
    mat_t from = mat_at(be, x, t, 0);
    if (!d) return (dropped_t){from, T - t, be->workspace};
    dropped_t r = {{be->workspace, C}, min_size(DROPPED_ROWS, T - t), (float *)be->workspace + DROPPED_ROWS * C};
    CHECK(be->workspace_size >= sizeof(float) * DROPPED_ROWS * C);
    drop_rows(be, matrix_of(be, r.x), matrix_of(be, from), r.n, C, t, d);
    return r;
}

/* ---- the ops -------------------------------------------------------------------------------------------- */

static void linear_fwd(backend_t *be, size_t T, mat_t x, const linear_t *l, mat_t y) {
    size_t u = linear_cols_of(l), first = 0;
    if (T == 0) return;
    for (size_t i = 0; i < l->n; i++) {
        const linear_part_t *p = &l->part[i];
        const part_fwd_t f = {p, l->ab_type, x, mat_at(be, x, 0, u), mat_at(be, y, 0, first)};
        (T <= FEW_TOKENS ? few_tokens : many_tokens)(be, T, &f);
        u += p->r;
        first += p->w->rows;
    }
}

/* All the A of a site, or those from row k on. */
static matrix_t matrix_a(const linear_t *l, size_t k) {
    size_t cols = linear_cols_of(l);
    return (matrix_t){act_at((void *)linear_a(l), l->ab_type, k * cols), l->ab_type, cols};
}

/* What adapters add to the gradients of tokens [t, t+T); false: that is nothing, and the sum is not written. */
static bool begin_dx(backend_t *be, mat_t dy, const linear_t *l, const dropout_t *drop, size_t t, size_t T,
                     matrix_t sum, float *scratch) {
    size_t cols = linear_cols_of(l), width = linear_width(l);
    if (width == 0) return false;
    tuned_gemm_at(be, scratch, false, false, T, cols, width, kept_scale(drop),
                  matrix_of(be, mat_at(be, dy, t, linear_rows_of(l))), matrix_a(l, 0), 0, sum);
    if (drop) drop_rows(be, sum, sum, T, cols, t, drop);
    return true;
}

static void linear_bwd(backend_t *be, size_t T, mat_t dy, const linear_t *l, const dropout_t *drop, mat_t dx) {
    bool wide = be->act == DT_BF16;
    size_t cols = linear_cols_of(l), block = wide ? TOKEN_BLOCK : T, panel = 0;
    for (size_t i = 0; i < l->n; i++) panel = max_size(panel, panel_rows(l->part[i].w) * cols);
    float *acc = (float *)be->workspace + panel, *scratch = acc + TOKEN_BLOCK * cols;
    CHECK(be->workspace_size >= sizeof(float) * (panel + (wide ? TOKEN_BLOCK * cols : 0)));
    for (size_t t = 0; t < T; t += block) {
        size_t tokens = min_size(block, T - t), first = 0;
        mat_t out = mat_at(be, dx, t, 0);
        const matrix_t sum = wide ? f32_matrix(acc, cols) : matrix_of(be, out);
        /* The panels come after what is scratch to the adapters' product. */
        bool begun = begin_dx(be, dy, l, drop, t, tokens, sum, wide ? scratch : be->workspace);
        for (size_t i = 0; i < l->n; first += l->part[i++].w->rows)
            frozen_bwd(be, tokens, mat_at(be, dy, t, first), l->part[i].w, !begun && i == 0, sum, be->workspace,
                       scratch);
        for (size_t i = 0; wide && i < tokens; i++)
            cpu_kernels(be)->cast(mat_at(be, out, i, 0).p, DT_BF16, acc + i * cols, DT_F32, cols);
    }
}

/* u of the parts from *i on that have the scale of the first of them, in one product; *i becomes the next one. */
static void adapters_of_scale(backend_t *be, const dropped_t *r, const linear_t *l, float kept, mat_t u, size_t *i,
                              size_t *k) {
    float scale = l->part[*i].scale;
    size_t width = 0;
    for (; *i < l->n && (l->part[*i].r == 0 || l->part[*i].scale == scale); (*i)++) width += l->part[*i].r;
    tuned_gemm_at(be, r->scratch, false, true, r->n, width, linear_cols_of(l), scale * kept, matrix_of(be, r->x),
                  matrix_a(l, *k), 0, matrix_of(be, mat_at(be, u, 0, *k)));
    *k += width;
}

static void adapter_fwd(backend_t *be, size_t T, mat_t x, const linear_t *l, const dropout_t *drop, mat_t u) {
    for (size_t t = 0; t < T;) {
        dropped_t r = dropped_rows(be, x, t, T, linear_cols_of(l), drop);
        for (size_t i = 0, k = 0; i < l->n;) {
            if (l->part[i].r == 0) i++;
            else adapters_of_scale(be, &r, l, kept_scale(drop), mat_at(be, u, t, 0), &i, &k);
        }
        t += r.n;
    }
}

static void adapter_grad(backend_t *be, size_t T, mat_t du, mat_t x, const linear_t *l, const dropout_t *drop,
                         float *dA) {
    size_t cols = linear_cols_of(l);
    for (size_t t = 0; t < T;) {
        dropped_t r = dropped_rows(be, x, t, T, cols, drop);
        tuned_gemm_at(be, r.scratch, true, false, linear_width(l), cols, r.n, kept_scale(drop),
                      matrix_of(be, mat_at(be, du, t, 0)), matrix_of(be, r.x), 1, f32_matrix(dA, cols));
        t += r.n;
    }
}

void tuned_linear_ops(backend_t *be) {
    be->linear_fwd = linear_fwd;
    be->linear_bwd = linear_bwd;
    be->adapter_fwd = adapter_fwd;
    be->adapter_grad = adapter_grad;
}
