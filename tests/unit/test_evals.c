#include "tests/support/testing.h"

#include <math.h>

#include "trainer/run/evals.h"

/* As Transformers' EarlyStoppingCallback counts with threshold 0, evaluation by evaluation. */
static void counts_as_transformers_does(void **state) {
    (void)state;
    static const struct {
        double loss;
        size_t since, best_step;
    } course[] = {{3, 0, 10}, {3, 1, 10}, {2, 0, 30}, {2.5, 1, 30}, {NAN, 2, 30}, {INFINITY, 3, 30}, {1.9, 0, 70}};
    evals_t e = {0};
    for (size_t i = 0; i < sizeof course / sizeof *course; i++) {
        evals_note(&e, 10 * (i + 1), course[i].loss);
        assert_int_equal(e.last, 10 * (i + 1));
        assert_int_equal(e.since, course[i].since);
        assert_int_equal(e.best_step, course[i].best_step);
        assert_int_equal(evals_stop(&e, 3), course[i].since >= 3);
        assert_false(evals_stop(&e, 0));
    }
    assert_true(e.best == 1.9 && e.bad == 2 && e.first_bad == 50);
}

/* What is not finite is never the best; the first evaluation is no failure to improve, whatever it says. */
static void the_first_is_not_finite(void **state) {
    (void)state;
    evals_t e = {0};
    assert_false(evals_stop(&e, 1));
    evals_note(&e, 1, NAN);
    assert_true(e.since == 0 && e.best_step == 0 && !evals_stop(&e, 1));
    evals_note(&e, 2, INFINITY);
    assert_true(e.since == 1 && e.best_step == 0 && evals_stop(&e, 1));
    evals_note(&e, 3, 7);
    assert_true(e.since == 0 && e.best_step == 3 && e.first_bad == 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_as_transformers_does),
        cmocka_unit_test(the_first_is_not_finite),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
