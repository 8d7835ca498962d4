/* All of a training run that comes before its weights are read: data, course of the steps, memory. `train` and `plan`
 * begin alike. */
#ifndef TRAINER_RUN_PREPARE_H
#define TRAINER_RUN_PREPARE_H

#include "trainer/run/output_dir.h"
#include "trainer/run/run.h"
#include "trainer/run/steps.h"

/* (all) Opens the run, and tells of the directory `out`, which was named before, whether it is free, holds this run or has
 * finished it; one that holds another configuration's is refused before data are read. Rank 0 looks into it, and what it
 * finds holds for all. id->config is the caller's to free. */
int prepare_open(run_t *run, output_dir_t *out, run_identity_t *id, err_t *err);

/* (all) Plans steps and memory of the open run, and prints both; the table also when the run does not fit. `begun`: advice
 * is for a run that goes on. */
int prepare_plan(run_t *run, steps_t *steps, bool begun, err_t *err);

/* The kind that training.optim names. */
optimizer_kind_t prepare_optimizer_kind(optim_t optim);

#endif
