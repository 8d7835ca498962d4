/* What a row becomes: its ids and labels, and what the formats need to make them. Internal to the dataset. */
#ifndef DATA_ROW_WRITER_H
#define DATA_ROW_WRITER_H

#include "data/dataset.h"

typedef struct {
    const dataset_spec_t *spec;
    chat_template_t alpaca; /* for alpaca rows without a chat template of another format */
    ids_t ids, labels;      /* of the row at hand */
} row_writer_t;

#endif
