/* From a row of a file to ids and labels: one function per format. Part of the dataset, and of who shows single rows. */
#ifndef DATA_DATASET_FORMATS_H
#define DATA_DATASET_FORMATS_H

#include "data/row_writer.h"
#include "data/rows.h"

/* Fills w->ids and w->labels. Messages of errors start with the key (the caller puts file:line before). A row with
 * nothing to train may come out empty. */
int row_convert(row_writer_t *w, data_format_t format, const file_row_t *row, err_t *err);

/* What a row's keys say; ERR_USAGE with the known formats otherwise. */
int row_detect(const file_row_t *row, data_format_t *f, err_t *err);

/* Whether rows of the format are text, for which there must be a tokenizer, and whether a row is put into a chat
 * template, if there is one (alpaca rows can do without). */
bool format_needs_tokenizer(data_format_t f);
bool row_uses_template(data_format_t f, const file_row_t *row);
/* What a writer needs and does not have is an error; for alpaca rows without a template *alpaca is opened, unless it is. */
int row_writer_prepare(const dataset_spec_t *spec, data_format_t f, const file_row_t *first, chat_template_t **alpaca,
                       err_t *err);

#endif
