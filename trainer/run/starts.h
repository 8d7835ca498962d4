/* output_dir/starts.jsonl: one JSON object each time that a run starts or goes on: from which step, by which program, on
 * which machine, with which model, data, memory and configuration. For people and `report`: nothing else reads it. */
#ifndef TRAINER_RUN_STARTS_H
#define TRAINER_RUN_STARTS_H

#include "trainer/run/checkpoint.h"
#include "trainer/run/run.h"
#include "trainer/run/steps.h"

/* Appends this start, by rank 0, of a run that is loaded. A torn last line, and starts of another run that never got
 * anywhere in this directory, are removed first. ERR_FAILED when it cannot be written. */
int starts_add(const run_t *run, const steps_t *steps, const train_state_t *state, err_t *err);

#endif
