#include "trainer/run/estimate.h"

#include <string.h>

#include "base/clock.h"
#include "trainer/run/flops.h"

/* What is not a matrix product (norms, attention, softmax, dequantization, the optimizer) adds about this much:
 * measured, docs/speed.md. */
#define OTHER_WORK 1.2

static double total(flops_t f) { return f.needed + f.recomputed; }

double estimate_step_flops(const model_t *m, const plan_need_t *need, size_t n_kept) {
    double tokens = (double)(need->train_tokens * need->micro_batches);
    return total(flops_of(&m->config, &(flops_work_t){.tokens = tokens,
                                                      .labels = tokens,
                                                      .keys = (double)need->train_seg / 2,
                                                      .lora = m->lora->count,
                                                      .recomputed = m->config.layers - n_kept}));
}

/* Without attention: samples are of many lengths, and OTHER_WORK has it. */
static flops_t pass_flops(const run_t *run, const dataset_t *ds) {
    const model_config_t *c = &run->model.config;
    return flops_of(c, &(flops_work_t){.tokens = (double)ds->n_tokens,
                                       .labels = (double)ds->label_tokens,
                                       .lora = run->lora.count,
                                       .recomputed = c->layers - run->plan.layout.n_kept});
}

double estimate_evaluation(const run_t *run, const steps_t *steps) {
    double a_step = steps->epochs * total(pass_flops(run, &run->train)) / (double)steps->total;
    return a_step > 0 ? pass_flops(run, &run->eval).forward / a_step : 0;
}

/* The best of some products [512, hidden] x [hidden, ffn] of act values, a few at a time so that a queue is never
 * empty. The backend's workspace is set. */
static double best_rate(const run_t *run, unsigned char *a, size_t M) {
    enum { AT_A_TIME = 4 };
    backend_t *be = run->be;
    const dtype_t type = be->act;
    const size_t K = run->model.config.hidden, N = run->model.config.ffn, size = dtype_size(type);
    unsigned char *b = a + M * K * size, *y = b + N * K * size;
    double best = 0, begin = clock_seconds();
    be->zero(be, a, (M * K + N * K) * size);
    while (clock_seconds() - begin < 0.1) {
        be->sync(be);
        double start = clock_seconds();
        for (int i = 0; i < AT_A_TIME; i++)
            be->gemm(be, false, true, M, N, K, 1.0f, (matrix_t){a, type, K}, (matrix_t){b, type, K}, 0.0f,
                     (matrix_t){y, type, N});
        be->sync(be);
        double rate = AT_A_TIME * 2.0 * (double)M * (double)N * (double)K / (clock_seconds() - start);
        if (rate > best) best = rate;
    }
    return best;
}

/* In memory of its own: the plan has laid the run's out, but nothing of it is there. */
static int measure(const run_t *run, double *flops_per_second, err_t *err) {
    enum { M = 512 };
    backend_t *be = run->be;
    const workspace_need_t need = model_workspace_need(&run->model, M, M);
    const size_t K = run->model.config.hidden, N = run->model.config.ffn;
    be->workspace_size = be->workspace_bytes(be, &need);
    be->workspace = be->alloc(be, be->workspace_size, MEM_DEVICE);
    unsigned char *a = be->alloc(be, (M * K + N * K + M * N) * dtype_size(be->act), MEM_DEVICE);
    bool fits = be->workspace && a;
    if (fits) *flops_per_second = best_rate(run, a, M);
    if (a) be->free(be, a, MEM_DEVICE);
    if (be->workspace) be->free(be, be->workspace, MEM_DEVICE);
    be->workspace = NULL;
    be->workspace_size = 0;
    return fits ? 0 : err_set(err, ERR_FAILED, "%s: out of memory", be->device);
}

/* Bytes a second of a copy of 64 MiB from the host, the best of a few; 0 when there is no memory to try it with. */
static double measure_link(const run_t *run) {
    backend_t *be = run->be;
    size_t bytes = (size_t)64 << 20;
    void *host = be->alloc(be, bytes, MEM_PINNED), *device = host ? be->alloc(be, bytes, MEM_DEVICE) : NULL;
    double best = 0;
    if (device) memset(host, 1, bytes); /* memory that nobody has written may all be one page of zeros */
    for (int i = 0; device && i < 5; i++) {
        double start = clock_seconds();
        be->copy_in(be, device, host, bytes);
        be->sync(be);
        double rate = (double)bytes / (clock_seconds() - start);
        if (rate > best) best = rate;
    }
    be->stalled(be);
    if (device) be->free(be, device, MEM_DEVICE);
    if (host) be->free(be, host, MEM_PINNED);
    return best;
}

int estimate_run(const run_t *run, const steps_t *steps, estimate_t *e, err_t *err) {
    *e = (estimate_t){0};
    if (measure(run, &e->flops_per_second, err)) return err->code;
    e->evaluations = steps_evaluations(steps, &run->config);
    e->flops = steps->epochs * total(pass_flops(run, &run->train)) +
               (double)e->evaluations * pass_flops(run, &run->eval).forward;
    e->seconds = OTHER_WORK * e->flops / e->flops_per_second;
    e->step_seconds = OTHER_WORK * estimate_step_flops(&run->model, &run->need, run->plan.layout.n_kept) /
                      e->flops_per_second;
    size_t paged = run->plan.optimizer_step_bytes + run->plan.weights_step_bytes;
    if (paged == 0) return 0;
    e->link_bytes_per_second = measure_link(run);
    if (e->link_bytes_per_second > 0) e->link_seconds = (double)paged / e->link_bytes_per_second;
    return 0;
}
