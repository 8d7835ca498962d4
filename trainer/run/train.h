/* The training loop: from a loaded run to its last step, or to the checkpoint that a request to stop asked for. */
#ifndef TRAINER_RUN_TRAIN_H
#define TRAINER_RUN_TRAIN_H

#include "trainer/run/checkpoint.h"
#include "trainer/run/run.h"
#include "trainer/run/steps.h"

/* Goes on from `state`. 0: done, with the last checkpoint written; EXIT_STOPPED: stopped (trainer/run/stop.h) after a
 * checkpoint, or before a step was done; ERR_FAILED, also of a run whose every step was taken
 * but which did not learn: more than a tenth of its steps were skipped, or an evaluation was not finite. *usable: all
 * steps are done, and the adapter computes something. */
int train_loop(run_t *run, const steps_t *steps, train_state_t *state, bool *usable, err_t *err);

#endif
