/* Shares of one process: all of it, in order. Those of several are tested in cluster/train_ranks.sh. */
#include "tests/support/testing.h"

#include <math.h>

#include "trainer/run/shares.h"

/* Of a pass with these losses. */
static double sum_of(shares_t *s, const double *loss, size_t n) {
    double sum;
    shares_begin(s, n);
    size_t taken = 0;
    for (size_t i = shares_first(); i < n; i = shares_next(i), taken++) s->loss[i] = loss[i];
    assert_int_equal(taken, n);
    assert_true(shares_sum(s, false, &sum));
    return sum;
}

static void in_the_order_of_batches(void **state) {
    (void)state;
    /* Each order of these has another sum. */
    static const double loss[] = {1e16, 1.0, -1e16, 1.0, 3e-17};
    shares_t s;
    double want = 0;
    shares_open(&s, 5);
    for (size_t i = 0; i < 5; i++) want += loss[i];
    assert_true(sum_of(&s, loss, 5) == want);
    assert_true(want != loss[0] + loss[2] + loss[1] + loss[3] + loss[4]);
    /* A shorter pass has nothing left of a longer one. */
    assert_true(sum_of(&s, loss, 2) == loss[0] + loss[1]);
    assert_true(sum_of(&s, loss, 0) == 0);
    shares_close(&s);
}

static void what_is_not_finite_stays_so(void **state) {
    (void)state;
    const double not_a_number[] = {1, NAN, 2}, infinite[] = {INFINITY, 1, 2};
    shares_t s;
    shares_open(&s, 3);
    assert_true(isnan(sum_of(&s, not_a_number, 3)));
    assert_true(isinf(sum_of(&s, infinite, 3)));
    assert_true(sum_of(&s, infinite + 1, 2) == 3);
    shares_close(&s);
}

static void given_up(void **state) {
    (void)state;
    shares_t s;
    double sum;
    shares_open(&s, 2);
    shares_begin(&s, 2);
    s.loss[0] = 1;
    assert_false(shares_sum(&s, true, &sum));
    shares_begin(&s, 2);
    assert_true(shares_sum(&s, false, &sum));
    assert_true(sum == 0);
    shares_close(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(in_the_order_of_batches),
        cmocka_unit_test(what_is_not_finite_stays_so),
        cmocka_unit_test(given_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
