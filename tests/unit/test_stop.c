/* Requests to stop: what counts as one, and what is said about slow ones. How a run ends is tested in cli/signals.sh. */
#include "trainer/run/stop.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "tests/support/testing.h"

static void pause_ms(long ms) { nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL); }

static int status_of(pid_t child) {
    int status;
    assert_true(child > 0 && waitpid(child, &status, 0) == child);
    return status;
}

enum { TOO_LATE = 99 };

static int ended_once(bool waits, int first, long ms, int second) {
    pid_t child = fork();
    if (child == 0) {
        stop_catch(7);
        if (waits) stop_wait_for_look();
        double since = clock_seconds();
        raise(first);
        pause_ms(ms);
        if (ms < 2000 && clock_seconds() - since > 1.9) _exit(TOO_LATE);
        raise(second);
        _exit(stop_wanted() ? 5 : 6);
    }
    return status_of(child);
}

/* The wait status of a process that catches signals with status 7, gets `first` and, ms later, `second`. It ends with 5
 * when it sees a request. Once more where a busy machine took the time that makes of a signal another request. */
static int ended(bool waits, int first, long ms, int second) {
    int status = ended_once(waits, first, ms, second);
    while (WIFEXITED(status) && WEXITSTATUS(status) == TOO_LATE) status = ended_once(waits, first, ms, second);
    return status;
}

static void held_back(void **state) {
    (void)state;
    pid_t child = fork();
    if (child == 0) {
        stop_hold();
        raise(SIGUSR1);
        stop_catch(7);
        _exit(5);
    }
    int status = status_of(child);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 7);
}

static void before_the_first_step(void **state) {
    (void)state;
    static const int signals[] = {SIGINT, SIGTERM, SIGUSR1, SIGHUP};
    for (size_t i = 0; i < 4; i++) {
        int status = ended(false, signals[i], 0, SIGTERM);
        assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 7);
    }
}

static void one_request(void **state) {
    (void)state;
    static const int signals[] = {SIGINT, SIGTERM, SIGUSR1};
    for (size_t i = 0; i < 3; i++)
        for (size_t j = 0; j < 3; j++) {
            int status = ended(true, signals[i], 1, signals[j]);
            assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 5);
        }
    int status = ended(true, SIGUSR1, 1000, SIGTERM);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 5);
}

static void meant(void **state) {
    (void)state;
    int status = ended(true, SIGUSR1, 2050, SIGTERM);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
    status = ended(true, SIGTERM, 2050, SIGINT);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGINT);
    status = ended(true, SIGTERM, 2050, SIGUSR1);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 5);
}

static void waits_are_measured(void **state) {
    (void)state;
    stop_wanted();
    pause_ms(60);
    stop_wanted();
    assert_true(stop_longest_wait() >= 0.06);
    double before = stop_longest_wait();
    stop_look_away();
    pause_ms((long)(before * 1000) + 100);
    assert_false(stop_wanted());
    assert_true(stop_longest_wait() == before);
}

static void slow_stops(void **state) {
    (void)state;
    assert_null(stop_advice(15, 5));
    char *advice = stop_advice(31, 4.5);
    assert_non_null(strstr(advice, "only after 36 s (31.0 s until it is seen, 4.5 s for the checkpoint)"));
    assert_non_null(strstr(advice, "USR1@120)"));
    free(advice);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(held_back), cmocka_unit_test(before_the_first_step), cmocka_unit_test(one_request),
        cmocka_unit_test(meant),     cmocka_unit_test(waits_are_measured),    cmocka_unit_test(slow_stops),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
