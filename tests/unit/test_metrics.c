#include "tests/support/testing.h"

#include <jansson.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/file.h"
#include "base/mem.h"
#include "trainer/run/evals.h"
#include "trainer/run/metrics.h"

static char *path;

static int setup(void **state) {
    (void)state;
    path = path_join(test_tmpdir(), "metrics.jsonl");
    return 0;
}

static int teardown(void **state) {
    (void)state;
    free(path);
    return 0;
}

static char *content(void) {
    char *text;
    size_t len;
    err_t err = {0};
    assert_ok(file_read(path, &text, &len, &err), err);
    return text;
}

static void assert_content(const char *expected) {
    char *text = content();
    assert_string_equal(text, expected);
    free(text);
}

static void put(const char *text) {
    err_t err = {0};
    assert_ok(file_write(path, text, strlen(text), &err), err);
}

static void rows_have_every_key_in_order(void **state) {
    (void)state;
    err_t err = {0};
    metrics_t *m;
    put("left over from another run\n");
    assert_ok(metrics_open(path, 0, NULL, NULL, &m, &err), err);
    metrics_step_t row = {.step = 1,
                          .epoch = 0.25,
                          .loss = 1.23456789,
                          .grad_norm = 0.5,
                          .learning_rate = 2e-4,
                          .tokens = 4096,
                          .label_tokens = 1000,
                          .tokens_per_second = 1234.5,
                          .peak_device_bytes = 5000000000,
                          .paged_bytes = 7,
                          .paging_stall_seconds = 0.25,
                          .elapsed_seconds = 3};
    assert_ok(metrics_step(m, &row, &err), err);
    assert_ok(metrics_eval(m, 1, 2.5, 12.182494, &err), err);
    /* Before closing: each row is there at once. */
    assert_content("{\"step\": 1, \"epoch\": 0.25, \"loss\": 1.23456789, \"grad_norm\": 0.5, "
                   "\"learning_rate\": 0.0002, \"tokens\": 4096, \"label_tokens\": 1000, "
                   "\"tokens_per_second\": 1234.5, "
                   "\"peak_device_bytes\": 5000000000, \"paged_bytes\": 7, \"elapsed_seconds\": 3}\n"
                   "{\"step\": 1, \"eval_loss\": 2.5, \"eval_perplexity\": 12.182494}\n");
    metrics_close(m);
    metrics_close(NULL);
}

static void floats_survive(void **state) {
    (void)state;
    static const float values[] = {1.0f / 3, 3.14159274f, 1e-30f, 16777217.0f, 0.1f, 8.5070587e37f};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        err_t err = {0};
        metrics_t *m;
        assert_ok(metrics_open(path, 0, NULL, NULL, &m, &err), err);
        assert_ok(metrics_eval(m, 1, values[i], 1, &err), err);
        metrics_close(m);
        char *text = content();
        json_t *row = json_loads(text, 0, NULL);
        assert_true((float)json_number_value(json_object_get(row, "eval_loss")) == values[i]);
        json_decref(row);
        free(text);
    }
}

static void what_is_not_finite_is_null(void **state) {
    (void)state;
    err_t err = {0};
    metrics_t *m;
    assert_ok(metrics_open(path, 0, NULL, NULL, &m, &err), err);
    assert_ok(metrics_eval(m, 1, NAN, INFINITY, &err), err);
    metrics_close(m);
    assert_content("{\"step\": 1, \"eval_loss\": null, \"eval_perplexity\": null}\n");
}

static void count_rows(void *ctx, const metrics_row_t *row) {
    evals_t *e = ctx;
    if (row->is_eval) evals_note(e, row->step, row->loss);
}

/* Rows tell the same when they are written and when they are read again: to the digits that they have. */
static void rows_are_seen(void **state) {
    (void)state;
    err_t err = {0};
    metrics_t *m;
    evals_t written = {0}, read = {0}, part = {0};
    assert_ok(metrics_open(path, 0, count_rows, &written, &m, &err), err);
    metrics_step_t row = {.step = 1, .loss = NAN, .grad_norm = NAN};
    static const double losses[] = {2.12345678949, INFINITY, 2.12345678951, NAN, 2.1234567};
    assert_ok(metrics_step(m, &row, &err), err);
    for (size_t i = 0; i < 5; i++) assert_ok(metrics_eval(m, 10 + i, losses[i], 1, &err), err);
    metrics_close(m);
    assert_true(written.last == 14 && written.best_step == 14 && written.since == 0 && written.bad == 2);
    assert_true(written.best == 2.1234567 && written.first_bad == 11);
    assert_ok(metrics_open(path, 14, count_rows, &read, &m, &err), err);
    metrics_close(m);
    assert_memory_equal(&read, &written, sizeof read);
    /* Of a run that goes on from before the last two: the third is the first to nine digits, which is no improvement. */
    assert_ok(metrics_open(path, 12, count_rows, &part, &m, &err), err);
    metrics_close(m);
    assert_true(part.best == 2.12345679 && part.best_step == 10 && part.since == 2 && part.bad == 1);
}

