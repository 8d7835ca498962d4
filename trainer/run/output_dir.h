/* output_dir: which run it belongs to, that only one process works on it, and whether the run is finished.
 * run.json holds the run's identity and the keys that define it, so that a refusal can say what differs. */
#ifndef TRAINER_RUN_OUTPUT_DIR_H
#define TRAINER_RUN_OUTPUT_DIR_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "model/arch.h"

typedef struct {
    uint64_t run_id;   /* config_run_id */
    uint64_t data_id;  /* fingerprint of the training data */
    uint64_t model_id; /* of the base model's weights */
    uint64_t eval_id;  /* of the evaluation data; 0: there is none */
    json_t *model;     /* output_dir_describe(), of whoever made the identity */
    char *config;      /* config_run_text, of whoever made the identity */
    char compute[8];   /* what it computes in: "f32" or "bf16" */
    const char *start; /* training.resume_from_checkpoint, as the run was first started */
} run_identity_t;

typedef struct {
    char *dir;
    int lock;        /* file descriptor that holds the flock */
    bool begun;      /* this run has a checkpoint or a logged step in it */
    bool finished;   /* the run in it reached its end */
    bool other_eval; /* it was evaluated on other data so far */
    char compute[8]; /* what the run in it computes in; "": not known, or there is none */
    bool continued;  /* the same run was started here before, with the same resume_from_checkpoint */
} output_dir_t;

/* Names the directory; output_dir_close() in any case. Nothing is read or written. */
output_dir_t output_dir_at(const char *dir);
/* What the model computes beside its weights, as config.json says it: another rope_theta makes another run. New reference. */
json_t *output_dir_describe(const model_config_t *c);
/* Takes the lock, if the directory has one already: what another process works on is refused at once (ERR_USAGE). */
int output_dir_lock(output_dir_t *o, err_t *err);
/* Whether the directory is free or belongs to a run of this configuration: all that is known before data and model are
 * read. Writes nothing. */
int output_dir_check_config(output_dir_t *o, const run_identity_t *id, err_t *err);
/* Whether the directory is free or belongs to this run, and what became of it so far. Writes nothing. */
int output_dir_check(output_dir_t *o, const run_identity_t *id, err_t *err);
/* Makes the directory if need be, takes its lock, checks it, and claims it in run.json. A directory that was claimed
 * but has neither a checkpoint nor a logged step (its run failed to start) may be claimed anew. ERR_USAGE when another
 * process works on it, or when it holds another run; a warning where the file system has no locks. */
int output_dir_open(output_dir_t *o, const run_identity_t *id, err_t *err);
/* Before anything is written under the name `dir`: whether that is still the directory which was opened. What somebody
 * has moved away or removed meanwhile is not made anew, and what is there in its place not written to. */
int output_dir_check_place(const char *dir, err_t *err);
int output_dir_finish(output_dir_t *o, const run_identity_t *id, err_t *err);
void output_dir_close(output_dir_t *o);

#endif
