#include <stdlib.h>

#include "base/clock.h"
#include "trainer/bench/bench.h"

#define ROUND_SECONDS 0.01 /* a round repeats the call until it takes about this long */
#define TOTAL_SECONDS 0.25
enum { MIN_ROUNDS = 3, MAX_ROUNDS = 25, MAX_CALLS = 1000 };

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double bench_median(double *values, size_t n) {
    qsort(values, n, sizeof *values, by_value);
    return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

/* Seconds of `calls` calls, the first of number *i. */
static double round_of(backend_t *be, bench_call_t f, void *ctx, size_t calls, size_t *i) {
    be->sync(be);
    double start = clock_seconds();
    for (size_t k = 0; k < calls; k++) f(ctx, (*i)++);
    be->sync(be);
    return clock_seconds() - start;
}

void bench_time_all(backend_t *be, const bench_call_t f[], size_t n, void *ctx, double seconds[]) {
    double rounds[BENCH_MAX_CALLS][MAX_ROUNDS], total = 0;
    size_t i[BENCH_MAX_CALLS] = {0}, calls[BENCH_MAX_CALLS], done = 0;
    CHECK(n <= BENCH_MAX_CALLS);
    for (size_t k = 0; k < n; k++) {
        /* The first call may choose algorithms and touch memory for the first time. */
        round_of(be, f[k], ctx, 1, &i[k]);
        double once = round_of(be, f[k], ctx, 1, &i[k]);
        calls[k] = once < ROUND_SECONDS ? (size_t)(ROUND_SECONDS / (once > 1e-7 ? once : 1e-7)) + 1 : 1;
        if (calls[k] > MAX_CALLS) calls[k] = MAX_CALLS;
    }
    for (; done < MIN_ROUNDS || (done < MAX_ROUNDS && total < TOTAL_SECONDS * (double)n); done++)
        for (size_t k = 0; k < n; k++) {
            double t = round_of(be, f[k], ctx, calls[k], &i[k]);
            total += t;
            rounds[k][done] = t / (double)calls[k];
        }
    for (size_t k = 0; k < n; k++) seconds[k] = bench_median(rounds[k], done);
}

double bench_time(backend_t *be, bench_call_t f, void *ctx) {
    double seconds;
    bench_time_all(be, &f, 1, ctx, &seconds);
    return seconds;
}
