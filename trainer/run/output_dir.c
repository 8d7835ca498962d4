#define _DEFAULT_SOURCE /* flock */
#include "trainer/run/output_dir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "trainer/run/checkpoint.h"

output_dir_t output_dir_at(const char *dir) { return (output_dir_t){.dir = xstrdup(dir), .lock = -1}; }

/* Some file systems of clusters have no locks, or none here (Lustre without -o flock, NFS without its lock service). To
 * refuse would make them useless; so there the user is the one who starts only one process. */
static int lock_file(int fd, const char *dir, err_t *err) {
    int rc;
    do rc = flock(fd, LOCK_EX | LOCK_NB);
    while (rc != 0 && errno == EINTR);
    if (rc == 0) return 0;
    if (errno == EWOULDBLOCK)
        return err_set(err, ERR_USAGE, "training.output_dir: %s: another process is working on it", dir);
    log_warn(
        "training.output_dir: %s: its file system does not lock files (%s): nothing keeps two processes that work on "
        "this run apart; start one at a time",
        dir, strerror(errno));
    return 0;
}

static int take_lock(output_dir_t *o, bool make, err_t *err) {
    if (o->lock >= 0) return 0;
    char *path = path_join(o->dir, ".lock");
    do o->lock = open(path, O_RDWR | (make ? O_CREAT : 0) | O_CLOEXEC, 0666);
    while (o->lock < 0 && errno == EINTR);
    int rc = 0;
    if (o->lock >= 0) rc = lock_file(o->lock, o->dir, err);
    else if (make || (errno != ENOENT && errno != ENOTDIR))
        rc = err_set(err, ERR_FAILED, "%s: cannot open: %s", path, strerror(errno));
    free(path);
    return rc;
}

int output_dir_lock(output_dir_t *o, err_t *err) { return take_lock(o, false, err); }

/* The keys that define the run, a string each. */
static json_t *lines_json(const char *text) {
    json_t *lines = json_array();
    for (const char *end; (end = strchr(text, '\n')); text = end + 1)
        json_array_append_new(lines, json_stringn(text, (size_t)(end - text)));
    return lines;
}

json_t *output_dir_describe(const model_config_t *c) {
    /* Not what a training does not compute with. */
    static const char *const others[] = {"architectures",           "bos_token_id", "dtype",     "eos_token_id",
                                         "max_position_embeddings", "pad_token_id", "use_cache", "attention_dropout"};
    json_t *j = model_config_to_json(c);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) json_object_del(j, others[i]);
    return j;
}

static int write_run(const output_dir_t *o, const run_identity_t *id, err_t *err) {
    json_t *j = json_pack("{s:o, s:o, s:o, s:o, s:s, s:s, s:b, s:O?, s:o}", "run_id", json_of_id(id->run_id), "data_id",
                          json_of_id(id->data_id), "model_id", json_of_id(id->model_id), "eval_id",
                          json_of_id(id->eval_id), "compute_dtype", id->compute, "start", id->start, "finished",
                          o->finished, "model", id->model, "config", lines_json(id->config));
    if (!j) return err_set(err, ERR_USAGE, "%s: run.json cannot be written: a path is not UTF-8", o->dir);
    char *path = path_join(o->dir, "run.json"), *tmp = path_join(o->dir, ".tmp-run.json");
    int rc = file_replace(tmp, path, json_write(tmp, j, err), err);
    free(path);
    free(tmp);
    json_decref(j);
    return rc;
}

/* The first key whose value is another than run.json's: "lora.r=8 (it was lora.r=16)"; NULL: none. The caller
 * frees. */
static char *first_difference(const json_t *j, const char *config) {
    json_t *now = lines_json(config);
    const json_t *then = json_object_get(j, "config");
    char *found = NULL;
    for (size_t i = 0; !found && i < json_array_size(now); i++) {
        const char *a = json_string_value(json_array_get(now, i)), *b = json_string_value(json_array_get(then, i));
        if (a && b && strcmp(a, b) != 0) found = xasprintf("%s (it was %s)", a, b);
    }
    json_decref(now);
    return found;
}

static int another_run(const output_dir_t *o, const json_t *j, const run_identity_t *id, err_t *err) {
    char *key = first_difference(j, id->config);
    err_set(err, ERR_USAGE,
            "training.output_dir: %s holds a run with another configuration: %s; expected an empty "
            "directory, or the configuration it was started with",
            o->dir, key ? key : "other keys");
    free(key);
    return err->code;
}

/* A run from before run.json described its model goes on; this one's start did not look either. */
static int check_description(const output_dir_t *o, const json_t *then, json_t *now, err_t *err) {
    const char *key;
    json_t *value;
    json_object_foreach(now, key, value) {
        const json_t *was = json_object_get(then, key);
        if (!json_is_object(then) || json_equal(was, value)) continue;
        char *a = was ? json_dumps(was, JSON_ENCODE_ANY | JSON_COMPACT) : xstrdup("not there"),
             *b = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
        err_set(err, ERR_USAGE,
                "training.output_dir: %s holds a run on a model with another %s: it was %.200s, and is %.200s now; "
                "expected an empty directory, or what it was started with",
                o->dir, key, a, b);
        free(a);
        free(b);
        return err->code;
    }
    return 0;
}

/* Evaluations change nothing of the training, so other data for them are no other run. */
static int check_eval_data(output_dir_t *o, const json_t *j, const char *path, const run_identity_t *id, err_t *err) {
    uint64_t was = id->eval_id;
    if (json_object_get(j, "eval_id") && json_need_id(j, "eval_id", path, &was, err)) return err->code;
    o->other_eval = was != id->eval_id;
    return 0;
}

