/* training.report_to: tensorboard. Event files in output_dir/tensorboard, one for each start of the run that logs
 * anything; the rows of metrics.jsonl as scalars. Rows past the checkpoint that a run goes on from count no more for
 * readers as soon as the new file is there. */
#ifndef TRAINER_RUN_TENSORBOARD_H
#define TRAINER_RUN_TENSORBOARD_H

#include "trainer/run/metrics.h"

typedef struct tensorboard tensorboard_t;

/* Of a run that goes on after `last_step` steps. Nothing is written before the first row. */
tensorboard_t *tensorboard_open(const char *output_dir, size_t last_step);
/* Each row is handed to the system before the call returns. ERR_FAILED when it cannot be. NULL: nothing is done. */
int tensorboard_step(tensorboard_t *t, const metrics_step_t *row, err_t *err);
int tensorboard_eval(tensorboard_t *t, size_t step, double loss, double perplexity, err_t *err);
/* Brings all rows to the disk. */
int tensorboard_sync(tensorboard_t *t, err_t *err);
void tensorboard_close(tensorboard_t *t); /* NULL is fine */

#endif
