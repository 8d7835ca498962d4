#include "tests/support/testing.h"

#include <math.h>

#include "trainer/run/schedule.h"

static void assert_near(double got, double expected) {
    if (fabs(got - expected) > 1e-15) fail_msg("got %.17g, expected %.17g", got, expected);
}

static void constant_ignores_warmup(void **state) {
    (void)state;
    for (size_t k = 0; k < 10; k++) assert_near(schedule_lr(SCHED_CONSTANT, 2e-4, 5, 10, k), 2e-4);
}

static void warmup_counts_from_one(void **state) {
    (void)state;
    static const schedule_t types[] = {SCHED_CONSTANT_WITH_WARMUP, SCHED_LINEAR, SCHED_COSINE};
    for (size_t i = 0; i < 3; i++) {
        assert_near(schedule_lr(types[i], 1, 4, 10, 0), 0.25);
        assert_near(schedule_lr(types[i], 1, 4, 10, 2), 0.75);
        assert_near(schedule_lr(types[i], 1, 4, 10, 3), 1);
        assert_near(schedule_lr(types[i], 1, 4, 10, 4), 1);
    }
    assert_near(schedule_lr(SCHED_CONSTANT_WITH_WARMUP, 1, 4, 10, 9), 1);
}

static void falls_to_zero_at_the_last_step(void **state) {
    (void)state;
    static const double line[] = {1, 0.75, 0.5, 0.25, 0};
    for (size_t k = 0; k < 5; k++) {
        assert_near(schedule_lr(SCHED_LINEAR, 1, 0, 5, k), line[k]);
        assert_near(schedule_lr(SCHED_LINEAR, 1, 2, 7, k + 2), line[k]);
        double cosine = 0.5 * (1 + cos(acos(-1.0) * (double)k / 4));
        assert_near(schedule_lr(SCHED_COSINE, 1, 0, 5, k), cosine);
        assert_near(schedule_lr(SCHED_COSINE, 1, 2, 7, k + 2), cosine);
    }
    assert_true(schedule_lr(SCHED_COSINE, 1, 0, 5, 4) == 0 && schedule_lr(SCHED_LINEAR, 1, 0, 5, 99) == 0);
}

static void short_runs(void **state) {
    (void)state;
    /* One step, or a warm-up that reaches the end or beyond it: nothing is left to fall. */
    assert_near(schedule_lr(SCHED_LINEAR, 1, 0, 1, 0), 1);
    assert_near(schedule_lr(SCHED_COSINE, 1, 4, 5, 4), 1);
    assert_near(schedule_lr(SCHED_LINEAR, 1, 10, 5, 4), 0.5);
}

static void warmup_steps_win_over_ratio(void **state) {
    (void)state;
    assert_int_equal(schedule_warmup(0.03, 0, 100), 3);
    assert_int_equal(schedule_warmup(0.03, 0, 101), 4);
    assert_int_equal(schedule_warmup(0, 0, 100), 0);
    assert_int_equal(schedule_warmup(1, 0, 7), 7);
    assert_int_equal(schedule_warmup(0.5, 3, 100), 3);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(constant_ignores_warmup),        cmocka_unit_test(warmup_counts_from_one),
        cmocka_unit_test(falls_to_zero_at_the_last_step), cmocka_unit_test(short_runs),
        cmocka_unit_test(warmup_steps_win_over_ratio),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
