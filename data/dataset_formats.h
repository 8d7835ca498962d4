/* From a row of a file to ids and labels: one function per format. Internal to the dataset. */
#ifndef DATA_DATASET_FORMATS_H
#define DATA_DATASET_FORMATS_H

#include "data/row_writer.h"
#include "data/rows.h"

/* Fills w->ids and w->labels. Messages of errors start with the key (the caller puts file:line before). A row with
 * nothing to train may come out empty. */
int row_convert(row_writer_t *w, data_format_t format, const file_row_t *row, err_t *err);

/* What a row's keys say; ERR_USAGE with the known formats otherwise. */
int row_detect(const file_row_t *row, data_format_t *f, err_t *err);

/* Whether rows of the format are text, for which there must be a tokenizer, and whether they can do without a chat
 * template: alpaca rows use one (data_format_uses_template()) but do not need it. */
bool format_needs_tokenizer(data_format_t f);
bool format_needs_template(data_format_t f);

#endif
