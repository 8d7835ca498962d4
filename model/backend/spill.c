#include "model/backend/spill.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/bus_error.h"
#include "base/file.h"
#include "base/host.h"
#include "base/log.h"
#include "base/mem.h"

static double mib(size_t bytes) { return (double)bytes / (1 << 20); }

/* The blocks are reserved at once: a mapping has no way to say later that the disk is full. */
static int map_file(spill_t *s, const char *path, int fd, err_t *err) {
    int e;
    do e = posix_fallocate(fd, 0, (off_t)s->bytes);
    while (e == EINTR); /* a signal that asks for a checkpoint is no reason to fail */
    if (e)
        return err_set(err, ERR_FAILED, "device.spill: %s: cannot reserve %.1f MiB for pages: %s", path, mib(s->bytes),
                       strerror(e));
    void *p = mmap(NULL, s->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED) return err_set(err, ERR_FAILED, "device.spill: %s: %s", path, strerror(errno));
    bus_error_watch(p, s->bytes, path);
    s->base = p;
    s->kind = SPILL_FILE;
    return 0;
}

/* A new file without a name; -1 with an error. */
static int make_file(const char *dir, err_t *err) {
    char *path = NULL;
    int fd;
    do {
        free(path);
        path = path_join(dir, ".qlora-spill-XXXXXX");
        fd = mkstemp(path);
    } while (fd < 0 && errno == EINTR);
    if (fd < 0) {
        err_set(err, ERR_USAGE, "device.spill: %s: cannot make a file there: %s; expected a directory to write to", dir,
                strerror(errno));
    } else if (unlink(path) != 0) { /* its space would be gone until somebody finds it */
        err_set(err, ERR_FAILED, "device.spill: %s: cannot remove: %s", path, strerror(errno));
        close(fd);
        fd = -1;
    }
    free(path);
    return fd;
}

int spill_check(const char *dir, err_t *err) {
    if (!path_is_dir(dir)) return err_set(err, ERR_USAGE, "device.spill: %s: expected a directory", dir);
    int fd = make_file(dir, err);
    if (fd < 0) return err->code;
    close(fd);
    return 0;
}

static int open_file(spill_t *s, const char *dir, err_t *err) {
    int fd = make_file(dir, err);
    if (fd < 0) return err->code;
    int rc = map_file(s, dir, fd, err);
    close(fd);
    return rc;
}

static int open_memory(spill_t *s, err_t *err) {
    size_t free_bytes, total;
    host_memory(&free_bytes, &total);
    if (s->bytes < free_bytes) {
        s->kind = SPILL_PINNED;
        s->base = s->be->alloc(s->be, s->bytes, MEM_PINNED);
        if (!s->base) {
            log_warn("%s: no %.1f MiB of pinned host memory for pages; ordinary memory is used, copies are slower",
                     s->be->device, mib(s->bytes));
            s->kind = SPILL_PAGEABLE;
            s->base = malloc(s->bytes);
        }
    }
    if (!s->base)
        return err_set(err, ERR_FAILED,
                       "%.1f MiB of host memory are needed for what the device's memory has no room "
                       "for, and %.1f MiB are free; free some, raise device.memory_limit, or set device.spill to a "
                       "directory",
                       mib(s->bytes), mib(free_bytes));
    memset(s->base, 0, s->bytes);
    return 0;
}

int spill_open(spill_t *s, backend_t *be, const char *dir, size_t bytes, err_t *err) {
    *s = (spill_t){.be = be, .bytes = bytes};
    if (bytes == 0) return 0;
    return dir ? open_file(s, dir, err) : open_memory(s, err);
}

void spill_close(spill_t *s) {
    if (!s->base) return;
    s->be->sync(s->be); /* copies from and to it may still be on their way */
    if (s->kind == SPILL_PINNED) s->be->free(s->be, s->base, MEM_PINNED);
    else if (s->kind == SPILL_PAGEABLE) free(s->base);
    else {
        bus_error_forget(s->base);
        munmap(s->base, s->bytes);
    }
    s->base = NULL;
}
