#include "data/dataset.h"

#include <stdlib.h>

#include "base/mem.h"
#include "data/dataset_formats.h"

void dataset_free(dataset_t *ds) {
    free(ds->ids);
    free(ds->trained);
    free(ds->labels);
    free(ds->samples);
    *ds = (dataset_t){0};
}

int dataset_detect(const char *file, data_format_t *f, err_t *err) {
    rows_t rows;
    file_row_t row = {0};
    bool more;
    if (rows_open(file, &rows, err)) return err->code;
    int rc = rows_next(&rows, &row, &more, err);
    if (rc == 0 && !more) rc = err_set(err, ERR_USAGE, "%s: the file has no rows", file);
    if (rc == 0 && row_detect(&row, f, err)) rc = err_prefix(err, "%s:%zu", file, row.line);
    json_decref(row.json);
    rows_close(&rows);
    return rc;
}

char *dataset_sample_text(const dataset_t *ds, size_t sample, const tokenizer_t *tok, const char *open,
                          const char *close) {
    CHECK(sample < ds->n_samples);
    const sample_t *s = &ds->samples[sample];
    strbuf_t b = {0};
    bool inside = false;
    for (size_t i = s->start; i < s->start + s->len; i++) {
        bool trained = dataset_label(ds, i) != LABEL_NONE;
        if (!tok && i > s->start) strbuf_adds(&b, " ");
        if (trained != inside) strbuf_adds(&b, trained ? open : close);
        inside = trained;
        size_t len = 0;
        const char *piece = tok ? tokenizer_piece(tok, ds->ids[i], true, &len) : "";
        if (tok) strbuf_add(&b, piece, len);
        else strbuf_addf(&b, "%d", ds->ids[i]);
    }
    if (inside) strbuf_adds(&b, close);
    return b.p;
}
