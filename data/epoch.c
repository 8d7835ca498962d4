#include "data/epoch.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"

enum {
    OPEN_ROWS = 64,    /* rows that packing looks back on */
    GROUPS_SORTED = 50 /* steps' worth of samples that group_by_length sorts at a time */
};
#define SHUFFLE_KEY 0x73687566666c6531u /* tells this use of the seed from dropout and initial values */
#define GROUPS_KEY 0x67726f7570733176u

static void swap_sizes(size_t *a, size_t *b) {
    size_t t = *a;
    *a = *b;
    *b = t;
}

/* Fisher-Yates. */
static void shuffle(size_t *v, size_t n, uint64_t key) {
    for (size_t i = n; i > 1; i--) swap_sizes(&v[i - 1], &v[rng_fold(key, i) % i]);
}

static size_t length_of(const epoch_t *e, size_t i) { return e->ds->samples[e->order[i]].len; }

static size_t open_row(epoch_t *e, size_t *cap) {
    VEC_GROW(e->rows, e->n_rows, *cap);
    e->rows[e->n_rows] = (row_t){0};
    return e->n_rows++;
}

static void rows_of_one(epoch_t *e) {
    size_t cap = 0;
    for (size_t i = 0; i < e->ds->n_samples; i++) {
        size_t r = open_row(e, &cap);
        e->rows[r] = (row_t){i, 1, length_of(e, i)};
    }
}

/* The open row that a sample of `len` tokens fills best; OPEN_ROWS: none has room. */
static size_t best_fit(const epoch_t *e, const size_t *open, size_t n_open, size_t len) {
    size_t best = OPEN_ROWS, best_left = SIZE_MAX;
    for (size_t i = 0; i < n_open; i++) {
        size_t used = e->rows[open[i]].tokens;
        if (used + len > e->spec.max_length || e->spec.max_length - used - len >= best_left) continue;
        best = i;
        best_left = e->spec.max_length - used - len;
    }
    return best;
}

/* e->order comes to list the rows one after another; row_of[i] is the row of sample i of the present order. */
static void gather_rows(epoch_t *e, const size_t *row_of) {
    size_t n = e->ds->n_samples, *order = xmalloc_array(n, sizeof *order), at = 0;
    for (size_t r = 0; r < e->n_rows; r++) {
        e->rows[r].first = at;
        at += e->rows[r].n;
        e->rows[r].n = 0;
    }
    for (size_t i = 0; i < n; i++) {
        row_t *r = &e->rows[row_of[i]];
        order[r->first + r->n++] = e->order[i];
    }
    free(e->order);
    e->order = order;
}

static void pack_rows(epoch_t *e) {
    size_t n = e->ds->n_samples, cap = 0, n_open = 0, open[OPEN_ROWS];
    size_t *row_of = xmalloc_array(n, sizeof *row_of);
    for (size_t i = 0; i < n; i++) {
        size_t len = length_of(e, i), slot = best_fit(e, open, n_open, len);
        if (slot == OPEN_ROWS) {
            if (n_open == OPEN_ROWS) memmove(open, open + 1, --n_open * sizeof *open); /* close the oldest */
            slot = n_open++;
            open[slot] = open_row(e, &cap);
        }
        row_t *r = &e->rows[open[slot]];
        r->tokens += len;
        r->n++;
        row_of[i] = open[slot];
        if (r->tokens >= e->spec.max_length) memmove(open + slot, open + slot + 1, (--n_open - slot) * sizeof *open);
    }
    gather_rows(e, row_of);
    free(row_of);
}

typedef struct {
    size_t len, place, sample;
} by_length_t;

/* Longest first; samples of one length keep their (shuffled) order. */
static int compare_lengths(const void *pa, const void *pb) {
    const by_length_t *a = pa, *b = pb;
    if (a->len != b->len) return a->len < b->len ? 1 : -1;
    return a->place < b->place ? -1 : 1;
}

static void sort_by_length(epoch_t *e, size_t first, size_t n, by_length_t *tmp) {
    for (size_t i = 0; i < n; i++) tmp[i] = (by_length_t){length_of(e, first + i), i, e->order[first + i]};
    qsort(tmp, n, sizeof *tmp, compare_lengths);
    for (size_t i = 0; i < n; i++) e->order[first + i] = tmp[i].sample;
}

