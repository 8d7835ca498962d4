/* trainer_state.json of a checkpoint, in the shape of Transformers' TrainerState: its load_from_json() reads it, and takes
 * no member that it does not know. What a run needs to go on is therefore under stateful_callbacks, "qlora-train".
 * Checkpoints from before have it at the top, and go on. */
#ifndef TRAINER_RUN_TRAINER_STATE_H
#define TRAINER_RUN_TRAINER_STATE_H

#include <stdint.h>

#include "base/error.h"
#include "base/mem.h"
#include "trainer/run/evals.h"

/* Everything that a run needs to go on, beside the tensors: data order, masks and schedule follow from `step`. */
typedef struct {
    size_t step; /* optimizer steps done, skipped ones included */
    double epoch;
    uint64_t adam_t;        /* updates done */
    size_t skipped;         /* steps whose gradient was not finite */
    size_t useless_in_row;  /* the last steps whose gradient was not finite or zero, without a good one between */
    double elapsed_seconds; /* of training so far */
    uint64_t run_id;        /* config_run_id */
    uint64_t model_id;      /* fingerprint of the base model's weights */
    uint64_t data_id;       /* fingerprint of the training data */
    char compute[8];        /* what the run computes in: "f32" or "bf16" */
    evals_t evals;
} train_state_t;

/* What else there is to say, for who reads the file. */
typedef struct {
    size_t max_steps, epochs, batch_size, logging_steps, eval_steps, save_steps;
    const char *best_model; /* the checkpoint of the best evaluation; NULL: it is not kept */
    const char *history;    /* objects of log_history, as log_history_add() wrote them; NULL: none */
} trainer_about_t;

int trainer_state_write(const char *path, const train_state_t *s, const trainer_about_t *about, err_t *err);
int trainer_state_read(const char *path, train_state_t *s, err_t *err);

/* Appends to the text of log_history. What is not finite is null. */
typedef struct {
    size_t step;
    bool is_eval;
    double epoch, loss, grad_norm, learning_rate; /* the last two of a step only */
} log_row_t;
void log_history_add(strbuf_t *history, const log_row_t *row);

#endif
