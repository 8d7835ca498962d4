/* A micro-batch as the model takes it: rows laid end to end without padding, and segments that do not see each
 * other. data/batch.h makes them from datasets. Host memory. */
#ifndef MODEL_BATCH_H
#define MODEL_BATCH_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    size_t T; /* tokens */
    size_t n_rows, n_seg;
    size_t n_labels;        /* trained tokens */
    size_t max_seg;         /* longest segment */
    int32_t *ids;           /* [T] */
    int32_t *pos;           /* [T] position in the segment: RoPE */
    int32_t *row, *row_pos; /* [T] row's index within the optimizer step, position in that row: dropout */
    int32_t *seg_off;       /* [n_seg+1] */
    int32_t *target_idx;    /* [n_labels] tokens whose next token is trained, ascending */
    int32_t *target;        /* [n_labels] that next token's id */
    size_t cap;             /* tokens that the arrays have room for */
} batch_t;

#endif
