#include "trainer/steps.h"

#include <math.h>
#include <stdlib.h>

#include "base/mem.h"

batch_spec_t steps_batch_spec(const config_t *c) {
    return (batch_spec_t){.batch_size = c->training.batch_size, .accumulation = c->training.accumulation,
                          .max_length = c->data.max_length, .packing = c->data.packing, .shuffle = c->data.shuffle,
                          .group_by_length = c->data.group_by_length, .seed = c->training.seed};
}

/* Steps that an epoch gives to the run: all of them, or what max_steps or a fraction of an epoch leaves. */
static size_t wanted(const config_t *c, size_t epoch, size_t before, size_t steps) {
    if (c->training.max_steps > 0) {
        size_t left = (size_t)c->training.max_steps - before;
        return steps < left ? steps : left;
    }
    double part = c->training.num_train_epochs - (double)epoch;
    return part >= 1 ? steps : (size_t)ceil(part * (double)steps - 1e-9);
}

static bool more(const config_t *c, const steps_t *s) {
    return c->training.max_steps > 0 ? s->total < (size_t)c->training.max_steps
                                     : (double)s->n_epochs < c->training.num_train_epochs - 1e-9;
}

void steps_plan(steps_t *s, const dataset_t *ds, const batch_spec_t *spec, const config_t *c) {
    size_t cap = 0;
    *s = (steps_t){0};
    do {
        epoch_t e;
        size_t tokens, seg;
        epoch_plan(ds, spec, s->n_epochs, &e);
        CHECK(e.n_steps > 0);
        epoch_extent(&e, &tokens, &seg);
        if (tokens > s->max_tokens) s->max_tokens = tokens;
        if (seg > s->max_seg) s->max_seg = seg;
        VEC_GROW(s->epochs, s->n_epochs, cap);
        s->epochs[s->n_epochs] = (epoch_span_t){s->total, e.n_steps};
        s->total += wanted(c, s->n_epochs, s->total, e.n_steps);
        s->n_epochs++;
        epoch_free(&e);
    } while (more(c, s));
}

void steps_free(steps_t *s) {
    free(s->epochs);
    *s = (steps_t){0};
}

size_t steps_epoch(const steps_t *s, size_t step) {
    size_t e = 0;
    while (e + 1 < s->n_epochs && s->epochs[e + 1].first <= step) e++;
    return e;
}

double steps_progress(const steps_t *s, size_t step) {
    size_t e = step ? steps_epoch(s, step - 1) : 0;
    return (double)e + (double)(step - s->epochs[e].first) / (double)s->epochs[e].steps;
}