#define ROW(n) "{\"step\": " #n ", \"loss\": 1}\n"

static void resuming_drops_what_comes_after(void **state) {
    (void)state;
    static const struct {
        const char *before;
        size_t last_step;
        const char *after;
    } cases[] = {
        {ROW(1) ROW(2) ROW(3) ROW(4), 2, ROW(1) ROW(2)},
        {ROW(1) ROW(2), 2, ROW(1) ROW(2)},
        {ROW(1) ROW(2), 5, ROW(1) ROW(2)},
        {ROW(1) ROW(2) "{\"step\": 2, \"eval_loss\": 1}\n" ROW(3) "{\"step\": 3, \"eval_loss\": 1}\n", 2,
         ROW(1) ROW(2) "{\"step\": 2, \"eval_loss\": 1}\n"},
        {ROW(1) "{\"step\": 2, \"lo", 2, ROW(1)},
        {ROW(1) "{\"step\": 2}", 2, ROW(1)}, /* whole, but its line did not end: it would grow into the next */
        {ROW(1) "not a row\n[2]\n" ROW(2), 2, ROW(1) ROW(2)},
        {ROW(10), 2, ""},
        {"", 2, ""},
        {ROW(1) ROW(2), 0, ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        err_t err = {0};
        metrics_t *m;
        put(cases[i].before);
        assert_ok(metrics_open(path, cases[i].last_step, NULL, NULL, &m, &err), err);
        assert_content(cases[i].after);
        assert_ok(metrics_eval(m, 9, 1, 2, &err), err);
        metrics_close(m);
        char *expected = xasprintf("%s{\"step\": 9, \"eval_loss\": 1, \"eval_perplexity\": 2}\n", cases[i].after);
        assert_content(expected);
        free(expected);
        char *temporary = xasprintf("%s.tmp", path);
        assert_false(path_exists(temporary));
        free(temporary);
    }
}

static void a_missing_file_is_made(void **state) {
    (void)state;
    err_t err = {0};
    metrics_t *m;
    char *other = xasprintf("%s.other", path);
    assert_ok(metrics_open(other, 3, NULL, NULL, &m, &err), err);
    assert_true(path_exists(other));
    metrics_close(m);
    free(other);
    char *nowhere = xasprintf("%s.none/metrics.jsonl", path);
    assert_error(metrics_open(nowhere, 0, NULL, NULL, &m, &err), err, ERR_FAILED, "cannot create: No such file");
    assert_error(metrics_open(nowhere, 3, NULL, NULL, &m, &err), err, ERR_FAILED, "cannot open: No such file");
    free(nowhere);
}

/* A file-size limit fails a write as a full disk does. */
static void failed_writes_are_reported(void **state) {
    (void)state;
    err_t err = {0};
    metrics_t *m;
    struct rlimit before, small;
    assert_ok(metrics_open(path, 0, NULL, NULL, &m, &err), err);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = before;
    small.rlim_cur = 100;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    int first = metrics_eval(m, 1, 1, 2, &err), rc = first;
    for (int i = 0; i < 3 && rc == 0; i++) rc = metrics_eval(m, 2, 1, 2, &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(first, 0);
    assert_error(rc, err, ERR_FAILED, "metrics.jsonl: cannot write: File too large");
    metrics_close(m);
    /* What was torn goes when the run resumes. */
    assert_ok(metrics_open(path, 1, NULL, NULL, &m, &err), err);
    metrics_close(m);
    assert_content("{\"step\": 1, \"eval_loss\": 1, \"eval_perplexity\": 2}\n");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_have_every_key_in_order),    cmocka_unit_test(floats_survive),
        cmocka_unit_test(what_is_not_finite_is_null),      cmocka_unit_test(rows_are_seen),
        cmocka_unit_test(resuming_drops_what_comes_after), cmocka_unit_test(a_missing_file_is_made),
        cmocka_unit_test(failed_writes_are_reported),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
