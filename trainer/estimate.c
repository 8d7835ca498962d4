#include "trainer/estimate.h"

#include <string.h>

#include "base/clock.h"
#include "trainer/flops.h"

/* What is not a matrix product (norms, attention, softmax, dequantization, the optimizer) adds about this much:
 * measured, docs/speed.md. */
#define OTHER_WORK 1.2

static double total(flops_t f) {
    return f.needed + f.recomputed;
}

double estimate_step_flops(const model_t *m, const plan_need_t *need, size_t n_kept) {
    double tokens = (double)(need->train_tokens * need->micro_batches);
    return total(flops_of(&m->config, &(flops_work_t){.tokens = tokens, .labels = tokens,
                                                      .keys = (double)need->train_seg / 2, .lora = m->lora->count,
                                                      .recomputed = m->config.layers - n_kept}));
}

/* Without attention: samples are of many lengths, and OTHER_WORK has it. */
static double run_flops(const run_t *run, const steps_t *steps) {
    const model_config_t *c = &run->model.config;
    return steps->epochs * total(flops_of(c, &(flops_work_t){.tokens = (double)run->train.n_tokens,
                                                             .labels = (double)run->train.label_tokens,
                                                             .lora = run->lora.count,
                                                             .recomputed = c->layers - run->plan.layout.n_kept}));
}

/* The best of some products [512, hidden] x [hidden, ffn]. */
static int measure(const run_t *run, double *flops_per_second, err_t *err) {
    backend_t *be = run->be;
    size_t M = 512, K = run->model.config.hidden, N = run->model.config.ffn;
    size_t bytes = (M * K + N * K + M * N) * sizeof(float);
    float *a = be->alloc(be, bytes, MEM_DEVICE), *b = a + M * K, *y = b + N * K;
    if (!a) return err_set(err, ERR_FAILED, "%s: out of memory", be->device);
    be->zero(be, a, bytes);
    *flops_per_second = 0;
    double begin = clock_seconds();
    while (clock_seconds() - begin < 0.1) {
        double start = clock_seconds();
        be->gemm(be, false, true, M, N, K, 1.0f, a, DT_F32, K, b, DT_F32, K, 0.0f, y, DT_F32, N);
        be->sync(be);
        double rate = 2.0 * (double)M * (double)N * (double)K / (clock_seconds() - start);
        if (rate > *flops_per_second) *flops_per_second = rate;
    }
    be->free(be, a, MEM_DEVICE);
    return 0;
}

/* A copy of 64 MiB from the host, the best of a few. */
static int measure_link(const run_t *run, double *bytes_per_second, err_t *err) {
    backend_t *be = run->be;
    size_t bytes = (size_t)64 << 20;
    void *host = be->alloc(be, bytes, MEM_PINNED), *device = host ? be->alloc(be, bytes, MEM_DEVICE) : NULL;
    int rc = device ? 0 : err_set(err, ERR_FAILED, "%s: out of memory", be->device);
    *bytes_per_second = 0;
    if (rc == 0) memset(host, 1, bytes); /* memory that nobody has written may all be one page of zeros */
    for (int i = 0; rc == 0 && i < 5; i++) {
        double start = clock_seconds();
        be->copy_in(be, device, host, bytes);
        be->sync(be);
        double rate = (double)bytes / (clock_seconds() - start);
        if (rate > *bytes_per_second) *bytes_per_second = rate;
    }
    be->stalled(be);
    if (device) be->free(be, device, MEM_DEVICE);
    if (host) be->free(be, host, MEM_PINNED);
    return rc;
}

int estimate_run(const run_t *run, const steps_t *steps, estimate_t *e, err_t *err) {
    *e = (estimate_t){0};
    if (measure(run, &e->flops_per_second, err)) return err->code;
    e->flops = run_flops(run, steps);
    e->seconds = OTHER_WORK * e->flops / e->flops_per_second;
    e->step_seconds = OTHER_WORK * estimate_step_flops(&run->model, &run->need, run->plan.layout.n_kept) /
                      e->flops_per_second;
    size_t paged = run->plan.optimizer_step_bytes + run->plan.weights_step_bytes;
    if (paged == 0) return 0;
    if (measure_link(run, &e->link_bytes_per_second, err)) return err->code;
    e->link_seconds = (double)paged / e->link_bytes_per_second;
    return 0;
}
