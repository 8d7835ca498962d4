/* What the model that is trained answers to the prompts of training.sample_prompts, in output_dir/samples.jsonl: a row
 * {"step", "prompt", "completion"} for each prompt at each evaluation. */
#ifndef TRAINER_RUN_SAMPLES_H
#define TRAINER_RUN_SAMPLES_H

#include "trainer/run/run.h"
#include "trainer/run/step_rows.h"

/* Tokens of an answer at most, and no more than the model has positions. */
#define SAMPLE_TOKENS ((size_t)128)

/* Reads the config's prompts, if it names some, into run->prompts, as `generate` would put them: the tokenizer is opened
 * if it was not. ERR_USAGE for what can have no answer. The run is open, and not planned yet. */
int samples_prepare(run_t *run, err_t *err);
/* Adds to run->need what they take. */
void samples_need(run_t *run);

/* Opens the file, on the one rank that writes it, of a run that goes on after `step`. *complete: the answers of that step
 * are all there. If they are not and are due, what is there of them goes. */
int samples_open(const run_t *run, size_t step, bool due, step_rows_t **rows, bool *complete, err_t *err);
/* (all) The answers to all prompts. Between tokens `stop` is asked whether to give up; false where it was on one rank.
 * The caller frees *answers. */
bool samples_answer(run_t *run, bool (*stop)(void), int32_t **answers);
/* Writes them, durably: all rows at once. */
int samples_write(step_rows_t *rows, const run_t *run, size_t step, const int32_t *answers, err_t *err);

#endif
