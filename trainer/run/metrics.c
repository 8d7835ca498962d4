#include "trainer/run/metrics.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"

struct metrics {
    int fd;
    char *path;
    metrics_seen_t seen;
    void *ctx;
};

static double number_of(const json_t *row, const char *key) {
    const json_t *v = json_object_get(row, key);
    return json_is_number(v) ? json_number_value(v) : NAN;
}

/* False when the line is no row. */
static bool parse_row(const char *line, size_t len, metrics_row_t *row) {
    json_t *j = json_loadb(line, len, 0, NULL);
    json_t *step = json_object_get(j, "step"); /* NULL of what is no object */
    bool ok = json_is_integer(step) && json_integer_value(step) >= 0, is_eval = json_object_get(j, "eval_loss") != NULL;
    if (ok)
        *row = (metrics_row_t){.step = (size_t)json_integer_value(step),
                               .is_eval = is_eval,
                               .epoch = number_of(j, "epoch"),
                               .loss = number_of(j, is_eval ? "eval_loss" : "loss"),
                               .grad_norm = number_of(j, "grad_norm"),
                               .learning_rate = number_of(j, "learning_rate")};
    json_decref(j);
    return ok;
}

static void tell(const metrics_t *m, const metrics_row_t *row) {
    if (m->seen) m->seen(m->ctx, row);
}

/* Keeps the whole lines whose step is at most last_step; returns whether that left anything out. *damaged: lines that
 * are whole and no rows. */
static bool keep_rows(const metrics_t *m, const char *text, size_t len, size_t last_step, strbuf_t *kept,
                      size_t *damaged) {
    bool dropped = false;
    for (size_t at = 0; at < len;) {
        const char *newline = memchr(text + at, '\n', len - at);
        size_t n = newline ? (size_t)(newline - text) - at : len - at;
        metrics_row_t row;
        bool is_row = newline && parse_row(text + at, n, &row), keep = is_row && row.step <= last_step;
        if (keep) strbuf_add(kept, text + at, n + 1);
        if (keep) tell(m, &row);
        *damaged += newline && !is_row;
        dropped |= !keep;
        at += n + 1;
    }
    return dropped;
}

static int replace_file(const char *path, const char *data, size_t len, err_t *err) {
    char *temporary = xasprintf("%s.tmp", path);
    int rc = file_replace(temporary, path, file_write(temporary, data, len, err), err);
    free(temporary);
    return rc;
}

static int trim(metrics_t *m, size_t last_step, err_t *err) {
    if (last_step == 0) return replace_file(m->path, "", 0, err);
    if (!path_exists(m->path)) return 0;
    char *text;
    size_t len, damaged = 0;
    strbuf_t kept = {0};
    if (file_read(m->path, &text, &len, err)) return err->code;
    int rc = 0;
    if (keep_rows(m, text, len, last_step, &kept, &damaged))
        rc = replace_file(m->path, kept.p ? kept.p : "", kept.len, err);
    if (rc == 0 && damaged)
        log_warn("%s: %zu line%s no row and removed", m->path, damaged, damaged == 1 ? " is" : "s are");
    free(text);
    free(kept.p);
    return rc;
}

int metrics_open(const char *path, size_t last_step, metrics_seen_t seen, void *ctx, metrics_t **m, err_t *err) {
    *m = xcalloc(1, sizeof **m);
    **m = (metrics_t){.fd = -1, .path = xstrdup(path), .seen = seen, .ctx = ctx};
    if (trim(*m, last_step, err) == 0) (*m)->fd = fd_open_append(path, err);
    if ((*m)->fd >= 0) return 0;
    metrics_close(*m);
    *m = NULL;
    return err->code;
}

int metrics_sync(metrics_t *m, err_t *err) {
    if (fd_sync(m->fd) == 0) return 0;
    return err_set(err, ERR_FAILED, "%s: cannot write: %s", m->path, strerror(errno));
}

static void add_count(strbuf_t *b, const char *key, size_t v) {
    strbuf_addf(b, "%s\"%s\": %zu", b->len ? ", " : "{", key, v);
}

static void add_real(strbuf_t *b, const char *key, double v) {
    strbuf_addf(b, "%s\"%s\": ", b->len ? ", " : "{", key);
    if (isfinite(v)) strbuf_addf(b, "%.9g", v);
    else strbuf_adds(b, "null");
}

/* Ends and writes the row, and frees it. */
static int write_row(metrics_t *m, strbuf_t *row, err_t *err) {
    strbuf_adds(row, "}\n");
    metrics_row_t written;
    int rc = fd_write(m->fd, m->path, row->p, row->len, err);
    if (rc == 0 && parse_row(row->p, row->len, &written)) tell(m, &written);
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
    return write_row(m, &b, err);
}

int metrics_eval(metrics_t *m, size_t step, double loss, double perplexity, err_t *err) {
    strbuf_t b = {0};
    add_count(&b, "step", step);
    add_real(&b, "eval_loss", loss);
    add_real(&b, "eval_perplexity", perplexity);
    return write_row(m, &b, err);
}

void metrics_close(metrics_t *m) {
    if (!m) return;
    if (m->fd >= 0) fd_close(m->fd); /* nothing is buffered, and a checkpoint had it synced */
    free(m->path);
    free(m);
}
