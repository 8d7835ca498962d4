/* What of a run is not finite, and why: for the messages about steps that were skipped and evaluations that came to
 * nothing. Rows are computed one by one between two steps; nothing of the run changes by it. Rank 0 looks and tells; on
 * the others the first two return at once. */
#ifndef TRAINER_RUN_FINITE_H
#define TRAINER_RUN_FINITE_H

#include "trainer/run/run.h"

/* Warns of the cause why optimizer step `step` (of the epoch its step_in_epoch-th) had no finite loss or gradient: the
 * rows that have none by themselves, a few of them by name; or, where most rows have none, the base or the adapter, which
 * was last changed to good effect in step `since` (0: never). Between rows `stop` is asked whether to give up. */
void finite_explain_step(run_t *run, const epoch_t *e, size_t step_in_epoch, size_t step, size_t since,
                         bool (*stop)(void));
/* The same of an evaluation after `step`. */
void finite_explain_eval(run_t *run, size_t step, size_t since, bool (*stop)(void));
/* Whether the adapter is of use: its values are finite, and so is the loss of at least half of some training rows. */
bool finite_adapter(run_t *run);

#endif
