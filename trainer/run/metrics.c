#include "trainer/run/metrics.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"

struct metrics {
    FILE *file;
    char *path;
};

/* The step of a row; false when the line is no row. */
static bool row_step(const char *line, size_t len, size_t *step) {
    json_t *row = json_loadb(line, len, 0, NULL);
    json_t *value = json_object_get(row, "step"); /* NULL of what is no object */
    bool ok = json_is_integer(value) && json_integer_value(value) >= 0;
    if (ok) *step = (size_t)json_integer_value(value);
    json_decref(row);
    return ok;
}

/* Keeps the whole lines whose step is at most last_step; returns whether that left anything out. */
static bool keep_rows(const char *text, size_t len, size_t last_step, strbuf_t *kept) {
    bool dropped = false;
    for (size_t at = 0; at < len;) {
        const char *newline = memchr(text + at, '\n', len - at);
        size_t n = newline ? (size_t)(newline - text) - at : len - at, step;
        bool keep = newline && row_step(text + at, n, &step) && step <= last_step;
        if (keep) strbuf_add(kept, text + at, n + 1);
        dropped |= !keep;
        at += n + 1;
    }
    return dropped;
}

static int replace_file(const char *path, const char *data, size_t len, err_t *err) {
    char *temporary = xasprintf("%s.tmp", path);
    int rc = file_write(temporary, data, len, err);
    if (rc == 0) rc = file_rename(temporary, path, err);
    free(temporary);
    return rc;
}

static int trim(const char *path, size_t last_step, err_t *err) {
    if (last_step == 0) return replace_file(path, "", 0, err);
    if (!path_exists(path)) return 0;
    char *text;
    size_t len;
    strbuf_t kept = {0};
    if (file_read(path, &text, &len, err)) return err->code;
    int rc = 0;
    if (keep_rows(text, len, last_step, &kept)) rc = replace_file(path, kept.p ? kept.p : "", kept.len, err);
    free(text);
    free(kept.p);
    return rc;
}

int metrics_open(const char *path, size_t last_step, metrics_t **m, err_t *err) {
    *m = NULL;
    if (trim(path, last_step, err)) return err->code;
    FILE *file = fopen(path, "ae");
    if (!file) return err_set(err, ERR_FAILED, "%s: cannot open: %s", path, strerror(errno));
    *m = xmalloc(sizeof **m);
    **m = (metrics_t){.file = file, .path = xstrdup(path)};
    return 0;
}

bool metrics_has_eval(const metrics_t *m, size_t step) {
    char *text, want[64];
    size_t len;
    err_t err = {0};
    if (file_read(m->path, &text, &len, &err)) return false;
    snprintf(want, sizeof want, "{\"step\": %zu, \"eval_loss\":", step);
    bool found = strstr(text, want) != NULL;
    free(text);
    return found;
}

size_t metrics_bad_evals(const metrics_t *m, size_t *first) {
    char *text;
    size_t len, n = 0;
    err_t err = {0};
    if (file_read(m->path, &text, &len, &err)) return 0;
    for (const char *at = text; (at = strstr(at, "\"eval_loss\": null")); at++) {
        const char *line = at;
        while (line > text && line[-1] != '\n') line--;
        if (n++ == 0 && first && !row_step(line, strcspn(line, "\n"), first)) *first = 0;
    }
    free(text);
    return n;
}

int metrics_sync(metrics_t *m, err_t *err) {
    if (fsync(fileno(m->file)) == 0) return 0;
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
    bool ok = fwrite(row->p, 1, row->len, m->file) == row->len && fflush(m->file) == 0;
    if (!ok) err_set(err, ERR_FAILED, "%s: cannot write: %s", m->path, strerror(errno));
    free(row->p);
    return ok ? 0 : err->code;
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
    fclose(m->file); /* nothing is buffered: every row was flushed */
    free(m->path);
    free(m);
}
