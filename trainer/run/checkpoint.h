/* Checkpoints: output_dir/checkpoint-N/, N the optimizer steps done. A directory has adapter_config.json and
 * adapter_model.safetensors (PEFT loads it as it is), optimizer.safetensors (fp32 masters, the optimizer's arrays),
 * trainer_state.json, config.yaml, chat_template.jinja where the config names a file for it, and checksums.json with the
 * XXH3 of each of the others. It is written under a temporary name, fsynced and renamed: a checkpoint is there whole or
 * not at all. */
#ifndef TRAINER_RUN_CHECKPOINT_H
#define TRAINER_RUN_CHECKPOINT_H

#include "trainer/run/optimizer.h"
#include "trainer/run/trainer_state.h"

/* What a checkpoint says of its run. */
typedef struct {
    const char *config_yaml, *base_model;
    const char *chat_template; /* the text of the file that is data.chat_template; NULL: it is none */
    trainer_about_t trainer;
} checkpoint_about_t;

/* How many checkpoints stay (0: all). The newest always does, and so does that of `best` (0: there is none), which counts
 * as one of them. */
typedef struct {
    size_t limit, best;
} checkpoint_keep_t;

/* Writes checkpoint-<state->step> and removes the oldest that do not stay. One of that step that is there, of before its
 * evaluation, is replaced at once, or left where the file system cannot exchange names. */
int checkpoint_save(const char *output_dir, const train_state_t *state, lora_t *lora, optimizer_t *opt, backend_t *be,
                    const checkpoint_about_t *about, checkpoint_keep_t keep, err_t *err);
/* data.chat_template of a checkpoint, where a file was that (the caller frees); NULL: none was. */
char *checkpoint_chat_template(const char *dir);

/* The newest checkpoint whose checksums hold (the caller frees *dir); NULL: there is none. Each damaged one that is
 * newer is named in a warning. ERR_FAILED when one could not be read at all, which is no damage. */
int checkpoint_newest(const char *output_dir, char **dir, err_t *err);

/* The newest of fewer than `step` steps whose checksums hold (the caller frees); NULL: there is none. */
char *checkpoint_before(const char *output_dir, size_t step);

/* Whether every file is there with its checksum: ERR_USAGE naming the first that is not. */
int checkpoint_verify(const char *dir, err_t *err);
int checkpoint_read_state(const char *dir, train_state_t *state, err_t *err);
/* Masters and moments; lora and opt have been placed. */
int checkpoint_load(const char *dir, const train_state_t *state, lora_t *lora, optimizer_t *opt, backend_t *be,
                    err_t *err);
/* Its masters alone, [lora->count]; whether the checksums hold is seen first. */
int checkpoint_read_master(const char *dir, const lora_t *lora, float *master, err_t *err);
/* output_dir/checkpoint-<step>. The caller frees. */
char *checkpoint_path(const char *output_dir, size_t step);

/* At the start of a run that goes on from `step`: removes what an interrupted save or removal left under a temporary name,
 * renames checkpoints newer than `step` to checkpoint-N.damaged (the run goes on from an earlier one because their
 * checksums do not hold), and removes the oldest that do not stay, which a kill may have prevented. */
int checkpoint_tidy(const char *output_dir, size_t step, checkpoint_keep_t keep, err_t *err);
/* Whether there is any, good or not. */
int checkpoint_any(const char *output_dir, bool *any, err_t *err);

#endif
