/* Ops on rows and elements: a kernel for each row or chunk, threads over them. */
#include "cpu/act.h"
#include "cpu/ops.h"

enum {
    CHUNK = 8192,    /* elements of one task */
    WORTH_IT = 32768 /* elements from which threads pay for their start */
};

static size_t chunk_at(size_t i, size_t n) { return n - i < CHUNK ? n - i : CHUNK; }

static void embed(backend_t *be, void *y, const qweight_t *E, const int32_t *ids, size_t T) {
    const cpu_kernels_t *k = cpu_kernels(be);
    CHECK(E->type == QUANT_NONE);
#pragma omp parallel for schedule(static) num_threads(be->threads) if (T * E->cols > WORTH_IT)
    for (size_t t = 0; t < T; t++) {
        CHECK(ids[t] >= 0 && (size_t)ids[t] < E->rows);
        k->cast(act_at(y, be->act, t * E->cols), be->act, E->codes + 2 * (size_t)ids[t] * E->cols, DT_BF16, E->cols);
    }
}

static void add(backend_t *be, void *y, const void *a, const void *b, size_t n) {
    const cpu_kernels_t *k = cpu_kernels(be);
#pragma omp parallel for schedule(static) num_threads(be->threads) if (n > WORTH_IT)
    for (size_t i = 0; i < n; i += CHUNK)
        k->add(act_at(y, be->act, i), act_at_const(a, be->act, i), act_at_const(b, be->act, i), chunk_at(i, n),
               be->act);
}

static void cast(backend_t *be, void *dst, dtype_t dst_type, const void *src, dtype_t src_type, size_t n) {
    const cpu_kernels_t *k = cpu_kernels(be);
#pragma omp parallel for schedule(static) num_threads(be->threads) if (n > WORTH_IT)
    for (size_t i = 0; i < n; i += CHUNK)
        k->cast(act_at(dst, dst_type, i), dst_type, act_at_const(src, src_type, i), src_type, chunk_at(i, n));
}

static void gather_rows(backend_t *be, void *y, size_t ldy, const void *x, size_t ldx, const int32_t *idx, size_t n,
                        size_t C) {
#pragma omp parallel for schedule(static) num_threads(be->threads) if (n * C > WORTH_IT)
    for (size_t i = 0; i < n; i++) act_copy(y, i * ldy, x, (size_t)idx[i] * ldx, C, be->act);
}

static void scatter_rows(backend_t *be, void *y, size_t ldy, const void *x, size_t ldx, const int32_t *idx, size_t n,
                         size_t C) {
#pragma omp parallel for schedule(static) num_threads(be->threads) if (n * C > WORTH_IT)
    for (size_t i = 0; i < n; i++) act_copy(y, (size_t)idx[i] * ldy, x, i * ldx, C, be->act);
}

static void copy_rows(backend_t *be, void *y, size_t ldy, const void *x, size_t ldx, size_t T, size_t C) {
#pragma omp parallel for schedule(static) num_threads(be->threads) if (T * C > WORTH_IT)
    for (size_t t = 0; t < T; t++) act_copy(y, t * ldy, x, t * ldx, C, be->act);
}

static void rmsnorm_fwd(backend_t *be, void *y, size_t ldy, float *rstd, const void *x, const float *w, size_t T,
                        size_t C, float eps) {
    const cpu_kernels_t *k = cpu_kernels(be);
#pragma omp parallel for schedule(static) num_threads(be->threads) if (T * C > WORTH_IT)
    for (size_t t = 0; t < T; t++)
        rstd[t] = k->rmsnorm_fwd(act_at(y, be->act, t * ldy), act_at_const(x, be->act, t * C), w, C, eps, be->act);
}

static void add_rmsnorm_fwd(backend_t *be, void *sum, void *y, size_t ldy, float *rstd, const void *a, const void *b,
                            const float *w, size_t T, size_t C, float eps) {
    const cpu_kernels_t *k = cpu_kernels(be);
#pragma omp parallel for schedule(static) num_threads(be->threads) if (T * C > WORTH_IT)
    for (size_t t = 0; t < T; t++) {
        void *row = act_at(sum, be->act, t * C);
        k->add(row, act_at_const(a, be->act, t * C), act_at_const(b, be->act, t * C), C, be->act);
        rstd[t] = k->rmsnorm_fwd(act_at(y, be->act, t * ldy), row, w, C, eps, be->act);
    }
}

static void rmsnorm_bwd(backend_t *be, void *dx, size_t lddx, const void *dy, const void *x, const float *w,
                        const float *rstd, size_t T, size_t C) {
    const cpu_kernels_t *k = cpu_kernels(be);
#pragma omp parallel for schedule(static) num_threads(be->threads) if (T * C > WORTH_IT)
    for (size_t t = 0; t < T; t++)
        k->rmsnorm_bwd(act_at(dx, be->act, t * lddx), act_at_const(dy, be->act, t * C), act_at_const(x, be->act, t * C),
                       w, rstd[t], C, be->act);
}

static void rope(backend_t *be, void *x, size_t ldx, const float *table, const int32_t *pos, size_t T, size_t H,
                 size_t D, int sign) {
    const cpu_kernels_t *k = cpu_kernels(be);
#pragma omp parallel for schedule(static) num_threads(be->threads) if (T * H * D > WORTH_IT)
    for (size_t t = 0; t < T; t++)
        k->rope(act_at(x, be->act, t * ldx), table + (size_t)pos[t] * D, H, D, (float)sign, be->act);
}

static void swiglu_fwd(backend_t *be, void *y, size_t ldy, const void *gate_up, size_t ld, size_t T, size_t F) {
    const cpu_kernels_t *k = cpu_kernels(be);
#pragma omp parallel for schedule(static) num_threads(be->threads) if (T * F > WORTH_IT)
    for (size_t t = 0; t < T; t++)
        k->swiglu_fwd(act_at(y, be->act, t * ldy), act_at_const(gate_up, be->act, t * ld),
                      act_at_const(gate_up, be->act, t * ld + F), F, be->act);
}

static void swiglu_bwd(backend_t *be, void *gate_up, size_t ld, const void *dy, size_t T, size_t F) {
    const cpu_kernels_t *k = cpu_kernels(be);
#pragma omp parallel for schedule(static) num_threads(be->threads) if (T * F > WORTH_IT)
    for (size_t t = 0; t < T; t++) {
        void *gate = act_at(gate_up, be->act, t * ld), *up = act_at(gate_up, be->act, t * ld + F);
        k->swiglu_bwd(gate, up, act_at_const(dy, be->act, t * F), gate, up, F, be->act);
    }
}

static void ce_loss(backend_t *be, void *logits, float *row_loss, const int32_t *labels, size_t R, size_t V,
                    bool want_grad, float grad_scale) {
    const cpu_kernels_t *k = cpu_kernels(be);
#pragma omp parallel for schedule(static) num_threads(be->threads) if (R * V > WORTH_IT)
    for (size_t r = 0; r < R; r++) {
        CHECK(labels[r] >= 0 && (size_t)labels[r] < V);
        row_loss[r] = k->ce_loss(act_at(logits, be->act, r * V), V, labels[r], want_grad, grad_scale, be->act);
    }
}

void tuned_row_ops(backend_t *be) {
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
