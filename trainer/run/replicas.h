/* The copies of the adapter and of its optimizer that the ranks of a run train (trainer/ranks/ranks.h): each makes the
 * same update of its own, from the sum of all gradients. Of one process nothing is copied, added up or compared. */
#ifndef TRAINER_RUN_REPLICAS_H
#define TRAINER_RUN_REPLICAS_H

#include "trainer/run/checkpoint.h"

typedef struct {
    bool joined; /* the devices add up among themselves; else the processes do, in host memory */
    backend_t *be;
    lora_t *lora;
    optimizer_t *opt;
    void *piece; /* what passes through host memory does so in pieces */
} replicas_t;

/* (all) Lets the devices add up among themselves where all of them can. */
int replicas_join(replicas_t *r, backend_t *be, err_t *err);

/* (all) Masters, moments and *state become rank 0's. lora and opt are open, and stay where they are. */
void replicas_open(replicas_t *r, lora_t *lora, optimizer_t *opt, train_state_t *state);
void replicas_close(replicas_t *r); /* a zeroed one is fine */

/* (all) lora->grad becomes the sum over the ranks: the same bits on all. */
void replicas_sum(replicas_t *r);
/* (all) Whether all masters are rank 0's after `step`; if not an error, the same on all, which names the first rank whose
 * are not. */
int replicas_compare(const replicas_t *r, size_t step, err_t *err);

#endif
