#include "trainer/run/steps.h"

#include <math.h>
#include <stdlib.h>

#include "base/mem.h"

/* Spans of the epochs [0, n); all epochs have the first one's number of steps when they are `alike`. */
struct epoch_spans {
    const dataset_t *ds;
    batch_spec_t spec;
    bool alike;
    epoch_span_t *at;
    size_t n, cap;
};

bool steps_evaluation_due(const steps_t *s, const config_t *c, size_t step) {
    size_t every = c->training.eval_steps;
    return every && step && (step % every == 0 || step == s->total);
}

size_t steps_evaluations(const steps_t *s, const config_t *c) {
    size_t every = c->training.eval_steps;
    return every ? s->total / every + (s->total % every != 0) : 0;
}

batch_spec_t steps_batch_spec(const config_t *c) {
    return (batch_spec_t){.batch_size = c->training.batch_size,
                          .accumulation = c->training.accumulation,
                          .max_length = c->data.max_length,
                          .packing = c->data.packing,
                          .shuffle = c->data.shuffle,
                          .group_by_length = c->data.group_by_length,
                          .seed = c->training.seed};
}

static size_t larger(size_t a, size_t b) { return a > b ? a : b; }

/* Plans the next epoch, and takes its extents into *max_tokens and *max_seg unless these are NULL. */
static void extend(epoch_spans_t *p, size_t *max_tokens, size_t *max_seg) {
    epoch_t e;
    size_t tokens, seg;
    epoch_plan(p->ds, &p->spec, p->n, &e);
    CHECK(e.n_steps > 0);
    if (max_tokens) {
        epoch_extent(&e, &tokens, &seg);
        *max_tokens = larger(*max_tokens, tokens);
        *max_seg = larger(*max_seg, seg);
    }
    VEC_GROW(p->at, p->n, p->cap);
    p->at[p->n] = (epoch_span_t){p->n ? p->at[p->n - 1].first + p->at[p->n - 1].steps : 0, e.n_steps};
    p->n++;
    epoch_free(&e);
}

epoch_span_t steps_span(const steps_t *s, size_t epoch) {
    epoch_spans_t *p = s->spans;
    if (p->alike) return (epoch_span_t){epoch * p->at[0].steps, p->at[0].steps};
    while (p->n <= epoch) extend(p, NULL, NULL);
    return p->at[epoch];
}

size_t steps_epoch(const steps_t *s, size_t step) {
    epoch_spans_t *p = s->spans;
    if (p->alike) return step / p->at[0].steps;
    while (p->at[p->n - 1].first + p->at[p->n - 1].steps <= step) extend(p, NULL, NULL);
    size_t low = 0, high = p->n; /* the epoch is in [low, high) */
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (p->at[middle].first <= step) low = middle;
        else high = middle;
    }
    return low;
}

double steps_progress(const steps_t *s, size_t step) {
    size_t e = step ? steps_epoch(s, step - 1) : 0;
    epoch_span_t span = steps_span(s, e);
    return (double)e + (double)(step - span.first) / (double)span.steps;
}

static void end_by_steps(steps_t *s, size_t max_steps) {
    const epoch_spans_t *p = s->spans;
    const epoch_span_t *last = &p->at[p->n - 1];
    size_t planned = last->first + last->steps;
    s->total = max_steps;
    s->epochs = p->alike || max_steps <= planned ? steps_progress(s, max_steps)
                                                 : (double)max_steps * (double)p->n / (double)planned;
    s->n_epochs = (size_t)ceil(s->epochs);
}

static void end_by_epochs(steps_t *s, double epochs) {
    s->n_epochs = larger((size_t)ceil(epochs - 1e-9), 1);
    epoch_span_t last = steps_span(s, s->n_epochs - 1);
    double part = epochs - (double)(s->n_epochs - 1);
    s->total = last.first + (part >= 1 ? last.steps : (size_t)ceil(part * (double)last.steps - 1e-9));
    s->epochs = steps_progress(s, s->total);
}

static int descending(const void *a, const void *b) {
    size_t x = *(const size_t *)a, y = *(const size_t *)b;
    return (x < y) - (x > y);
}

/* The most tokens that a micro-batch can have in any order of the samples. */
static size_t tokens_bound(const dataset_t *ds, const batch_spec_t *spec) {
    size_t sum = 0;
    if (spec->packing) {
        sum = spec->batch_size * spec->max_length;
        return sum < ds->n_tokens ? sum : ds->n_tokens;
    }
    size_t *len = xmalloc(ds->n_samples * sizeof *len);
    for (size_t i = 0; i < ds->n_samples; i++) len[i] = ds->samples[i].len;
    qsort(len, ds->n_samples, sizeof *len, descending);
    for (size_t i = 0; i < ds->n_samples && i < spec->batch_size; i++) sum += len[i];
    free(len);
    return sum;
}

/* Whether the run goes on after the epochs that are planned. */
static bool more(const config_t *c, const epoch_spans_t *p) {
    const epoch_span_t *last = &p->at[p->n - 1];
    return c->training.max_steps > 0 ? last->first + last->steps < (size_t)c->training.max_steps
                                     : (double)p->n < c->training.num_train_epochs - 1e-9;
}

void steps_plan(steps_t *s, const dataset_t *ds, const batch_spec_t *spec, const config_t *c) {
    epoch_spans_t *p = xcalloc(1, sizeof *p);
    *p = (epoch_spans_t){.ds = ds, .spec = *spec, .alike = !(spec->packing && spec->shuffle)};
    *s = (steps_t){.spans = p};
    do extend(p, &s->max_tokens, &s->max_seg);
    while (spec->shuffle && p->n < STEPS_AHEAD && more(c, p));
    if (spec->shuffle && more(c, p)) s->max_tokens = tokens_bound(ds, spec);
    if (c->training.max_steps > 0) end_by_steps(s, (size_t)c->training.max_steps);
    else end_by_epochs(s, c->training.num_train_epochs);
}

void steps_free(steps_t *s) {
    if (s->spans) free(s->spans->at);
    free(s->spans);
    *s = (steps_t){0};
}
