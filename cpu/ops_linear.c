/* Linear layers with adapters: the products of linear_t in model/backend/backend.h, and a pass over the weights alone for
 * few tokens. */
#include "base/minmax.h"
#include "cpu/act.h"
#include "cpu/product.h"
#include "model/backend/element.h"

enum {
    FEW_TOKENS = 4,     /* up to this many, decode and multiply in one pass over the weight; measured */
    FUSED_CHUNK = 2048, /* values decoded at a time there: the first-level cache */
};

size_t tuned_linear_floats(const backend_t *be, const workspace_need_t *need) {
    /* [x | u] of few tokens; a u that is wider than any x has room in what products take. */
    return max_size(2 * FEW_TOKENS * need->max_width, product_floats(be));
}

/* Columns of a matrix of act values from its column c on. */
static mat_t mat_at(const backend_t *be, mat_t m, size_t c) { return (mat_t){act_at(m.p, be->act, c), m.ld}; }

static matrix_t matrix_of(const backend_t *be, mat_t m) { return (matrix_t){m.p, be->act, m.ld}; }

/* ---- few tokens ----------------------------------------------------------------------------------------------- */

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
        cpu_kernels(be)->cast(wide + t * ld, DT_F32, act_at(f->x.p, be->act, t * f->x.ld), be->act, cols);
        cpu_kernels(be)->cast(wide + t * ld + cols, DT_F32, act_at(f->u.p, be->act, t * f->u.ld), be->act, r);
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

/* ---- the ops -------------------------------------------------------------------------------------------- */

static matrix_t matrix_b(const linear_t *l, size_t i) {
    return (matrix_t){(void *)(uintptr_t)l->part[i].b, l->ab_type, l->part[i].r};
}

/* All the A of a site, or those from row k on. */
static matrix_t matrix_a(const linear_t *l, size_t k) {
    size_t cols = linear_cols_of(l);
    return (matrix_t){act_at((void *)(uintptr_t)linear_a(l), l->ab_type, k * cols), l->ab_type, cols};
}

static void linear_fwd(backend_t *be, size_t T, mat_t x, const linear_t *l, mat_t y) {
    product_t p[LINEAR_MAX];
    size_t u = linear_cols_of(l), first = 0;
    for (size_t i = 0; i < l->n; i++) {
        const linear_part_t *part = &l->part[i];
        const mat_t u_i = mat_at(be, x, u), y_i = mat_at(be, y, first);
        if (T <= FEW_TOKENS) few_tokens(be, T, &(part_fwd_t){part, l->ab_type, x, u_i, y_i});
        p[i] = (product_t){.M = T, .N = part->w->rows, .n = 2, .alpha = 1, .bias = part->bias, .c = matrix_of(be, y_i)};
        p[i].term[0] = (term_t){.K = part->w->cols, .a = matrix_of(be, x), .w = part->w, .tb = true};
        p[i].term[1] = (term_t){.K = part->r, .a = matrix_of(be, u_i), .b = matrix_b(l, i), .tb = true};
        u += part->r;
        first += part->w->rows;
    }
    if (T > FEW_TOKENS) products(be, p, l->n);
}

static void linear_bwd(backend_t *be, size_t T, mat_t dy, const linear_t *l, const dropout_t *drop, mat_t dx) {
    product_t p = {.M = T, .N = linear_cols_of(l), .alpha = 1, .c = matrix_of(be, dx), .mask = drop};
    size_t rows = linear_rows_of(l), width = linear_width(l), first = 0;
    const term_t adapters = {.K = width, .a = matrix_of(be, mat_at(be, dy, rows)), .b = matrix_a(l, 0)};
    if (width && drop) p.term[p.n++] = adapters;
    else p.mask = NULL;
    for (size_t i = 0; i < l->n; first += l->part[i++].w->rows)
        p.term[p.n++] = (term_t){.K = l->part[i].w->rows, .a = matrix_of(be, mat_at(be, dy, first)), .w = l->part[i].w};
    if (width && !drop) p.term[p.n++] = adapters;
    products(be, &p, 1);
}

/* What is kept is scaled by this: the products with it are, so that the values themselves are not rounded again. */
static float kept_scale(const dropout_t *d) { return d ? dropout_scale(d->p) : 1.0f; }

/* Those of one scale are one product. */
static void adapter_fwd(backend_t *be, size_t T, mat_t x, const linear_t *l, const dropout_t *drop, mat_t u) {
    product_t p[LINEAR_MAX];
    size_t n = 0, k = 0;
    for (size_t i = 0; i < l->n; i++) {
        const linear_part_t *part = &l->part[i];
        float scale = part->scale * kept_scale(drop);
        if (part->r == 0) continue;
        if (n == 0 || p[n - 1].alpha != scale) {
            p[n] = (product_t){.M = T, .n = 1, .alpha = scale, .c = matrix_of(be, mat_at(be, u, k))};
            p[n++].term[0] = (term_t){
                .K = linear_cols_of(l), .a = matrix_of(be, x), .b = matrix_a(l, k), .tb = true, .drop_a = drop};
        }
        p[n - 1].N += part->r;
        k += part->r;
    }
    products(be, p, n);
}

/* Of dB the transpose is computed: u is turned around for it, which is less than dy. */
static void adapter_bwd(backend_t *be, size_t T, mat_t dy, mat_t u, const linear_t *l, mat_t du,
                        float *const dB[LINEAR_MAX]) {
    product_t p[PRODUCTS_MAX];
    size_t n = 0, first = 0, k = 0;
    for (size_t i = 0; i < l->n; first += l->part[i++].w->rows) {
        const linear_part_t *part = &l->part[i];
        size_t rows = part->w->rows, r = part->r;
        const matrix_t dy_i = matrix_of(be, mat_at(be, dy, first)), u_i = matrix_of(be, mat_at(be, u, k));
        if (r == 0) continue;
        p[n] = (product_t){.M = T, .N = r, .n = 1, .alpha = part->scale, .c = matrix_of(be, mat_at(be, du, k))};
        p[n++].term[0] = (term_t){.K = rows, .a = dy_i, .b = matrix_b(l, i)};
        p[n] = (product_t){.M = r, .N = rows, .n = 1, .alpha = 1, .beta = 1, .c = {dB[i], DT_F32, r}, .tc = true};
        p[n++].term[0] = (term_t){.K = T, .a = u_i, .ta = true, .b = dy_i};
        k += r;
    }
    products(be, p, n);
}

static void adapter_grad(backend_t *be, size_t T, mat_t du, mat_t x, const linear_t *l, const dropout_t *drop,
                         float *dA) {
    size_t cols = linear_cols_of(l);
    product_t p = {
        .M = linear_width(l), .N = cols, .n = 1, .alpha = kept_scale(drop), .beta = 1, .c = {dA, DT_F32, cols}};
    p.term[0] = (term_t){.K = T, .a = matrix_of(be, du), .ta = true, .b = matrix_of(be, x), .drop_b = drop};
    products(be, &p, 1);
}

void tuned_linear_ops(backend_t *be) {
    be->linear_fwd = linear_fwd;
    be->linear_bwd = linear_bwd;
    be->adapter_fwd = adapter_fwd;
    be->adapter_bwd = adapter_bwd;
    be->adapter_grad = adapter_grad;
}
