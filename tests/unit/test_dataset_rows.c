/* Datasets: which tokens of a row are trained by its own masks, which rows are held out, and what rows are. */
#include "testing.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "data/dataset.h"

static int load_tokens(const char *text, size_t max_length, dataset_t *ds, err_t *err) {
    char *path = path_join(test_tmpdir(), "t.jsonl");
    int rc = file_write(path, text, strlen(text), err);
    dataset_spec_t spec = {.files = (const char *const[]){path},
                           .n_files = 1,
                           .format = DATA_AUTO,
                           .max_length = max_length,
                           .vocab = 1000};
    if (rc == 0) rc = dataset_load(&spec, ds, err);
    free(path);
    return rc;
}

static void assert_samples(const dataset_t *ds, const char *const *want) {
    for (size_t i = 0; want[i]; i++) {
        assert_true(i < ds->n_samples);
        char *text = dataset_sample_text(ds, i, NULL, "[[", "]]");
        assert_string_equal(text, want[i]);
        free(text);
        assert_true(!want[i + 1] || i + 1 < ds->n_samples);
    }
}

/* Transformers: labels are -100 where attention_mask is 0; TRL: where completion_mask is 0. */
static void masks(void **state) {
    (void)state;
    dataset_t ds;
    err_t err = {0};
    assert_ok(load_tokens("{\"input_ids\": [5, 6, 7, 0, 0], \"attention_mask\": [1, 1, 1, 0, 0]}\n"
                          "{\"input_ids\": [5, 6, 7], \"completion_mask\": [0, 0, 1]}\n"
                          "{\"input_ids\": [5, 6, 7, 8], \"assistant_masks\": [0, 1, 0, 1], \"labels\": null}\n"
                          "{\"input_ids\": [0, 0, 5, 6, 7], \"attention_mask\": [false, 0, true, 1, 1], \"labels\": "
                          "[-100, -100, 5, -100, 7], \"completion_mask\": [0, 0, 1, 1, 1]}\n"
                          "{\"input_ids\": [5, 6], \"attention_mask\": [0, 0]}\n"
                          "{\"input_ids\": [5, 6, 7], \"token_type_ids\": [0, 0, 0], \"length\": 3}\n",
                          64, &ds, &err),
              err);
    assert_samples(&ds,
                   (const char *const[]){"5 [[6 7]]", "5 6 [[7]]", "5 [[6 ]]7 [[8]]", "5 6 [[7]]", "5 [[6 7]]", NULL});
    assert_int_equal(ds.n_samples, 5);
    assert_int_equal(ds.n_tokens, 3 + 3 + 4 + 3 + 3);
    assert_int_equal(ds.label_tokens, 2 + 1 + 2 + 1 + 2);
    assert_int_equal(ds.unlabelled_rows, 1);
    static const size_t rows[] = {1, 2, 3, 4, 6};
    for (size_t i = 0; i < 5; i++) assert_int_equal(ds.samples[i].row, rows[i]);
    dataset_free(&ds);
}

