#include "trainer/run/train.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/minmax.h"
#include "trainer/ranks/ranks.h"
#include "trainer/run/finite.h"
#include "trainer/run/progress.h"
#include "trainer/run/record.h"
#include "trainer/run/schedule.h"
#include "trainer/run/shares.h"
#include "trainer/run/stop.h"

/* After this many steps in a row without a gradient to learn from, going on would only burn time. */
#define MAX_USELESS_IN_ROW 10
/* Of so many skipped steps of a run the cause is looked for; those that follow will have the same. */
#define EXPLAINED_STEPS 3

/* All ranks are in the same place of this file whenever they meet in a call that is marked (all): what decides the way
 * is the same on all of them, or one of them has told the others. */

/* ---- one optimizer step --------------------------------------------------------------------------------- */

typedef struct {
    size_t peak, paged;
    double stalled;
} figures_t;

typedef struct {
    run_t *run;
    const steps_t *steps;
    train_state_t *state;
    batch_spec_t spec;
    epoch_t epoch;
    bool have_epoch;
    batch_t batch;
    shares_t shares;    /* of a step's micro-batches */
    figures_t *figures; /* [ranks] */
    record_t record;
    size_t first_step; /* done before */
    size_t saved_step; /* has nothing that would have to be saved */
    double started;    /* clock_seconds() minus the seconds that the run had before */
} loop_t;

static void enter_epoch(loop_t *l, size_t epoch) {
    if (l->have_epoch && l->epoch.epoch == epoch) return;
    if (l->have_epoch) epoch_free(&l->epoch);
    epoch_plan(&l->run->train, &l->spec, epoch, &l->epoch);
    l->have_epoch = true;
}

static optimizer_hyper_t hyper(const config_t *c, double lr) {
    return (optimizer_hyper_t){.lr = (float)lr,
                               .lr_b = (float)(lr * c->lora.loraplus_lr_ratio),
                               .beta1 = c->training.adam_beta1,
                               .beta2 = c->training.adam_beta2,
                               .eps = (float)c->training.adam_epsilon,
                               .weight_decay = (float)c->training.weight_decay,
                               .max_grad_norm = c->training.max_grad_norm};
}

/* The gradients of this rank's micro-batches of a step, added up in lora->grad. Whether it gave up in between for a
 * request to stop. */
static bool train_share(loop_t *l, size_t first, const step_result_t *r) {
    run_t *run = l->run;
    pass_seed_t seed = {run->config.training.seed, l->state->step};
    bool gave_up = stop_wanted();
    run->be->zero(run->be, run->lora.grad, run->lora.count * sizeof(float));
    for (size_t m = shares_first(); m < l->shares.n && !gave_up;) {
        batch_fill(&l->epoch, first + m, &l->batch);
        model_train(&run->model, run_acts(run, PASS_TRAIN, l->batch.T), &l->batch, seed, 1.0f / (float)r->labels,
                    &l->shares.loss[m]);
        m = shares_next(m);
        gave_up = m < l->shares.n && stop_wanted();
    }
    return gave_up;
}

/* The gradient of the mean loss over the step's trained tokens, of all ranks. False: one has given up. */
static bool accumulate(loop_t *l, size_t step_in_epoch, step_result_t *r) {
    size_t first = step_in_epoch * l->spec.accumulation, n = epoch_step_micros(&l->epoch, step_in_epoch);
    double sum;
    r->labels = epoch_step_labels(&l->epoch, step_in_epoch);
    for (size_t m = first; m < first + n; m++) r->tokens += epoch_micro_tokens(&l->epoch, m);
    shares_begin(&l->shares, n);
    if (!shares_sum(&l->shares, train_share(l, first, r), &sum)) return false;
    r->loss = sum / (double)r->labels;
    if (isfinite(r->loss)) replicas_sum(&l->run->replicas);
    return true;
}

/* Where the activations of this rank's first micro-batch of a step end; 0 when there is no such step, or it has none. */
static size_t next_top(const loop_t *l, size_t step_in_epoch) {
    if (step_in_epoch >= l->epoch.n_steps || shares_first() >= epoch_step_micros(&l->epoch, step_in_epoch)) return 0;
    return run_acts_top(l->run, epoch_micro_tokens(&l->epoch, step_in_epoch * l->spec.accumulation + shares_first()));
}

