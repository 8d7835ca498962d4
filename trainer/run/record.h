/* What a training shows and keeps: progress, metrics.jsonl, TensorBoard's events, checkpoints. Rank 0 does it for all ranks; what can fail ends
 * the same way on all. */
#ifndef TRAINER_RUN_RECORD_H
#define TRAINER_RUN_RECORD_H

#include "trainer/run/checkpoint.h"
#include "trainer/run/metrics.h"
#include "trainer/run/run.h"
#include "trainer/run/tensorboard.h"

/* A step, done or skipped. Bytes: the most that a rank had at a time, and what all of them moved. */
typedef struct {
    double loss, grad_norm, lr, seconds;
    size_t tokens, labels, peak_bytes, paged_bytes;
    double stalled; /* seconds that ops waited for pages */
    bool skipped;
} step_result_t;

typedef struct {
    run_t *run;
    const train_state_t *state;
    size_t total; /* steps of the run */
    bool writes;  /* rank 0 */
    metrics_t *metrics;
    tensorboard_t *tensorboard; /* NULL: not asked for */
    char *config_yaml;
    double save_seconds; /* the longest that a checkpoint took */
    bool warned;         /* that a stop takes long */
} record_t;

/* (all), as all below unless they say otherwise. The run goes on from `state`, of which all later calls tell. */
int record_open(record_t *r, run_t *run, const train_state_t *state, size_t total, err_t *err);
void record_close(record_t *r);

int record_step(record_t *r, const step_result_t *s, err_t *err);
int record_eval(record_t *r, double loss, err_t *err);
int record_checkpoint(record_t *r, err_t *err);

/* Whether the step at hand has been evaluated. */
bool record_has_eval(const record_t *r);
/* Evaluations so far whose loss is not finite; *first: the step of the first of them (may be NULL). */
size_t record_bad_evals(const record_t *r, size_t *first);

/* Each for itself: a warning, once, when a request to stop may be met too late. */
void record_slow_stop(record_t *r);

#endif
