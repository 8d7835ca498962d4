/* What a merged model computes, beside what was trained: the losses of both on a few rows of the run's own data, and
 * whether the merge kept what the training gained. */
#ifndef TRAINER_EXPORT_MERGE_LOSS_H
#define TRAINER_EXPORT_MERGE_LOSS_H

#include "trainer/run/run.h"

/* The beginning of a run of its own that computes with the model at `path`, in fp32, as and where `run` does: its config,
 * for run_open(). */
run_t merge_run(const run_t *run, const char *path);

/* Of the base alone, and with the adapter beside it. */
typedef struct {
    double base, adapted;
} loss_pair_t;

typedef struct {
    const run_t *run;       /* open; its data is read for the rows and left again */
    const char *checkpoint; /* whose adapter it is */
    batch_t rows;
    const char *rows_of;          /* "data.eval", "data.train"; NULL: made-up tokens, which no training gains on */
    bool quantized, has_original; /* the run's base is quantized; its weights are there unquantized */
    bool measured;                /* the two that follow, of which only the first is there without has_original */
    loss_pair_t trained;          /* in the quantization of the run: what merging onto dequantized weights computes */
    loss_pair_t original;         /* on the original weights: what merging onto these computes */
} merge_loss_t;

/* Reads the rows, and sees whether the largest model that will be loaded fits, before an hour is spent on writing.
 * merge_loss_end() also after an error. */
int merge_loss_begin(merge_loss_t *m, run_t *run, const char *checkpoint, err_t *err);

/* Loads the merged model that lies at `path` (a directory or a GGUF; `name` is what it will be called) and prints its
 * loss beside those of base and adapter, which are computed once. dequantized: what it was merged onto. ERR_FAILED when
 * it does not compute what base and adapter compute there; a warning with the remedy when that is clearly less than
 * what was trained. One model is in memory at a time. */
int merge_loss_check(merge_loss_t *m, const char *path, const char *name, bool dequantized, err_t *err);

/* The rule of that warning: the loss is higher than as trained by more than a quarter of what the training gained, or by
 * more than a fifth of itself; and by more than 0.02. */
bool merge_loses(const loss_pair_t *trained, double merged);

void merge_loss_end(merge_loss_t *m); /* a zeroed one is fine */

#endif