/* A step begins with every page at its place, so that its figures are its own: the same after a resumption, and after
 * an evaluation. */
static void start_counting(run_t *run) {
    run_settle(run);
    run->be->sync(run->be);
    run->be->stalled(run->be);
    run->opt.pager.moved = run->model.pager.moved = 0;
    run->pool.peak = run->least_peak;
}

/* (all) What a step took: of the most loaded rank, and of all together. */
static void take_figures(loop_t *l, step_result_t *r) {
    const run_t *run = l->run;
    figures_t mine = {run->pool.peak, run->opt.pager.moved + run->model.pager.moved, run->be->stalled(run->be)};
    ranks_gather(&mine, sizeof mine, l->figures);
    for (int k = 0; k < ranks_size(); k++) {
        r->peak_bytes = max_size(r->peak_bytes, l->figures[k].peak);
        r->paged_bytes += l->figures[k].paged;
        r->stalled = fmax(r->stalled, l->figures[k].stalled);
    }
}

/* (all) False: given up, and nothing of the run has changed. */
static bool train_step(loop_t *l, step_result_t *r) {
    run_t *run = l->run;
    const config_t *c = &run->config;
    double begin = clock_seconds();
    size_t epoch = steps_epoch(l->steps, l->state->step);
    *r = (step_result_t){0};
    start_counting(run);
    enter_epoch(l, epoch);
    size_t step_in_epoch = l->state->step - steps_span(l->steps, epoch).first;
    if (!accumulate(l, step_in_epoch, r)) return false;
    r->lr = schedule_lr(c->training.scheduler, c->training.learning_rate,
                        schedule_warmup(c->training.warmup_ratio, c->training.warmup_steps, l->steps->total),
                        l->steps->total, l->state->step);
    optimizer_hyper_t h = hyper(c, r->lr);
    r->grad_norm = NAN;
    r->skipped = !isfinite(r->loss) ||
                 !optimizer_step(&run->opt, &run->lora, run->be, &h, next_top(l, step_in_epoch + 1), &r->grad_norm);
    run->be->sync(run->be);
    r->seconds = clock_seconds() - begin;
    take_figures(l, r);

    l->state->step++;
    l->state->adam_t = run->opt.t;
    l->state->epoch = steps_progress(l->steps, l->state->step);
    l->state->elapsed_seconds = clock_seconds() - l->started;
    l->state->skipped += r->skipped;
    /* A gradient of exactly zero is no learning either: activations have overflowed, or the adapter is dead. */
    bool useless = r->skipped || r->grad_norm == 0;
    l->state->useless_in_row = useless ? l->state->useless_in_row + 1 : 0;
    return true;
}

/* ---- what happens between steps ------------------------------------------------------------------------- */

/* The last step that changed the adapter to good effect. */
static size_t last_useful(const train_state_t *s) { return s->step - s->useless_in_row; }

static void say_skipped(loop_t *l, const step_result_t *r) {
    const train_state_t *s = l->state;
    log_warn("step %zu: the %s is not finite; the step is skipped (%zu so far)", s->step,
             isfinite(r->loss) ? "gradient" : "loss", s->skipped);
    if (s->skipped > EXPLAINED_STEPS) return;
    size_t step = s->step - 1;
    finite_explain_step(l->run, &l->epoch, step - steps_span(l->steps, l->epoch.epoch).first, s->step, last_useful(s),
                        stop_wanted);
}

static int log_step(loop_t *l, const step_result_t *r, err_t *err) {
    if (r->skipped) say_skipped(l, r);
    return record_step(&l->record, r, err);
}

/* What is due after this step and not done yet: the mean loss of the held-out rows, the answers to the prompts. */
static bool loss_missing(const loop_t *l) {
    bool due = steps_evaluation_due(l->steps, &l->run->config, l->state->step);
    return due && l->run->eval.n_samples && l->state->evals.last != l->state->step;
}

