#include "base/out_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"

#define BUFFER ((size_t)1 << 20)

/* Removes what there is: nothing half-written is left behind. */
static int fail(out_file_t *o, const char *what, err_t *err) {
    int why = errno;
    if (o->fd >= 0) {
        fd_close(o->fd);
        o->fd = -1;
        file_discard(o->path);
    }
    return err_set(err, ERR_FAILED, "%s: cannot %s: %s", o->path, what, strerror(why));
}

int out_open(out_file_t *o, const char *path, err_t *err) {
    *o = (out_file_t){.path = xstrdup(path), .fd = -1};
    do o->fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    while (o->fd < 0 && errno == EINTR);
    if (o->fd < 0) return fail(o, "create", err);
    o->buffer = xmalloc(BUFFER);
    return 0;
}

static int write_all(out_file_t *o, const char *p, size_t n, err_t *err) {
    while (n > 0) {
        ssize_t done = write(o->fd, p, n);
        if (done < 0 && errno == EINTR) continue;
        if (done <= 0) return fail(o, "write", err);
        p += done;
        n -= (size_t)done;
    }
    return 0;
}

int out_flush(out_file_t *o, err_t *err) {
    size_t n = o->held;
    o->held = 0;
    return write_all(o, o->buffer, n, err);
}

int out_write(out_file_t *o, const void *data, size_t n, err_t *err) {
    CHECK(o->path && o->fd >= 0);
    if (n > BUFFER - o->held && out_flush(o, err)) return err->code;
    if (n >= BUFFER) return write_all(o, data, n, err);
    if (n) memcpy(o->buffer + o->held, data, n);
    o->held += n;
    return 0;
}

int out_extend(out_file_t *o, size_t size, err_t *err) {
    CHECK(o->path && o->fd >= 0 && o->held == 0);
    int rc;
    do rc = ftruncate(o->fd, (off_t)size);
    while (rc != 0 && errno == EINTR);
    return rc == 0 ? 0 : fail(o, "write", err);
}

int out_close(out_file_t *o, int rc, err_t *err) {
    if (o->fd >= 0 && o->path) {
        if (rc == 0) rc = out_flush(o, err);
        if (rc == 0 && fd_sync(o->fd) != 0) rc = fail(o, "write", err);
        int fd = o->fd;
        o->fd = -1;
        if (fd >= 0 && fd_close(fd) != 0 && rc == 0)
            rc = err_set(err, ERR_FAILED, "%s: cannot write: %s", o->path, strerror(errno));
        if (rc) file_discard(o->path);
    }
    free(o->buffer);
    free(o->path);
    *o = (out_file_t){.fd = -1};
    return rc;
}
