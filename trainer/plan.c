#include "trainer/plan.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/mem.h"

/* Logits are the widest activation by far: a chunk of rows takes about this much. */
#define LOGITS_BYTES ((size_t)64 << 20)
#define LOGITS_MIN_ROWS ((size_t)32)

static size_t most(size_t a, size_t b) {
    return a > b ? a : b;
}

static size_t chunk_rows(const model_t *m, const plan_need_t *need) {
    size_t rows = most(LOGITS_BYTES / (m->config.vocab * dtype_size(m->be->act)), LOGITS_MIN_ROWS);
    size_t tokens = most(most(need->train_tokens, need->eval_tokens), 1);
    return rows < tokens ? rows : tokens;
}

void plan_place_fixed(pool_t *pool, model_t *m, lora_t *lora, optimizer_t *opt, kv_cache_t *cache,
                      const plan_need_t *need, size_t chunk) {
    model_place(m, pool);
    if (lora) lora_place(lora, pool, opt != NULL);
    if (opt) optimizer_place(opt, need->optimizer, lora, pool);
    if (cache) kv_cache_place(cache, m, need->cache, pool);
    workspace_need_t w = model_workspace_need(m, most(need->train_tokens, need->eval_tokens),
                                              most(need->train_seg, need->eval_seg), chunk);
    size_t bytes = m->be->workspace_bytes(m->be, &w);
    m->be->workspace = pool_take(pool, POOL_WORKSPACE, bytes);
    m->be->workspace_size = bytes;
}

/* Bytes of the whole run with n_kept blocks kept; by class when `bytes` is given. */
static size_t total_with(const plan_t *p, model_t *m, lora_t *lora, bool training, const plan_need_t *need,
                         size_t n_kept, size_t *bytes) {
    pool_t pool = pool_counting(m->be);
    optimizer_t opt;
    kv_cache_t cache = {0};
    acts_t acts = {.blocks = xcalloc(m->config.layers, sizeof(block_acts_t))};
    plan_place_fixed(&pool, m, lora, training ? &opt : NULL, need->cache ? &cache : NULL, need, p->chunk);
    kv_cache_free(&cache);
    pool_mark_t mark = pool_mark(&pool);
    if (need->eval_tokens) {
        acts_place(&acts, m, &(acts_spec_t){PASS_LOSS, need->eval_tokens, 0, p->chunk}, &pool);
        pool_reset(&pool, &mark);
    }
    if (training) acts_place(&acts, m, &(acts_spec_t){PASS_TRAIN, need->train_tokens, n_kept, p->chunk}, &pool);
    free(acts.blocks);
    for (int c = 0; bytes && c < POOL_CLASSES; c++) bytes[c] = mark.bytes[c];
    if (bytes) bytes[POOL_ACTIVATIONS] = pool.peak_activations;
    return pool.peak;
}

static int does_not_fit(const plan_t *p, const plan_need_t *need, err_t *err) {
    double mib = 1 << 20;
    if (!need->train_tokens)
        return err_set(err, ERR_USAGE, "the model does not fit: it needs %.1f MiB and device.memory_limit leaves %.1f "
                       "MiB", (double)p->total / mib, (double)p->limit / mib);
    return err_set(err, ERR_USAGE, "the run does not fit: it needs %.1f MiB with every block recomputed (%.1f MiB "
                   "with none) for micro-batches of up to %zu tokens, and device.memory_limit leaves %.1f MiB; lower "
                   "training.per_device_train_batch_size or data.max_length, or raise the limit",
                   (double)p->total_recompute_all / mib, (double)p->total_keep_all / mib, need->train_tokens,
                   (double)p->limit / mib);
}

int plan_make(plan_t *p, model_t *m, lora_t *lora, bool training, const plan_need_t *need,
              tristate_t checkpointing, size_t limit, err_t *err) {
    size_t L = m->config.layers;
    *p = (plan_t){.limit = limit, .chunk = chunk_rows(m, need)};
    p->total_keep_all = total_with(p, m, lora, training, need, L, NULL);
    p->total_recompute_all = total_with(p, m, lora, training, need, 0, NULL);
    p->n_kept = checkpointing == TRI_TRUE ? 0 : L;
    /* Each kept block costs the same: the first count that fits from above is the best. */
    if (checkpointing == TRI_AUTO)
        while (p->n_kept > 0 && total_with(p, m, lora, training, need, p->n_kept, NULL) > limit) p->n_kept--;
    p->total = total_with(p, m, lora, training, need, p->n_kept, p->bytes);
    return p->total > limit ? does_not_fit(p, need, err) : 0;
}

void plan_print(const plan_t *p, size_t layers) {
    log_info("memory:");
    for (int c = 0; c < POOL_CLASSES; c++)
        if (p->bytes[c]) log_info("  %-26s %12zu bytes  %9.1f MiB", pool_class_name((pool_class_t)c), p->bytes[c],
                                  (double)p->bytes[c] / (1 << 20));
    log_info("  %-26s %12zu bytes  %9.1f MiB  (limit %.1f MiB)", "total", p->total, (double)p->total / (1 << 20),
             (double)p->limit / (1 << 20));
    if (p->bytes[POOL_GRADIENTS])
        log_info("  recomputed blocks: %zu of %zu  (none: %.1f MiB, all: %.1f MiB)", layers - p->n_kept, layers,
                 (double)p->total_keep_all / (1 << 20), (double)p->total_recompute_all / (1 << 20));
}
