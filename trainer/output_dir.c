#define _DEFAULT_SOURCE /* flock */
#include "trainer/output_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "trainer/checkpoint.h"

static int take_lock(output_dir_t *o, err_t *err) {
    char *path = path_join(o->dir, ".lock");
    o->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    int rc = 0;
    if (o->lock < 0)
        rc = err_set(err, ERR_FAILED, "%s: cannot create: %s", path, strerror(errno));
    else if (flock(o->lock, LOCK_EX | LOCK_NB) != 0)
        rc = err_set(err, ERR_USAGE, "training.output_dir: %s: another process is working on it", o->dir);
    free(path);
    return rc;
}

static int write_run(const output_dir_t *o, uint64_t run_id, uint64_t data_id, err_t *err) {
    char run[17], data[17];
    snprintf(run, sizeof run, "%016" PRIx64, run_id);
    snprintf(data, sizeof data, "%016" PRIx64, data_id);
    json_t *j = json_pack("{s:s, s:s, s:b}", "run_id", run, "data_id", data, "finished", o->finished);
    CHECK(j != NULL);
    char *path = path_join(o->dir, "run.json"), *tmp = path_join(o->dir, ".tmp-run.json");
    int rc = json_write(tmp, j, err);
    if (rc == 0) rc = file_rename(tmp, path, err);
    free(path);
    free(tmp);
    json_decref(j);
    return rc;
}

static int check_run(output_dir_t *o, const json_t *j, const char *path, uint64_t run_id, uint64_t data_id,
                     err_t *err) {
    const char *run = "", *data = "";
    if (json_need_string(j, "run_id", path, &run, err) || json_need_string(j, "data_id", path, &data, err) ||
        json_opt_bool(j, "finished", path, &o->finished, err))
        return err->code;
    if (strtoull(run, NULL, 16) != run_id)
        return err_set(err, ERR_USAGE, "training.output_dir: %s holds a run with another configuration; expected an "
                       "empty directory, or the configuration it was started with", o->dir);
    if (strtoull(data, NULL, 16) != data_id)
        return err_set(err, ERR_USAGE, "training.output_dir: %s holds a run on other training data; expected an empty "
                       "directory, or the data it was started with", o->dir);
    return 0;
}

/* The run that the directory belongs to, if any. */
static int claim(output_dir_t *o, uint64_t run_id, uint64_t data_id, err_t *err) {
    char *path = path_join(o->dir, "run.json"), *metrics = path_join(o->dir, "metrics.jsonl");
    json_t *j = NULL;
    int rc = 0;
    if (path_exists(path)) {
        rc = json_file(path, &j, err);
        if (rc == 0) rc = check_run(o, j, path, run_id, data_id, err);
    } else if (checkpoint_any(o->dir) || path_exists(metrics)) {
        rc = err_set(err, ERR_USAGE, "training.output_dir: %s holds another run (there is no run.json that says which); "
                     "expected an empty directory", o->dir);
    } else {
        rc = write_run(o, run_id, data_id, err);
    }
    json_decref(j);
    free(path);
    free(metrics);
    return rc;
}

int output_dir_open(output_dir_t *o, const char *dir, uint64_t run_id, uint64_t data_id, err_t *err) {
    *o = (output_dir_t){.dir = xstrdup(dir), .lock = -1};
    if (dir_make(dir, err) || take_lock(o, err) || claim(o, run_id, data_id, err)) return err->code;
    return 0;
}

int output_dir_finish(output_dir_t *o, uint64_t run_id, uint64_t data_id, err_t *err) {
    o->finished = true;
    return write_run(o, run_id, data_id, err);
}

void output_dir_close(output_dir_t *o) {
    if (o->lock >= 0) close(o->lock);
    free(o->dir);
    *o = (output_dir_t){.lock = -1};
}
