#include <math.h>

#include "cpu/act.h"
#include "cpu/ref.h"
#include "model/backend/element.h"

static void embed(backend_t *be, void *y, const qweight_t *E, const int32_t *ids, size_t T) {
    CHECK(quant_is_plain(E->type));
    for (size_t t = 0; t < T; t++) {
        CHECK(ids[t] >= 0 && (size_t)ids[t] < E->rows);
        for (size_t c = 0; c < E->cols; c++) {
            float x;
            quant_decode(E, (size_t)ids[t] * E->cols + c, 1, &x);
            act_set(y, be->act, t * E->cols + c, x);
        }
    }
}

static void add(backend_t *be, void *y, const void *a, const void *b, size_t n) {
    for (size_t i = 0; i < n; i++) act_set(y, be->act, i, act_get(a, be->act, i) + act_get(b, be->act, i));
}

static void scale_rows(backend_t *be, mat_t y, mat_t x, float a, size_t T, size_t C) {
    for (size_t t = 0; t < T; t++)
        for (size_t c = 0; c < C; c++) act_set(y.p, be->act, t * y.ld + c, a * act_get(x.p, be->act, t * x.ld + c));
}

static void add_noise(backend_t *be, void *x, const neftune_t *noise, size_t T, size_t C) {
    for (size_t t = 0; t < T; t++) {
        uint64_t key = noise_row_key(noise, t);
        float scale = noise_scale(noise, t, C);
        for (size_t c = 0; c < C; c++)
            act_set(x, be->act, t * C + c, noise_added(act_get(x, be->act, t * C + c), key, c, scale));
    }
}

static void cast(backend_t *be, void *dst, dtype_t dst_type, const void *src, dtype_t src_type, size_t n) {
    (void)be;
    for (size_t i = 0; i < n; i++) act_set(dst, dst_type, i, act_get(src, src_type, i));
}

static void gather_rows(backend_t *be, mat_t y, mat_t x, const int32_t *idx, size_t n, size_t C) {
    for (size_t i = 0; i < n; i++) act_copy(y.p, i * y.ld, x.p, (size_t)idx[i] * x.ld, C, be->act);
}

static void scatter_rows(backend_t *be, mat_t y, mat_t x, const int32_t *idx, size_t n, size_t C) {
    for (size_t i = 0; i < n; i++) act_copy(y.p, (size_t)idx[i] * y.ld, x.p, i * x.ld, C, be->act);
}

static void copy_rows(backend_t *be, mat_t y, mat_t x, size_t T, size_t C) {
    for (size_t t = 0; t < T; t++) act_copy(y.p, t * y.ld, x.p, t * x.ld, C, be->act);
}

static float group_norm_fwd(const backend_t *be, void *y, const void *x, const norm_t *norm) {
    double sum = 0;
    for (size_t c = 0; c < norm->C; c++) sum += pow(act_get(x, be->act, c), 2);
    float rstd = (float)(1 / sqrt(sum / (double)norm->C + norm->eps));
    for (size_t c = 0; c < norm->C; c++) act_set(y, be->act, c, act_get(x, be->act, c) * rstd * norm->w[c]);
    return rstd;
}

static void rmsnorm_fwd(backend_t *be, mat_t y, float *rstd, mat_t x, const norm_t *norm, size_t T) {
    for (size_t t = 0; t < T; t++)
        for (size_t g = 0; g < norm->groups; g++)
            rstd[t * norm->groups + g] = group_norm_fwd(be, act_at(y.p, be->act, t * y.ld + g * norm->C),
                                                        act_at(x.p, be->act, t * x.ld + g * norm->C), norm);
}

static void add_rmsnorm_fwd(backend_t *be, void *sum, mat_t y, float *rstd, const void *a, const void *b,
                            const norm_t *norm, size_t T) {
    CHECK(norm->groups == 1);
    add(be, sum, a, b, T * norm->C);
    rmsnorm_fwd(be, y, rstd, (mat_t){sum, norm->C}, norm, T);
}

/* With n = x * rstd: dx = rstd * (dy*w - n * mean(dy*w*n)). */
static void group_norm_bwd(const backend_t *be, void *dx, bool add_to, const void *dy, const void *x,
                           const norm_t *norm, float rstd) {
    double mean = 0;
    for (size_t c = 0; c < norm->C; c++)
        mean += (double)act_get(dy, be->act, c) * norm->w[c] * act_get(x, be->act, c) * rstd;
    mean /= (double)norm->C;
    for (size_t c = 0; c < norm->C; c++) {
        double g = (double)act_get(dy, be->act, c) * norm->w[c] - act_get(x, be->act, c) * rstd * mean;
        act_set(dx, be->act, c, (float)((add_to ? act_get(dx, be->act, c) : 0) + rstd * g));
    }
}

