/* Rows held out of a dataset. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "data/dataset.h"

#define SPLIT_STREAM 0x73706c6974ull /* "split": no other use of the seed draws these numbers */

/* Which of n rows are held out: the first k of an order drawn by seed. */
static bool *draw(size_t n, size_t k, uint64_t seed) {
    size_t *order = xmalloc_array(n, sizeof *order);
    bool *held = xcalloc(n, sizeof *held);
    uint64_t key = rng_mix(seed ^ SPLIT_STREAM);
    for (size_t i = 0; i < n; i++) order[i] = i;
    for (size_t i = 0; i < k; i++) {
        size_t j = i + (size_t)(rng_fold(key, i) % (n - i)), row = order[j];
        order[j] = order[i];
        held[row] = true;
    }
    free(order);
    return held;
}

static size_t count_rows(const dataset_t *ds) {
    size_t n = 0;
    for (size_t i = 0; i < ds->n_samples; i++) n += i == 0 || ds->samples[i].row != ds->samples[i - 1].row;
    return n;
}

/* Puts token `from` of a dataset at the place `to` of another, or of itself further ahead. */
static void put_token(dataset_t *dst, size_t to, const dataset_t *src, size_t from) {
    dst->ids[to] = src->ids[from];
    if (src->labels) {
        dst->labels[to] = src->labels[from];
        return;
    }
    uint8_t bit = (uint8_t)(1u << to % 8);
    bool trained = src->trained[from / 8] >> from % 8 & 1;
    dst->trained[to / 8] = (uint8_t)(trained ? dst->trained[to / 8] | bit : dst->trained[to / 8] & ~bit);
}

static void put_sample(dataset_t *dst, const dataset_t *src, const sample_t *s) {
    sample_t at = *s;
    at.start = dst->n_tokens;
    for (size_t i = 0; i < s->len; i++) put_token(dst, at.start + i, src, s->start + i);
    dst->n_tokens += s->len;
    dst->label_tokens += s->labels;
    if (s->len > dst->longest) dst->longest = s->len;
    dst->samples[dst->n_samples++] = at;
}

/* The arrays of as many tokens and samples as there are. */
static void fit(dataset_t *ds) {
    ds->ids = xrealloc_array(ds->ids, ds->n_tokens, sizeof *ds->ids);
    if (ds->labels) ds->labels = xrealloc_array(ds->labels, ds->n_tokens, sizeof *ds->labels);
    else ds->trained = xrealloc(ds->trained, ds->n_tokens / 8 + 1);
    ds->samples = xrealloc_array(ds->samples, ds->n_samples, sizeof *ds->samples);
    ds->fingerprint = dataset_hash(ds);
}

/* Samples of rows held out go to `part`, the others move together. */
static void move(dataset_t *ds, const bool *held, dataset_t *part) {
    const dataset_t whole = *ds; /* the arrays are the same: what was read may be written over */
    ds->n_tokens = ds->n_samples = ds->label_tokens = ds->longest = 0;
    for (size_t i = 0, row = 0, last = 0; i < whole.n_samples; i++) {
        const sample_t s = whole.samples[i];
        row += i > 0 && s.row != last;
        last = s.row;
        put_sample(held[row] ? part : ds, &whole, &s);
    }
}

int dataset_split(dataset_t *ds, double share_or_rows, uint64_t seed, dataset_t *part, err_t *err) {
    size_t rows = count_rows(ds);
    double wanted = share_or_rows < 1 ? fmax(1, round(share_or_rows * (double)rows)) : share_or_rows;
    *part = (dataset_t){0};
    if (wanted >= (double)rows)
        return err_set(err, ERR_USAGE,
                       "data.eval_split: would take %.0f of %zu rows with something to train; expected some to be left",
                       wanted, rows);
    bool *held = draw(rows, (size_t)wanted, seed);
    *part = (dataset_t){.format = ds->format,
                        .ids = xmalloc_array(ds->n_tokens, sizeof *ds->ids),
                        .samples = xmalloc_array(ds->n_samples, sizeof *ds->samples)};
    if (ds->labels) part->labels = xmalloc_array(ds->n_tokens, sizeof *ds->labels);
    else part->trained = xcalloc(ds->n_tokens / 8 + 1, 1);
    move(ds, held, part);
    part->rows_read = (size_t)wanted;
    ds->rows_read -= part->rows_read;
    free(held);
    fit(ds);
    fit(part);
    return 0;
}
