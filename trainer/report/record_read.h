/* What a run left in its output_dir, as far as it is there: metrics.jsonl, samples.jsonl, starts.jsonl and the
 * configuration. The run may be under way; a line that is torn, or longer than any that a run writes, is left out and
 * counted. */
#ifndef TRAINER_REPORT_RECORD_READ_H
#define TRAINER_REPORT_RECORD_READ_H

#include <jansson.h>

#include "base/error.h"
#include "trainer/report/samples_read.h"
#include "trainer/report/series.h"

/* Columns of metrics.jsonl, in the order of their charts. */
typedef enum {
    COLUMN_LOSS,
    COLUMN_EVAL_LOSS,
    COLUMN_GRAD_NORM,
    COLUMN_LEARNING_RATE,
    COLUMN_TOKENS_PER_SECOND,
    COLUMN_PEAK_BYTES,
    COLUMN_PAGED_BYTES,
    COLUMNS
} column_t;

typedef struct {
    char *section, *name, *value; /* value: as a resolved config writes it */
    char *usual;                  /* the default in the same form; NULL: the key has none */
} setting_t;

typedef struct {
    char *dir, *name; /* name: the last part of dir */
    series_t column[COLUMNS];
    size_t steps;     /* of the last row */
    size_t best_step; /* of the least evaluation loss; 0: there is none */
    double best_loss;
    double seconds;     /* of training, from the last row */
    double tokens;      /* of the logged steps */
    size_t n_tokens;    /* steps that are logged with their tokens */
    size_t begun_after; /* the step of its first start: above 0 where it began with the checkpoint of another */
    report_samples_t samples;
    json_t *starts;      /* objects of starts.jsonl, the last ones */
    size_t unread;       /* lines that are no row */
    setting_t *settings; /* in the order of the table of keys; none where no configuration is found */
    size_t n_settings;
} run_record_t;

/* ERR_USAGE for a directory without a metrics.jsonl. */
int run_record_read(const char *dir, run_record_t *r, err_t *err);
void run_record_free(run_record_t *r);

#endif