/* A group is what an optimizer step takes, so that the rows of a step do not depend on how it is cut. */
static void group_samples(epoch_t *e, uint64_t key) {
    size_t n = e->ds->n_samples, size = e->spec.batch_size * e->spec.accumulation, groups = n / size;
    size_t stretch = size * GROUPS_SORTED;
    by_length_t *tmp = xmalloc_array(stretch < n ? stretch : n, sizeof *tmp);
    for (size_t at = 0; at < n; at += stretch) sort_by_length(e, at, n - at < stretch ? n - at : stretch, tmp);
    free(tmp);
    if (groups < 2) return;
    size_t *g = xmalloc_array(groups, sizeof *g), *order = xmalloc_array(n, sizeof *order), longest = 0;
    for (size_t i = 0; i < groups; i++) g[i] = i;
    if (e->spec.shuffle) shuffle(g, groups, key);
    for (size_t i = 1; i < groups; i++)
        if (length_of(e, g[i] * size) > length_of(e, g[longest] * size)) longest = i;
    swap_sizes(&g[0], &g[longest]);
    for (size_t i = 0; i < groups; i++) memcpy(order + i * size, e->order + g[i] * size, size * sizeof *order);
    memcpy(order + groups * size, e->order + groups * size, (n - groups * size) * sizeof *order);
    free(e->order);
    free(g);
    e->order = order;
}

void epoch_plan(const dataset_t *ds, const batch_spec_t *spec, size_t epoch, epoch_t *e) {
    CHECK(ds->n_samples > 0 && spec->batch_size > 0 && spec->accumulation > 0 && spec->max_length > 0);
    *e = (epoch_t){.ds = ds, .spec = *spec, .epoch = epoch};
    e->order = xmalloc_array(ds->n_samples, sizeof *e->order);
    for (size_t i = 0; i < ds->n_samples; i++) e->order[i] = i;
    if (spec->shuffle) shuffle(e->order, ds->n_samples, rng_fold(rng_mix(spec->seed ^ SHUFFLE_KEY), epoch));
    if (spec->packing) {
        pack_rows(e);
    } else {
        if (spec->group_by_length) group_samples(e, rng_fold(rng_mix(spec->seed ^ GROUPS_KEY), epoch));
        rows_of_one(e);
    }
    e->n_micro = (e->n_rows + spec->batch_size - 1) / spec->batch_size;
    e->n_steps = (e->n_micro + spec->accumulation - 1) / spec->accumulation;
}

void epoch_free(epoch_t *e) {
    free(e->order);
    free(e->rows);
    *e = (epoch_t){0};
}

size_t epoch_step_micros(const epoch_t *e, size_t step) {
    CHECK(step < e->n_steps);
    size_t left = e->n_micro - step * e->spec.accumulation;
    return left < e->spec.accumulation ? left : e->spec.accumulation;
}

void epoch_micro_rows(const epoch_t *e, size_t m, size_t n, size_t *first, size_t *end) {
    CHECK(m + n <= e->n_micro);
    *first = m * e->spec.batch_size;
    *end = (m + n) * e->spec.batch_size;
    if (*end > e->n_rows) *end = e->n_rows;
}

const sample_t *epoch_sample(const epoch_t *e, const row_t *row, size_t i) {
    return &e->ds->samples[e->order[row->first + i]];
}

size_t epoch_micro_tokens(const epoch_t *e, size_t m) {
    size_t first, end, tokens = 0;
    epoch_micro_rows(e, m, 1, &first, &end);
    for (size_t r = first; r < end; r++) tokens += e->rows[r].tokens;
    return tokens;
}

size_t epoch_step_labels(const epoch_t *e, size_t step) {
    size_t first, end, labels = 0;
    epoch_micro_rows(e, step * e->spec.accumulation, epoch_step_micros(e, step), &first, &end);
    for (size_t r = first; r < end; r++)
        for (size_t i = 0; i < e->rows[r].n; i++) labels += epoch_sample(e, &e->rows[r], i)->labels;
    return labels;
}

void epoch_extent(const epoch_t *e, size_t *max_tokens, size_t *max_seg) {
    *max_tokens = *max_seg = 0;
    for (size_t m = 0; m < e->n_micro; m++) {
        size_t tokens = epoch_micro_tokens(e, m);
        if (tokens > *max_tokens) *max_tokens = tokens;
    }
    for (size_t i = 0; i < e->ds->n_samples; i++)
        if (e->ds->samples[i].len > *max_seg) *max_seg = e->ds->samples[i].len;
}
