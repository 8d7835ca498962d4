#include "trainer/report/series.h"

#include <math.h>

static void merge(bucket_t *into, const bucket_t *b) {
    into->last = b->last;
    into->low = fmin(into->low, b->low);
    into->high = fmax(into->high, b->high);
    into->sum += b->sum;
    into->n += b->n;
}

static void widen(series_t *s) {
    size_t n = 0;
    s->width *= 2;
    for (size_t i = 0; i < s->n; i++) {
        if (n && s->buckets[n - 1].first / s->width == s->buckets[i].first / s->width)
            merge(&s->buckets[n - 1], &s->buckets[i]);
        else s->buckets[n++] = s->buckets[i];
    }
    s->n = n;
}

void series_add(series_t *s, size_t step, double value) {
    const bucket_t one = {step, step, value, value, value, 1};
    if (!isfinite(value)) {
        s->not_finite++;
        return;
    }
    if (s->width == 0) s->width = 1;
    if (s->n) {
        bucket_t *last = &s->buckets[s->n - 1];
        if (step < last->last) return;
        s->latest = value;
        if (last->first / s->width == step / s->width) {
            merge(last, &one);
            return;
        }
    }
    s->latest = value;
    while (s->n == SERIES_BUCKETS) widen(s);
    if (s->n && s->buckets[s->n - 1].first / s->width == step / s->width) merge(&s->buckets[s->n - 1], &one);
    else s->buckets[s->n++] = one;
}

double bucket_mean(const bucket_t *b) { return b->sum / (double)b->n; }

double series_low(const series_t *s) {
    double low = INFINITY;
    for (size_t i = 0; i < s->n; i++) low = fmin(low, s->buckets[i].low);
    return low;
}

double series_high(const series_t *s) {
    double high = -INFINITY;
    for (size_t i = 0; i < s->n; i++) high = fmax(high, s->buckets[i].high);
    return high;
}

const bucket_t *series_at(const series_t *s, size_t step) {
    size_t i = 0;
    while (i + 1 < s->n && s->buckets[i + 1].first <= step) i++;
    return &s->buckets[i];
}
