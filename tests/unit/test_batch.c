/* Epochs and micro-batches: properties over random datasets. */
#include "testing.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "data/batch.h"

enum { SAMPLES = 333, LONGEST = 60, MAX_LENGTH = 64 };

/* Token i of the dataset has the id i, so that each can be found again; labels differ from ids. */
static dataset_t make_dataset(uint64_t seed) {
    dataset_t ds = {.samples = xcalloc(SAMPLES, sizeof(sample_t)), .n_samples = SAMPLES};
    ds.ids = xmalloc(SAMPLES * LONGEST * sizeof(int32_t));
    ds.labels = xmalloc(SAMPLES * LONGEST * sizeof(int32_t));
    for (size_t i = 0; i < SAMPLES; i++) {
        sample_t *s = &ds.samples[i];
        *s = (sample_t){.start = ds.n_tokens, .len = 2 + rng_fold(seed, i) % (LONGEST - 1), .row = i + 1};
        for (size_t k = 0; k < s->len; k++) {
            size_t t = s->start + k;
            bool trained = k + 1 == s->len || (k > 0 && rng_fold(seed + 1, t) % 3 > 0);
            ds.ids[t] = (int32_t)t;
            ds.labels[t] = trained ? (int32_t)(t + 1000000) : LABEL_NONE;
            s->labels += trained;
        }
        ds.n_tokens += s->len;
        ds.label_tokens += s->labels;
        if (s->len > ds.longest) ds.longest = s->len;
    }
    return ds;
}

static batch_spec_t spec_of(size_t batch, size_t accumulation) {
    return (batch_spec_t){
        .batch_size = batch, .accumulation = accumulation, .max_length = MAX_LENGTH, .shuffle = true, .seed = 7};
}

/* All that an epoch's batches say of each token, in order, for comparisons. */
typedef struct {
    int32_t id, row, row_pos, pos;
    size_t step;
} place_t;

static size_t places(const epoch_t *e, place_t *out) {
    batch_t b = {0};
    size_t n = 0;
    for (size_t m = 0; m < e->n_micro; m++) {
        batch_fill(e, m, &b);
        for (size_t t = 0; t < b.T; t++)
            out[n++] = (place_t){b.ids[t], b.row[t], b.row_pos[t], b.pos[t], m / e->spec.accumulation};
    }
    batch_free(&b);
    return n;
}

static void check_batch(const dataset_t *ds, const batch_t *b, bool packing, uint8_t *seen, uint8_t *trained) {
    size_t target = 0, longest = 0;
    assert_int_equal(b->seg_off[0], 0);
    assert_int_equal(b->seg_off[b->n_seg], b->T);
    for (size_t s = 0; s < b->n_seg; s++) {
        size_t first = (size_t)b->seg_off[s], end = (size_t)b->seg_off[s + 1];
        if (end - first > longest) longest = end - first;
        /* A whole sample, its tokens in order, its positions from 0. */
        size_t start = (size_t)b->ids[first], i = 0;
        while (ds->samples[i].start != start) assert_true(++i < SAMPLES);
        assert_int_equal(end - first, ds->samples[i].len);
        for (size_t t = first; t < end; t++) {
            assert_int_equal(b->ids[t], start + t - first);
            assert_int_equal(b->pos[t], t - first);
            assert_int_equal(b->row[t], b->row[first]);
            assert_int_equal(b->row_pos[t], (size_t)b->row_pos[first] + t - first);
            assert_true(b->row_pos[t] < MAX_LENGTH);
            seen[b->ids[t]]++;
        }
        if (!packing || b->row_pos[first] == 0) assert_int_equal(b->row_pos[first], 0);
        else assert_int_equal(b->row[first], b->row[first - 1]);
        for (; target < b->n_labels && (size_t)b->target_idx[target] < end; target++) {
            size_t t = (size_t)b->target_idx[target];
            assert_true(t >= first && t + 1 < end);
            assert_int_equal(b->target[target], ds->labels[b->ids[t + 1]]);
            trained[b->ids[t + 1]]++;
        }
    }
    assert_int_equal(target, b->n_labels);
    assert_int_equal(b->max_seg, longest);
}

