#include "trainer/run/plan.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/minmax.h"
#include "trainer/run/plan_advice.h"

static double mib(size_t bytes) { return (double)bytes / (1 << 20); }

/* What a plan places, which is nobody's: placing leaves no trace in the model that is asked about. */
typedef struct {
    backend_t be;
    model_t m;
    lora_t lora;
} sketch_t;

static void sketch_open(sketch_t *s, const model_t *m, const lora_t *lora) {
    size_t layers = m->config.layers * sizeof *m->layers;
    *s = (sketch_t){.be = *m->be, .m = *m};
    s->m.be = &s->be;
    s->m.pager = (pager_t){0};
    s->m.layers = xmalloc(layers);
    memcpy(s->m.layers, m->layers, layers);
    if (!lora) return;
    s->lora = *lora;
    s->m.lora = &s->lora;
}

static void sketch_close(sketch_t *s) { model_free(&s->m); }

/* In the config's terms. */
static int too_large(const plan_need_t *need, const workspace_need_t *w, const limit_t *limit, const char *backend,
                     err_t *err) {
    switch (limit->kind) {
    case LIMIT_SEGMENT:
        if (need->cache > max_size(need->train_seg, need->eval_seg))
            return err_set(err, ERR_USAGE,
                           "attention on %s takes at most %zu tokens of this model, and there would be %zu; expected "
                           "a shorter prompt%s",
                           backend, limit->most, w->max_kv,
                           need->train_tokens ? " in training.sample_prompts" : " or a lower --max-new-tokens");
        return err_set(err, ERR_USAGE,
                       "data.max_length: a row of %zu tokens is more than attention on %s takes of this model; "
                       "expected at most %zu",
                       w->max_kv, backend, limit->most);
    case LIMIT_TOKENS:
        return err_set(err, ERR_USAGE,
                       "training.per_device_train_batch_size: micro-batches of %zu tokens are more than %s takes of "
                       "this model; expected fewer or shorter rows, of at most %zu tokens together",
                       w->max_tokens, backend, limit->most);
    case LIMIT_WEIGHT:
        return err_set(err, ERR_USAGE,
                       "model.path: a layer of %zu values, adapters included, is more than %s takes; expected at "
                       "most %zu",
                       w->max_augmented, backend, limit->most);
    case LIMIT_CHANNELS: break;
    }
    return err_set(err, ERR_USAGE, "model.path: heads of %zu channels are more than %s takes; expected at most %zu",
                   w->attn.D, backend, limit->most);
}

int plan_check_sizes(const model_t *m, const plan_need_t *need, err_t *err) {
    workspace_need_t w = plan_workspace_need(m, need);
    limit_t limit = {LIMIT_TOKENS, INT32_MAX - 1}; /* the places in a micro-batch are of 32 bits everywhere */
    bool larger = w.max_tokens > limit.most || (m->be->exceeds && m->be->exceeds(&w, &limit));
    return larger ? too_large(need, &w, &limit, m->be->name, err) : 0;
}

int plan_make(plan_t *p, const model_t *m, const lora_t *lora, const plan_need_t *need, size_t limit, err_t *err) {
    sketch_t s;
    sketch_open(&s, m, lora);
    *p = (plan_t){.limit = limit};
    if (plan_check_sizes(&s.m, need, err)) {
        sketch_close(&s);
        return err->code;
    }
    question_t q = {&s.m, lora ? &s.lora : NULL, need, p};
    int rc = plan_choose(&q) ? 0 : plan_does_not_fit(&q, err);
    sketch_close(&s);
    return rc;
}

static void print_paged(const plan_t *p, size_t layers) {
    if (p->shared)
        log_info("  %-26s %12zu bytes  %9.1f MiB  (they reach over optimizer pages)", "shared by activations",
                 p->shared, mib(p->shared));
    if (p->host_optimizer)
        log_info("  optimizer pages in host memory: up to %.1f MiB, %.1f MiB moved by a step of the largest "
                 "micro-batches",
                 mib(p->host_optimizer), mib(p->optimizer_step_bytes));
    if (p->layout.n_paged)
        log_info("  weights of %zu of %zu layers in host memory: %.1f MiB, %.1f MiB moved by a step", p->layout.n_paged,
                 layers, mib(p->host_weights), mib(p->weights_step_bytes));
}

void plan_print(const plan_t *p, size_t layers) {
    log_info("memory:");
    for (int c = 0; c < POOL_CLASSES; c++)
        if (p->bytes[c])
            log_info("  %-26s %12zu bytes  %9.1f MiB", pool_class_name((pool_class_t)c), p->bytes[c], mib(p->bytes[c]));
    print_paged(p, layers);
    log_info("  %-26s %12zu bytes  %9.1f MiB", "total", p->total, mib(p->total));
    if (p->limit < SIZE_MAX)
        log_info("  %-26s %12zu bytes  %9.1f MiB  (limit %.1f MiB)", "free",
                 p->limit > p->total ? p->limit - p->total : 0, mib(p->limit > p->total ? p->limit - p->total : 0),
                 mib(p->limit));
    if (p->bytes[POOL_GRADIENTS])
        log_info("  recomputed blocks: %zu of %zu  (none: %.1f MiB, all: %.1f MiB, nothing paged)",
                 layers - p->layout.n_kept, layers, mib(p->total_keep_all), mib(p->total_recompute_all));
}
