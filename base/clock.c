#include "base/clock.h"

#include <pthread.h>
#include <time.h>

double clock_seconds(void) {
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static double last, lost; /* the latest answer, and what the clock has gone back so far */
    struct timespec t;
    pthread_mutex_lock(&lock);
    clock_gettime(CLOCK_MONOTONIC, &t);
    double now = (double)t.tv_sec + 1e-9 * (double)t.tv_nsec + lost;
    if (now < last) {
        lost += last - now;
        now = last;
    }
    last = now;
    pthread_mutex_unlock(&lock);
    return now;
}
