/* What a row becomes: its ids and labels, and what the formats need to make them. Part of the dataset, and of who shows
 * single rows. */
#ifndef DATA_ROW_WRITER_H
#define DATA_ROW_WRITER_H

#include "data/dataset.h"

typedef struct {
    const dataset_spec_t *spec;
    const chat_template_t *alpaca; /* for alpaca rows without a chat template; NULL where there are none */
    bool wants_text;
    strbuf_t text;     /* of the row at hand, if wanted: what its tokens are of */
    ids_t ids, labels; /* of the row at hand */
    places_t starts;   /* scratch */
    row_notes_t notes; /* of all rows so far */
} row_writer_t;

void row_writer_free(row_writer_t *w);

#endif
