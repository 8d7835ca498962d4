/* Linear layers with adapters: the adapters' part of an output first, then the frozen weight's product adds to it, a
 * panel of decoded rows at a time. */
#include "cpu/act.h"
#include "cpu/ops.h"
#include "model/backend/element.h"

enum {
    PANEL_FLOATS = 1024 * 1024, /* of W, decoded for one call of sgemm: a share of the last-level cache */
    TOKEN_BLOCK = 512,          /* rows of an fp32 accumulator where activations are BF16 */
    FEW_TOKENS = 4,             /* up to this many, decode and multiply in one pass over the weight; measured */
    FUSED_CHUNK = 2048,         /* values decoded at a time there: the first-level cache */
    DROPPED_ROWS = 256          /* rows of drop(x) at a time: the second-level cache */
};

static size_t min(size_t a, size_t b) { return a < b ? a : b; }

static size_t max(size_t a, size_t b) { return a > b ? a : b; }

size_t tuned_linear_floats(const backend_t *be, const workspace_need_t *need) {
    /* A panel is at least one row and at most PANEL_FLOATS, unless a row is longer. */
    size_t panel = min(need->max_weight, max(PANEL_FLOATS, need->max_width));
    size_t bf16 = be->act == DT_BF16 ? TOKEN_BLOCK * need->max_width + tuned_gemm_floats() : 0;
    size_t few = FEW_TOKENS * need->max_width, dropped = DROPPED_ROWS * need->max_width + tuned_gemm_floats();
    return max(panel + bf16, max(few, dropped));
}

/* ---- the frozen weight ---------------------------------------------------------------------------------- */

static size_t panel_rows(const qweight_t *w) { return min(max(PANEL_FLOATS / w->cols, 1), w->rows); }

/* y[T,rows] = x W^T + beta*y for few rows of x, which is what generating text needs: a row of W is decoded into
 * the first-level cache and multiplied there, without a trip through memory. */
static void few_tokens(backend_t *be, size_t T, const void *x_act, size_t ldx, const qweight_t *w, float beta, void *y,
                       size_t ldy) {
    const cpu_kernels_t *k = cpu_kernels(be);
    size_t cols = w->cols;
    const float *x = x_act;
    if (be->act == DT_BF16) {
        CHECK(be->workspace_size >= sizeof(float) * T * cols);
        float *wide = be->workspace;
        for (size_t t = 0; t < T; t++)
            k->cast(wide + t * cols, DT_F32, act_at_const(x_act, DT_BF16, t * ldx), DT_BF16, cols);
        x = wide;
        ldx = cols;
    }
#pragma omp parallel for schedule(static) num_threads(be->threads)
    for (size_t r = 0; r < w->rows; r++) {
        float chunk[FUSED_CHUNK], sum[FEW_TOKENS] = {0};
        for (size_t c = 0; c < cols; c += FUSED_CHUNK) {
            size_t n = min(FUSED_CHUNK, cols - c);
            k->dequant(w, r * cols + c, n, chunk, DT_F32, be->act == DT_BF16);
            for (size_t t = 0; t < T; t++) sum[t] += k->dot(chunk, x + t * ldx + c, n);
        }
        for (size_t t = 0; t < T; t++) {
            size_t i = t * ldy + r;
            act_set(y, be->act, i, sum[t] + (beta != 0 ? act_get(y, be->act, i) : 0));
        }
    }
}

/* y[:, panel] = x panel^T + beta*y, one panel of rows of W after another. */
static void frozen_fwd(backend_t *be, size_t T, const void *x, size_t ldx, const qweight_t *w, float beta, void *y,
                       size_t ldy) {
    size_t rows = panel_rows(w);
    float *panel = be->workspace, *scratch = panel + rows * w->cols;
    CHECK(be->workspace_size >= sizeof(float) * rows * w->cols);
    for (size_t r = 0; r < w->rows; r += rows) {
        size_t n = min(rows, w->rows - r);
        tuned_dequant(be, w, r * w->cols, n * w->cols, panel, DT_F32, be->act == DT_BF16);
        tuned_gemm_at(be, scratch, false, true, T, n, w->cols, 1, x, be->act, ldx, panel, DT_F32, w->cols, beta,
                      act_at(y, be->act, r), be->act, ldy);
    }
}

