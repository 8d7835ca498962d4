/* Which epoch and which part of it an optimizer step is: the whole run's course, known before it starts. */
#ifndef TRAINER_STEPS_H
#define TRAINER_STEPS_H

#include "data/batch.h"
#include "trainer/config.h"

typedef struct {
    size_t first; /* the step at which the epoch begins */
    size_t steps; /* of the whole epoch, also when the run ends within it */
} epoch_span_t;

typedef struct {
    size_t total;        /* optimizer steps of the run */
    epoch_span_t *epochs;
    size_t n_epochs;     /* epochs begun */
    size_t max_tokens;   /* of any micro-batch of the run */
    size_t max_seg;      /* longest segment of any */
} steps_t;

/* Plans every epoch: with packing each has its own number of rows. */
void steps_plan(steps_t *s, const dataset_t *ds, const batch_spec_t *spec, const config_t *c);
void steps_free(steps_t *s);
size_t steps_epoch(const steps_t *s, size_t step);
/* Epochs done after `step` steps, as a fraction: 1.25 is a quarter into the second. */
double steps_progress(const steps_t *s, size_t step);

batch_spec_t steps_batch_spec(const config_t *c);

#endif
