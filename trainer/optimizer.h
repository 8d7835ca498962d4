/* AdamW over the flat vector of all LoRA parameters: global-norm clipping, the update, and steps that are
 * skipped because a gradient is not finite. */
#ifndef TRAINER_OPTIMIZER_H
#define TRAINER_OPTIMIZER_H

#include <stdbool.h>

#include "model/lora.h"

typedef struct {
    size_t count;     /* parameters */
    float *m, *v;     /* [count] first and second moment, on the device */
    double *sumsq;    /* one value on the device */
    uint64_t t;       /* updates done; skipped steps do not count */
} optimizer_t;

typedef struct {
    float lr, beta1, beta2, eps, weight_decay;
    double max_grad_norm; /* 0: no clipping */
} optimizer_hyper_t;

void optimizer_place(optimizer_t *o, pool_t *pool, size_t count);
void optimizer_reset(optimizer_t *o, backend_t *be);

/* One update of lora->master from lora->grad. *grad_norm: before clipping. Returns false, having changed
 * nothing, when the gradient is not finite. */
bool optimizer_step(optimizer_t *o, lora_t *lora, backend_t *be, const optimizer_hyper_t *h, double *grad_norm);

#endif
