/* A curve in bounded memory, whatever the length of the run: neighbouring steps share a bucket as soon as there are more
 * of them than a drawing could show, and a bucket keeps what a drawing must not lose, its least and greatest value. */
#ifndef TRAINER_REPORT_SERIES_H
#define TRAINER_REPORT_SERIES_H

#include <stddef.h>

#define SERIES_BUCKETS ((size_t)400)

typedef struct {
    size_t first, last; /* steps */
    double low, high, sum;
    size_t n; /* values, at least one */
} bucket_t;

typedef struct {
    bucket_t buckets[SERIES_BUCKETS]; /* ascending steps */
    size_t n;
    size_t width;      /* steps to a bucket; 0: 1 */
    size_t not_finite; /* values that are in no bucket */
    double latest;     /* the last finite value; only with n > 0 */
} series_t;

/* Steps do not go down: what does is dropped. */
void series_add(series_t *s, size_t step, double value);
double bucket_mean(const bucket_t *b);
/* Over all buckets; only with n > 0. */
double series_low(const series_t *s);
double series_high(const series_t *s);
/* The bucket of the greatest first step that is not above `step`, or the first. Only with n > 0. */
const bucket_t *series_at(const series_t *s, size_t step);

#endif
