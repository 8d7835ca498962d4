#include "trainer/run/checkpoint.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "model/adapter.h"
#include "model/formats/safetensors.h"

#define PREFIX "checkpoint-"
#define TEMPORARY ".tmp-" PREFIX
#define CHECKSUMS "checksums.json"
#define TEMPLATE "chat_template.jinja"
#define STATE "trainer_state.json"
#define OPTIMIZER "optimizer.safetensors"

static const char *const checked_files[] = {"adapter_config.json", "adapter_model.safetensors", OPTIMIZER, STATE,
                                            "config.yaml"};
#define N_CHECKED (sizeof checked_files / sizeof *checked_files)

/* ---- the list of checkpoints ---------------------------------------------------------------------------- */

/* A step as directory_of() writes it: other digits, or more than a number holds, are the name of somebody else's
 * directory, which must not take the place of a checkpoint among those that are kept. */
static bool parse_step(const char *name, const char *prefix, size_t *step) {
    size_t n = strlen(prefix);
    if (strncmp(name, prefix, n) != 0) return false;
    *step = (size_t)strtoull(name + n, NULL, 10);
    char written[24];
    snprintf(written, sizeof written, "%zu", *step);
    return strcmp(name + n, written) == 0;
}

static int by_step(const void *a, const void *b) {
    size_t x = *(const size_t *)a, y = *(const size_t *)b;
    return x < y ? -1 : x > y;
}

/* Steps of the directories named prefix-N, ascending; the caller frees. */
static int list_steps(const char *output_dir, const char *prefix, size_t **steps, size_t *n, err_t *err) {
    dir_list_t list;
    *steps = NULL;
    *n = 0;
    if (dir_list(output_dir, &list, err)) return err->code;
    *steps = xmalloc((list.n + 1) * sizeof **steps);
    for (size_t i = 0; i < list.n; i++) *n += parse_step(list.name[i], prefix, &(*steps)[*n]);
    dir_list_free(&list);
    if (*n) qsort(*steps, *n, sizeof **steps, by_step);
    return 0;
}

static char *directory_of(const char *output_dir, const char *prefix, size_t step) {
    return xasprintf("%s/%s%zu", output_dir, prefix, step);
}

char *checkpoint_path(const char *output_dir, size_t step) { return directory_of(output_dir, PREFIX, step); }

int checkpoint_any(const char *output_dir, bool *any, err_t *err) {
    size_t n, *steps;
    int rc = list_steps(output_dir, PREFIX, &steps, &n, err);
    free(steps);
    *any = n > 0;
    return rc;
}

int checkpoint_newest(const char *output_dir, char **dir, err_t *err) {
    size_t n, total, *steps;
    *dir = NULL;
    int rc = list_steps(output_dir, PREFIX, &steps, &total, err);
    for (n = total; rc == 0 && n-- > 0 && !*dir;) {
        err_t damage = {0};
        char *path = directory_of(output_dir, PREFIX, steps[n]);
        if (checkpoint_verify(path, &damage) == 0) {
            *dir = path;
            continue;
        }
        if (damage.code == ERR_FAILED) {
            *err = damage;
            rc = err->code;
        } else {
            log_warn("%s is damaged (%s); %s", path, damage.msg,
                     n ? "the checkpoint before it is used" : "there is none before it: the run starts over");
        }
        free(path);
    }
    free(steps);
    return rc;
}

char *checkpoint_before(const char *output_dir, size_t step) {
    size_t n, *steps;
    char *found = NULL;
    err_t unlisted = {0};
    list_steps(output_dir, PREFIX, &steps, &n, &unlisted);
    while (!found && n-- > 0) {
        err_t damage = {0};
        if (steps[n] >= step) continue;
        found = directory_of(output_dir, PREFIX, steps[n]);
        if (checkpoint_verify(found, &damage) == 0) continue;
        free(found);
        found = NULL;
    }
    free(steps);
    return found;
}

static int set_aside(const char *output_dir, size_t step, err_t *err) {
    char *dir = directory_of(output_dir, PREFIX, step), *aside = xasprintf("%s.damaged", dir);
    int rc = dir_remove(aside, err);
    if (rc == 0) rc = file_rename(dir, aside, err);
    free(dir);
    free(aside);
    return rc;
}