static void check_epoch(const dataset_t *ds, const batch_spec_t *spec, size_t number) {
    epoch_t e;
    batch_t b = {0};
    size_t max_tokens, max_seg, most = 0, longest = 0, rows = 0, micro = 0;
    uint8_t *seen = xcalloc(ds->n_tokens, 1), *trained = xcalloc(ds->n_tokens, 1);
    epoch_plan(ds, spec, number, &e);
    epoch_extent(&e, &max_tokens, &max_seg);
    for (size_t step = 0; step < e.n_steps; step++) {
        size_t labels = 0, step_rows = 0;
        for (size_t k = 0; k < epoch_step_micros(&e, step); k++, micro++) {
            batch_fill(&e, micro, &b);
            check_batch(ds, &b, spec->packing, seen, trained);
            assert_int_equal(b.row[0], step_rows);
            assert_int_equal(b.row[b.T - 1], step_rows + b.n_rows - 1);
            step_rows += b.n_rows;
            labels += b.n_labels;
            if (b.T > most) most = b.T;
            if (b.max_seg > longest) longest = b.max_seg;
        }
        assert_int_equal(labels, epoch_step_labels(&e, step));
        rows += step_rows;
    }
    assert_int_equal(micro, e.n_micro);
    assert_int_equal(rows, e.n_rows);
    assert_int_equal(most, max_tokens);
    assert_int_equal(longest, max_seg);
    for (size_t t = 0; t < ds->n_tokens; t++) {
        assert_int_equal(seen[t], 1);
        assert_int_equal(trained[t], ds->labels[t] != LABEL_NONE);
    }
    free(seen);
    free(trained);
    batch_free(&b);
    epoch_free(&e);
}

static void test_every_sample_once(void **state) {
    (void)state;
    static const size_t cuts[][2] = {{1, 1}, {1, 8}, {4, 2}, {8, 1}, {3, 5}, {1000, 1}, {1, 1000}};
    for (uint64_t seed = 0; seed < 3; seed++) {
        dataset_t ds = make_dataset(seed);
        for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++) {
            for (int modes = 0; modes < 8; modes++) {
                batch_spec_t spec = spec_of(cuts[i][0], cuts[i][1]);
                spec.packing = modes & 1;
                spec.shuffle = modes & 2;
                spec.group_by_length = modes & 4;
                check_epoch(&ds, &spec, seed);
            }
        }
        dataset_free(&ds);
    }
}

static void test_file_order(void **state) {
    (void)state;
    dataset_t ds = make_dataset(1);
    batch_spec_t spec = spec_of(4, 2);
    spec.shuffle = false;
    epoch_t e;
    epoch_plan(&ds, &spec, 3, &e);
    assert_int_equal(e.n_rows, SAMPLES);
    assert_int_equal(e.n_micro, (SAMPLES + 3) / 4);
    assert_int_equal(e.n_steps, (SAMPLES + 7) / 8);
    assert_int_equal(epoch_step_micros(&e, e.n_steps - 1), 2); /* 333 rows: the last step has 5, in 2 micro-batches */
    place_t *p = xmalloc(ds.n_tokens * sizeof *p);
    assert_int_equal(places(&e, p), ds.n_tokens);
    for (size_t i = 0; i < ds.n_tokens; i++) assert_int_equal(p[i].id, i);
    free(p);
    epoch_free(&e);
    dataset_free(&ds);
}

