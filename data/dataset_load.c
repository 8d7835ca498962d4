/* Loading a dataset. Rows are read in chunks, which all threads convert, each into samples of its own; these are put
 * together in the order of the file, so threads change nothing, and the first row at fault is the one that is named. */
#include "data/dataset.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "data/dataset_formats.h"

/* Of a file, in a chunk (a row more than that is one by itself), and chunks for each thread. */
enum { CHUNK_BYTES = 1 << 16, CHUNKS_PER_THREAD = 4 };

typedef struct {
    row_writer_t w;
    file_row_t *rows;
    size_t n_rows, cap_rows;
    uint32_t file, line; /* of the row at hand */
    dataset_t made;      /* all labels as such */
    size_t cap_tokens, cap_samples;
    err_t err; /* of the first row at fault, behind which nothing was converted */
} chunk_t;

typedef struct {
    const dataset_spec_t *spec;
    dataset_t *ds;
    chat_template_t *alpaca; /* as in row_writer_t */
    chunk_t *chunks;
    size_t n_chunks;
    size_t cap_tokens, cap_samples;
} loader_t;

/* ---- one chunk, by one thread ---- */

/* A third of the room is left empty at most, which costs no memory while it was not touched. */
static size_t more_tokens(size_t cap, size_t needed) {
    size_t larger = cap + cap / 2;
    return larger < needed ? needed + 4096 : larger;
}

static void reserve_tokens(chunk_t *c, size_t n) {
    dataset_t *made = &c->made;
    if (made->n_tokens + n <= c->cap_tokens) return;
    c->cap_tokens = more_tokens(c->cap_tokens, made->n_tokens + n);
    made->ids = xrealloc_array(made->ids, c->cap_tokens, sizeof *made->ids);
    made->labels = xrealloc_array(made->labels, c->cap_tokens, sizeof *made->labels);
}