/* What cannot be removed takes space and harms nothing: no reason to lose a run. */
static void warn_left(int rc, const err_t *err) {
    if (rc) log_warn("%s; it stays, and the run goes on", err->msg);
}

static int remove_temporary(const char *output_dir, err_t *err) {
    size_t n, *steps;
    int rc = list_steps(output_dir, TEMPORARY, &steps, &n, err);
    for (size_t i = 0; rc == 0 && i < n; i++) {
        char *path = directory_of(output_dir, TEMPORARY, steps[i]);
        err_t left = {0};
        warn_left(dir_remove(path, &left), &left);
        free(path);
    }
    free(steps);
    return rc;
}

/* Under the name of what is unfinished: what is left of it, if the program is killed meanwhile, goes at the next start. */
static void discard(const char *output_dir, size_t step) {
    char *dir = directory_of(output_dir, PREFIX, step), *aside = directory_of(output_dir, TEMPORARY, step);
    err_t left = {0};
    warn_left(dir_discard(dir, aside, &left), &left);
    free(dir);
    free(aside);
}

static int prune(const char *output_dir, checkpoint_keep_t keep, err_t *err) {
    size_t n, *steps;
    int rc = list_steps(output_dir, PREFIX, &steps, &n, err);
    size_t left = n;
    for (size_t i = 0; rc == 0 && keep.limit && i + 1 < n && left > keep.limit; i++) {
        if (steps[i] == keep.best) continue;
        discard(output_dir, steps[i]);
        left--;
    }
    free(steps);
    return rc;
}

int checkpoint_tidy(const char *output_dir, size_t step, checkpoint_keep_t keep, err_t *err) {
    size_t n, *steps;
    if (remove_temporary(output_dir, err)) return err->code;
    int rc = list_steps(output_dir, PREFIX, &steps, &n, err);
    while (rc == 0 && n-- > 0 && steps[n] > step) rc = set_aside(output_dir, steps[n], err);
    free(steps);
    return rc ? rc : prune(output_dir, keep, err);
}

/* ---- checksums ------------------------------------------------------------------------------------------ */

static int hash_member(const char *dir, const char *file, char hex[17], err_t *err) {
    uint64_t h;
    char *path = path_join(dir, file);
    int rc = file_hash(path, &h, err);
    free(path);
    if (rc == 0) snprintf(hex, 17, "%016" PRIx64, h);
    return rc;
}

char *checkpoint_chat_template(const char *dir) {
    char *path = path_join(dir, TEMPLATE);
    if (path_exists(path)) return path;
    free(path);
    return NULL;
}

static int add_checksum(json_t *sums, const char *dir, const char *name, err_t *err) {
    char hex[17];
    if (hash_member(dir, name, hex, err)) return err->code;
    json_object_set_new(sums, name, json_string(hex));
    return 0;
}

static int write_checksums(const char *dir, bool with_template, err_t *err) {
    json_t *sums = json_object();
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < N_CHECKED; i++) rc = add_checksum(sums, dir, checked_files[i], err);
    if (rc == 0 && with_template) rc = add_checksum(sums, dir, TEMPLATE, err);
    if (rc == 0) {
        char *path = path_join(dir, CHECKSUMS);
        rc = json_write(path, sums, err);
        free(path);
    }
    json_decref(sums);
    return rc;
}

static int verify_file(const json_t *sums, const char *where, const char *dir, const char *name, err_t *err) {
    const char *want;
    char hex[17];
    if (json_need_string(sums, name, where, &want, err) || hash_member(dir, name, hex, err)) return err->code;
    return strcmp(want, hex) == 0 ? 0 : err_set(err, ERR_USAGE, "%s/%s: the checksum does not hold", dir, name);
}