/* The step, not the micro-batch, decides which rows come together, in which order, under which index. */
static void test_cut_does_not_matter(void **state) {
    (void)state;
    static const size_t cuts[][2] = {{8, 1}, {4, 2}, {2, 4}, {1, 8}};
    dataset_t ds = make_dataset(2);
    place_t *first = xmalloc(ds.n_tokens * sizeof *first), *other = xmalloc(ds.n_tokens * sizeof *other);
    memset(first, 0, ds.n_tokens * sizeof *first);
    for (int modes = 0; modes < 4; modes++) {
        for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++) {
            batch_spec_t spec = spec_of(cuts[i][0], cuts[i][1]);
            spec.packing = modes & 1;
            spec.group_by_length = modes & 2;
            epoch_t e;
            epoch_plan(&ds, &spec, 0, &e);
            assert_int_equal(places(&e, i ? other : first), ds.n_tokens);
            for (size_t t = 0; i > 0 && t < ds.n_tokens; t++) {
                assert_int_equal(first[t].id, other[t].id);
                assert_int_equal(first[t].row, other[t].row);
                assert_int_equal(first[t].row_pos, other[t].row_pos);
                assert_int_equal(first[t].step, other[t].step);
            }
            epoch_free(&e);
        }
    }
    free(first);
    free(other);
    dataset_free(&ds);
}

static bool same_order(const dataset_t *ds, const batch_spec_t *a, size_t epoch_a, const batch_spec_t *b,
                       size_t epoch_b) {
    epoch_t ea, eb;
    epoch_plan(ds, a, epoch_a, &ea);
    epoch_plan(ds, b, epoch_b, &eb);
    bool same = memcmp(ea.order, eb.order, SAMPLES * sizeof *ea.order) == 0;
    epoch_free(&ea);
    epoch_free(&eb);
    return same;
}

static void test_shuffle(void **state) {
    (void)state;
    dataset_t ds = make_dataset(3);
    for (int modes = 0; modes < 4; modes++) {
        batch_spec_t spec = spec_of(4, 2), other = spec;
        spec.packing = modes & 1;
        spec.group_by_length = modes & 2;
        other = spec;
        assert_true(same_order(&ds, &spec, 5, &spec, 5));
        assert_false(same_order(&ds, &spec, 0, &spec, 1));
        other.seed++;
        assert_false(same_order(&ds, &spec, 0, &other, 0));
        other.shuffle = spec.shuffle = false;
        assert_true(same_order(&ds, &spec, 0, &other, 1));
    }
    dataset_free(&ds);
}

static void test_packing_fills_rows(void **state) {
    (void)state;
    dataset_t ds = make_dataset(4);
    batch_spec_t spec = spec_of(4, 2);
    spec.packing = true;
    epoch_t e;
    epoch_plan(&ds, &spec, 0, &e);
    for (size_t r = 0; r < e.n_rows; r++) assert_true(e.rows[r].tokens <= MAX_LENGTH && e.rows[r].n > 0);
    /* Best fit wastes little: 5 in 100 here, against 1 in 2 unpacked. */
    assert_true((double)ds.n_tokens / (double)(e.n_rows * MAX_LENGTH) > 0.92);
    epoch_free(&e);
    dataset_free(&ds);
}

static void test_groups_are_alike(void **state) {
    (void)state;
    dataset_t ds = make_dataset(5);
    batch_spec_t spec = spec_of(8, 1);
    size_t spread[2] = {0, 0};
    for (int grouped = 0; grouped < 2; grouped++) {
        spec.group_by_length = grouped;
        epoch_t e;
        epoch_plan(&ds, &spec, 0, &e);
        for (size_t m = 0; m + 1 < e.n_micro; m++) {
            size_t least = SIZE_MAX, most = 0;
            for (size_t r = 8 * m; r < 8 * m + 8; r++) {
                if (e.rows[r].tokens < least) least = e.rows[r].tokens;
                if (e.rows[r].tokens > most) most = e.rows[r].tokens;
            }
            spread[grouped] += most - least;
        }
        if (grouped) assert_int_equal(e.rows[0].tokens, ds.longest);
        epoch_free(&e);
    }
    assert_true(spread[1] * 10 < spread[0]);
    dataset_free(&ds);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_sample_once),   cmocka_unit_test(test_file_order),
        cmocka_unit_test(test_cut_does_not_matter), cmocka_unit_test(test_shuffle),
        cmocka_unit_test(test_packing_fills_rows),  cmocka_unit_test(test_groups_are_alike),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