/* Adds a sample of n tokens, or counts it as one without a trained token. */
static void add_sample(chunk_t *c, const int32_t *ids, const int32_t *labels, size_t n) {
    dataset_t *made = &c->made;
    size_t trained = 0;
    for (size_t i = 1; i < n; i++) trained += labels[i] != LABEL_NONE;
    if (trained == 0) {
        made->unlabelled_rows++;
        return;
    }
    reserve_tokens(c, n);
    memcpy(made->ids + made->n_tokens, ids, n * sizeof *ids);
    memcpy(made->labels + made->n_tokens, labels, n * sizeof *labels);
    made->labels[made->n_tokens] = LABEL_NONE;
    VEC_GROW(made->samples, made->n_samples, c->cap_samples);
    made->samples[made->n_samples++] = (sample_t){made->n_tokens, n, trained, made->rows_read, c->file, c->line};
    made->n_tokens += n;
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

static int add_row(chunk_t *c, data_format_t format, err_t *err) {
    const ids_t *ids = &c->w.ids, *labels = &c->w.labels;
    size_t max = c->w.spec->max_length, n = ids->len;
    c->made.rows_read++;
    if (check_ids(c->w.spec, ids, err)) return err->code;
    if (format == DATA_TEXT && n > max) {
        for (size_t a = 0; a < n; a += max) add_sample(c, ids->ids + a, labels->ids + a, n - a < max ? n - a : max);
        return 0;
    }
    if (n > max) {
        c->made.truncated_rows++;
        c->made.truncated_tokens += n - max;
        n = max;
    }
    add_sample(c, ids->ids, labels->ids, n);
    return 0;
}

static void convert_row(chunk_t *c, const char *path, data_format_t format, file_row_t *row) {
    c->line = (uint32_t)row->line;
    if (row_parse(path, row, &c->err)) return;
    if (row_convert(&c->w, format, row, &c->err) || add_row(c, format, &c->err))
        err_prefix(&c->err, "%s:%zu", path, row->line);
}

/* Of tokens: what only a row of more needs, a whole .txt file say, is not kept. */
#define USUAL_ROW ((size_t)1 << 20)

static void convert_chunk(chunk_t *c, const char *path, data_format_t format) {
    for (size_t i = 0; i < c->n_rows; i++) {
        if (!c->err.code) convert_row(c, path, format, &c->rows[i]);
        row_free(&c->rows[i]);
        if (c->w.ids.cap <= USUAL_ROW) continue;
        row_writer_t fresh = {.spec = c->w.spec, .alpaca = c->w.alpaca, .notes = c->w.notes};
        row_writer_free(&c->w);
        c->w = fresh;
    }
    c->n_rows = 0;
}

/* Makes a chunk ready for the next rows. */
static void empty_chunk(chunk_t *c) {
    int32_t *ids = c->made.ids, *labels = c->made.labels;
    if (c->cap_tokens > USUAL_ROW) {
        free(ids);
        free(labels);
        ids = labels = NULL;
        c->cap_tokens = 0;
    }
    c->made = (dataset_t){.ids = ids, .labels = labels, .samples = c->made.samples};
}

static void free_chunk(chunk_t *c) {
    dataset_free(&c->made);
    row_writer_free(&c->w);
    free(c->rows);
}

/* ---- all chunks ---- */

/* From bits to labels: a row has one that is not its id. */
static void spell_out_labels(loader_t *l) {
    dataset_t *ds = l->ds;
    int32_t *labels = xmalloc_array(l->cap_tokens, sizeof *labels);
    for (size_t t = 0; t < ds->n_tokens; t++) labels[t] = dataset_label(ds, t);
    free(ds->trained);
    ds->trained = NULL;
    ds->labels = labels;
}

static bool labels_are_ids(const dataset_t *made) {
    for (size_t t = 0; t < made->n_tokens; t++)
        if (made->labels[t] != LABEL_NONE && made->labels[t] != made->ids[t]) return false;
    return true;
}

static void reserve(loader_t *l, size_t n) {
    dataset_t *ds = l->ds;
    if (ds->n_tokens + n <= l->cap_tokens) return;
    l->cap_tokens = more_tokens(l->cap_tokens, ds->n_tokens + n);
    ds->ids = xrealloc_array(ds->ids, l->cap_tokens, sizeof *ds->ids);
    if (ds->labels) ds->labels = xrealloc_array(ds->labels, l->cap_tokens, sizeof *ds->labels);
    else ds->trained = xrealloc(ds->trained, l->cap_tokens / 8 + 1);
}

static void append_labels(dataset_t *ds, const dataset_t *made) {
    if (ds->labels) {
        memcpy(ds->labels + ds->n_tokens, made->labels, made->n_tokens * sizeof *made->labels);
        return;
    }
    for (size_t i = 0; i < made->n_tokens; i++) {
        size_t t = ds->n_tokens + i;
        uint8_t bit = (uint8_t)((made->labels[i] != LABEL_NONE) << t % 8);
        ds->trained[t / 8] = t % 8 ? ds->trained[t / 8] | bit : bit;
    }
}

static void append(loader_t *l, const dataset_t *made) {
    dataset_t *ds = l->ds;
    size_t rows_before = ds->rows_read;
    ds->rows_read += made->rows_read;
    ds->truncated_rows += made->truncated_rows;
    ds->truncated_tokens += made->truncated_tokens;
    ds->unlabelled_rows += made->unlabelled_rows;
    if (made->n_samples == 0) return;
    reserve(l, made->n_tokens);
    if (!ds->labels && !labels_are_ids(made)) spell_out_labels(l);
    memcpy(ds->ids + ds->n_tokens, made->ids, made->n_tokens * sizeof *made->ids);
    append_labels(ds, made);
    for (size_t i = 0; i < made->n_samples; i++) {
        sample_t s = made->samples[i];
        s.start += ds->n_tokens;
        s.row += rows_before;
        VEC_GROW(ds->samples, ds->n_samples, l->cap_samples);
        ds->samples[ds->n_samples++] = s;
        ds->label_tokens += s.labels;
        if (s.len > ds->longest) ds->longest = s.len;
    }
    ds->n_tokens += made->n_tokens;
}

/* Converts what rows the chunks have, and appends it. */
static int convert(loader_t *l, const char *path, data_format_t format, err_t *err) {
    size_t used = 0;
    while (used < l->n_chunks && l->chunks[used].n_rows > 0) used++;
#pragma omp parallel for schedule(dynamic, 1) if (used > 1)
    for (size_t i = 0; i < used; i++) convert_chunk(&l->chunks[i], path, format);
    for (size_t i = 0; i < used; i++) {
        chunk_t *c = &l->chunks[i];
        if (c->err.code) {
            *err = c->err;
            return err->code;
        }
        append(l, &c->made);
        row_notes_add(&l->ds->notes, &c->w.notes);
        c->w.notes = (row_notes_t){0};
        empty_chunk(c);
    }
    return 0;
}

static void add_to_chunk(chunk_t *c, const file_row_t *row) {
    VEC_GROW(c->rows, c->n_rows, c->cap_rows);
    c->rows[c->n_rows++] = *row;
}

/* Fills the chunks, whose first may have a row already. After an error they have the rows before it. */
static int read_rows(loader_t *l, rows_t *rows, bool *more, err_t *err) {
    file_row_t row;
    *more = true;
    for (size_t i = 0; i < l->n_chunks; i++) {
        for (size_t begin = rows_position(rows); rows_position(rows) - begin < CHUNK_BYTES;) {
            if (rows_next_unparsed(rows, &row, more, err)) return err->code;
            if (!*more) return 0;
            add_to_chunk(&l->chunks[i], &row);
        }
    }
    return 0;
}

/* The first row says what the file has. */
static int read_first(loader_t *l, rows_t *rows, bool first_file, data_format_t *format, err_t *err) {
    file_row_t row;
    bool more;
    if (rows_next(rows, &row, &more, err)) return err->code;
    if (!more) return err_set(err, ERR_USAGE, "%s: the file has no rows", rows->path);
    int rc = *format == DATA_AUTO ? row_detect(&row, format, err) : 0;
    if (rc == 0) rc = row_writer_prepare(l->spec, *format, &row, &l->alpaca, err);
    if (rc) {
        err_prefix(err, "%s:%zu", rows->path, row.line);
        row_free(&row);
        return rc;
    }
    if (first_file) l->ds->format = *format;
    add_to_chunk(&l->chunks[0], &row);
    return 0;
}

static int load_rows(loader_t *l, rows_t *rows, size_t file, err_t *err) {
    data_format_t format = l->spec->format;
    if (read_first(l, rows, file == 0, &format, err)) return err->code;
    for (size_t i = 0; i < l->n_chunks; i++) {
        l->chunks[i].w.alpaca = l->alpaca;
        l->chunks[i].file = (uint32_t)file;
    }
    for (bool more = true; more;) {
        err_t unreadable = {0};
        read_rows(l, rows, &more, &unreadable);
        if (convert(l, rows->path, format, err)) return err->code;
        if (unreadable.code) {
            *err = unreadable;
            return err->code;
        }
        rows_release(rows);
    }
    return 0;
}

static int load_files(loader_t *l, err_t *err) {
    const dataset_spec_t *s = l->spec;
    for (size_t i = 0; i < s->n_files; i++) {
        rows_t rows;
        if (rows_open(s->files[i], &rows, err)) return err->code;
        int rc = load_rows(l, &rows, i, err);
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

int dataset_load(const dataset_spec_t *spec, dataset_t *ds, err_t *err) {
    CHECK(spec->n_files > 0 && spec->max_length > 0);
    *ds = (dataset_t){.format = spec->format};
    loader_t l = {.spec = spec, .ds = ds, .n_chunks = CHUNKS_PER_THREAD * (size_t)omp_get_max_threads()};
    l.chunks = xcalloc(l.n_chunks, sizeof *l.chunks);
    for (size_t i = 0; i < l.n_chunks; i++) l.chunks[i].w.spec = spec;
    int rc = load_files(&l, err);
    for (size_t i = 0; i < l.n_chunks; i++) free_chunk(&l.chunks[i]);
    free(l.chunks);
    chat_template_close(l.alpaca);
    if (rc) {
        dataset_free(ds);
        return rc;
    }
    ds->ids = xrealloc_array(ds->ids, ds->n_tokens, sizeof *ds->ids);
    if (ds->labels) ds->labels = xrealloc_array(ds->labels, ds->n_tokens, sizeof *ds->labels);
    else ds->trained = xrealloc(ds->trained, ds->n_tokens / 8 + 1);
    ds->fingerprint = dataset_hash(ds);
    return 0;
}
