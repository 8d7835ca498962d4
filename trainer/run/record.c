#include "trainer/run/record.h"

#include <math.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "trainer/ranks/ranks.h"
#include "trainer/run/output_dir.h"
#include "trainer/run/progress.h"
#include "trainer/run/stop.h"

int record_open(record_t *r, run_t *run, const train_state_t *state, size_t total, err_t *err) {
    *r = (record_t){.run = run, .state = state, .total = total, .writes = ranks_first()};
    char *path = path_join(run->config.training.output_dir, "metrics.jsonl");
    if (r->writes) metrics_open(path, state->step, &r->metrics, err);
    free(path);
    if (r->writes && run->config.training.tensorboard)
        r->tensorboard = tensorboard_open(run->config.training.output_dir, state->step);
    if (ranks_agree(err)) return err->code;
    r->config_yaml = config_to_yaml(&run->config);
    if (r->writes) progress_start(total, state->step);
    return 0;
}

void record_close(record_t *r) {
    if (r->writes) progress_end();
    metrics_close(r->metrics);
    tensorboard_close(r->tensorboard);
    free(r->config_yaml);
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
    bool logged = state->step % r->run->config.training.logging_steps == 0 || state->step == r->total;
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
        /* The last one comes after the last checkpoint, so it is synced by itself. */
        if (metrics_eval(r->metrics, r->state->step, loss, exp(loss), err) == 0 &&
            tensorboard_eval(r->tensorboard, r->state->step, loss, exp(loss), err) == 0)
            sync_rows(r, err);
    }
    return ranks_agree(err);
}

bool record_has_eval(const record_t *r) {
    bool has = r->writes && metrics_has_eval(r->metrics, r->state->step);
    ranks_broadcast(&has, sizeof has);
    return has;
}

size_t record_bad_evals(const record_t *r, size_t *first) {
    size_t found[2] = {0};
    if (r->writes) found[0] = metrics_bad_evals(r->metrics, &found[1]);
    ranks_broadcast(found, sizeof found);
    if (first) *first = found[1];
    return found[0];
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
    /* Where steps come to nothing the checkpoints from before are the good ones: none is removed until one does not. */
    size_t keep = r->state->useless_in_row ? 0 : c->training.save_total_limit;
    bool own_file = r->run->chat && config_template_is_file(c);
    checkpoint_about_t about = {.config_yaml = r->config_yaml,
                                .base_model = c->model.path,
                                .chat_template = own_file ? chat_template_foreign(r->run->chat) : NULL};
    return checkpoint_save(c->training.output_dir, r->state, &r->run->lora, &r->run->opt, r->run->be, &about, keep,
                           err);
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
