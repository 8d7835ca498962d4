/* The training loop: from a loaded run to its last step, or to the checkpoint that a signal asked for. */
#ifndef TRAINER_RUN_TRAIN_H
#define TRAINER_RUN_TRAIN_H

#include "trainer/run/checkpoint.h"
#include "trainer/run/run.h"
#include "trainer/run/steps.h"

/* Goes on from `state` (resumed: that is what a checkpoint of this directory holds). 0: done, with the last checkpoint
 * written; EXIT_STOPPED: stopped by a signal after a checkpoint; ERR_FAILED. */
int train_loop(run_t *run, const steps_t *steps, train_state_t *state, bool resumed, err_t *err);

/* From now on SIGINT, SIGTERM and SIGUSR1 ask the loop to stop after the step at hand; a second SIGINT or
 * SIGTERM ends the process at once. */
void train_catch_signals(void);

#endif
