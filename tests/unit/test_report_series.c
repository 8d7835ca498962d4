/* Curves in bounded memory: no value is lost to the least, the greatest and the mean, however long the run. And their
 * axes. */
#include "tests/support/testing.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "trainer/report/chart.h"
#include "trainer/report/series.h"

static void short_runs_are_kept_as_they_are(void **state) {
    (void)state;
    series_t *s = xcalloc(1, sizeof *s);
    series_add(s, 5, 2);
    series_add(s, 10, 4);
    series_add(s, 10, 6);
    series_add(s, 7, 100); /* steps do not go down */
    series_add(s, 15, NAN);
    assert_int_equal(s->n, 2);
    assert_int_equal(s->not_finite, 1);
    assert_true(bucket_mean(&s->buckets[1]) == 5 && s->buckets[1].low == 4 && s->buckets[1].high == 6);
    assert_true(s->latest == 6);
    assert_int_equal(series_at(s, 0)->first, 5);
    assert_int_equal(series_at(s, 9)->first, 5);
    assert_int_equal(series_at(s, 999)->first, 10);
    free(s);
}

static void long_runs_share_buckets(void **state) {
    (void)state;
    series_t *s = xcalloc(1, sizeof *s);
    double sum = 0;
    size_t n = 0, last = 0;
    for (size_t step = 1; step <= 100000; step += 1 + step % 3, n++) {
        double v = step == 40001 ? -7 : step == 70003 ? 99 : (double)(step % 10);
        series_add(s, step, v);
        sum += v;
        last = step;
    }
    assert_in_range(s->n, SERIES_BUCKETS / 2 - 1, SERIES_BUCKETS);
    double kept = 0;
    size_t values = 0;
    for (size_t i = 0; i < s->n; i++) {
        kept += s->buckets[i].sum;
        values += s->buckets[i].n;
        assert_true(s->buckets[i].first / s->width == s->buckets[i].last / s->width);
        if (i) assert_true(s->buckets[i].first > s->buckets[i - 1].last);
    }
    assert_int_equal(values, n);
    assert_true(fabs(kept - sum) < 1e-9 * fabs(sum));
    assert_int_equal(s->buckets[s->n - 1].last, last);
    assert_true(series_low(s) <= 0 && series_high(s) >= 9);
    free(s);
}

/* The numbers beside the axis of values, lowest first. */
static size_t marks_of(double low, double high, double marks[16]) {
    series_t *s = xcalloc(1, sizeof *s);
    strbuf_t b = {0};
    size_t n = 0;
    series_add(s, 1, low);
    series_add(s, 2, high);
    chart_add(&b, &(chart_t){"Loss", "", CHART_NUMBER, false, false}, &(curve_t){s, 0}, 1);
    for (const char *at = b.p; n < 16 && (at = strstr(at, "class=\"axis\""));) {
        at = strstr(at, "\"end\">") + strlen("\"end\">");
        marks[n++] = strtod(at, NULL);
    }
    free(b.p);
    free(s);
    return n;
}

/* Neighbours are 1, 2 or 5 times a power of ten apart, all are multiples of that, and the values are between the ends. */
static void axes_have_round_marks(void **state) {
    (void)state;
    static const double ranges[][2] = {{0.3838, 1.3404}, {0.2, 4.1}, {-1.7, 0.3}, {1e-5, 9.99e-5}, {3, 3}, {17, 1234}};
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
        double marks[16];
        size_t n = marks_of(ranges[i][0], ranges[i][1], marks);
        assert_in_range(n, 2, 8);
        double tick = marks[1] - marks[0], first = tick / pow(10, floor(log10(tick) + 1e-6));
        assert_true(fabs(first - 1) < 1e-4 || fabs(first - 2) < 1e-4 || fabs(first - 5) < 1e-4);
        for (size_t k = 0; k < n; k++) assert_true(fabs(marks[k] / tick - round(marks[k] / tick)) < 1e-3);
        assert_true(marks[0] <= ranges[i][0] && marks[n - 1] >= ranges[i][1]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(short_runs_are_kept_as_they_are),
        cmocka_unit_test(long_runs_share_buckets),
        cmocka_unit_test(axes_have_round_marks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
