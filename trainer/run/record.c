#include "trainer/run/record.h"

#include <math.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "trainer/ranks/ranks.h"
#include "trainer/run/estimate.h"
#include "trainer/run/output_dir.h"
#include "trainer/run/progress.h"
#include "trainer/run/stop.h"

/* ---- the best evaluation -------------------------------------------------------------------------------- */

char *record_best(const config_t *c, const train_state_t *state) {
    if (!c->training.load_best || !state->evals.best_step) return NULL;
    return checkpoint_path(c->training.output_dir, state->evals.best_step);
}

checkpoint_keep_t record_keep(const config_t *c, const train_state_t *state) {
    /* Where steps come to nothing the checkpoints from before are the good ones: none is removed until one does not. */
    return (checkpoint_keep_t){.limit = state->useless_in_row ? 0 : c->training.save_total_limit,
                               .best = c->training.load_best ? state->evals.best_step : 0};
}

/* Better at the start than after all steps. */
static int check_best(const record_t *r, err_t *err) {
    char *dir = record_best(&r->run->config, r->state);
    if (dir && checkpoint_verify(dir, err))
        err_prefix(err,
                   "training.load_best_model_at_end: the best evaluation so far is that of step %zu; expected its "
                   "checkpoint, or false",
                   r->state->evals.best_step);
    free(dir);
    return err->code;
}

/* ---- opening -------------------------------------------------------------------------------------------- */

/* A checkpoint knows the evaluations before it; rows tell of those since, and all of a checkpoint of before they did. */
static void see_row(void *ctx, const metrics_row_t *row) {
    record_t *r = ctx;
    evals_t *evals = &r->state->evals;
    log_row_t log = {.step = row->step,
                     .is_eval = row->is_eval,
                     .epoch = row->is_eval ? steps_progress(r->steps, row->step) : row->epoch,
                     .loss = row->loss,
                     .grad_norm = row->grad_norm,
                     .learning_rate = row->learning_rate};
    log_history_add(&r->history, &log);
    if (row->is_eval && row->step > evals->last) evals_note(evals, row->step, row->loss);
}

static int open_samples(record_t *r, err_t *err) {
    const run_t *run = r->run;
    size_t step = r->state->step;
    bool complete;
    if (!run->prompts.n) return 0;
    bool due = steps_evaluation_due(r->steps, &run->config, step);
    if (samples_open(run, step, due, &r->samples, &complete, err)) return err->code;
    r->sampled = complete ? step : 0;
    return 0;
}

static int open_files(record_t *r, err_t *err) {
    const config_t *c = &r->run->config;
    size_t known = r->state->evals.last;
    if (open_samples(r, err)) return err->code;
    char *path = path_join(c->training.output_dir, "metrics.jsonl");
    int rc = metrics_open(path, r->state->step, see_row, r, &r->metrics, err);
    free(path);
    if (rc) return rc;
    r->behind = r->state->evals.last != known;
    if (c->training.tensorboard) r->tensorboard = tensorboard_open(c->training.output_dir, r->state->step);
    return check_best(r, err);
}

int record_open(record_t *r, run_t *run, train_state_t *state, const steps_t *steps, err_t *err) {
    *r = (record_t){.run = run, .state = state, .steps = steps, .writes = ranks_first()};
    if (r->writes) open_files(r, err);
    if (ranks_agree(err)) {
        record_close(r);
        return err->code;
    }
    ranks_broadcast(&state->evals, sizeof state->evals);
    ranks_broadcast(&r->behind, sizeof r->behind);
    ranks_broadcast(&r->sampled, sizeof r->sampled);
    r->config_yaml = config_to_yaml(&run->config);
    if (r->writes) {
        progress_start(steps->total, state->step);
        progress_evaluations(run->config.training.eval_steps, estimate_evaluation(run, steps));
    }
    return 0;
}

void record_close(record_t *r) {
    if (r->writes) progress_end();
    metrics_close(r->metrics);
    step_rows_close(r->samples);
    tensorboard_close(r->tensorboard);
    free(r->config_yaml);
    free(r->history.p);
}

