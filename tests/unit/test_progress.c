#define _DEFAULT_SOURCE
#include "tests/support/testing.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "tests/support/output.h"
#include "trainer/run/progress.h"

static metrics_step_t step(size_t k) {
    return (metrics_step_t){.step = k,
                            .epoch = 0.155,
                            .loss = 1.23449,
                            .grad_norm = 0.3214,
                            .learning_rate = 2e-4,
                            .tokens_per_second = 1234.4,
                            .peak_device_bytes = 3ull << 29};
}

static void plain_lines(void **state) {
    (void)state;
    int pipes[2];
    char got[1024];
    assert_int_equal(pipe(pipes), 0);
    output_to(pipes[1]);
    /* Few steps are left, so that the time left is 0 s also on a machine that is busy. */
    progress_start(13, 10);
    for (size_t k = 11; k <= 13; k++) {
        metrics_step_t s = step(k);
        progress_step(&s, k != 12);
    }
    progress_note("evaluating");
    progress_eval(13, 2.5, 12.18249);
    progress_end();
    output_back();
    close(pipes[1]);
    ssize_t n = read(pipes[0], got, sizeof got - 1);
    close(pipes[0]);
    assert_true(n > 0);
    got[n] = 0;
    assert_string_equal(got, "step 11/13  epoch 0.15  loss 1.2345  grad_norm 0.321  lr 2.00e-04  1234 tok/s  eta 0s\n"
                             "step 13/13  epoch 0.15  loss 1.2345  grad_norm 0.321  lr 2.00e-04  1234 tok/s  eta 0s\n"
                             "step 13/13  eval_loss 2.5000  eval_perplexity 12.1825\n");
    assert_null(log_before_line);
}

/* What is still to be evaluated counts, at the mean of what was; steps take no time here. */
static void evaluations_take_time(void **state) {
    (void)state;
    int pipes[2];
    char got[1024], *rest = got;
    static const double seconds[] = {[2] = 100, [4] = 140, [5] = 120};
    static const int left[] = {0, 0, 200, 200, 120, 0};
    assert_int_equal(pipe(pipes), 0);
    output_to(pipes[1]);
    progress_start(5, 0);
    progress_evaluations(2, 1);
    for (size_t k = 1; k <= 5; k++) {
        metrics_step_t s = step(k);
        progress_step(&s, true);
        if (seconds[k] > 0) progress_evaluated(k, seconds[k]);
        if (k == 5) progress_step(&s, true);
    }
    progress_end();
    output_back();
    close(pipes[1]);
    ssize_t n = read(pipes[0], got, sizeof got - 1);
    close(pipes[0]);
    assert_true(n > 0);
    got[n] = 0;
    for (size_t i = 0; i < sizeof left / sizeof *left; i++) {
        char *line = strsep(&rest, "\n"), *eta = line ? strstr(line, "eta ") : NULL;
        int minutes = 0, s = 0;
        assert_non_null(eta);
        if (sscanf(eta, "eta %dm%ds", &minutes, &s) != 2) assert_int_equal(sscanf(eta, "eta %ds", &s), 1);
        assert_in_range(60 * minutes + s, left[i], left[i] + 15); /* a busy machine */
    }
}

/* What a terminal of `columns` gets from steps 1 and 2 of 2, an evaluation and the end. */
static void run_on_terminal(unsigned short columns, char *got, size_t size) {
    pty_t t = pty_open(columns);
    progress_start(2, 0);
    metrics_step_t one = step(1), two = step(2);
    progress_step(&one, true);
    progress_step(&one, true); /* too soon to be drawn again */
    progress_eval(1, 2.5, 12.18249);
    progress_step(&two, true);
    progress_end();
    pty_read(&t, got, size);
}

static size_t occurrences(const char *text, const char *what) {
    size_t n = 0;
    for (const char *p = text; (p = strstr(p, what)); p += strlen(what)) n++;
    return n;
}

