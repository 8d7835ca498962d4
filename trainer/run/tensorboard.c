#define _DEFAULT_SOURCE /* gethostname */
#include "trainer/run/tensorboard.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "trainer/run/tb_event.h"

struct tensorboard {
    char *dir, *path;
    int fd; /* -1: no row yet */
    size_t last_step;
    bool named; /* the file's name is on the disk */
};

tensorboard_t *tensorboard_open(const char *output_dir, size_t last_step) {
    tensorboard_t *t = xcalloc(1, sizeof *t);
    *t = (tensorboard_t){.dir = path_join(output_dir, "tensorboard"), .fd = -1, .last_step = last_step};
    return t;
}

static double wall_time(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

#define PREFIX "events.out.tfevents."

/* Readers take files in the order of their names, and know them by the seconds since 1970 in them: each file gets later
 * ones than those before it, also of starts within a second or under a clock that was set back. */
static int next_seconds(const char *dir, unsigned long long *seconds, err_t *err) {
    dir_list_t files;
    *seconds = (unsigned long long)wall_time();
    if (dir_list(dir, &files, err)) return err->code;
    for (size_t i = 0; i < files.n; i++) {
        unsigned long long had = strncmp(files.name[i], PREFIX, sizeof PREFIX - 1)
                                     ? 0
                                     : strtoull(files.name[i] + sizeof PREFIX - 1, NULL, 10);
        if (had >= *seconds && had < 9999999999ULL) *seconds = had + 1;
    }
    dir_list_free(&files);
    return 0;
}

/* A name in a file's name: no slashes, nothing that a shell would take otherwise. */
static void host_name(char out[64]) {
    if (gethostname(out, 64) != 0 || !*out) strcpy(out, "localhost");
    out[63] = 0;
    for (char *c = out; *c; c++)
        if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._", *c)) *c = '_';
}

static int begin_file(tensorboard_t *t, err_t *err) {
    unsigned long long seconds;
    char host[64];
    strbuf_t b = {0};
    if (dir_make(t->dir, err) || next_seconds(t->dir, &seconds, err)) return err->code;
    host_name(host);
    t->path = xasprintf("%s/" PREFIX "%010llu.%s.%ld", t->dir, seconds, host, (long)getpid());
    if ((t->fd = fd_open_append(t->path, err)) < 0) return err->code;
    tb_add_version(&b, wall_time());
    tb_add_restart(&b, wall_time(), t->last_step + 1);
    int rc = fd_write(t->fd, t->path, b.p, b.len, err);
    free(b.p);
    return rc;
}

static int add(tensorboard_t *t, size_t step, const tb_scalar_t *scalars, size_t n, err_t *err) {
    strbuf_t b = {0};
    if (t->fd < 0 && begin_file(t, err)) return err->code;
    tb_add_scalars(&b, wall_time(), step, scalars, n);
    int rc = fd_write(t->fd, t->path, b.p, b.len, err);
    free(b.p);
    return rc;
}

int tensorboard_step(tensorboard_t *t, const metrics_step_t *r, err_t *err) {
    const tb_scalar_t scalars[] = {{"train/loss", r->loss},
                                   {"train/grad_norm", r->grad_norm},
                                   {"train/learning_rate", r->learning_rate},
                                   {"train/epoch", r->epoch},
                                   {"train/tokens_per_second", r->tokens_per_second},
                                   {"memory/peak_device_bytes", (double)r->peak_device_bytes},
                                   {"memory/paged_bytes", (double)r->paged_bytes}};
    return t ? add(t, r->step, scalars, sizeof scalars / sizeof *scalars, err) : 0;
}

int tensorboard_eval(tensorboard_t *t, size_t step, double loss, double perplexity, err_t *err) {
    const tb_scalar_t scalars[] = {{"eval/loss", loss}, {"eval/perplexity", perplexity}};
    return t ? add(t, step, scalars, sizeof scalars / sizeof *scalars, err) : 0;
}

int tensorboard_sync(tensorboard_t *t, err_t *err) {
    if (!t || t->fd < 0) return 0;
    if (fd_sync(t->fd) != 0) return err_set(err, ERR_FAILED, "%s: cannot write: %s", t->path, strerror(errno));
    if (!t->named && dir_sync(t->dir, err)) return err->code;
    t->named = true;
    return 0;
}

void tensorboard_close(tensorboard_t *t) {
    if (!t) return;
    if (t->fd >= 0) fd_close(t->fd); /* nothing is buffered, and a checkpoint had it synced */
    free(t->path);
    free(t->dir);
    free(t);
}
