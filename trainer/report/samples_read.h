/* What a model answered in the course of its training, from samples.jsonl: however long the run, of a few evaluations, of
 * not too many prompts, and of long texts the beginning. */
#ifndef TRAINER_REPORT_SAMPLES_READ_H
#define TRAINER_REPORT_SAMPLES_READ_H

#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum { SAMPLED_STEPS = 6, SAMPLED_PROMPTS = 24, SAMPLED_BYTES = 600 };

typedef struct {
    char *prompt;
    uint64_t id;                     /* of all of it */
    char *completion[SAMPLED_STEPS]; /* NULL: there is none */
} sampled_t;

typedef struct {
    size_t steps[SAMPLED_STEPS], n_steps; /* the first, the last, and some between them */
    size_t evaluations;                   /* that there are */
    sampled_t rows[SAMPLED_PROMPTS];
    size_t n_rows;
    size_t left_out; /* answers of these steps to prompts beyond those */
} report_samples_t;

/* *unread: lines that are no row. A file that is not there has none. */
int report_samples_read(const char *path, report_samples_t *s, size_t *unread, err_t *err);
void report_samples_free(report_samples_t *s);

#endif
