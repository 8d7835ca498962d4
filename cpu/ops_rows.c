/* Ops on rows and elements: a kernel for each row or chunk, threads over them. */
#include "cpu/act.h"
#include "model/backend/element.h"
#include "cpu/ops.h"

enum {
    CHUNK = 8192,    /* elements of one task */
    WORTH_IT = 32768 /* elements from which threads pay for their start */
};

static size_t chunk_at(size_t i, size_t n) { return n - i < CHUNK ? n - i : CHUNK; }

static void embed(backend_t *be, void *y, const qweight_t *E, const int32_t *ids, size_t T) {
    const cpu_kernels_t *k = cpu_kernels(be);
    CHECK(quant_is_plain(E->type));
#pragma omp parallel for schedule(static) num_threads(be->threads) if (T * E->cols > WORTH_IT)
    for (size_t t = 0; t < T; t++) {
        CHECK(ids[t] >= 0 && (size_t)ids[t] < E->rows);
        k->dequant(E, (size_t)ids[t] * E->cols, E->cols, act_at(y, be->act, t * E->cols), be->act, false);
    }
}

static void add(backend_t *be, void *y, const void *a, const void *b, size_t n) {
    const cpu_kernels_t *k = cpu_kernels(be);
#pragma omp parallel for schedule(static) num_threads(be->threads) if (n > WORTH_IT)
    for (size_t i = 0; i < n; i += CHUNK)
        k->add(act_at(y, be->act, i), act_at_const(a, be->act, i), act_at_const(b, be->act, i), chunk_at(i, n),
               be->act);
}

static void scale_rows(backend_t *be, mat_t y, mat_t x, float a, size_t T, size_t C) {
    const cpu_kernels_t *k = cpu_kernels(be);
#pragma omp parallel for schedule(static) num_threads(be->threads) if (T * C > WORTH_IT)
    for (size_t t = 0; t < T; t++)
        k->scale_row(act_at(y.p, be->act, t * y.ld), act_at(x.p, be->act, t * x.ld), C, a, be->act);
}

static void add_noise(backend_t *be, void *x, const neftune_t *noise, size_t T, size_t C) {
#pragma omp parallel for schedule(static) num_threads(be->threads) if (T * C > WORTH_IT)
    for (size_t t = 0; t < T; t++) {
        const uint64_t key = noise_row_key(noise, t);
        const float scale = noise_scale(noise, t, C);
        for (size_t c = 0; c < C; c++)
            act_set(x, be->act, t * C + c, noise_added(act_get(x, be->act, t * C + c), key, c, scale));
    }
}

static void cast(backend_t *be, void *dst, dtype_t dst_type, const void *src, dtype_t src_type, size_t n) {
    const cpu_kernels_t *k = cpu_kernels(be);
#pragma omp parallel for schedule(static) num_threads(be->threads) if (n > WORTH_IT)
    for (size_t i = 0; i < n; i += CHUNK)
        k->cast(act_at(dst, dst_type, i), dst_type, act_at_const(src, src_type, i), src_type, chunk_at(i, n));
}

static void gather_rows(backend_t *be, mat_t y, mat_t x, const int32_t *idx, size_t n, size_t C) {
#pragma omp parallel for schedule(static) num_threads(be->threads) if (n * C > WORTH_IT)
    for (size_t i = 0; i < n; i++) act_copy(y.p, i * y.ld, x.p, (size_t)idx[i] * x.ld, C, be->act);
}

static void scatter_rows(backend_t *be, mat_t y, mat_t x, const int32_t *idx, size_t n, size_t C) {
#pragma omp parallel for schedule(static) num_threads(be->threads) if (n * C > WORTH_IT)
    for (size_t i = 0; i < n; i++) act_copy(y.p, (size_t)idx[i] * y.ld, x.p, i * x.ld, C, be->act);
}

static void copy_rows(backend_t *be, mat_t y, mat_t x, size_t T, size_t C) {
#pragma omp parallel for schedule(static) num_threads(be->threads) if (T * C > WORTH_IT)
    for (size_t t = 0; t < T; t++) act_copy(y.p, t * y.ld, x.p, t * x.ld, C, be->act);
}

static void norm_row_fwd(const backend_t *be, void *y, float *rstd, const void *x, const norm_t *norm) {
    for (size_t g = 0; g < norm->groups; g++)
        rstd[g] = cpu_kernels(be)->rmsnorm_fwd(act_at(y, be->act, g * norm->C), act_at_const(x, be->act, g * norm->C),
                                               norm->w, norm->C, norm->eps, be->act);
}

