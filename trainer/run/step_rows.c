#include "trainer/run/step_rows.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"

struct step_rows {
    int fd;
    char *path;
    step_row_fn *kept;
    void *ctx;
};

/* NULL when the line is no row; else the caller's. */
static json_t *parse_row(const char *line, size_t len, size_t *step) {
    json_t *j = json_loadb(line, len, 0, NULL), *at = json_object_get(j, "step"); /* NULL of what is no object */
    if (json_is_integer(at) && json_integer_value(at) >= 0) {
        *step = (size_t)json_integer_value(at);
        return j;
    }
    json_decref(j);
    return NULL;
}

/* Keeps the whole lines whose step is at most last_step; returns whether that left anything out. *damaged: lines that
 * are whole and no rows. */
static bool keep_rows(const step_rows_t *r, const char *text, size_t len, size_t last_step, strbuf_t *kept,
                      size_t *damaged) {
    bool dropped = false;
    for (size_t at = 0; at < len;) {
        const char *newline = memchr(text + at, '\n', len - at);
        size_t n = newline ? (size_t)(newline - text) - at : len - at, step = 0;
        json_t *row = newline ? parse_row(text + at, n, &step) : NULL;
        bool keep = row && step <= last_step;
        if (keep) strbuf_add(kept, text + at, n + 1);
        if (keep && r->kept) r->kept(r->ctx, row, step);
        *damaged += newline && !row;
        dropped |= !keep;
        json_decref(row);
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

static int trim(const step_rows_t *r, size_t last_step, err_t *err) {
    if (last_step == 0) return replace_file(r->path, "", 0, err);
    if (!path_exists(r->path)) return 0;
    char *text;
    size_t len, damaged = 0;
    strbuf_t kept = {0};
    if (file_read(r->path, &text, &len, err)) return err->code;
    int rc = 0;
    if (keep_rows(r, text, len, last_step, &kept, &damaged))
        rc = replace_file(r->path, kept.p ? kept.p : "", kept.len, err);
    if (rc == 0 && damaged)
        log_warn("%s: %zu line%s no row and removed", r->path, damaged, damaged == 1 ? " is" : "s are");
    free(text);
    free(kept.p);
    return rc;
}

int step_rows_open(const char *path, size_t last_step, step_row_fn *kept, void *ctx, step_rows_t **rows, err_t *err) {
    step_rows_t *r = *rows = xcalloc(1, sizeof *r);
    *r = (step_rows_t){.fd = -1, .path = xstrdup(path), .kept = kept, .ctx = ctx};
    if (trim(r, last_step, err) == 0) r->fd = fd_open_append(path, err);
    if (r->fd >= 0) return 0;
    step_rows_close(r);
    *rows = NULL;
    return err->code;
}

int step_rows_add(step_rows_t *rows, const char *lines, size_t len, err_t *err) {
    return fd_write(rows->fd, rows->path, lines, len, err);
}

int step_rows_sync(step_rows_t *rows, err_t *err) {
    if (fd_sync(rows->fd) == 0) return 0;
    return err_set(err, ERR_FAILED, "%s: cannot write: %s", rows->path, strerror(errno));
}

void step_rows_close(step_rows_t *rows) {
    if (!rows) return;
    if (rows->fd >= 0) fd_close(rows->fd); /* nothing is buffered */
    free(rows->path);
    free(rows);
}
