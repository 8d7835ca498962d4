#include "trainer/estimate.h"

#include "base/clock.h"

/* What is not a matrix product (norms, attention, softmax, dequantization, the optimizer) adds about this much:
 * measured, docs/speed.md. */
#define OTHER_WORK 1.2

/* Per token 2 operations a weight forward and 2 for the gradient of the input, 2 more where a block is recomputed;
 * LoRA weights have a gradient of their own. The head runs for trained tokens only. */
static double run_flops(const run_t *run, const steps_t *steps) {
    const model_config_t *c = &run->model.config;
    model_params_t p = model_count_params(c);
    double recomputed = (double)(c->layers - run->plan.layout.n_kept) / (double)c->layers;
    double token = (4 + 2 * recomputed) * (double)p.linear + (6 + 2 * recomputed) * (double)run->lora.count;
    double label = 4.0 * (double)c->vocab * (double)c->hidden;
    return steps->epochs * (token * (double)run->train.n_tokens + label * (double)run->train.label_tokens);
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

int estimate_run(const run_t *run, const steps_t *steps, estimate_t *e, err_t *err) {
    if (measure(run, &e->flops_per_second, err)) return err->code;
    e->flops = run_flops(run, steps);
    e->seconds = OTHER_WORK * e->flops / e->flops_per_second;
    return 0;
}
