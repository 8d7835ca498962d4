/* Merging an adapter into its base model: W + scale * B A in fp32, rounded once (without bias: merge.c says why), a
 * piece of rows at a time. */
#ifndef TRAINER_EXPORT_MERGE_H
#define TRAINER_EXPORT_MERGE_H

#include "model/lora.h"
#include "model/model.h"

typedef struct {
    const model_source_t *src;
    const lora_t *lora;
    const float *master;  /* host masters of lora */
    model_t *dequantized; /* NULL to merge onto the source's own weights, or the loaded quantized model, to merge
                                 * onto what was trained against */
    backend_t *cpu;       /* does the products */
    dtype_t dtype; /* of the merged weights: BF16, F16 or F32; DT_COUNT: each as in the base, BF16 where that is in
                           * 4 bits or a GGUF's blocks */
    const char *chat_template; /* Jinja text in place of the model's own; NULL: that stays */
} merge_t;

/* Writes the merged model into the directory `dir` (of model_dir_begin). The same bytes each time. */
int merge_write(const char *dir, const merge_t *c, err_t *err);

/* ---- the pieces that it is made of, for writers of other files ---- */

/* What an adapter adds to a weight: scale * B A. */
typedef struct {
    const float *A, *B; /* [r, in], [out, r]; NULL: there is none */
    size_t r;
    float scale;
} merge_delta_t;

/* A tensor of the merged model. */
typedef struct {
    const source_tensor_t *from;
    tensor_role_t role; /* of `from`, but for an untied head */
    char name[160];
    merge_delta_t delta;
} merge_job_t;

/* Where an adapter of the head would be added to the embedding too, the head becomes a tensor of its own, the last. */
bool merge_unties(const merge_t *c);
size_t merge_job_count(const merge_t *c);
merge_job_t merge_job_at(const merge_t *c, size_t i);

/* Between these two: */
int merge_begin(const merge_t *c, err_t *err);
void merge_end(const merge_t *c);
/* Rows [row, row + n) of a tensor with the adapter merged in, in fp32. */
int merge_rows(const merge_t *c, const merge_job_t *job, size_t row, size_t n, float *out, err_t *err);
/* How many rows make a piece. */
size_t merge_piece_rows(const source_tensor_t *t);
/* One of the type's two values next to x, for element number `element` of the tensor with the key. */
uint64_t merge_key(const merge_job_t *job);
float merge_round(float x, dtype_t type, uint64_t key, size_t element);
/* Whether 8-bit rounding to nearest would lose a small change: the base's values are few, so that none is near the
 * middle between two steps. */
bool merge_is_coarse(const merge_t *c, const merge_job_t *job);

/* How much of the adapter's change (scale * B A, as a vector) is found in the merged weights: 1 but for rounding. */
typedef struct {
    size_t changed;                /* weights that the adapter changes at all */
    size_t judged;                 /* of these, weights whose rounding cannot hide that nothing arrived */
    double ratio, tolerance;       /* over all changed weights; 0: there are none */
    double worst, worst_tolerance; /* of the judged weight farthest from 1 */
    char worst_name[160];
} merge_report_t;

/* Reads a merged model, a directory or a GGUF, back: every value is W + scale * B A or one of its two neighbours in the
 * type, and in every
 * judged weight and in all together the change arrived, within six standard deviations and 1%. ERR_FAILED names the
 * tensor that is wrong. */
int merge_check(const char *dir, const merge_t *c, merge_report_t *report, err_t *err);

#endif