int checkpoint_verify(const char *dir, err_t *err) {
    char *path = path_join(dir, CHECKSUMS);
    json_t *sums = NULL;
    int rc = json_file(path, &sums, err);
    for (size_t i = 0; rc == 0 && i < N_CHECKED; i++) rc = verify_file(sums, path, dir, checked_files[i], err);
    if (rc == 0 && json_object_get(sums, TEMPLATE)) rc = verify_file(sums, path, dir, TEMPLATE, err);
    json_decref(sums);
    free(path);
    return rc;
}

/* ---- state ---------------------------------------------------------------------------------------------- */

static int write_state(const char *dir, const train_state_t *s, const trainer_about_t *about, err_t *err) {
    char *path = path_join(dir, STATE);
    int rc = trainer_state_write(path, s, about, err);
    free(path);
    return rc;
}

int checkpoint_read_state(const char *dir, train_state_t *state, err_t *err) {
    char *path = path_join(dir, STATE);
    int rc = trainer_state_read(path, state, err);
    free(path);
    return rc;
}

/* ---- tensors -------------------------------------------------------------------------------------------- */

/* What optimizer.safetensors holds: the optimizer's arrays, and then the masters, as one more. */
#define MAX_ARRAYS (STATE_ARRAYS + 1)

typedef struct {
    lora_t *lora;
    optimizer_t *opt;
    backend_t *be;
    optimizer_array_t arrays[MAX_ARRAYS];
    size_t n;
} tensors_t;

static tensors_t tensors_of(lora_t *lora, optimizer_t *opt, backend_t *be) {
    tensors_t t = {.lora = lora, .opt = opt, .be = be, .n = opt->n_arrays + 1};
    memcpy(t.arrays, opt->arrays, opt->n_arrays * sizeof *t.arrays);
    t.arrays[opt->n_arrays] = (optimizer_array_t){"master", DT_F32, lora->count};
    return t;
}

static void read_array(const tensors_t *t, size_t i, size_t first, size_t n, void *host) {
    if (i == t->opt->n_arrays) t->be->download(t->be, host, t->lora->master + first, n * sizeof(float));
    else optimizer_read(t->opt, (state_array_t)i, first, n, host);
}

/* The arrays are longer than host memory should hold twice: they go through a piece of so many values. */
#define PIECE ((size_t)4 << 20)

static int write_array(st_writer_t *w, const tensors_t *t, size_t i, void *piece, err_t *err) {
    const optimizer_array_t *a = &t->arrays[i];
    for (size_t at = 0; at < a->count; at += PIECE) {
        size_t n = a->count - at < PIECE ? a->count - at : PIECE;
        read_array(t, i, at, n, piece);
        if (st_writer_data(w, piece, n * dtype_size(a->dtype), err)) return err->code;
    }
    return 0;
}

static int write_optimizer(const char *dir, lora_t *lora, optimizer_t *opt, backend_t *be, err_t *err) {
    tensors_t t = tensors_of(lora, opt, be);
    size_t most = lora->count < PIECE ? lora->count : PIECE; /* no array is longer than the masters, nor its values */
    void *piece = xmalloc_array(most, sizeof(float));
    st_writer_t *w = st_writer_new();
    for (size_t i = 0; i < t.n; i++) st_writer_declare(w, t.arrays[i].name, t.arrays[i].dtype, 1, &t.arrays[i].count);
    char *path = path_join(dir, OPTIMIZER);
    int rc = st_writer_begin(w, path, err);
    for (size_t i = 0; rc == 0 && i < t.n; i++) rc = write_array(w, &t, st_writer_order(w, i), piece, err);
    rc = st_writer_finish(w, err);
    free(path);
    free(piece);
    return rc;
}

static int load_array(const safetensors_t *st, const tensors_t *to, size_t i, err_t *err) {
    const optimizer_array_t *a = &to->arrays[i];
    const st_tensor_t *t = safetensors_find(st, a->name);
    if (!t || t->dtype != a->dtype || t->bytes != a->count * dtype_size(a->dtype))
        return err_set(err, ERR_USAGE, "%s: %s is missing or not %zu %s values: a checkpoint of another run", st->path,
                       a->name, a->count, dtype_name(a->dtype));
    if (i == to->opt->n_arrays) to->be->upload(to->be, to->lora->master, t->data, t->bytes);
    else optimizer_write(to->opt, (state_array_t)i, 0, a->count, t->data);
    return 0;
}

