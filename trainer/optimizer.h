/* AdamW over the flat vector of all LoRA parameters: global-norm clipping, the update, and steps that are
 * skipped because a gradient is not finite. The moments are fp32, 8 bytes a parameter, or 8-bit with a constant
 * per block (Dettmers et al. 2022, "8-bit optimizers"), a little over 2. */
#ifndef TRAINER_OPTIMIZER_H
#define TRAINER_OPTIMIZER_H

#include <stdbool.h>

#include "model/lora.h"

typedef enum { OPTIMIZER_32BIT, OPTIMIZER_8BIT } optimizer_kind_t;

/* The arrays that make up the moments of each kind: fp32 has only the first two, [count] each; in 8 bits these
 * are codes, and the others, [blocks] each, their constants. */
typedef enum { STATE_M, STATE_V, STATE_M_ABSMAX, STATE_V_ABSMAX, STATE_ARRAYS } state_array_t;

typedef struct {
    const char *name;   /* in optimizer.safetensors */
    dtype_t dtype;
    size_t count;
    void *data;         /* on the device */
} optimizer_array_t;

typedef struct {
    optimizer_kind_t kind;
    size_t count;       /* parameters */
    optimizer_array_t arrays[STATE_ARRAYS];
    size_t n_arrays;
    size_t n_blocks;    /* 8-bit: blocks, */
    size_t *start;      /* and where each begins, [n_blocks+1], on the device */
    double *sumsq;      /* one value on the device */
    uint64_t t;         /* updates done; skipped steps do not count */
} optimizer_t;

typedef struct {
    float lr;
    double beta1, beta2;
    float eps, weight_decay;
    double max_grad_norm; /* 0: no clipping */
} optimizer_hyper_t;

void optimizer_place(optimizer_t *o, optimizer_kind_t kind, const lora_t *lora, pool_t *pool);
/* The state before the first step; before anything else once the optimizer is placed. */
void optimizer_reset(optimizer_t *o, const lora_t *lora, backend_t *be);

/* One update of lora->master from lora->grad. *grad_norm: before clipping. Returns false, having changed
 * nothing, when the gradient is not finite. */
bool optimizer_step(optimizer_t *o, lora_t *lora, backend_t *be, const optimizer_hyper_t *h, double *grad_norm);

#endif
