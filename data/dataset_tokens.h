/* Rows of the format tokens. Internal to the dataset; part of row_convert(). */
#ifndef DATA_DATASET_TOKENS_H
#define DATA_DATASET_TOKENS_H

#include "data/row_writer.h"
#include "data/rows.h"

int convert_tokens(row_writer_t *w, const file_row_t *row, err_t *err);

#endif
