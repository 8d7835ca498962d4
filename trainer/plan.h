/* What a run takes of the device's memory, known before it starts: the layout of the run on a counting pool. */
#ifndef TRAINER_PLAN_H
#define TRAINER_PLAN_H

#include "model/model.h"
#include "trainer/config.h"
#include "trainer/optimizer.h"

/* The largest passes that a run will make. */
typedef struct {
    size_t train_tokens, train_seg; /* of a micro-batch; 0: no training */
    size_t eval_tokens, eval_seg;   /* of an evaluation batch (or of a prompt's piece); 0: none */
    size_t cache;                   /* positions of a key/value cache; 0: no generation */
    optimizer_kind_t optimizer;     /* of the training */
} plan_need_t;

typedef struct {
    size_t n_kept;                /* blocks that keep their activations */
    size_t chunk;                 /* rows of a logits chunk */
    size_t bytes[POOL_CLASSES];
    size_t total;                 /* of the pool: what is allocated */
    size_t total_keep_all, total_recompute_all; /* the two ends that gradient_checkpointing chooses between */
    size_t limit;
} plan_t;

/* Takes the places that stay for the whole run, in their order. lora, opt (no training) and cache may be NULL. */
void plan_place_fixed(pool_t *pool, model_t *m, lora_t *lora, optimizer_t *opt, kv_cache_t *cache,
                      const plan_need_t *need, size_t chunk);

/* Chooses how many blocks are recomputed so that the run fits `limit` bytes. ERR_USAGE, with the figures and
 * what would make it fit, when it cannot. */
int plan_make(plan_t *p, model_t *m, lora_t *lora, bool training, const plan_need_t *need,
              tristate_t checkpointing, size_t limit, err_t *err);

/* The table that `plan` and every start print. */
void plan_print(const plan_t *p, size_t layers);

#endif
