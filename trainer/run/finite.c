#include "trainer/run/finite.h"

#include <math.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/mem.h"
#include "trainer/ranks/ranks.h"

/* Rows named in a message, and rows tried to see whether any is finite. */
enum { NAMED = 3, TRIED = 8 };

/* ---- one row ---------------------------------------------------------------------------------------------- */

static void fill_one(const dataset_t *ds, size_t sample, batch_t *b) {
    dataset_t one = *ds;
    epoch_t e;
    one.samples = &ds->samples[sample];
    one.n_samples = 1;
    epoch_plan(&one, &(batch_spec_t){.batch_size = 1, .accumulation = 1, .max_length = one.samples->len}, 0, &e);
    batch_fill(&e, 0, b);
    epoch_free(&e);
}

static bool loss_is_finite(run_t *run, const batch_t *b) {
    double sum;
    model_loss(&run->model, run_acts(run, PASS_LOSS, b->T), b, &sum, NULL);
    return isfinite(sum);
}

/* The place of the step's own gradient, which nobody needs any more. */
static bool gradient_is_finite(run_t *run, const batch_t *b) {
    double loss, sumsq;
    run->be->zero(run->be, run->lora.grad, run->lora.count * sizeof(float));
    model_train(&run->model, run_acts(run, PASS_TRAIN, b->T), b, (pass_seed_t){run->config.training.seed, 0},
                1.0f / (float)b->n_labels, &loss);
    run->be->sumsq(run->be, run->opt.sumsq, run->lora.grad, run->lora.count);
    run->be->download(run->be, &sumsq, run->opt.sumsq, sizeof sumsq);
    return isfinite(sumsq);
}

typedef bool (*row_test_t)(run_t *run, const batch_t *b);

static bool passes(run_t *run, const dataset_t *ds, size_t sample, row_test_t test) {
    batch_t b = {0};
    fill_one(ds, sample, &b);
    bool finite = test(run, &b);
    batch_free(&b);
    return finite;
}

/* ---- rows that are to blame --------------------------------------------------------------------------------- */

typedef struct {
    size_t tried, bad;
    strbuf_t names; /* of the first: "train.jsonl:12, train.jsonl:40" */
} blamed_t;

static void try_row(run_t *run, const dataset_t *ds, size_t sample, row_test_t test, blamed_t *to) {
    const config_t *c = &run->config;
    const sample_t *s = &ds->samples[sample];
    bool own_file = ds == &run->eval && c->data.eval;
    to->tried++;
    if (passes(run, ds, sample, test) || to->bad++ >= NAMED) return;
    strbuf_addf(&to->names, "%s%s:%u", to->names.len ? ", " : "", own_file ? c->data.eval : c->data.train[s->file],
                s->line);
}

static void try_step(run_t *run, const epoch_t *e, size_t step_in_epoch, row_test_t test, bool (*stop)(void),
                     blamed_t *to) {
    size_t first, end;
    epoch_micro_rows(e, step_in_epoch * e->spec.accumulation, epoch_step_micros(e, step_in_epoch), &first, &end);
    for (size_t r = first; r < end; r++)
        for (size_t i = 0; i < e->rows[r].n && !stop(); i++)
            try_row(run, e->ds, e->order[e->rows[r].first + i], test, to);
}

static void say_rows(const blamed_t *b, const char *where, size_t step, const char *what) {
    char more[32] = "";
    if (b->bad > NAMED) snprintf(more, sizeof more, " and %zu more", b->bad - NAMED);
    log_warn("step %zu: %zu of %zu rows of the %s have by themselves no finite %s: %s%s", step, b->bad, b->tried, where,
             what, b->names.p, more);
}

/* ---- the adapter ---------------------------------------------------------------------------------------------- */

static float *adapter_values(const run_t *run) {
    float *master = xmalloc(run->lora.count * sizeof *master);
    run->be->download(run->be, master, run->lora.master, run->lora.count * sizeof *master);
    return master;
}

/* The largest value by its size; INFINITY: there is one that is not finite. */
static float largest_value(const run_t *run) {
    float *master = adapter_values(run), largest = 0;
    for (size_t i = 0; i < run->lora.count && isfinite(largest); i++) {
        float x = fabsf(master[i]);
        if (!isfinite(x)) largest = INFINITY;
        else if (x > largest) largest = x;
    }
    free(master);
    return largest;
}

/* Rows from all over the training data. */
static blamed_t try_some(run_t *run) {
    const dataset_t *ds = &run->train;
    size_t n = ds->n_samples < TRIED ? ds->n_samples : TRIED;
    blamed_t some = {0};
    for (size_t i = 0; i < n; i++) try_row(run, ds, i * ds->n_samples / n, loss_is_finite, &some);
    free(some.names.p);
    return some;
}

/* The same with an adapter of zeros. */
static blamed_t try_some_of_base(run_t *run) {
    float *master = adapter_values(run), *zeros = xcalloc(run->lora.count, sizeof *zeros);
    lora_upload(&run->lora, run->be, zeros);
    blamed_t some = try_some(run);
    lora_upload(&run->lora, run->be, master);
    free(master);
    free(zeros);
    return some;
}

static bool most_are_bad(const blamed_t *some) { return 2 * some->bad > some->tried; }

bool finite_adapter(run_t *run) {
    blamed_t some = {0};
    if (isfinite(largest_value(run))) some = try_some(run);
    return some.tried && !most_are_bad(&some);
}

/* Where not single rows are to blame. */
static bool say_what_all_have(run_t *run, size_t step, size_t since) {
    blamed_t some = try_some(run);
    if (!most_are_bad(&some)) return false;
    blamed_t base = try_some_of_base(run);
    if (most_are_bad(&base))
        log_warn("step %zu: %zu of %zu rows tried have no finite loss, and %zu have none by the base model alone: look "
                 "at the model and the data",
                 step, some.bad, some.tried, base.bad);
    else
        log_warn(
            "step %zu: %zu of %zu rows tried have no finite loss, and %zu by the base model alone: the adapter has "
            "diverged since step %zu (its largest value is %.3g)",
            step, some.bad, some.tried, base.bad, since, (double)largest_value(run));
    return true;
}

/* ---- both ------------------------------------------------------------------------------------------------------ */

void finite_explain_step(run_t *run, const epoch_t *e, size_t step_in_epoch, size_t step, size_t since,
                         bool (*stop)(void)) {
    blamed_t losses = {0}, gradients = {0};
    if (!ranks_first()) return;
    if (say_what_all_have(run, step, since)) return;
    try_step(run, e, step_in_epoch, loss_is_finite, stop, &losses);
    if (losses.bad) say_rows(&losses, "step", step, "loss");
    else try_step(run, e, step_in_epoch, gradient_is_finite, stop, &gradients);
    if (gradients.bad) say_rows(&gradients, "step", step, "gradient");
    free(losses.names.p);
    free(gradients.names.p);
}

void finite_explain_eval(run_t *run, size_t step, size_t since, bool (*stop)(void)) {
    blamed_t losses = {0};
    if (!ranks_first()) return;
    if (say_what_all_have(run, step, since)) return;
    for (size_t i = 0; i < run->eval.n_samples && !stop(); i++) try_row(run, &run->eval, i, loss_is_finite, &losses);
    if (losses.bad) say_rows(&losses, "evaluation", step, "loss");
    free(losses.names.p);
}
