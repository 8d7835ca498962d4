/* What the evaluations of a run came to so far: which was the best, and how long there has been no better one. It follows
 * from their losses, in order, as metrics.jsonl has them: so a resumed run stops where an uninterrupted one does. */
#ifndef TRAINER_RUN_EVALS_H
#define TRAINER_RUN_EVALS_H

#include <stdbool.h>
#include <stddef.h>

typedef struct {
    size_t last;           /* the step of the last one; 0: there was none */
    size_t best_step;      /* 0: none had a finite loss */
    double best;           /* its loss */
    size_t since;          /* evaluations since, without a lower loss */
    size_t bad, first_bad; /* how many were not finite, and the step of the first of them */
} evals_t;

/* One after `step` steps. Counted as by Transformers' EarlyStoppingCallback with threshold 0: an equal loss is no better
 * one, and the very first evaluation never counts as one without improvement. */
void evals_note(evals_t *e, size_t step, double loss);
/* Whether a run with this training.early_stopping_patience (0: off) has nothing more to do. */
bool evals_stop(const evals_t *e, size_t patience);

#endif
