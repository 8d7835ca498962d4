/* The adapters' products at a model's shapes, each beside the same by the backend's general product: on a GPU that is
 * cuBLAS. */
#include <stdio.h>

#include "model/site.h"
#include "trainer/bench/bench.h"

typedef struct {
    bench_model_t *m;
    backend_t *be;
    site_t site;
    mat_t x, dy, u; /* of the site */
    size_t T;
} rig_t;

static linear_t linear_at(const rig_t *r, size_t i) {
    return site_linear(&r->m->model, i % r->m->model.config.layers, r->site);
}

static const lora_site_t *lora_at(const rig_t *r, size_t i) {
    return lora_site(&r->m->lora, i % r->m->model.config.layers, r->site);
}

static mat_t columns(const rig_t *r, mat_t m, size_t c) { return (mat_t){mat_column(r->be, m, c), m.ld}; }

static matrix_t in_act(const rig_t *r, mat_t m) { return (matrix_t){m.p, r->be->act, m.ld}; }

static mat_t du_of(const rig_t *r, const linear_t *l) { return columns(r, r->dy, linear_rows_of(l)); }

/* ---- the ops and what they stand for ---------------------------------------------------------------------- */

static void call_fwd(void *ctx, size_t i) {
    rig_t *r = ctx;
    linear_t l = linear_at(r, i);
    r->be->adapter_fwd(r->be, r->T, r->x, &l, NULL, r->u);
}

static void gemm_fwd(void *ctx, size_t i) {
    rig_t *r = ctx;
    linear_t l = linear_at(r, i);
    size_t cols = linear_cols_of(&l);
    matrix_t a = {(void *)(uintptr_t)linear_a(&l), l.ab_type, cols};
    r->be->gemm(r->be, false, true, r->T, linear_width(&l), cols, l.part[0].scale, in_act(r, r->x), a, 0,
                in_act(r, r->u));
}

static void gradients_of_b(const rig_t *r, size_t i, float *dB[LINEAR_MAX]) {
    const lora_site_t *ls = lora_at(r, i);
    for (size_t j = 0; j < ls->n; j++) dB[ls->member[j]] = r->m->lora.grad + ls->b[j];
}

static void call_bwd(void *ctx, size_t i) {
    rig_t *r = ctx;
    linear_t l = linear_at(r, i);
    float *dB[LINEAR_MAX] = {NULL};
    gradients_of_b(r, i, dB);
    r->be->adapter_bwd(r->be, r->T, r->dy, r->u, &l, du_of(r, &l), dB);
}

static void gemm_bwd(void *ctx, size_t i) {
    rig_t *r = ctx;
    linear_t l = linear_at(r, i);
    float *dB[LINEAR_MAX] = {NULL};
    gradients_of_b(r, i, dB);
    mat_t du = du_of(r, &l);
    for (size_t j = 0, first = 0, at = 0; j < l.n; first += l.part[j].w->rows, at += l.part[j++].r) {
        const linear_part_t *p = &l.part[j];
        matrix_t dy = in_act(r, columns(r, r->dy, first)), b = {(void *)(uintptr_t)p->b, l.ab_type, p->r};
        r->be->gemm(r->be, false, false, r->T, p->r, p->w->rows, p->scale, dy, b, 0, in_act(r, columns(r, du, at)));
        r->be->gemm(r->be, true, false, p->w->rows, p->r, r->T, 1, dy, in_act(r, columns(r, r->u, at)), 1,
                    (matrix_t){dB[j], DT_F32, p->r});
    }
}

static void call_grad(void *ctx, size_t i) {
    rig_t *r = ctx;
    linear_t l = linear_at(r, i);
    r->be->adapter_grad(r->be, r->T, du_of(r, &l), r->x, &l, NULL, r->m->lora.grad + lora_at(r, i)->a);
}

static void gemm_grad(void *ctx, size_t i) {
    rig_t *r = ctx;
    linear_t l = linear_at(r, i);
    size_t cols = linear_cols_of(&l);
    r->be->gemm(r->be, true, false, linear_width(&l), cols, r->T, 1, in_act(r, du_of(r, &l)), in_act(r, r->x), 1,
                (matrix_t){r->m->lora.grad + lora_at(r, i)->a, DT_F32, cols});
}

/* ---- the table -------------------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    bench_call_t call[2]; /* the op; by gemm */
    bool reads_dy;        /* else x */
} products[] = {
    {"u", {call_fwd, gemm_fwd}, false},
    {"du, dB", {call_bwd, gemm_bwd}, true},
    {"dA", {call_grad, gemm_grad}, false},
};

static json_t *measure(rig_t *r, size_t k, const char *site, double copy) {
    linear_t l = linear_at(r, 0);
    double seconds[2], wide = (double)(r->T * (products[k].reads_dy ? linear_rows_of(&l) : linear_cols_of(&l)));
    double rate;
    bench_time_all(r->be, products[k].call, 2, r, seconds);
    rate = wide * (double)dtype_size(r->be->act) / seconds[0];
    json_t *row = json_pack("{s:s, s:s, s:f, s:f, s:f}", "site", site, "product", products[k].name, "seconds",
                            seconds[0], "gemm_seconds", seconds[1], "gb_per_s", 1e-9 * rate);
    if (copy > 0) json_object_set_new(row, "of_copy", json_real(rate / copy));
    return row;
}

json_t *bench_low_rank(bench_model_t *m, backend_t *be, const char *const names[SITE_COUNT], const mat_t x[SITE_COUNT],
                       const mat_t dy[SITE_COUNT], double copy) {
    json_t *rows = json_array();
    for (int s = 0; s < SITE_COUNT; s++) {
        rig_t r = {.m = m, .be = be, .site = (site_t)s, .x = x[s], .dy = dy[s], .T = m->batch.T};
        r.u = m->acts.blocks[0].u[s];
        for (size_t k = 0; k < sizeof products / sizeof *products; k++)
            json_array_append_new(rows, measure(&r, k, names[s], copy));
    }
    static const bench_column_t columns[] = {{"site", "", COLUMN_TEXT},
                                             {"product", "", COLUMN_TEXT},
                                             {"seconds", "ms", COLUMN_MS},
                                             {"gb_per_s", "GB/s of the wide operand", COLUMN_NUMBER},
                                             {"of_copy", "of a copy", COLUMN_PERCENT},
                                             {"gemm_seconds", "general product, ms", COLUMN_MS}};
    bench_table("products of the adapters (the wide operand counts once)", rows, columns, 6);
    return rows;
}
