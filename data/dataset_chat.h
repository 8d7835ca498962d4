/* Rows that are conversations, through a chat template. Internal to the dataset; part of row_convert(). */
#ifndef DATA_DATASET_CHAT_H
#define DATA_DATASET_CHAT_H

#include "data/row_writer.h"
#include "data/rows.h"

int convert_messages(row_writer_t *w, const file_row_t *row, err_t *err);
int convert_sharegpt(row_writer_t *w, const file_row_t *row, err_t *err);
int convert_alpaca(row_writer_t *w, const file_row_t *row, err_t *err);
/* prompt and completion as lists of messages. */
int convert_prompt_messages(row_writer_t *w, const file_row_t *row, err_t *err);

#endif