static bool samples_missing(const loop_t *l) {
    bool due = steps_evaluation_due(l->steps, &l->run->config, l->state->step);
    return due && l->run->prompts.n && l->record.sampled != l->state->step;
}

static bool evaluation_missing(const loop_t *l) { return loss_missing(l) || samples_missing(l); }

/* (all) */
static int evaluate_loss(loop_t *l, err_t *err) {
    run_t *run = l->run;
    size_t step = l->state->step, tokens;
    double loss;
    progress_note("evaluating");
    if (!run_evaluate(run, &run->eval, stop_wanted, &loss, &tokens)) return 0;
    bool first_bad = !isfinite(loss) && !l->state->evals.bad;
    if (record_eval(&l->record, loss, err)) return err->code;
    if (first_bad) finite_explain_eval(run, step, last_useful(l->state), stop_wanted);
    return 0;
}

/* (all) */
static int answer_prompts(loop_t *l, err_t *err) {
    int32_t *answers;
    progress_note("answering prompts");
    if (samples_answer(l->run, stop_wanted, &answers)) record_samples(&l->record, answers, err);
    free(answers);
    return err->code;
}

/* (all) Given up for a request to stop: the resumed run does it first. */
static int evaluate(loop_t *l, err_t *err) {
    double begun = clock_seconds();
    if (replicas_compare(&l->run->replicas, l->state->step, err)) return err->code;
    if (loss_missing(l) && evaluate_loss(l, err)) return err->code;
    if (samples_missing(l) && answer_prompts(l, err)) return err->code;
    progress_evaluated(l->state->step, clock_seconds() - begun);
    return 0;
}

/* (all) */
static int save(loop_t *l, err_t *err) {
    size_t step = l->state->step;
    if (l->saved_step == step) return 0;
    l->saved_step = step;
    return replicas_compare(&l->run->replicas, step, err) ? err->code : record_checkpoint(&l->record, err);
}

/* (all) A run that has done nothing since it started leaves its directory as it was. */
static int stop(loop_t *l, err_t *err) {
    size_t step = l->state->step;
    if (save(l, err)) return err->code;
    progress_end();
    double age;
    char *by = stop_name(&age);
    if (step == l->first_step)
        log_info("stopped by %s before step %zu was done, %.3f s after the request: there is nothing to save; run the "
                 "same command to continue",
                 by, step + 1, age);
    else
        log_info("stopped by %s after step %zu of %zu; checkpoint-%zu is written, %.3f s after the request; run the "
                 "same command to continue",
                 by, step, l->steps->total, step, age);
    free(by);
    return EXIT_STOPPED;
}

/* ---- the end of a run that did not learn --------------------------------------------------------------------- */

/* What to do, and from where one may go on: for the end of an error. The caller frees. */
static char *advice(const loop_t *l, bool usable) {
    const char *out = l->run->config.training.output_dir;
    size_t bad_from = last_useful(l->state);
    strbuf_t b = {0};
    strbuf_adds(&b, "; lower training.learning_rate, or look at the rows that the warnings name");
    if (!usable) {
        char *good = checkpoint_before(out, bad_from);
        if (good) strbuf_addf(&b, "; %s is the newest checkpoint from before", good);
        else strbuf_addf(&b, "; there is no checkpoint from before step %zu (training.save_steps)", bad_from);
        free(good);
    }
    return b.p;
}

static int too_many_useless(const loop_t *l, double loss, err_t *err) {
    const train_state_t *s = l->state;
    char *what = advice(l, false);
    err_set(err, ERR_FAILED,
            "step %zu: %d steps in a row had a gradient that is zero or not finite (loss %g; %zu of %zu steps were "
            "skipped)%s",
            s->step, MAX_USELESS_IN_ROW, isnan(loss) ? NAN : loss, s->skipped, s->step, what);
    free(what);
    return err->code;
}

/* (all) All steps are done. A run that skipped more than a tenth of them, or that has an evaluation which is not finite, did
 * not do what it was started for, however it looks. */
