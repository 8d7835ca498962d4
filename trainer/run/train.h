/* The training loop: from a loaded run to its last step, or to the checkpoint that a signal asked for. */
#ifndef TRAINER_RUN_TRAIN_H
#define TRAINER_RUN_TRAIN_H

#include "trainer/run/checkpoint.h"
#include "trainer/run/run.h"
#include "trainer/run/steps.h"

/* Goes on from `state` (resumed: that is what a checkpoint of this directory holds). 0: done, with the last checkpoint
 * written; EXIT_STOPPED: stopped by a signal after a checkpoint; ERR_FAILED, also of a run whose every step was taken
 * but which did not learn: more than a tenth of its steps were skipped, or an evaluation was not finite. *usable: all
 * steps are done, and the adapter computes something. */
int train_loop(run_t *run, const steps_t *steps, train_state_t *state, bool resumed, bool *usable, err_t *err);

/* From now on SIGINT, SIGTERM and SIGUSR1 ask the loop to stop after the step at hand; a second SIGINT or
 * SIGTERM ends the process at once. */
void train_catch_signals(void);

#endif