static void masks_refused(void **state) {
    (void)state;
    static const char *const bad[][2] = {
        {"{\"input_ids\": [5, 6, 7], \"attention_mask\": [1, 0, 1]}",
         "t.jsonl:1: attention_mask: has zeros between ones"},
        {"{\"input_ids\": [5, 6, 7], \"attention_mask\": [1, 1]}", "attention_mask: has 2 values, input_ids 3"},
        {"{\"input_ids\": [5, 6, 7], \"completion_mask\": [0, 0, 0.5]}", "completion_mask[2]: expected 0 or 1"},
        {"{\"input_ids\": [5, 6, 7], \"assistant_masks\": 1}", "assistant_masks: expected a list of 0 and 1"},
        {"{\"input_ids\": [5, 6, 7], \"position_ids\": [0, 1, 0]}", "position_ids: not supported; expected input_ids"},
        {"{\"input_ids\": [5, 6, 7], \"loss_mask\": [0, 1, 0]}", "loss_mask: not supported"},
        {"{\"input_ids\": [5, NaN, 7]}", "input_ids[1]: expected a token id"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        dataset_t ds;
        err_t err = {0};
        assert_error(load_tokens(bad[i][0], 64, &ds, &err), err, ERR_USAGE, bad[i][1]);
    }
}

/* ---- rows held out ---- */

enum { ROWS = 101 };

/* Row r has 2 to 9 tokens, the first of them r, the last of them trained, others by its number. A row in seven has
 * nothing to train. own: one label is not its id. */
static void load_rows(dataset_t *ds, bool own) {
    strbuf_t b = {0};
    err_t err = {0};
    for (int r = 1; r <= ROWS; r++) {
        strbuf_addf(&b, "{\"input_ids\": [%d", r);
        for (int k = 0; k <= r % 8; k++) strbuf_addf(&b, ", %d", 200 + r + k);
        strbuf_adds(&b, "], \"labels\": [-100");
        for (int k = 0; k <= r % 8; k++)
            strbuf_addf(&b, ", %d",
                        r % 7 == 0 || (k < r % 8 && (r + k) % 3 == 0) ? -100 : 200 + r + k + (own && r == 9));
        strbuf_adds(&b, "]}\n");
    }
    assert_ok(load_tokens(b.p, 64, ds, &err), err);
    assert_int_equal(ds->labels != NULL, own);
    free(b.p);
}

/* Each sample of `part` is one of `whole`, in its order and with its labels; `in` counts them by row. */
static void count_rows(const dataset_t *whole, const dataset_t *part, int in[ROWS + 1]) {
    size_t labels = 0, longest = 0, tokens = 0, k = 0;
    for (size_t i = 0; i < part->n_samples; i++) {
        const sample_t *s = &part->samples[i];
        while (k < whole->n_samples && whole->samples[k].row != s->row) k++;
        assert_true(k < whole->n_samples);
        const sample_t *w = &whole->samples[k];
        assert_int_equal(s->start, tokens);
        assert_true(s->len == w->len && s->labels == w->labels);
        assert_int_equal(part->ids[s->start], s->row);
        for (size_t t = 0; t < s->len; t++) {
            assert_int_equal(part->ids[s->start + t], whole->ids[w->start + t]);
            assert_int_equal(dataset_label(part, s->start + t), dataset_label(whole, w->start + t));
        }
        in[s->row]++;
        tokens += s->len;
        labels += s->labels;
        if (s->len > longest) longest = s->len;
    }
    assert_true(part->n_tokens == tokens && part->label_tokens == labels && part->longest == longest);
    assert_int_equal(part->fingerprint, dataset_hash(part));
}

static void rows_held_out(void **state) {
    (void)state;
    static const struct {
        double split;
        size_t rows; /* of the 87 that have something to train */
    } cases[] = {{0.1, 9}, {0.5, 44}, {1, 1}, {20, 20}, {86, 86}, {0.0001, 1}};
    for (int own = 0; own < 2; own++) {
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            dataset_t whole, train, eval, train2, eval2;
            err_t err = {0};
            int in[ROWS + 1] = {0};
            load_rows(&whole, own);
            load_rows(&train, own);
            load_rows(&train2, own);
            assert_int_equal(whole.n_samples, 87);
            assert_ok(dataset_split(&train, cases[i].split, 7, &eval, &err), err);
            assert_int_equal(eval.n_samples, cases[i].rows);
            assert_int_equal(train.n_samples, 87 - cases[i].rows);
            count_rows(&whole, &train, in);
            count_rows(&whole, &eval, in);
            for (size_t k = 0; k < whole.n_samples; k++) assert_int_equal(in[whole.samples[k].row], 1);
            /* The same seed draws the same rows, another others. */
            assert_ok(dataset_split(&train2, cases[i].split, 7, &eval2, &err), err);
            assert_true(eval2.fingerprint == eval.fingerprint && train2.fingerprint == train.fingerprint);
            dataset_free(&train2);
            dataset_free(&eval2);
            if (cases[i].rows > 1 && cases[i].rows < 86) {
                load_rows(&train2, own);
                assert_ok(dataset_split(&train2, cases[i].split, 8, &eval2, &err), err);
                assert_true(eval2.fingerprint != eval.fingerprint);
                dataset_free(&train2);
                dataset_free(&eval2);
            }
            dataset_free(&whole);
            dataset_free(&train);
            dataset_free(&eval);
        }
    }
}

static void nothing_left(void **state) {
    (void)state;
    dataset_t ds, part;
    err_t err = {0};
    load_rows(&ds, false);
    assert_error(dataset_split(&ds, 87, 1, &part, &err), err, ERR_USAGE,
                 "data.eval_split: would take 87 of 87 rows with something to train");
    err = (err_t){0};
    assert_error(dataset_split(&ds, 0.999, 1, &part, &err), err, ERR_USAGE, "would take 87 of 87");
    dataset_free(&ds);
}

/* Pieces of a long text are one row: they stay together. */
static void pieces_stay_together(void **state) {
    (void)state;
    dataset_t ds, part;
    err_t err = {0};
    tokenizer_t *tok;
    strbuf_t b = {0};
    for (int i = 0; i < 20; i++) strbuf_addf(&b, "{\"text\": \"row %d a b c d e f g h\"}\n", i);
    char *path = path_join(test_tmpdir(), "t.jsonl");
    assert_ok(file_write(path, b.p, b.len, &err) ||
                  tokenizer_open(test_path("golden/tokenizer/tokenizer.json"), &tok, &err),
              err);
    dataset_spec_t spec = {
        .files = (const char *const[]){path}, .n_files = 1, .format = DATA_AUTO, .max_length = 4, .tok = tok};
    assert_ok(dataset_load(&spec, &ds, &err), err);
    assert_ok(dataset_split(&ds, 5, 3, &part, &err), err);
    bool held[21] = {false};
    for (size_t i = 0; i < part.n_samples; i++) held[part.samples[i].row] = true;
    for (size_t i = 0; i < ds.n_samples; i++) assert_false(held[ds.samples[i].row]);
    assert_int_equal(part.rows_read, 5);
    assert_int_equal(part.n_samples, 15); /* 10 words and EOS at most 4 a piece: 3 each */
    dataset_free(&ds);
    dataset_free(&part);
    tokenizer_close(tok);
    free(path);
    free(b.p);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(masks), cmocka_unit_test(masks_refused),
                                       cmocka_unit_test(rows_held_out), cmocka_unit_test(nothing_left),
                                       cmocka_unit_test(pieces_stay_together)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
