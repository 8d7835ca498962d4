/* output_dir/metrics.jsonl: one JSON object a logged step or evaluation, in the order of the run. Reals are written
 * with 9 digits, which keep a float exactly; what is not finite is null. */
#ifndef TRAINER_RUN_METRICS_H
#define TRAINER_RUN_METRICS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

typedef struct metrics metrics_t;

/* A logged optimizer step; tokens, label_tokens, tokens_per_second and the bytes are of that step alone. */
typedef struct {
    size_t step;                           /* steps done, this one included: from 1 */
    double epoch;                          /* epochs done, with their fraction */
    double loss, grad_norm, learning_rate; /* grad_norm before clipping */
    size_t tokens, label_tokens;           /* tokens without padding */
    double tokens_per_second;
    size_t peak_device_bytes;
    size_t paged_bytes;          /* to and from the device: optimizer state and weights */
    double paging_stall_seconds; /* that computation waited for them: for progress, not in the row */
    double elapsed_seconds;
} metrics_step_t;

/* What is asked of a row, as it stands in the file: with its digits, and NAN for null. */
typedef struct {
    size_t step;
    bool is_eval;
    double epoch, loss, grad_norm, learning_rate; /* of an evaluation the loss only */
} metrics_row_t;
typedef void (*metrics_seen_t)(void *ctx, const metrics_row_t *row);

/* Opens the file to append to (trainer/run/step_rows.h). `seen` (may be NULL) is told of every row in turn: of those that
 * stay, and of each that is written. */
int metrics_open(const char *path, size_t last_step, metrics_seen_t seen, void *ctx, metrics_t **m, err_t *err);
/* Each row is handed to the system before the call returns. ERR_FAILED when it cannot be (a full disk). */
int metrics_step(metrics_t *m, const metrics_step_t *row, err_t *err);
int metrics_eval(metrics_t *m, size_t step, double loss, double perplexity, err_t *err);
/* Brings all rows to the disk; before a checkpoint that relies on them. */
int metrics_sync(metrics_t *m, err_t *err);
void metrics_close(metrics_t *m); /* NULL is fine */

#endif
