/* All of a training run that comes before its weights are read: data, course of the steps, memory. `train` and `plan`
 * begin alike. */
#ifndef TRAINER_PREPARE_H
#define TRAINER_PREPARE_H

#include "trainer/run.h"
#include "trainer/steps.h"

/* Opens the run, plans steps and memory, and prints both; the table also when the run does not fit. */
int prepare_run(run_t *run, steps_t *steps, err_t *err);

/* The kind that training.optim names. */
optimizer_kind_t prepare_optimizer_kind(optim_t optim);

#endif
