/* Whether all ranks are about to train the same run: each reads config, model and data for itself. */
#ifndef TRAINER_RUN_SAME_RUN_H
#define TRAINER_RUN_SAME_RUN_H

#include "trainer/run/output_dir.h"
#include "trainer/run/run.h"

/* (all) ERR_USAGE, the same on all, where one has another configuration, model or data than rank 0, or computes in
 * another type or on another kind of device, or on the GPU of another: it names the rank and what differs. The run is
 * open. */
int same_run_check(const run_t *run, const run_identity_t *id, err_t *err);

#endif