static int judge(loop_t *l, bool *usable, err_t *err) {
    const train_state_t *s = l->state;
    size_t first_eval = s->evals.first_bad, evals = s->evals.bad;
    bool failed = s->skipped * 10 > s->step || evals;
    bool kept = l->run->config.training.load_best && s->evals.best_step; /* the one of a finite evaluation */
    *usable = !failed || kept || finite_adapter(l->run);
    if (!failed) return 0;
    char *what = advice(l, *usable);
    strbuf_t b = {0};
    strbuf_addf(&b, "%zu of %zu steps were skipped%s", s->skipped, s->step,
                s->skipped ? ", as their loss or gradient was not finite" : "");
    if (evals) strbuf_addf(&b, "; the evaluation after step %zu was not finite", first_eval);
    if (evals > 1) strbuf_addf(&b, ", nor were %zu others", evals - 1);
    strbuf_adds(&b, *usable ? "" : "; no adapter is written, as few rows have a finite loss with it");
    err_set(err, ERR_FAILED, "%s%s", b.p, what);
    free(b.p);
    free(what);
    return err->code;
}

/* Nothing gets better any more, or all steps are done. */
static bool done(const loop_t *l) {
    return l->state->step == l->steps->total ||
           evals_stop(&l->state->evals, l->run->config.training.early_stopping_patience);
}

static bool save_due(const loop_t *l) {
    const config_t *c = &l->run->config;
    size_t every = c->training.save_steps, step = l->state->step;
    return done(l) || (every && step % every == 0) || (c->training.load_best && l->state->evals.best_step == step);
}

static void say_stopped_early(const loop_t *l) {
    const evals_t *e = &l->state->evals;
    if (l->state->step == l->steps->total) return;
    char *best = e->best_step ? xasprintf("the best was that of step %zu (eval_loss %.4f)", e->best_step, e->best)
                              : xstrdup("none had a finite loss");
    log_info("stopped early after step %zu of %zu: %zu evaluations in a row without improvement; %s", l->state->step,
             l->steps->total, e->since, best);
    free(best);
}

/* (all) A stop may have come between a step and the evaluation that was due with it, or before its checkpoint, which was
 * written all the same, could tell of it. */
static int catch_up(loop_t *l, err_t *err) {
    bool missing = loss_missing(l);
    if (evaluation_missing(l) && evaluate(l, err)) return err->code;
    bool behind = l->record.behind || (missing && !loss_missing(l));
    if (!behind || !l->state->step || !save_due(l)) return 0;
    l->saved_step = SIZE_MAX;
    return save(l, err);
}

static int run_steps(loop_t *l, bool *usable, err_t *err) {
    stop_wait_for_look();
    if (catch_up(l, err)) return err->code;
    while (!done(l)) {
        step_result_t r;
        if (!train_step(l, &r)) return stop(l, err);
        if (log_step(l, &r, err)) return err->code;
        if (l->state->useless_in_row >= MAX_USELESS_IN_ROW) return too_many_useless(l, r.loss, err);
        if (evaluation_missing(l) && evaluate(l, err)) return err->code;
        if (save_due(l) && save(l, err)) return err->code;
        record_slow_stop(&l->record);
    }
    /* Stopped in the very last evaluation: the run is not done before it is there. */
    if (evaluation_missing(l)) return stop(l, err);
    say_stopped_early(l);
    return judge(l, usable, err);
}

int train_loop(run_t *run, const steps_t *steps, train_state_t *state, bool *usable, err_t *err) {
    *usable = false;
    loop_t l = {.run = run,
                .steps = steps,
                .state = state,
                .spec = steps_batch_spec(&run->config),
                .first_step = state->step,
                .saved_step = state->step,
                .started = clock_seconds() - state->elapsed_seconds};
    int rc = record_open(&l.record, run, state, steps, err);
    if (rc) return rc;
    shares_open(&l.shares, l.spec.accumulation);
    l.figures = xmalloc((size_t)ranks_size() * sizeof *l.figures);
    rc = run_steps(&l, usable, err);
    record_close(&l.record);
    shares_close(&l.shares);
    free(l.figures);
    if (l.have_epoch) epoch_free(&l.epoch);
    batch_free(&l.batch);
    return rc;
}
