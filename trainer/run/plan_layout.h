/* Layouts of a run in the device's memory: what one takes, and the choice of one that fits. */
#ifndef TRAINER_RUN_PLAN_LAYOUT_H
#define TRAINER_RUN_PLAN_LAYOUT_H

#include "model/model.h"
#include "trainer/config/config.h"
#include "trainer/run/optimizer.h"

/* The largest passes that a run will make, and what may be done to fit them. */
typedef struct {
    size_t train_tokens, train_seg; /* of a micro-batch; 0: no training */
    size_t eval_tokens, eval_seg;   /* of an evaluation batch; 0: none */
    size_t prompt_tokens;           /* of a prompt's piece; 0: no generation */
    size_t cache;                   /* positions of its key/value cache */
    size_t micro_batches;           /* of an optimizer step */
    optimizer_kind_t optimizer;     /* of the training */
    bool no_room;                   /* what leaves the device makes no room, so nothing does */
    bool page_optimizer;            /* optimizer state may leave the device */
    bool page_weights;              /* frozen weights may be kept in host memory */
    bool cache_weights;             /* dequantized weights may be kept, where there is room for all else */
    tristate_t checkpointing;       /* of the training */
    bool resumes;                   /* a run that has begun: advice keeps to keys that do not define it */
} plan_need_t;

/* What a plan chooses. */
typedef struct {
    size_t chunk; /* rows of a logits chunk, and what it is a multiple of: see acts_spec_t */
    size_t tile;
    size_t n_kept;   /* blocks that keep their activations */
    size_t n_homes;  /* optimizer pages that have a place of their own on the device */
    size_t n_paged;  /* layers whose quantized weights are fetched by each pass */
    size_t n_cached; /* layers whose weights are kept dequantized too */
} layout_t;

typedef struct {
    layout_t layout;
    size_t bytes[POOL_CLASSES];                 /* of what has a place on the device */
    size_t total;                               /* of the pool: what is allocated */
    size_t shared;                              /* bytes that have two uses: activations reach over optimizer pages */
    size_t top;                                 /* where the activations of the largest pass end */
    size_t total_keep_all, total_recompute_all; /* with nothing paged: what gradient_checkpointing chooses between; the
                                                 * second of a training only */
    size_t host_optimizer, host_weights;        /* host memory for what leaves the device */
    size_t optimizer_step_bytes; /* moved for the optimizer in a step of the largest micro-batches, both ways */
    size_t weights_step_bytes;   /* moved for the weights in a step */
    size_t limit;
} plan_t;

workspace_need_t plan_workspace_need(const model_t *m, const plan_need_t *need);

/* Takes the places that stay for the whole run, in their order. lora and opt (no training) may be NULL. */
void plan_place_fixed(pool_t *pool, model_t *m, lora_t *lora, optimizer_t *opt, const plan_need_t *need,
                      const layout_t *layout);
/* Those of a generation, above them, where other passes have their activations. */
void plan_place_generation(pool_t *pool, const model_t *m, kv_cache_t *cache, acts_t *acts, const plan_need_t *need,
                           const layout_t *layout);

/* ---- for plan_make() and its advice ---- */

/* A question to which layouts are the answers. */
typedef struct {
    model_t *m;
    lora_t *lora;
    const plan_need_t *need;
    plan_t *p;
} question_t;

static inline bool plan_pages_optimizer(const plan_need_t *need) { return need->page_optimizer && !need->no_room; }
static inline bool plan_pages_weights(const plan_need_t *need) { return need->page_weights && !need->no_room; }

/* Fills in the plan's layout and figures; false: nothing fits its limit, and they are those of the layout that takes
 * the least. */
bool plan_choose(const question_t *q);
/* Whether the model would fit the plan's limit with another need. */
bool plan_would_fit(const question_t *q, const plan_need_t *need);

#endif
