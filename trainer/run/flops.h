/* Arithmetic of training with frozen weights, in floating-point operations: a product and a sum are two. */
#ifndef TRAINER_RUN_FLOPS_H
#define TRAINER_RUN_FLOPS_H

#include "model/arch.h"

typedef struct {
    double tokens, labels; /* processed; trained: only these pass the head */
    double keys;           /* that a token sees on average: half a row's length; 0: leave attention out */
    size_t lora;           /* parameters of the adapters */
    size_t recomputed;     /* blocks whose forward runs a second time */
} flops_work_t;

typedef struct {
    double needed;     /* forward and backward */
    double forward;    /* of these the forward, all that an evaluation does */
    double recomputed; /* a second forward of some blocks, to save memory */
} flops_t;

flops_t flops_of(const model_config_t *c, const flops_work_t *w);

#endif