static void a_bar_on_a_terminal(void **state) {
    (void)state;
    char got[4096];
    setenv("TERM", "xterm", 1);
    setenv("NO_COLOR", "1", 1);
    run_on_terminal(100, got, sizeof got);
    static const char first[] = "\r\033[Kstep 1/2  [=============>             ]  loss 1.2345  eta 0s  1234 tok/s  "
                                "lr 2.00e-04  peak 1.5 GiB\r\033[K";
    if (strncmp(got, first, strlen(first)) != 0) fail_msg("got %s", got);
    /* The line of the evaluation stands where the bar was. */
    assert_non_null(strstr(got, "\r\033[Kstep 1/2  eval_loss 2.5000  eval_perplexity 12.1825\n\r\033[Kstep 2/2  [=="));
    assert_int_equal(occurrences(got, "\r\033[Kstep 1/2  ["), 1);
    assert_int_equal(occurrences(got, "\033[32m"), 0);
    assert_true(strlen(got) > 1 && got[strlen(got) - 1] == '\n');
    assert_null(log_before_line);
}

/* The bar shows the mean of the last losses, which one step does not shake, and what was paged. */
static void loss_is_smoothed(void **state) {
    (void)state;
    char got[4096];
    static const double losses[] = {2, NAN, 1};
    setenv("TERM", "xterm", 1);
    setenv("NO_COLOR", "1", 1);
    pty_t t = pty_open(120);
    progress_start(3, 0);
    for (size_t k = 1; k <= 3; k++) {
        metrics_step_t s = step(k);
        s.loss = losses[k - 1];
        s.paged_bytes = 5 << 20;
        progress_step(&s, true);
    }
    progress_end();
    pty_read(&t, got, sizeof got);
    if (!strstr(got, "loss 1.4737  eta")) fail_msg("got %s", got); /* (0.9 x 2 + 1) / 1.9 */
    assert_non_null(strstr(got, "peak 1.5 GiB  paged 5.0 MiB"));
}

static void colour_only_where_wanted(void **state) {
    (void)state;
    char got[4096];
    unsetenv("NO_COLOR");
    setenv("TERM", "xterm", 1);
    run_on_terminal(100, got, sizeof got);
    assert_in_range(occurrences(got, "\033[32m"), 1, 9);
    setenv("TERM", "dumb", 1);
    run_on_terminal(100, got, sizeof got);
    assert_int_equal(occurrences(got, "\033"), 0);
    assert_int_equal(occurrences(got, "grad_norm"), 3);
}

/* No line is as wide as the terminal, whatever its width: it would wrap and leave pieces behind. */
static void never_wraps(void **state) {
    (void)state;
    char got[4096];
    setenv("TERM", "xterm", 1);
    setenv("NO_COLOR", "1", 1);
    for (unsigned short columns = 1; columns <= 140; columns++) {
        run_on_terminal(columns, got, sizeof got);
        for (char *line = strtok(got, "\r\n"); line; line = strtok(NULL, "\r\n")) {
            size_t n = strlen(line) - (strncmp(line, "\033[K", 3) == 0 ? 3 : 0);
            if (n >= columns && !strstr(line, "eval_loss")) fail_msg("%d columns: %s", columns, line);
        }
    }
}

static void durations_and_bytes(void **state) {
    (void)state;
    static const struct {
        double seconds;
        const char *text;
    } durations[] = {{0, "0s"},        {59.4, "59s"},     {59.6, "1m00s"}, {192, "3m12s"}, {7500, "2h05m"},
                     {86400, "1d00h"}, {273600, "3d04h"}, {INFINITY, "?"}, {NAN, "?"},     {-1, "?"}};
    static const struct {
        size_t bytes;
        const char *text;
    } sizes[] = {{0, "0 B"},
                 {999, "999 B"},
                 {1000, "1.0 KiB"},
                 {3ull << 29, "1.5 GiB"},
                 {512u << 20, "512 MiB"},
                 {1023u << 20, "1.0 GiB"},
                 {SIZE_MAX, "16384 PiB"}};
    char out[16];
    for (size_t i = 0; i < sizeof durations / sizeof *durations; i++) {
        format_duration(durations[i].seconds, out);
        assert_string_equal(out, durations[i].text);
    }
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        format_bytes(sizes[i].bytes, out);
        assert_string_equal(out, sizes[i].text);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_lines),
        cmocka_unit_test(evaluations_take_time),
        cmocka_unit_test(a_bar_on_a_terminal),
        cmocka_unit_test(loss_is_smoothed),
        cmocka_unit_test(colour_only_where_wanted),
        cmocka_unit_test(never_wraps),
        cmocka_unit_test(durations_and_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
