#include "trainer/run/metrics.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "trainer/run/step_rows.h"

struct metrics {
    step_rows_t *rows;
    metrics_seen_t seen;
    void *ctx;
};

static double number_of(const json_t *row, const char *key) {
    const json_t *v = json_object_get(row, key);
    return json_is_number(v) ? json_number_value(v) : NAN;
}

static void tell(void *ctx, const json_t *j, size_t step) {
    const metrics_t *m = ctx;
    bool is_eval = json_object_get(j, "eval_loss") != NULL;
    metrics_row_t row = {.step = step,
                         .is_eval = is_eval,
                         .epoch = number_of(j, "epoch"),
                         .loss = number_of(j, is_eval ? "eval_loss" : "loss"),
                         .grad_norm = number_of(j, "grad_norm"),
                         .learning_rate = number_of(j, "learning_rate")};
    if (m->seen) m->seen(m->ctx, &row);
}

int metrics_open(const char *path, size_t last_step, metrics_seen_t seen, void *ctx, metrics_t **m, err_t *err) {
    *m = xcalloc(1, sizeof **m);
    **m = (metrics_t){.seen = seen, .ctx = ctx};
    if (step_rows_open(path, last_step, tell, *m, &(*m)->rows, err) == 0) return 0;
    free(*m);
    *m = NULL;
    return err->code;
}

int metrics_sync(metrics_t *m, err_t *err) { return step_rows_sync(m->rows, err); }

static void add_count(strbuf_t *b, const char *key, size_t v) {
    strbuf_addf(b, "%s\"%s\": %zu", b->len ? ", " : "{", key, v);
}

static void add_real(strbuf_t *b, const char *key, double v) {
    strbuf_addf(b, "%s\"%s\": ", b->len ? ", " : "{", key);
    if (isfinite(v)) strbuf_addf(b, "%.9g", v);
    else strbuf_adds(b, "null");
}

/* Ends and writes the row of a step, and frees it. */
static int write_row(metrics_t *m, size_t step, strbuf_t *row, err_t *err) {
    strbuf_adds(row, "}\n");
    json_t *written = json_loadb(row->p, row->len, 0, NULL);
    int rc = step_rows_add(m->rows, row->p, row->len, err);
    if (rc == 0) tell(m, written, step);
    json_decref(written);
    free(row->p);
    return rc;
}

int metrics_step(metrics_t *m, const metrics_step_t *r, err_t *err) {
    strbuf_t b = {0};
    add_count(&b, "step", r->step);
    add_real(&b, "epoch", r->epoch);
    add_real(&b, "loss", r->loss);
    add_real(&b, "grad_norm", r->grad_norm);
    add_real(&b, "learning_rate", r->learning_rate);
    add_count(&b, "tokens", r->tokens);
    add_count(&b, "label_tokens", r->label_tokens);
    add_real(&b, "tokens_per_second", r->tokens_per_second);
    add_count(&b, "peak_device_bytes", r->peak_device_bytes);
    add_count(&b, "paged_bytes", r->paged_bytes);
    add_real(&b, "elapsed_seconds", r->elapsed_seconds);
    return write_row(m, r->step, &b, err);
}

int metrics_eval(metrics_t *m, size_t step, double loss, double perplexity, err_t *err) {
    strbuf_t b = {0};
    add_count(&b, "step", step);
    add_real(&b, "eval_loss", loss);
    add_real(&b, "eval_perplexity", perplexity);
    return write_row(m, step, &b, err);
}

void metrics_close(metrics_t *m) {
    if (!m) return;
    step_rows_close(m->rows); /* a checkpoint had it synced */
    free(m);
}
