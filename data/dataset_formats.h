/* From a row of a file to ids and labels: one function per format. Internal to the dataset. */
#ifndef DATA_DATASET_FORMATS_H
#define DATA_DATASET_FORMATS_H

#include "data/dataset.h"
#include "data/rows.h"

typedef struct {
    const dataset_spec_t *spec;
    chat_template_t alpaca; /* for alpaca rows without a chat template of another format */
    ids_t ids, labels;      /* of the row at hand */
} row_writer_t;

/* Fills w->ids and w->labels. Messages of errors start with the key (the caller puts file:line before). A row with
 * nothing to train may come out empty. */
int row_convert(row_writer_t *w, data_format_t format, const file_row_t *row, err_t *err);

/* What a row's keys say; ERR_USAGE with the known formats otherwise. */
int row_detect(const file_row_t *row, data_format_t *f, err_t *err);

/* Whether rows of the format become text, or conversations: what they need a tokenizer, a chat template for. */
bool format_needs_tokenizer(data_format_t f);
bool format_needs_chat(data_format_t f);

/* dataset_chat.c: rows that are conversations. */
int convert_conversation(row_writer_t *w, const json_t *row, const char *list_key, err_t *err);
int convert_alpaca(row_writer_t *w, const json_t *row, err_t *err);

/* A string member as text; absent or null: empty if optional, else an error that names it. */
int row_text(const json_t *row, const char *key, bool optional, const char **s, size_t *n, err_t *err);

#endif
