/* From samples to the rows, micro-batches and optimizer steps of an epoch. A packed row holds several samples; each is a
 * segment of its own that sees only itself and whose positions start at 0.
 *
 * Everything is a pure function of (dataset, spec, epoch): resuming needs no state but the step. */
#ifndef DATA_EPOCH_H
#define DATA_EPOCH_H

#include "data/dataset.h"

typedef struct {
    size_t batch_size;   /* rows a micro-batch */
    size_t accumulation; /* micro-batches an optimizer step */
    size_t max_length;   /* of a packed row */
    bool packing, shuffle, group_by_length;
    uint64_t seed;
} batch_spec_t;

/* A row of a batch: samples order[first .. first+n). */
typedef struct {
    size_t first, n;
    size_t tokens;
} row_t;

/* One epoch's order: rows, cut in micro-batches of batch_size, cut in steps of `accumulation` micro-batches
 * (the last step of an epoch takes what remains). */
typedef struct {
    const dataset_t *ds;
    batch_spec_t spec;
    size_t epoch;
    size_t *order; /* [n_samples] sample indices */
    row_t *rows;
    size_t n_rows;
    size_t n_micro, n_steps;
} epoch_t;

/* packing: samples in the (shuffled) order go to rows of at most max_length by best fit among the open rows
 * (bounded look-back), whole samples only. group_by_length: rows of like length come together (in groups
 * that are an optimizer step each), shuffled as groups, the group with the longest first in the epoch so that
 * memory shows its peak at once; it has no effect on packed rows, which are of like length anyway. The rows of
 * a step and their order are the same for every batch_size and accumulation of the same product. */
void epoch_plan(const dataset_t *ds, const batch_spec_t *spec, size_t epoch, epoch_t *e);
void epoch_free(epoch_t *e);
size_t epoch_step_micros(const epoch_t *e, size_t step); /* micro-batches of a step */
size_t epoch_micro_tokens(const epoch_t *e, size_t m);   /* tokens of a micro-batch */
/* Trained tokens of an optimizer step: the divisor of its loss. */
size_t epoch_step_labels(const epoch_t *e, size_t step);
/* The most tokens, and the longest segment, of any micro-batch of the epoch. */
void epoch_extent(const epoch_t *e, size_t *max_tokens, size_t *max_seg);

/* Rows [*first, *end) of micro-batches [m, m + n), and the i-th sample of a row. */
void epoch_micro_rows(const epoch_t *e, size_t m, size_t n, size_t *first, size_t *end);
const sample_t *epoch_sample(const epoch_t *e, const row_t *row, size_t i);

#endif