int checkpoint_load(const char *dir, const train_state_t *state, lora_t *lora, optimizer_t *opt, backend_t *be,
                    err_t *err) {
    tensors_t t = tensors_of(lora, opt, be);
    char *path = path_join(dir, OPTIMIZER);
    safetensors_t *st = NULL;
    int rc = safetensors_open(path, &st, err);
    for (size_t i = 0; rc == 0 && i < t.n; i++) rc = load_array(st, &t, i, err);
    safetensors_close(st);
    free(path);
    if (rc) return rc;
    opt->t = state->adam_t;
    lora_refresh(lora, be);
    return 0;
}

int checkpoint_read_master(const char *dir, const lora_t *lora, float *master, err_t *err) {
    if (checkpoint_verify(dir, err)) return err->code;
    char *path = path_join(dir, OPTIMIZER);
    safetensors_t *st = NULL;
    int rc = safetensors_open(path, &st, err);
    const st_tensor_t *t = rc ? NULL : safetensors_find(st, "master");
    bool fits = t && t->dtype == DT_F32 && t->bytes == lora->count * sizeof *master;
    if (fits) memcpy(master, t->data, t->bytes);
    else if (rc == 0)
        rc = err_set(err, ERR_USAGE, "%s: master is missing or not %zu F32 values: a checkpoint of another run", path,
                     lora->count);
    safetensors_close(st);
    free(path);
    return rc;
}

/* ---- saving --------------------------------------------------------------------------------------------- */

static int write_text(const char *dir, const char *name, const char *text, err_t *err) {
    char *path = path_join(dir, name);
    int rc = file_write(path, text, strlen(text), err);
    free(path);
    return rc;
}

static int write_files(const char *dir, const train_state_t *state, lora_t *lora, optimizer_t *opt, backend_t *be,
                       const checkpoint_about_t *about, err_t *err) {
    /* Not with its parents: an output_dir that is gone is not made anew in silence. */
    if (dir_make_new(dir, err)) return err->code;
    float *master = xmalloc_array(lora->count, sizeof *master);
    be->download(be, master, lora->master, lora->count * sizeof *master);
    int rc = adapter_write(dir, lora, master, about->base_model, err);
    free(master);
    if (rc == 0) rc = write_optimizer(dir, lora, opt, be, err);
    if (rc == 0) rc = write_state(dir, state, &about->trainer, err);
    if (rc == 0) rc = write_text(dir, "config.yaml", about->config_yaml, err);
    if (rc == 0 && about->chat_template) rc = write_text(dir, TEMPLATE, about->chat_template, err);
    if (rc == 0) rc = write_checksums(dir, about->chat_template != NULL, err);
    return rc ? rc : dir_sync(dir, err);
}

/* The written directory gets its name. What had it lies under the temporary one then, and goes; where names cannot be
 * exchanged the new one goes, as the old one differs only in what trainer_state.json says of its evaluation. */
static int give_name(const char *tmp, const char *dir, err_t *err) {
    if (!path_exists(dir)) return file_rename(tmp, dir, err);
    err_t left = {0};
    file_exchange(tmp, dir);
    warn_left(dir_remove(tmp, &left), &left);
    return 0;
}

int checkpoint_save(const char *output_dir, const train_state_t *state, lora_t *lora, optimizer_t *opt, backend_t *be,
                    const checkpoint_about_t *about, checkpoint_keep_t keep, err_t *err) {
    char *tmp = directory_of(output_dir, TEMPORARY, state->step), *dir = directory_of(output_dir, PREFIX, state->step);
    int rc = dir_remove(tmp, err);
    if (rc == 0) rc = write_files(tmp, state, lora, opt, be, about, err);
    if (rc == 0) rc = give_name(tmp, dir, err);
    if (rc) {
        err_t ignored = {0};
        dir_remove(tmp, &ignored);
    } else {
        rc = prune(output_dir, keep, err);
    }
    free(tmp);
    free(dir);
    return rc;
}
