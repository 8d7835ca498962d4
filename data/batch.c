#include "data/batch.h"

#include <stdlib.h>

#include "base/mem.h"

static void reserve(batch_t *b, size_t tokens) {
    if (tokens <= b->cap) return;
    CHECK(tokens < INT32_MAX);
    int32_t **arrays[] = {&b->ids, &b->pos, &b->row, &b->row_pos, &b->target_idx, &b->target};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++)
        *arrays[i] = xrealloc(*arrays[i], tokens * sizeof(int32_t));
    /* A segment has at least one token. */
    b->seg_off = xrealloc(b->seg_off, (tokens + 1) * sizeof(int32_t));
    b->cap = tokens;
}

/* Appends a sample as a segment of row `row`, at position row_pos of it. */
static void add_segment(batch_t *b, const dataset_t *ds, const sample_t *s, size_t row, size_t row_pos) {
    const int32_t *ids = ds->ids + s->start;
    for (size_t i = 0; i < s->len; i++) {
        size_t t = b->T + i;
        b->ids[t] = ids[i];
        b->pos[t] = (int32_t)i;
        b->row[t] = (int32_t)row;
        b->row_pos[t] = (int32_t)(row_pos + i);
        int32_t label = i + 1 < s->len ? dataset_label(ds, s->start + i + 1) : LABEL_NONE;
        if (label == LABEL_NONE) continue;
        b->target_idx[b->n_labels] = (int32_t)t;
        b->target[b->n_labels++] = label;
    }
    b->T += s->len;
    b->seg_off[++b->n_seg] = (int32_t)b->T;
    if (s->len > b->max_seg) b->max_seg = s->len;
}

void batch_fill(const epoch_t *e, size_t m, batch_t *b) {
    size_t first, end;
    epoch_micro_rows(e, m, 1, &first, &end);
    reserve(b, epoch_micro_tokens(e, m));
    b->T = b->n_seg = b->n_labels = b->max_seg = 0;
    b->n_rows = end - first;
    b->seg_off[0] = 0;
    size_t step_row = m % e->spec.accumulation * e->spec.batch_size;
    for (size_t r = first; r < end; r++) {
        const row_t *row = &e->rows[r];
        size_t row_start = b->T;
        for (size_t i = 0; i < row->n; i++)
            add_segment(b, e->ds, epoch_sample(e, row, i), step_row + r - first, b->T - row_start);
    }
}

void batch_free(batch_t *b) {
    int32_t *arrays[] = {b->ids, b->pos, b->row, b->row_pos, b->seg_off, b->target_idx, b->target};
    for (size_t i = 0; i < sizeof arrays / sizeof *arrays; i++) free(arrays[i]);
    *b = (batch_t){0};
}
