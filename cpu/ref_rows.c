#include <math.h>

#include "cpu/act.h"
#include "cpu/ref.h"
#include "model/backend/element.h"

static void embed(backend_t *be, void *y, const qweight_t *E, const int32_t *ids, size_t T) {
    CHECK(E->type == QUANT_NONE);
    for (size_t t = 0; t < T; t++) {
        CHECK(ids[t] >= 0 && (size_t)ids[t] < E->rows);
        for (size_t c = 0; c < E->cols; c++)
            act_set(y, be->act, t * E->cols + c, act_get(E->codes, DT_BF16, (size_t)ids[t] * E->cols + c));
    }
}

static void add(backend_t *be, void *y, const void *a, const void *b, size_t n) {
    for (size_t i = 0; i < n; i++) act_set(y, be->act, i, act_get(a, be->act, i) + act_get(b, be->act, i));
}

static void cast(backend_t *be, void *dst, dtype_t dst_type, const void *src, dtype_t src_type, size_t n) {
    (void)be;
    for (size_t i = 0; i < n; i++) act_set(dst, dst_type, i, act_get(src, src_type, i));
}

static void gather_rows(backend_t *be, void *y, size_t ldy, const void *x, size_t ldx, const int32_t *idx, size_t n,
                        size_t C) {
    for (size_t i = 0; i < n; i++) act_copy(y, i * ldy, x, (size_t)idx[i] * ldx, C, be->act);
}

static void scatter_rows(backend_t *be, void *y, size_t ldy, const void *x, size_t ldx, const int32_t *idx, size_t n,
                         size_t C) {
    for (size_t i = 0; i < n; i++) act_copy(y, (size_t)idx[i] * ldy, x, i * ldx, C, be->act);
}

static void copy_rows(backend_t *be, void *y, size_t ldy, const void *x, size_t ldx, size_t T, size_t C) {
    for (size_t t = 0; t < T; t++) act_copy(y, t * ldy, x, t * ldx, C, be->act);
}

static void rmsnorm_fwd(backend_t *be, void *y, size_t ldy, float *rstd, const void *x, const float *w, size_t T,
                        size_t C, float eps) {
    for (size_t t = 0; t < T; t++) {
        double sum = 0;
        for (size_t c = 0; c < C; c++) sum += pow(act_get(x, be->act, t * C + c), 2);
        rstd[t] = (float)(1 / sqrt(sum / (double)C + eps));
        for (size_t c = 0; c < C; c++)
            act_set(y, be->act, t * ldy + c, act_get(x, be->act, t * C + c) * rstd[t] * w[c]);
    }
}

static void add_rmsnorm_fwd(backend_t *be, void *sum, void *y, size_t ldy, float *rstd, const void *a, const void *b,
                            const float *w, size_t T, size_t C, float eps) {
    add(be, sum, a, b, T * C);
    rmsnorm_fwd(be, y, ldy, rstd, sum, w, T, C, eps);
}

/* With n = x * rstd: dx = rstd * (dy*w - n * mean(dy*w*n)). */
static void rmsnorm_bwd(backend_t *be, void *dx, size_t lddx, const void *dy, const void *x, const float *w,
                        const float *rstd, size_t T, size_t C) {
    for (size_t t = 0; t < T; t++) {
        double mean = 0;
        for (size_t c = 0; c < C; c++)
            mean += (double)act_get(dy, be->act, t * C + c) * w[c] * act_get(x, be->act, t * C + c) * rstd[t];
        mean /= (double)C;
        for (size_t c = 0; c < C; c++) {
            size_t i = t * C + c, o = t * lddx + c;
            double g = (double)act_get(dy, be->act, i) * w[c] - act_get(x, be->act, i) * rstd[t] * mean;
            act_set(dx, be->act, o, (float)(act_get(dx, be->act, o) + rstd[t] * g));
        }
    }
}

static void rope(backend_t *be, void *x, size_t ldx, const float *table, const int32_t *pos, size_t T, size_t H,
                 size_t D, int sign) {
    for (size_t t = 0; t < T; t++) {
        const float *cs = table + (size_t)pos[t] * D;
        for (size_t h = 0; h < H; h++) {
            for (size_t i = 0; i < D / 2; i++) {
                size_t lo = t * ldx + h * D + i, hi = lo + D / 2;
                float c = cs[2 * i], s = (float)sign * cs[2 * i + 1];
                float a = act_get(x, be->act, lo), b = act_get(x, be->act, hi);
                act_set(x, be->act, lo, a * c - b * s);
                act_set(x, be->act, hi, b * c + a * s);
            }
        }
    }
}

static void swiglu_fwd(backend_t *be, void *y, size_t ldy, const void *gate_up, size_t ld, size_t T, size_t F) {
    for (size_t t = 0; t < T; t++) {
        for (size_t f = 0; f < F; f++) {
            float g = act_get(gate_up, be->act, t * ld + f), u = act_get(gate_up, be->act, t * ld + F + f);
            act_set(y, be->act, t * ldy + f, silu(g) * u);
        }
    }
}

static void swiglu_bwd(backend_t *be, void *gate_up, size_t ld, const void *dy, size_t T, size_t F) {
    for (size_t t = 0; t < T; t++) {
        for (size_t f = 0; f < F; f++) {
            size_t gate = t * ld + f, up = gate + F;
            float g = act_get(gate_up, be->act, gate), u = act_get(gate_up, be->act, up);
            float d = act_get(dy, be->act, t * F + f);
            act_set(gate_up, be->act, gate, d * u * silu_grad(g));
            act_set(gate_up, be->act, up, d * silu(g));
        }
    }
}

static void ce_loss(backend_t *be, void *logits, float *row_loss, const int32_t *labels, size_t R, size_t V,
                    bool want_grad, float grad_scale) {
    for (size_t r = 0; r < R; r++) {
        CHECK(labels[r] >= 0 && (size_t)labels[r] < V);
        void *row = act_at(logits, be->act, r * V);
        double max = -INFINITY, sum = 0;
        for (size_t v = 0; v < V; v++) max = fmax(max, act_get(row, be->act, v));
        for (size_t v = 0; v < V; v++) sum += exp(act_get(row, be->act, v) - max);
        double lse = max + log(sum);
        row_loss[r] = (float)(lse - act_get(row, be->act, (size_t)labels[r]));
        if (!want_grad) continue;
        for (size_t v = 0; v < V; v++) {
            double p = exp(act_get(row, be->act, v) - lse);
            act_set(row, be->act, v, (float)(grad_scale * (p - (v == (size_t)labels[r]))));
        }
    }
}

void ref_row_ops(backend_t *be) {
    be->embed = embed;
    be->add = add;
    be->cast = cast;
    be->gather_rows = gather_rows;
    be->scatter_rows = scatter_rows;
    be->copy_rows = copy_rows;
    be->rmsnorm_fwd = rmsnorm_fwd;
    be->add_rmsnorm_fwd = add_rmsnorm_fwd;
    be->rmsnorm_bwd = rmsnorm_bwd;
    be->rope = rope;
    be->swiglu_fwd = swiglu_fwd;
    be->swiglu_bwd = swiglu_bwd;
    be->ce_loss = ce_loss;
}