static int check_run(output_dir_t *o, const json_t *j, const char *path, const run_identity_t *id, bool config_only,
                     err_t *err) {
    uint64_t run = 0, data = 0, model = 0;
    const char *start = "", *compute = "";
    bool finished = false;
    if (json_need_id(j, "run_id", path, &run, err) || json_need_id(j, "data_id", path, &data, err) ||
        json_need_id(j, "model_id", path, &model, err) || json_need_string(j, "start", path, &start, err) ||
        json_opt_string(j, "compute_dtype", path, &compute, err) || json_opt_bool(j, "finished", path, &finished, err))
        return err->code;
    if (run != id->run_id) return another_run(o, j, id, err);
    snprintf(o->compute, sizeof o->compute, "%s", compute);
    if (*compute && strcmp(compute, "f32") != 0 && strcmp(compute, "bf16") != 0)
        return err_set(err, ERR_USAGE, "%s: compute_dtype: \"%.20s\"; expected f32 or bf16", path, compute);
    if (config_only) return 0;
    const char *other = data != id->data_id     ? "training data (or in another chat template)"
                        : model != id->model_id ? "model weights"
                                                : NULL;
    if (other)
        return err_set(err, ERR_USAGE,
                       "training.output_dir: %s holds a run on other %s; expected an empty directory, "
                       "or what it was started with",
                       o->dir, other);
    if (check_description(o, json_object_get(j, "model"), id->model, err) || check_eval_data(o, j, path, id, err))
        return err->code;
    o->begun = true;
    o->finished = finished;
    o->continued = strcmp(start, id->start) == 0;
    return 0;
}

static int has_rows(const char *metrics, bool *any, err_t *err) {
    char *text = NULL;
    size_t len = 0;
    int rc = path_exists(metrics) ? file_read(metrics, &text, &len, err) : 0;
    free(text);
    *any = len > 0;
    return rc;
}

/* Whether a run has got anywhere in the directory, or there is an adapter that one's end would replace. */
static int is_occupied(const char *dir, bool *occupied, err_t *err) {
    bool checkpoint, rows = false;
    char *metrics = path_join(dir, "metrics.jsonl"), *adapter = path_join(dir, "adapter");
    int rc = checkpoint_any(dir, &checkpoint, err);
    if (rc == 0) rc = has_rows(metrics, &rows, err);
    *occupied = checkpoint || rows || path_exists(adapter);
    free(adapter);
    free(metrics);
    return rc;
}

/* Whether what occupies the directory, if anything, is this run. */
static int check(output_dir_t *o, const run_identity_t *id, bool config_only, err_t *err) {
    bool occupied;
    int rc = is_occupied(o->dir, &occupied, err);
    if (rc || !occupied) return rc;
    char *path = path_join(o->dir, "run.json");
    json_t *j = NULL;
    if (path_exists(path)) {
        rc = json_file(path, &j, err);
        if (rc == 0) rc = check_run(o, j, path, id, config_only, err);
    } else {
        rc = err_set(err, ERR_USAGE,
                     "training.output_dir: %s holds another run (there is no run.json that says "
                     "which); expected an empty directory",
                     o->dir);
    }
    json_decref(j);
    free(path);
    return rc;
}

int output_dir_check_config(output_dir_t *o, const run_identity_t *id, err_t *err) { return check(o, id, true, err); }

int output_dir_check(output_dir_t *o, const run_identity_t *id, err_t *err) { return check(o, id, false, err); }

/* The directory that this process works in. There is one run, so there is one. */
static struct {
    bool known;
    dev_t device;
    ino_t inode;
} claimed;

static int remember_place(const char *dir, err_t *err) {
    struct stat st;
    if (stat(dir, &st) != 0) return err_set(err, ERR_FAILED, "%s: cannot be looked at: %s", dir, strerror(errno));
    claimed.known = true;
    claimed.device = st.st_dev;
    claimed.inode = st.st_ino;
    return 0;
}

int output_dir_check_place(const char *dir, err_t *err) {
    struct stat st;
    if (!claimed.known) return 0;
    if (stat(dir, &st) != 0)
        return err_set(err, ERR_FAILED, "training.output_dir: %s: cannot be written to any more: %s", dir,
                       strerror(errno));
    if (st.st_dev == claimed.device && st.st_ino == claimed.inode) return 0;
    return err_set(
        err, ERR_FAILED,
        "training.output_dir: %s: another directory has the name now; the run's own was moved or removed while "
        "it worked there",
        dir);
}

int output_dir_open(output_dir_t *o, const run_identity_t *id, err_t *err) {
    if (dir_make(o->dir, err) || take_lock(o, true, err) || output_dir_check(o, id, err)) return err->code;
    if (remember_place(o->dir, err)) return err->code;
    if (o->other_eval)
        log_warn("the evaluation data are other than when the run began: evaluations from here on do not compare with "
                 "those before");
    return o->begun ? 0 : write_run(o, id, err);
}

int output_dir_finish(output_dir_t *o, const run_identity_t *id, err_t *err) {
    if (output_dir_check_place(o->dir, err)) return err->code;
    o->finished = true;
    return write_run(o, id, err);
}

void output_dir_close(output_dir_t *o) {
    if (o->lock >= 0) close(o->lock);
    free(o->dir);
    *o = (output_dir_t){.lock = -1};
}
