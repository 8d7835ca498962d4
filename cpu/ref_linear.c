/* Linear layers with adapters by their definition, an output at a time; see linear_t in model/backend/backend.h. */
#include "cpu/act.h"
#include "cpu/ref.h"
#include "model/backend/element.h"

/* The value of W[o, i] that enters a product. */
static float weight_at(const backend_t *be, const qweight_t *w, size_t o, size_t i) {
    float x;
    quant_decode(w, o * w->cols + i, 1, &x);
    return be->act == DT_BF16 ? bf16_round(x) : x;
}

/* Factor of channel c under dropout. */
static float mask_at(const dropout_t *d, uint64_t key, size_t c) {
    if (!d) return 1;
    return dropout_keep(key, c, d->p) ? dropout_scale(d->p) : 0.0f;
}

static uint64_t mask_key(const dropout_t *d, size_t t) {
    return d ? dropout_row_key(d->seed, d->step, d->row[t], d->pos[t], d->layer, d->site) : 0;
}

/* One output of a part: row o, from row x of the input and the u of that part behind it. */
static double output_of(const backend_t *be, const linear_part_t *p, dtype_t ab_type, size_t o, const void *x,
                        const void *u) {
    double sum = p->bias ? p->bias[o] : 0;
    for (size_t c = 0; c < p->w->cols; c++) sum += (double)act_get(x, be->act, c) * weight_at(be, p->w, o, c);
    for (size_t k = 0; k < p->r; k++) sum += (double)act_get(u, be->act, k) * act_get(p->b, ab_type, o * p->r + k);
    return sum;
}

static void linear_fwd(backend_t *be, size_t T, mat_t x, const linear_t *l, mat_t y) {
    size_t first = 0, u = linear_cols_of(l);
    for (size_t i = 0; i < l->n; i++) {
        const linear_part_t *p = &l->part[i];
        for (size_t t = 0; t < T; t++) {
            const void *row = act_at(x.p, be->act, t * x.ld), *u_row = act_at(x.p, be->act, t * x.ld + u);
            for (size_t o = 0; o < p->w->rows; o++)
                act_set(y.p, be->act, t * y.ld + first + o, (float)output_of(be, p, l->ab_type, o, row, u_row));
        }
        first += p->w->rows;
        u += p->r;
    }
}

static void linear_bwd(backend_t *be, size_t T, mat_t dy, const linear_t *l, const dropout_t *drop, mat_t dx) {
    size_t cols = linear_cols_of(l), rows = linear_rows_of(l), width = linear_width(l);
    for (size_t t = 0; t < T; t++) {
        uint64_t key = mask_key(drop, t);
        for (size_t c = 0; c < cols; c++) {
            double sum = 0;
            for (size_t k = 0; k < width; k++)
                sum += (double)act_get(dy.p, be->act, t * dy.ld + rows + k) *
                       act_get(linear_a(l), l->ab_type, k * cols + c);
            sum *= mask_at(drop, key, c);
            for (size_t i = 0, first = 0; i < l->n; first += l->part[i++].w->rows)
                for (size_t o = 0; o < l->part[i].w->rows; o++)
                    sum += (double)act_get(dy.p, be->act, t * dy.ld + first + o) * weight_at(be, l->part[i].w, o, c);
            act_set(dx.p, be->act, t * dx.ld + c, (float)sum);
        }
    }
}

static void adapter_fwd(backend_t *be, size_t T, mat_t x, const linear_t *l, const dropout_t *drop, mat_t u) {
    size_t cols = linear_cols_of(l);
    for (size_t t = 0; t < T; t++) {
        uint64_t key = mask_key(drop, t);
        for (size_t i = 0, first = 0; i < l->n; first += l->part[i++].r) {
            const linear_part_t *p = &l->part[i];
            for (size_t k = 0; k < p->r; k++) {
                double sum = 0;
                for (size_t c = 0; c < cols; c++)
                    sum += (double)act_get(x.p, be->act, t * x.ld + c) * mask_at(drop, key, c) *
                           act_get(p->a, l->ab_type, k * cols + c);
                act_set(u.p, be->act, t * u.ld + first + k, (float)(p->scale * sum));
            }
        }
    }
}

