#include "trainer/run/trainer_state.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"

#define OWN "qlora-train"

/* ---- log_history ---------------------------------------------------------------------------------------- */

static void add_real(strbuf_t *b, const char *key, double v) {
    if (isfinite(v)) strbuf_addf(b, "\"%s\": %.9g, ", key, v);
    else strbuf_addf(b, "\"%s\": null, ", key);
}

void log_history_add(strbuf_t *history, const log_row_t *row) {
    strbuf_adds(history, history->len ? ",\n    {" : "\n    {");
    add_real(history, "epoch", row->epoch);
    if (row->is_eval) {
        add_real(history, "eval_loss", row->loss);
    } else {
        add_real(history, "grad_norm", row->grad_norm);
        add_real(history, "learning_rate", row->learning_rate);
        add_real(history, "loss", row->loss);
    }
    strbuf_addf(history, "\"step\": %zu}", row->step);
}

/* ---- writing -------------------------------------------------------------------------------------------- */

static json_t *size_of(size_t n) { return json_integer((json_int_t)n); }

static json_t *own_state(const train_state_t *s) {
    json_t *j = json_pack("{s:o, s:f, s:o, s:o, s:o, s:f, s:o, s:o, s:o, s:s}", "step", size_of(s->step), "epoch",
                          s->epoch, "adam_t", size_of((size_t)s->adam_t), "skipped", size_of(s->skipped),
                          "useless_in_row", size_of(s->useless_in_row), "elapsed_seconds", s->elapsed_seconds, "run_id",
                          json_of_id(s->run_id), "data_id", json_of_id(s->data_id), "model_id", json_of_id(s->model_id),
                          "compute_dtype", s->compute);
    CHECK(j != NULL);
    const evals_t *e = &s->evals;
    json_t *evals = json_pack("{s:o, s:o, s:o, s:o, s:o, s:o}", "last_step", size_of(e->last), "best_step",
                              size_of(e->best_step), "best_loss", e->best_step ? json_real(e->best) : json_null(),
                              "without_improvement", size_of(e->since), "not_finite", size_of(e->bad),
                              "first_not_finite", size_of(e->first_bad));
    CHECK(evals != NULL);
    json_object_set_new(j, "evaluations", evals);
    return j;
}

/* All but log_history. */
static json_t *state_json(const train_state_t *s, const trainer_about_t *a) {
    const evals_t *e = &s->evals;
    json_t *j = json_pack(
        "{s:o, s:o, s:s?, s:f, s:o, s:o, s:b, s:b, s:b, s:o, s:o, s:i, s:o, s:o, s:{s:o}, s:i, s:o, s:n, s:n}",
        "best_global_step", e->best_step ? size_of(e->best_step) : json_null(), "best_metric",
        e->best_step ? json_real(e->best) : json_null(), "best_model_checkpoint", a->best_model, "epoch", s->epoch,
        "eval_steps", size_of(a->eval_steps), "global_step", size_of(s->step), "is_hyper_param_search", false,
        "is_local_process_zero", true, "is_world_process_zero", true, "logging_steps", size_of(a->logging_steps),
        "max_steps", size_of(a->max_steps), "num_input_tokens_seen", 0, "num_train_epochs", size_of(a->epochs),
        "save_steps", size_of(a->save_steps), "stateful_callbacks", OWN, own_state(s), "total_flos", 0,
        "train_batch_size", size_of(a->batch_size), "trial_name", "trial_params");
    CHECK(j != NULL);
    return j;
}

/* log_history is text already: of a long run it is most of the file. */
int trainer_state_write(const char *path, const train_state_t *s, const trainer_about_t *about, err_t *err) {
    json_t *j = state_json(s, about);
    char *head = json_dumps(j, JSON_INDENT(2));
    json_decref(j);
    strbuf_t b = {0};
    strbuf_add(&b, head, strlen(head) - strlen("\n}"));
    strbuf_addf(&b, ",\n  \"log_history\": [%s%s]\n}\n", about->history ? about->history : "",
                about->history ? "\n  " : "");
    int rc = file_write(path, b.p, b.len, err);
    free(head);
    free(b.p);
    return rc;
}

/* ---- reading -------------------------------------------------------------------------------------------- */

static int read_evals(const json_t *j, const char *where, train_state_t *s, err_t *err) {
    evals_t *e = &s->evals;
    if (!j) return 0; /* of before there were any in checkpoints: metrics.jsonl has them */
    if (json_need_size(j, "last_step", where, &e->last, err) ||
        json_need_size(j, "best_step", where, &e->best_step, err) ||
        json_opt_number(j, "best_loss", where, &e->best, err) ||
        json_need_size(j, "without_improvement", where, &e->since, err) ||
        json_need_size(j, "not_finite", where, &e->bad, err) ||
        json_need_size(j, "first_not_finite", where, &e->first_bad, err))
        return err->code;
    if (e->last > s->step || e->best_step > e->last || e->since > e->last || e->bad > e->last || e->first_bad > e->last)
        return err_set(err, ERR_USAGE, "%s: evaluations: best_step %zu, last_step %zu of %zu steps cannot be", where,
                       e->best_step, e->last, s->step);
    return 0;
}

static int read_own(const json_t *j, const char *where, train_state_t *s, err_t *err) {
    size_t adam_t = 0;
    const char *compute = "";
    if (json_need_size(j, "step", where, &s->step, err) || json_need_size(j, "adam_t", where, &adam_t, err) ||
        json_need_size(j, "skipped", where, &s->skipped, err) ||
        json_need_size(j, "useless_in_row", where, &s->useless_in_row, err) ||
        json_opt_number(j, "epoch", where, &s->epoch, err) ||
        json_opt_number(j, "elapsed_seconds", where, &s->elapsed_seconds, err) ||
        json_need_id(j, "run_id", where, &s->run_id, err) || json_need_id(j, "data_id", where, &s->data_id, err) ||
        json_need_id(j, "model_id", where, &s->model_id, err) ||
        json_opt_string(j, "compute_dtype", where, &compute, err))
        return err->code;
    if (adam_t > s->step || s->skipped > s->step - adam_t || s->useless_in_row > s->step)
        return err_set(err, ERR_USAGE, "%s: adam_t %zu, skipped %zu, useless_in_row %zu of %zu steps cannot be", where,
                       adam_t, s->skipped, s->useless_in_row, s->step);
    snprintf(s->compute, sizeof s->compute, "%s", compute);
    s->adam_t = adam_t;
    return read_evals(json_object_get(j, "evaluations"), where, s, err);
}

int trainer_state_read(const char *path, train_state_t *s, err_t *err) {
    *s = (train_state_t){0};
    json_t *j = NULL;
    int rc = json_file(path, &j, err);
    if (rc == 0) {
        const json_t *own = json_object_get(json_object_get(j, "stateful_callbacks"), OWN);
        rc = read_own(own ? own : j, path, s, err);
    }
    json_decref(j);
    return rc;
}