/* sum[T,cols] += x W, one panel of rows of W after another; first: = instead of += */
static void frozen_bwd(backend_t *be, size_t T, const void *x, size_t ldx, const qweight_t *w, bool first, float *sum,
                       size_t ld_sum, float *panel, float *scratch) {
    size_t rows = panel_rows(w), cols = w->cols;
    for (size_t r = 0; r < w->rows; r += rows) {
        size_t n = min(rows, w->rows - r);
        tuned_dequant(be, w, r * cols, n * cols, panel, DT_F32, be->act == DT_BF16);
        tuned_gemm_at(be, scratch, false, false, T, cols, n, 1, act_at_const(x, be->act, r), be->act, ldx, panel,
                      DT_F32, cols, first && r == 0 ? 0 : 1, sum, DT_F32, ld_sum);
    }
}

/* dx = or += sum_i dy_i W_i. The sum is kept in fp32: in dx itself, or for BF16 in an accumulator for a block of
 * tokens. */
static void all_frozen_bwd(backend_t *be, size_t T, const void *dy, size_t lddy, const linear_t *l, bool add, void *dx,
                           size_t lddx) {
    const cpu_kernels_t *k = cpu_kernels(be);
    bool wide = be->act == DT_BF16;
    size_t cols = l->w[0]->cols, block = wide ? TOKEN_BLOCK : T, panel = 0;
    for (size_t i = 0; i < l->n; i++) panel = max(panel, panel_rows(l->w[i]) * cols);
    float *acc = (float *)be->workspace + panel, *scratch = acc + TOKEN_BLOCK * cols;
    CHECK(be->workspace_size >= sizeof(float) * (panel + (wide ? TOKEN_BLOCK * cols : 0)));
    for (size_t t = 0; t < T; t += block) {
        size_t tokens = min(block, T - t), first = 0;
        float *sum = wide ? acc : act_at(dx, be->act, t * lddx);
        for (size_t i = 0; wide && add && i < tokens; i++)
            k->cast(acc + i * cols, DT_F32, act_at(dx, DT_BF16, (t + i) * lddx), DT_BF16, cols);
        for (size_t i = 0; i < l->n; first += l->w[i++]->rows)
            frozen_bwd(be, tokens, act_at_const(dy, be->act, t * lddy + first), lddy, l->w[i], !add && i == 0, sum,
                       wide ? cols : lddx, be->workspace, scratch);
        for (size_t i = 0; wide && i < tokens; i++)
            k->cast(act_at(dx, DT_BF16, (t + i) * lddx), DT_BF16, acc + i * cols, DT_F32, cols);
    }
}

/* ---- dropout -------------------------------------------------------------------------------------------- */

/* What is kept is scaled by this: the products with it are, so that the values themselves are not rounded again. */
static float kept_scale(const dropout_t *d) { return d ? 1.0f / (1.0f - d->p) : 1.0f; }

/* y = x, or 0 where it is dropped, for T rows, which are rows [first, first+T) of the micro-batch; y may be x. */
static void drop_rows(const backend_t *be, void *y, size_t ldy, const void *x, size_t ldx, size_t T, size_t C,
                      size_t first, const dropout_t *d) {
    const cpu_kernels_t *k = cpu_kernels(be);
#pragma omp parallel for schedule(static) num_threads(be->threads)
    for (size_t t = 0; t < T; t++) {
        int32_t row = d->row[first + t], pos = d->pos[first + t];
        uint64_t key = dropout_row_key(d->seed, d->step, row, pos, d->layer, d->site);
        k->dropout_row(act_at(y, be->act, t * ldy), act_at_const(x, be->act, t * ldx), C, key, d->p, be->act);
    }
}

/* Rows of what is left of x that are dealt with at a time, at the beginning of the workspace; without dropout x
 * itself. */