/* Layer i of a site, whose outputs begin at column `first` and whose u at `at`. */
static void part_bwd(const backend_t *be, size_t T, mat_t dy, mat_t u, const linear_t *l, size_t i, size_t first,
                     size_t at, mat_t du, float *dB) {
    const linear_part_t *p = &l->part[i];
    for (size_t k = 0; k < p->r; k++) {
        for (size_t t = 0; t < T; t++) {
            double sum = 0;
            for (size_t o = 0; o < p->w->rows; o++)
                sum += (double)act_get(dy.p, be->act, t * dy.ld + first + o) * act_get(p->b, l->ab_type, o * p->r + k);
            act_set(du.p, be->act, t * du.ld + at + k, (float)(p->scale * sum));
        }
        for (size_t o = 0; o < p->w->rows; o++) {
            double sum = dB[o * p->r + k];
            for (size_t t = 0; t < T; t++)
                sum += (double)act_get(dy.p, be->act, t * dy.ld + first + o) * act_get(u.p, be->act, t * u.ld + at + k);
            dB[o * p->r + k] = (float)sum;
        }
    }
}

static void adapter_bwd(backend_t *be, size_t T, mat_t dy, mat_t u, const linear_t *l, mat_t du,
                        float *const dB[LINEAR_MAX]) {
    for (size_t i = 0, first = 0, at = 0; i < l->n; i++) {
        part_bwd(be, T, dy, u, l, i, first, at, du, dB[i]);
        first += l->part[i].w->rows;
        at += l->part[i].r;
    }
}

static void adapter_grad(backend_t *be, size_t T, mat_t du, mat_t x, const linear_t *l, const dropout_t *drop,
                         float *dA) {
    size_t cols = linear_cols_of(l), width = linear_width(l);
    for (size_t k = 0; k < width; k++) {
        for (size_t c = 0; c < cols; c++) {
            double sum = dA[k * cols + c];
            for (size_t t = 0; t < T; t++)
                sum += (double)act_get(du.p, be->act, t * du.ld + k) * act_get(x.p, be->act, t * x.ld + c) *
                       mask_at(drop, mask_key(drop, t), c);
            dA[k * cols + c] = (float)sum;
        }
    }
}

static void linear_cache(backend_t *be, const linear_t *l, bool frozen) {
    size_t cols = linear_cols_of(l), width = linear_width(l), ld = linear_ld(cols, width), row = 0, first = cols;
    for (size_t i = 0; i < l->n; first += l->part[i++].r) {
        const linear_part_t *p = &l->part[i];
        for (size_t o = 0; o < p->w->rows; o++, row++) {
            for (size_t c = 0; frozen && c < cols; c++)
                act_set(l->augmented, be->act, row * ld + c, weight_at(be, p->w, o, c));
            for (size_t c = cols; c < cols + width; c++) {
                bool own = c >= first && c < first + p->r;
                act_set(l->augmented, be->act, row * ld + c, own ? act_get(p->b, l->ab_type, o * p->r + c - first) : 0);
            }
        }
    }
    for (size_t k = 0; k < width; k++, row++)
        for (size_t c = 0; c < cols; c++)
            act_set(l->augmented, be->act, row * ld + c, act_get(linear_a(l), l->ab_type, k * cols + c));
}

void ref_linear_ops(backend_t *be) {
    be->linear_fwd = linear_fwd;
    be->linear_bwd = linear_bwd;
    be->adapter_fwd = adapter_fwd;
    be->adapter_bwd = adapter_bwd;
    be->adapter_grad = adapter_grad;
    be->linear_cache = linear_cache;
}