static void rmsnorm_bwd(backend_t *be, mat_t dx, bool add_to, mat_t dy, mat_t x, const norm_t *norm, const float *rstd,
                        size_t T) {
    for (size_t t = 0; t < T; t++)
        for (size_t g = 0; g < norm->groups; g++) {
            size_t c = g * norm->C;
            group_norm_bwd(be, act_at(dx.p, be->act, t * dx.ld + c), add_to, act_at(dy.p, be->act, t * dy.ld + c),
                           act_at(x.p, be->act, t * x.ld + c), norm, rstd[t * norm->groups + g]);
        }
}

static void rope(backend_t *be, mat_t x, const rope_t *rope, const int32_t *pos, size_t T, size_t H, int sign) {
    size_t half = rope->R / 2;
    for (size_t t = 0; t < T; t++) {
        const float *cs = rope->table + (size_t)pos[t] * rope->R;
        for (size_t h = 0; h < H; h++) {
            for (size_t i = 0; i < half; i++) {
                size_t head = t * x.ld + h * rope->D;
                size_t first = head + (rope->interleaved ? 2 * i : i), second = first + (rope->interleaved ? 1 : half);
                float c = cs[2 * i], s = (float)sign * cs[2 * i + 1];
                float a = act_get(x.p, be->act, first), b = act_get(x.p, be->act, second);
                act_set(x.p, be->act, first, a * c - b * s);
                act_set(x.p, be->act, second, b * c + a * s);
            }
        }
    }
}

static void glu_fwd(backend_t *be, act_fn_t fn, mat_t y, mat_t gate_up, size_t T, size_t F) {
    for (size_t t = 0; t < T; t++) {
        const void *gate = act_at(gate_up.p, be->act, t * gate_up.ld);
        for (size_t f = 0; f < F; f++)
            act_set(y.p, be->act, t * y.ld + f, act_fn(fn, act_get(gate, be->act, f)) * act_get(gate, be->act, F + f));
    }
}

static void glu_bwd(backend_t *be, act_fn_t fn, mat_t gate_up, void *dy, bool product, size_t T, size_t F) {
    for (size_t t = 0; t < T; t++) {
        void *gate = act_at(gate_up.p, be->act, t * gate_up.ld);
        for (size_t f = 0; f < F; f++) {
            float g = act_get(gate, be->act, f), u = act_get(gate, be->act, F + f);
            float d = act_get(dy, be->act, t * F + f);
            act_set(gate, be->act, f, d * u * act_fn_grad(fn, g));
            act_set(gate, be->act, F + f, d * act_fn(fn, g));
            if (product) act_set(dy, be->act, t * F + f, act_fn(fn, g) * u);
        }
    }
}

static void ce_loss(backend_t *be, mat_t logits, float *row_loss, const int32_t *labels, size_t R, size_t V,
                    logit_map_t map, bool want_grad, float grad_scale) {
    for (size_t r = 0; r < R; r++) {
        CHECK(labels[r] >= 0 && (size_t)labels[r] < V);
        void *row = act_at(logits.p, be->act, r * logits.ld);
        double max = -INFINITY, sum = 0;
        for (size_t v = 0; v < V; v++) max = fmax(max, logit_map(act_get(row, be->act, v), map));
        for (size_t v = 0; v < V; v++) sum += exp(logit_map(act_get(row, be->act, v), map) - max);
        double lse = max + log(sum);
        row_loss[r] = (float)(lse - logit_map(act_get(row, be->act, (size_t)labels[r]), map));
        if (!want_grad) continue;
        for (size_t v = 0; v < V; v++) {
            float z = logit_map(act_get(row, be->act, v), map);
            double g = grad_scale * (exp(z - lse) - (v == (size_t)labels[r]));
            act_set(row, be->act, v, (float)(g * logit_map_grad(z, map)));
        }
    }
}

void ref_row_ops(backend_t *be) {
    be->embed = embed;
    be->add = add;
    be->scale_rows = scale_rows;
    be->add_noise = add_noise;
    be->cast = cast;
    be->gather_rows = gather_rows;
    be->scatter_rows = scatter_rows;
    be->copy_rows = copy_rows;
    be->rmsnorm_fwd = rmsnorm_fwd;
    be->add_rmsnorm_fwd = add_rmsnorm_fwd;
    be->rmsnorm_bwd = rmsnorm_bwd;
    be->rope = rope;
    be->glu_fwd = glu_fwd;
    be->glu_bwd = glu_bwd;
    be->ce_loss = ce_loss;
}
