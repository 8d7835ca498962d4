/* What a training shows and keeps: progress, metrics.jsonl, samples.jsonl, TensorBoard's events, checkpoints. Rank 0 does
 * it for all ranks; what can fail ends the same way on all. */
#ifndef TRAINER_RUN_RECORD_H
#define TRAINER_RUN_RECORD_H

#include "trainer/run/checkpoint.h"
#include "trainer/run/metrics.h"
#include "trainer/run/run.h"
#include "trainer/run/samples.h"
#include "trainer/run/steps.h"
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
    train_state_t *state; /* of which its evaluations are kept here */
    const steps_t *steps;
    bool writes;      /* rank 0 */
    bool behind;      /* the checkpoint that the run goes on from does not know its own evaluation */
    strbuf_t history; /* log_history of the next checkpoint */
    metrics_t *metrics;
    step_rows_t *samples;       /* NULL: there are no prompts */
    size_t sampled;             /* the step of the last answers to all of them; 0: there are none */
    tensorboard_t *tensorboard; /* NULL: not asked for */
    char *config_yaml;
    double save_seconds; /* the longest that a checkpoint took */
    bool warned;         /* that a stop takes long */
} record_t;

/* The checkpoint of the best evaluation, where training.load_best_model_at_end keeps it; NULL: none is kept, or there was
 * no evaluation with a finite loss. The caller frees. */
char *record_best(const config_t *c, const train_state_t *state);
/* The checkpoints that stay in output_dir. */
checkpoint_keep_t record_keep(const config_t *c, const train_state_t *state);

/* (all), as all below unless they say otherwise. The run goes on from `state`, of which all later calls tell, and whose
 * evaluations follow the rows: those here, and each that is made. */
int record_open(record_t *r, run_t *run, train_state_t *state, const steps_t *steps, err_t *err);
void record_close(record_t *r);

int record_step(record_t *r, const step_result_t *s, err_t *err);
int record_eval(record_t *r, double loss, err_t *err);
/* Of samples_answer(). */
int record_samples(record_t *r, const int32_t *answers, err_t *err);
int record_checkpoint(record_t *r, err_t *err);

/* Each for itself: a warning, once, when a request to stop may be met too late. */
void record_slow_stop(record_t *r);

#endif
