#include "data/dataset.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/mem.h"
#include "data/dataset_formats.h"

typedef struct {
    const dataset_spec_t *spec;
    dataset_t *ds;
    row_writer_t w;
    size_t cap_tokens, cap_samples;
} loader_t;

static void reserve_tokens(loader_t *l, size_t n) {
    dataset_t *ds = l->ds;
    if (ds->n_tokens + n <= l->cap_tokens) return;
    size_t cap = l->cap_tokens + l->cap_tokens / 2;
    if (cap < ds->n_tokens + n) cap = ds->n_tokens + n + 4096;
    ds->ids = xrealloc(ds->ids, cap * sizeof *ds->ids);
    ds->labels = xrealloc(ds->labels, cap * sizeof *ds->labels);
    l->cap_tokens = cap;
}

/* Adds a sample of n tokens, or counts it as one without a trained token. */
static void add_sample(loader_t *l, const int32_t *ids, const int32_t *labels, size_t n) {
    dataset_t *ds = l->ds;
    size_t trained = 0;
    for (size_t i = 1; i < n; i++) trained += labels[i] != LABEL_NONE;
    if (trained == 0) {
        ds->unlabelled_rows++;
        return;
    }
    reserve_tokens(l, n);
    memcpy(ds->ids + ds->n_tokens, ids, n * sizeof *ids);
    memcpy(ds->labels + ds->n_tokens, labels, n * sizeof *labels);
    ds->labels[ds->n_tokens] = LABEL_NONE;
    VEC_GROW(ds->samples, ds->n_samples, l->cap_samples);
    ds->samples[ds->n_samples++] = (sample_t){ds->n_tokens, n, trained};
    ds->n_tokens += n;
    ds->label_tokens += trained;
    if (n > ds->longest) ds->longest = n;
}

/* A tokenizer may have more tokens than the model has embeddings: only a row with such a token is at fault. */
static int check_ids(const dataset_spec_t *spec, const ids_t *ids, err_t *err) {
    for (size_t i = 0; i < ids->len && spec->vocab; i++) {
        if ((size_t)ids->ids[i] < spec->vocab) continue;
        size_t len = 0;
        const char *piece = spec->tok ? tokenizer_piece(spec->tok, ids->ids[i], true, &len) : "";
        return err_set(err, ERR_USAGE,
                       "token %zu is \"%.*s\", id %d, but the model's vocabulary has %zu; expected a row without it, "
                       "or the model's own tokenizer",
                       i, len > 100 ? 100 : (int)len, piece, ids->ids[i], spec->vocab);
    }
    return 0;
}

static int add_row(loader_t *l, data_format_t format, err_t *err) {
    const ids_t *ids = &l->w.ids, *labels = &l->w.labels;
    size_t max = l->spec->max_length, n = ids->len;
    l->ds->rows_read++;
    if (check_ids(l->spec, ids, err)) return err->code;
    if (format == DATA_TEXT && n > max) {
        for (size_t a = 0; a < n; a += max) add_sample(l, ids->ids + a, labels->ids + a, n - a < max ? n - a : max);
        return 0;
    }
    if (n > max) {
        l->ds->truncated_rows++;
        l->ds->truncated_tokens += n - max;
        n = max;
    }
    add_sample(l, ids->ids, labels->ids, n);
    return 0;
}

/* What a format needs and the caller does not have. */
static int check_needs(loader_t *l, data_format_t f, err_t *err) {
    const dataset_spec_t *s = l->spec;
    if (format_needs_tokenizer(f) && !s->tok)
        return err_set(err, ERR_USAGE,
                       "rows of the format %s need a tokenizer; expected one with the model, or rows of "
                       "the format tokens",
                       data_format_name(f));
    if (format_needs_template(f) && (!s->chat || s->chat->format == CHAT_NONE))
        return err_set(err, ERR_USAGE,
                       "rows of the format %s need a chat template; expected data.chat_template other "
                       "than none",
                       data_format_name(f));
    if (f == DATA_ALPACA && !l->w.alpaca.variant) return chat_template_resolve(s->tok, CHAT_ALPACA, &l->w.alpaca, err);
    return 0;
}

static int load_rows(loader_t *l, rows_t *rows, bool first_file, err_t *err) {
    data_format_t format = l->spec->format;
    size_t n = 0;
    for (;; n++) {
        file_row_t row;
        bool more;
        if (rows_next(rows, &row, &more, err)) return err->code;
        if (!more) break;
        int rc = 0;
        if (n == 0) {
            if (format == DATA_AUTO) rc = row_detect(&row, &format, err);
            if (rc == 0) rc = check_needs(l, format, err);
            if (rc == 0 && first_file) l->ds->format = format;
        }
        if (rc == 0) rc = row_convert(&l->w, format, &row, err);
        if (rc == 0) rc = add_row(l, format, err);
        json_decref(row.json);
        if (rc) return err_prefix(err, "%s:%zu", rows->path, row.line);
    }
    return n > 0 ? 0 : err_set(err, ERR_USAGE, "%s: the file has no rows", rows->path);
}

static int load_files(loader_t *l, err_t *err) {
    const dataset_spec_t *s = l->spec;
    for (size_t i = 0; i < s->n_files; i++) {
        rows_t rows;
        if (rows_open(s->files[i], &rows, err)) return err->code;
        int rc = load_rows(l, &rows, i == 0, err);
        rows_close(&rows);
        if (rc) return rc;
    }
    const dataset_t *ds = l->ds;
    if (ds->n_samples > 0) return 0;
    return err_set(err, ERR_USAGE,
                   "%s: no trained token in any of %zu rows (%zu cut at %zu tokens); expected answers of "
                   "the assistant (or completions) that begin within data.max_length",
                   s->files[0], ds->rows_read, ds->truncated_rows, s->max_length);
}

static uint64_t fingerprint(const dataset_t *ds) {
    XXH3_state_t *state = XXH3_createState();
    CHECK(state != NULL);
    XXH3_64bits_reset(state);
    XXH3_64bits_update(state, ds->ids, ds->n_tokens * sizeof *ds->ids);
    XXH3_64bits_update(state, ds->labels, ds->n_tokens * sizeof *ds->labels);
    for (size_t i = 0; i < ds->n_samples; i++) {
        uint64_t len = ds->samples[i].len;
        XXH3_64bits_update(state, &len, sizeof len);
    }
    uint64_t hash = XXH3_64bits_digest(state);
    XXH3_freeState(state);
    return hash;
}

int dataset_load(const dataset_spec_t *spec, dataset_t *ds, err_t *err) {
    CHECK(spec->n_files > 0 && spec->max_length > 0);
    *ds = (dataset_t){.format = spec->format};
    loader_t l = {.spec = spec, .ds = ds, .w = {.spec = spec}};
    int rc = load_files(&l, err);
    chat_template_free(&l.w.alpaca);
    free(l.w.ids.ids);
    free(l.w.labels.ids);
    if (rc) {
        dataset_free(ds);
        return rc;
    }
    ds->ids = xrealloc(ds->ids, ds->n_tokens * sizeof *ds->ids);
    ds->labels = xrealloc(ds->labels, ds->n_tokens * sizeof *ds->labels);
    ds->fingerprint = fingerprint(ds);
    return 0;
}

void dataset_free(dataset_t *ds) {
    free(ds->ids);
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
        bool trained = ds->labels[i] != LABEL_NONE;
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
