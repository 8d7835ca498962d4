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

/* Factor of channel c under dropout: 0, or 1/(1-p). */
static float mask_at(const dropout_t *d, uint64_t key, size_t c) {
    if (!d) return 1;
    return dropout_keep(key, c, d->p) ? 1.0f / (1.0f - d->p) : 0.0f;
}

static uint64_t mask_key(const dropout_t *d, size_t t) {
    return d ? dropout_row_key(d->seed, d->step, d->row[t], d->pos[t], d->layer, d->site) : 0;
}

static void linear_fwd(backend_t *be, size_t T, const void *x, size_t ldx, const linear_t *l, void *y, size_t ldy) {
    size_t cols = l->w[0]->cols, first = 0, u = cols;
    for (size_t i = 0; i < l->n; i++) {
        for (size_t t = 0; t < T; t++) {
            for (size_t o = 0; o < l->w[i]->rows; o++) {
                double sum = 0;
                for (size_t c = 0; c < cols; c++)
                    sum += (double)act_get(x, be->act, t * ldx + c) * weight_at(be, l->w[i], o, c);
                for (size_t k = 0; l->b[i] && k < l->r; k++)
                    sum += (double)act_get(x, be->act, t * ldx + u + k) * act_get(l->b[i], l->ab_type, o * l->r + k);
                act_set(y, be->act, t * ldy + first + o, (float)sum);
            }
        }
        first += l->w[i]->rows;
        if (l->b[i]) u += l->r;
    }
}

static void linear_bwd(backend_t *be, size_t T, const void *dy, size_t lddy, const linear_t *l, const dropout_t *drop,
                       void *dx, size_t lddx) {
    size_t cols = l->w[0]->cols, rows = linear_rows_of(l);
    for (size_t t = 0; t < T; t++) {
        uint64_t key = mask_key(drop, t);
        for (size_t c = 0; c < cols; c++) {
            double sum = 0;
            for (size_t k = 0; k < l->width; k++)
                sum += (double)act_get(dy, be->act, t * lddy + rows + k) * act_get(l->a, l->ab_type, k * cols + c);
            sum *= mask_at(drop, key, c);
            for (size_t i = 0, first = 0; i < l->n; first += l->w[i++]->rows)
                for (size_t o = 0; o < l->w[i]->rows; o++)
                    sum += (double)act_get(dy, be->act, t * lddy + first + o) * weight_at(be, l->w[i], o, c);
            act_set(dx, be->act, t * lddx + c, (float)sum);
        }
    }
}

static void adapter_fwd(backend_t *be, size_t T, const void *x, size_t ldx, const linear_t *l, float scale,
                        const dropout_t *drop, void *u, size_t ldu) {
    size_t cols = l->w[0]->cols;
    for (size_t t = 0; t < T; t++) {
        uint64_t key = mask_key(drop, t);
        for (size_t k = 0; k < l->width; k++) {
            double sum = 0;
            for (size_t c = 0; c < cols; c++)
                sum += (double)act_get(x, be->act, t * ldx + c) * mask_at(drop, key, c) *
                       act_get(l->a, l->ab_type, k * cols + c);
            act_set(u, be->act, t * ldu + k, (float)(scale * sum));
        }
    }
}

static void adapter_grad(backend_t *be, size_t T, const void *du, size_t lddu, const void *x, size_t ldx,
                         const linear_t *l, const dropout_t *drop, float *dA) {
    size_t cols = l->w[0]->cols;
    for (size_t k = 0; k < l->width; k++) {
        for (size_t c = 0; c < cols; c++) {
            double sum = dA[k * cols + c];
            for (size_t t = 0; t < T; t++)
                sum += (double)act_get(du, be->act, t * lddu + k) * act_get(x, be->act, t * ldx + c) *
                       mask_at(drop, mask_key(drop, t), c);
            dA[k * cols + c] = (float)sum;
        }
    }
}

static void linear_cache(backend_t *be, const linear_t *l, bool frozen) {
    size_t cols = l->w[0]->cols, ld = linear_ld(cols, l->width), row = 0, first = cols;
    for (size_t i = 0; i < l->n; i++) {
        for (size_t o = 0; o < l->w[i]->rows; o++, row++) {
            for (size_t c = 0; frozen && c < cols; c++)
                act_set(l->augmented, be->act, row * ld + c, weight_at(be, l->w[i], o, c));
            for (size_t c = cols; c < cols + l->width; c++) {
                bool own = l->b[i] && c >= first && c < first + l->r;
                act_set(l->augmented, be->act, row * ld + c,
                        own ? act_get(l->b[i], l->ab_type, o * l->r + c - first) : 0);
            }
        }
        if (l->b[i]) first += l->r;
    }
    for (size_t k = 0; k < l->width; k++, row++)
        for (size_t c = 0; c < cols; c++)
            act_set(l->augmented, be->act, row * ld + c, act_get(l->a, l->ab_type, k * cols + c));
}

void ref_linear_ops(backend_t *be) {
    be->linear_fwd = linear_fwd;
    be->linear_bwd = linear_bwd;
    be->adapter_fwd = adapter_fwd;
    be->adapter_grad = adapter_grad;
    be->linear_cache = linear_cache;
}