static int sync_rows(record_t *r, err_t *err) {
    return metrics_sync(r->metrics, err) ? err->code : tensorboard_sync(r->tensorboard, err);
}

/* ---- steps and evaluations ------------------------------------------------------------------------------ */

static int write_step(record_t *r, const step_result_t *s, err_t *err) {
    const train_state_t *state = r->state;
    metrics_step_t row = {.step = state->step,
                          .epoch = state->epoch,
                          .loss = s->loss,
                          .grad_norm = s->grad_norm,
                          .learning_rate = s->lr,
                          .tokens = s->tokens,
                          .label_tokens = s->labels,
                          .tokens_per_second = s->seconds > 0 ? (double)s->tokens / s->seconds : 0,
                          .peak_device_bytes = s->peak_bytes,
                          .paged_bytes = s->paged_bytes,
                          .paging_stall_seconds = s->stalled,
                          .elapsed_seconds = state->elapsed_seconds};
    bool logged = state->step % r->run->config.training.logging_steps == 0 || state->step == r->steps->total;
    progress_step(&row, logged);
    if (!logged || metrics_step(r->metrics, &row, err)) return err->code;
    return tensorboard_step(r->tensorboard, &row, err);
}

int record_step(record_t *r, const step_result_t *s, err_t *err) {
    if (r->writes) write_step(r, s, err);
    return ranks_agree(err);
}

int record_eval(record_t *r, double loss, err_t *err) {
    if (r->writes) {
        progress_eval(r->state->step, loss, exp(loss));
        if (metrics_eval(r->metrics, r->state->step, loss, exp(loss), err) == 0)
            tensorboard_eval(r->tensorboard, r->state->step, loss, exp(loss), err);
    }
    if (ranks_agree(err)) return err->code;
    ranks_broadcast(&r->state->evals, sizeof r->state->evals);
    return 0;
}

int record_samples(record_t *r, const int32_t *answers, err_t *err) {
    r->sampled = r->state->step;
    if (r->writes) samples_write(r->samples, r->run, r->state->step, answers, err);
    return ranks_agree(err);
}

/* ---- checkpoints ---------------------------------------------------------------------------------------- */

/* Schedulers kill what does not stop in time: said once, as soon as it is measured. */
void record_slow_stop(record_t *r) {
    char *what = r->warned ? NULL : stop_advice(stop_longest_wait(), r->save_seconds);
    if (!what) return;
    log_warn("%s", what);
    r->warned = true;
    free(what);
}

static int write_checkpoint(record_t *r, err_t *err) {
    const config_t *c = &r->run->config;
    if (output_dir_check_place(c->training.output_dir, err) || sync_rows(r, err)) return err->code;
    bool own_file = r->run->chat && config_template_is_file(c);
    char *best = record_best(c, r->state);
    checkpoint_about_t about = {.config_yaml = r->config_yaml,
                                .base_model = c->model.path,
                                .chat_template = own_file ? chat_template_foreign(r->run->chat) : NULL,
                                .trainer = {.max_steps = r->steps->total,
                                            .epochs = r->steps->n_epochs,
                                            .batch_size = c->training.batch_size,
                                            .logging_steps = c->training.logging_steps,
                                            .eval_steps = c->training.eval_steps,
                                            .save_steps = c->training.save_steps,
                                            .best_model = best,
                                            .history = r->history.p}};
    checkpoint_save(c->training.output_dir, r->state, &r->run->lora, &r->run->opt, r->run->be, &about,
                    record_keep(c, r->state), err);
    free(best);
    return err->code;
}

int record_checkpoint(record_t *r, err_t *err) {
    stop_wanted(); /* the time until here is a wait, that of the checkpoint is measured by itself */
    double begin = clock_seconds();
    if (r->writes) {
        progress_note("saving checkpoint-%zu", r->state->step);
        write_checkpoint(r, err);
    }
    if (ranks_agree(err)) return err->code;
    double seconds = clock_seconds() - begin;
    if (seconds > r->save_seconds) r->save_seconds = seconds;
    stop_look_away();
    return 0;
}
