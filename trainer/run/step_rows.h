/* A file of the run with one JSON object a line, of which "step" is the step that it tells of. Rows are appended in the
 * order of the run; a run that goes on from a checkpoint first loses those that the checkpoint does not know of. */
#ifndef TRAINER_RUN_STEP_ROWS_H
#define TRAINER_RUN_STEP_ROWS_H

#include <jansson.h>
#include <stddef.h>

#include "base/error.h"

typedef struct step_rows step_rows_t;

/* Opens the file to append to. What is past last_step goes, with lines that are no row and a torn last one, by an atomic
 * rewrite; with last_step 0 the file starts empty. `kept` (may be NULL) is told of each row that stays. */
typedef void step_row_fn(void *ctx, const json_t *row, size_t step);
int step_rows_open(const char *path, size_t last_step, step_row_fn *kept, void *ctx, step_rows_t **rows, err_t *err);
/* Whole lines, handed to the system before the call returns. ERR_FAILED when they cannot be (a full disk). */
int step_rows_add(step_rows_t *rows, const char *lines, size_t len, err_t *err);
/* Brings all rows to the disk. */
int step_rows_sync(step_rows_t *rows, err_t *err);
void step_rows_close(step_rows_t *rows); /* NULL is fine */

#endif
