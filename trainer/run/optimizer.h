/* AdamW over the flat vector of all LoRA parameters: global-norm clipping, the update, and steps that are
 * skipped because a gradient is not finite. The moments are fp32, 8 bytes a parameter, or 8-bit with a constant
 * per block (Dettmers et al. 2022, "8-bit optimizers"), a little over 2. They are paged (QLoRA, section 3). */
#ifndef TRAINER_RUN_OPTIMIZER_H
#define TRAINER_RUN_OPTIMIZER_H

#include <stdbool.h>

#include "model/backend/pager.h"
#include "model/lora.h"

typedef enum { OPTIMIZER_32BIT, OPTIMIZER_8BIT } optimizer_kind_t;

/* The arrays that make up the moments of each kind: fp32 has only the first two, [count] each; in 8 bits these
 * are codes, and the others, [blocks] each, their constants. */
typedef enum { STATE_M, STATE_V, STATE_M_ABSMAX, STATE_V_ABSMAX, STATE_ARRAYS } state_array_t;

typedef struct {
    const char *name; /* in optimizer.safetensors */
    dtype_t dtype;
    size_t count;
} optimizer_array_t;

/* The moments lie in pages: a page has a range of parameters, of each array the part that belongs to them. */
typedef struct {
    size_t first[STATE_ARRAYS], count[STATE_ARRAYS]; /* of each array, */
    size_t offset[STATE_ARRAYS];                     /* and where in the page it begins, bytes */
} optimizer_page_t;

typedef struct {
    optimizer_kind_t kind;
    size_t count; /* parameters */
    optimizer_array_t arrays[STATE_ARRAYS];
    size_t n_arrays;
    size_t n_blocks;         /* 8-bit: blocks, */
    size_t *start;           /* and where each begins, [n_blocks+1], on the device */
    double *sumsq;           /* one value on the device */
    uint64_t t;              /* updates done; skipped steps do not count */
    optimizer_page_t *pages; /* [pager.n] */
    pager_t pager;
} optimizer_t;

typedef struct {
    float lr, lr_b; /* of A, and of B: LoRA+ (Hayou et al. 2024) */
    double beta1, beta2;
    float eps, weight_decay;
    double max_grad_norm; /* 0: no clipping */
} optimizer_hyper_t;

/* Takes the optimizer's places from the pool: the first n_homes pages a home each (SIZE_MAX: all, and nothing needs a
 * slot). optimizer_free also of one placed in a pool that only counts. */
void optimizer_place(optimizer_t *o, optimizer_kind_t kind, const lora_t *lora, size_t n_homes, pool_t *pool);
void optimizer_free(optimizer_t *o); /* a zeroed one is fine */
/* Opens the pager and sets the state before the first step; before anything else once the optimizer is placed. top,
 * spill_dir: see pager_open(). */
int optimizer_open(optimizer_t *o, const lora_t *lora, const pool_t *pool, size_t top, const char *spill_dir,
                   err_t *err);

/* (all) One update of lora->master from lora->grad, the same on all ranks. *grad_norm: before clipping. Returns false, having changed
 * nothing, when the gradient is not finite. next_top: where the next activations are expected to end in the pool, 0
 * when it is not known. */
bool optimizer_step(optimizer_t *o, lora_t *lora, backend_t *be, const optimizer_hyper_t *h, size_t next_top,
                    double *grad_norm);

/* Elements [first, first + n) of an array, wherever its pages are. */
void optimizer_read(optimizer_t *o, state_array_t array, size_t first, size_t n, void *host);
void optimizer_write(optimizer_t *o, state_array_t array, size_t first, size_t n, const void *host);

#endif
