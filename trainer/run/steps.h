/* Which epoch and which part of it an optimizer step is: the whole run's course, known before it starts. */
#ifndef TRAINER_RUN_STEPS_H
#define TRAINER_RUN_STEPS_H

#include "data/batch.h"
#include "trainer/config/config.h"

typedef struct {
    size_t first; /* the step at which the epoch begins */
    size_t steps; /* of the whole epoch, also when the run ends within it */
} epoch_span_t;

typedef struct epoch_spans epoch_spans_t;

typedef struct {
    size_t total;         /* optimizer steps of the run */
    double epochs;        /* that these are */
    size_t n_epochs;      /* epochs begun */
    size_t max_tokens;    /* of any micro-batch of the run */
    size_t max_seg;       /* longest segment of any */
    epoch_spans_t *spans; /* of the epochs asked for so far */
} steps_t;

/* Plans the epochs of the run; the dataset must outlive the steps. Planning takes bounded time and memory however
 * large max_steps is. Epochs differ only where they are shuffled, and in their number of steps only where they are
 * packed too; of such, only the first STEPS_AHEAD are planned now:
 * - max_tokens is exact for a run of no more epochs. For a longer one it is a bound that any order keeps: the sum of
 *   the batch_size longest samples, or batch_size rows of max_length when packed.
 * - epochs and n_epochs of a longer packed run that ends by max_steps are estimates, from the mean of those planned. */
#define STEPS_AHEAD ((size_t)64)
void steps_plan(steps_t *s, const dataset_t *ds, const batch_spec_t *spec, const config_t *c);
void steps_free(steps_t *s);

/* The three below plan on, where a step is further than was planned: not for two threads at once. */
epoch_span_t steps_span(const steps_t *s, size_t epoch);
size_t steps_epoch(const steps_t *s, size_t step);
/* Epochs done after `step` steps, as a fraction: 1.25 is a quarter into the second. */
double steps_progress(const steps_t *s, size_t step);

/* Whether what training.eval_steps asks for is due after `step` steps. */
bool steps_evaluation_due(const steps_t *s, const config_t *c, size_t step);
/* How often it is in the whole run. */
size_t steps_evaluations(const steps_t *s, const config_t *c);

batch_spec_t steps_batch_spec(const config_t *c);

#endif