typedef struct {
    const void *p;
    size_t ld, n;
    float *scratch; /* behind them */
} dropped_t;

static dropped_t dropped_rows(const backend_t *be, const void *x, size_t ldx, size_t t, size_t T, size_t C,
                              const dropout_t *d) {
    const void *from = act_at_const(x, be->act, t * ldx);
    if (!d) return (dropped_t){from, ldx, T - t, be->workspace};
    dropped_t r = {be->workspace, C, min(DROPPED_ROWS, T - t), (float *)be->workspace + DROPPED_ROWS * C};
    CHECK(be->workspace_size >= sizeof(float) * DROPPED_ROWS * C);
    drop_rows(be, be->workspace, C, from, ldx, r.n, C, t, d);
    return r;
}

/* ---- the ops -------------------------------------------------------------------------------------------- */

static void linear_fwd(backend_t *be, size_t T, const void *x, size_t ldx, const linear_t *l, void *y, size_t ldy) {
    size_t cols = l->w[0]->cols, u = cols, first = 0;
    if (T == 0) return;
    for (size_t i = 0; i < l->n; first += l->w[i++]->rows) {
        void *y_i = act_at(y, be->act, first);
        if (l->b[i]) {
            tuned_gemm_at(be, be->workspace, false, true, T, l->w[i]->rows, l->r, 1, act_at_const(x, be->act, u),
                          be->act, ldx, l->b[i], l->ab_type, l->r, 0, y_i, be->act, ldy);
            u += l->r;
        }
        (T <= FEW_TOKENS ? few_tokens : frozen_fwd)(be, T, x, ldx, l->w[i], l->b[i] ? 1 : 0, y_i, ldy);
    }
}

static void linear_bwd(backend_t *be, size_t T, const void *dy, size_t lddy, const linear_t *l, const dropout_t *drop,
                       void *dx, size_t lddx) {
    size_t cols = l->w[0]->cols;
    if (T == 0) return;
    if (l->width) {
        tuned_gemm_at(be, be->workspace, false, false, T, cols, l->width, kept_scale(drop),
                      act_at_const(dy, be->act, linear_rows_of(l)), be->act, lddy, l->a, l->ab_type, cols, 0, dx,
                      be->act, lddx);
        if (drop) drop_rows(be, dx, lddx, dx, lddx, T, cols, 0, drop);
    }
    all_frozen_bwd(be, T, dy, lddy, l, l->width > 0, dx, lddx);
}

static void adapter_fwd(backend_t *be, size_t T, const void *x, size_t ldx, const linear_t *l, float scale,
                        const dropout_t *drop, void *u, size_t ldu) {
    size_t cols = l->w[0]->cols;
    for (size_t t = 0; t < T;) {
        dropped_t r = dropped_rows(be, x, ldx, t, T, cols, drop);
        tuned_gemm_at(be, r.scratch, false, true, r.n, l->width, cols, scale * kept_scale(drop), r.p, be->act, r.ld,
                      l->a, l->ab_type, cols, 0, act_at(u, be->act, t * ldu), be->act, ldu);
        t += r.n;
    }
}

static void adapter_grad(backend_t *be, size_t T, const void *du, size_t lddu, const void *x, size_t ldx,
                         const linear_t *l, const dropout_t *drop, float *dA) {
    size_t cols = l->w[0]->cols;
    for (size_t t = 0; t < T;) {
        dropped_t r = dropped_rows(be, x, ldx, t, T, cols, drop);
        tuned_gemm_at(be, r.scratch, true, false, l->width, cols, r.n, kept_scale(drop),
                      act_at_const(du, be->act, t * lddu), be->act, lddu, r.p, be->act, r.ld, 1, dA, DT_F32, cols);
        t += r.n;
    }
}

void tuned_linear_ops(backend_t *be) {
    be->linear_fwd = linear_fwd;
    be->linear_bwd = linear_bwd;
    be->adapter_fwd = adapter_fwd;
    be->adapter_grad = adapter_grad;
}
