#include "trainer/run/schedule.h"

#include <math.h>

size_t schedule_warmup(double ratio, size_t steps, size_t total) {
    return steps ? steps : (size_t)ceil(ratio * (double)total);
}

/* What is left to fall, from 1 at k = warmup to 0 at the last step. */
static double remaining(size_t warmup, size_t total, size_t k) {
    if (total == 0 || total - 1 <= warmup) return 1;
    size_t last = total - 1;
    return k >= last ? 0 : (double)(last - k) / (double)(last - warmup);
}

double schedule_lr(schedule_t type, double lr, size_t warmup, size_t total, size_t k) {
    if (type == SCHED_CONSTANT) return lr;
    if (k < warmup) return lr * (double)(k + 1) / (double)warmup;
    if (type == SCHED_CONSTANT_WITH_WARMUP) return lr;
    double left = remaining(warmup, total, k);
    /* sin² instead of (1 + cos)/2: exactly 1 and 0 at the ends, and accurate near the end. */
    double s = sin(0.5 * acos(-1.0) * left);
    return type == SCHED_LINEAR ? lr * left : lr * s * s;
}