static void rmsnorm_fwd(backend_t *be, mat_t y, float *rstd, mat_t x, const norm_t *norm, size_t T) {
#pragma omp parallel for schedule(static) num_threads(be->threads) if (T * norm->groups * norm->C > WORTH_IT)
    for (size_t t = 0; t < T; t++)
        norm_row_fwd(be, act_at(y.p, be->act, t * y.ld), rstd + t * norm->groups, act_at(x.p, be->act, t * x.ld), norm);
}

static void add_rmsnorm_fwd(backend_t *be, void *sum, mat_t y, float *rstd, const void *a, const void *b,
                            const norm_t *norm, size_t T) {
    const cpu_kernels_t *k = cpu_kernels(be);
    size_t C = norm->C;
    CHECK(norm->groups == 1);
#pragma omp parallel for schedule(static) num_threads(be->threads) if (T * C > WORTH_IT)
    for (size_t t = 0; t < T; t++) {
        void *row = act_at(sum, be->act, t * C);
        k->add(row, act_at_const(a, be->act, t * C), act_at_const(b, be->act, t * C), C, be->act);
        norm_row_fwd(be, act_at(y.p, be->act, t * y.ld), rstd + t, row, norm);
    }
}

static void rmsnorm_bwd(backend_t *be, mat_t dx, bool add_to, mat_t dy, mat_t x, const norm_t *norm, const float *rstd,
                        size_t T) {
    const cpu_kernels_t *k = cpu_kernels(be);
#pragma omp parallel for schedule(static) num_threads(be->threads) if (T * norm->groups * norm->C > WORTH_IT)
    for (size_t t = 0; t < T; t++)
        for (size_t g = 0; g < norm->groups; g++) {
            size_t c = g * norm->C;
            k->rmsnorm_bwd(act_at(dx.p, be->act, t * dx.ld + c), add_to, act_at(dy.p, be->act, t * dy.ld + c),
                           act_at(x.p, be->act, t * x.ld + c), norm->w, rstd[t * norm->groups + g], norm->C, be->act);
        }
}

static void rope(backend_t *be, mat_t x, const rope_t *rope, const int32_t *pos, size_t T, size_t H, int sign) {
    const cpu_kernels_t *k = cpu_kernels(be);
#pragma omp parallel for schedule(static) num_threads(be->threads) if (T * H * rope->D > WORTH_IT)
    for (size_t t = 0; t < T; t++)
        k->rope(act_at(x.p, be->act, t * x.ld), rope, rope->table + (size_t)pos[t] * rope->R, H, (float)sign, be->act);
}

static void glu_fwd(backend_t *be, act_fn_t fn, mat_t y, mat_t gate_up, size_t T, size_t F) {
    const cpu_kernels_t *k = cpu_kernels(be);
#pragma omp parallel for schedule(static) num_threads(be->threads) if (T * F > WORTH_IT)
    for (size_t t = 0; t < T; t++) {
        const void *gate = act_at(gate_up.p, be->act, t * gate_up.ld);
        k->glu_fwd(fn, act_at(y.p, be->act, t * y.ld), gate, act_at_const(gate, be->act, F), F, be->act);
    }
}

static void glu_bwd(backend_t *be, act_fn_t fn, mat_t gate_up, void *dy, bool product, size_t T, size_t F) {
    const cpu_kernels_t *k = cpu_kernels(be);
#pragma omp parallel for schedule(static) num_threads(be->threads) if (T * F > WORTH_IT)
    for (size_t t = 0; t < T; t++) {
        void *gate = act_at(gate_up.p, be->act, t * gate_up.ld), *up = act_at(gate, be->act, F);
        void *d = act_at(dy, be->act, t * F);
        k->glu_bwd(fn, gate, up, product ? d : NULL, d, gate, up, F, be->act);
    }
}

static void ce_loss(backend_t *be, mat_t logits, float *row_loss, const int32_t *labels, size_t R, size_t V,
                    logit_map_t map, bool want_grad, float grad_scale) {
    const cpu_kernels_t *k = cpu_kernels(be);
#pragma omp parallel for schedule(static) num_threads(be->threads) if (R * V > WORTH_IT)
    for (size_t r = 0; r < R; r++) {
        CHECK(labels[r] >= 0 && (size_t)labels[r] < V);
        row_loss[r] = k->ce_loss(act_at(logits.p, be->act, r * logits.ld), V, labels[r], map, want_grad, grad_scale,
                                 be->act);
    }
}

void tuned_row_ops(backend_t *be) {
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
