#include "data/dataset.h"

#include <stdlib.h>
#include <xxhash.h>

#include "base/mem.h"
#include "data/dataset_formats.h"

void dataset_free(dataset_t *ds) {
    free(ds->ids);
    free(ds->trained);
    free(ds->labels);
    free(ds->samples);
    *ds = (dataset_t){0};
}

static void hash_labels(const dataset_t *ds, XXH3_state_t *state) {
    int32_t labels[4096];
    for (size_t t = 0; t < ds->n_tokens;) {
        size_t n = 0;
        while (t < ds->n_tokens && n < sizeof labels / sizeof *labels) labels[n++] = dataset_label(ds, t++);
        XXH3_64bits_update(state, labels, n * sizeof *labels);
    }
}

uint64_t dataset_hash(const dataset_t *ds) {
    XXH3_state_t *state = mem_checked(XXH3_createState(), 0);
    XXH3_64bits_reset(state);
    XXH3_64bits_update(state, ds->ids, ds->n_tokens * sizeof *ds->ids);
    hash_labels(ds, state);
    for (size_t i = 0; i < ds->n_samples; i++) {
        uint64_t len = ds->samples[i].len;
        XXH3_64bits_update(state, &len, sizeof len);
    }
    uint64_t hash = XXH3_64bits_digest(state);
    XXH3_freeState(state);
    return hash;
}

int dataset_detect(const char *file, data_format_t *f, bool *uses_template, err_t *err) {
    rows_t rows;
    file_row_t row = {0};
    bool more;
    if (rows_open(file, &rows, err)) return err->code;
    int rc = rows_next(&rows, &row, &more, err);
    if (rc == 0 && !more) rc = err_set(err, ERR_USAGE, "%s: the file has no rows", file);
    if (rc == 0 && *f == DATA_AUTO && row_detect(&row, f, err)) rc = err_prefix(err, "%s:%zu", file, row.line);
    if (rc == 0) *uses_template = row_uses_template(*f, &row);
    row_free(&row);
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
