#include "trainer/export/model_dir.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/rng.h"
#include "data/tokenizer/tokenizer.h"

out_tensor_t *out_list_add(out_list_t *list, dtype_t dtype, int n_dims, size_t rows, size_t cols, const char *fmt,
                           ...) {
    VEC_GROW(list->t, list->n, list->cap);
    out_tensor_t *t = &list->t[list->n++];
    *t = (out_tensor_t){.dtype = dtype, .n_dims = n_dims, .shape = {rows, cols}};
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(t->name, sizeof t->name, fmt, ap);
    va_end(ap);
    CHECK(n > 0 && (size_t)n < sizeof t->name);
    return t;
}

void out_list_add_other(out_list_t *list, const st_tensor_t *t) {
    if (t->dtype == DT_OTHER) {
        log_warn("tensor \"%s\" is left out: its element type is not known, and nothing in the model needs it",
                 t->name);
        return;
    }
    out_tensor_t *o = out_list_add(list, t->dtype, t->n_dims, 0, 0, "%s", t->name);
    memcpy(o->shape, t->shape, sizeof o->shape);
    o->other = t;
}

int model_dir_absent(const char *dir, err_t *err) {
    if (!dir[0]) return err_set(err, ERR_USAGE, "the name of a directory is empty; expected one to be made");
    if (path_exists(dir)) return err_set(err, ERR_USAGE, "%s: exists already; expected a name that is free", dir);
    return 0;
}

/* Makes `<dir>.XXXXXX`, which nobody else has. Not mkdtemp: its mode is 0700 whatever the umask, and the renamed
 * directory would keep it. */
static int make_unique(const char *dir, char **tmp, err_t *err) {
    size_t n = strlen(dir);
    while (n > 1 && dir[n - 1] == '/') n--;
    for (uint64_t i = 0; i < 1000; i++) {
        uint64_t word = rng_fold((uint64_t)getpid(), i) & 0xffffff;
        *tmp = xasprintf("%.*s.%06" PRIx64, (int)n, dir, word);
        if (mkdir(*tmp, 0777) == 0) return 0;
        if (errno != EEXIST) break;
        free(*tmp);
        *tmp = NULL;
    }
    err_set(err, ERR_FAILED, "%s: cannot make the directory: %s", *tmp ? *tmp : dir, strerror(errno));
    free(*tmp);
    *tmp = NULL;
    return err->code;
}

/* ---- stopped by a signal -------------------------------------------------------------------------------- */

/* The directory that is being written. A signal that ends the program removes it first: the handler, in which little is
 * allowed, wakes a thread that does it. Whoever holds the lock makes, renames or removes the directory, so a stopped
 * command leaves the whole result or nothing. */
static struct {
    pthread_mutex_t lock;
    const char *dir;     /* NULL: none */
    char *parent, *made; /* where it is, and of what leads there the first directory that was made for it; NULL: none */
    sem_t stopped;
    pthread_t thread;
    volatile sig_atomic_t signal, leaving;
} unfinished = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void on_signal(int sig) {
    unfinished.signal = sig;
    sem_post(&unfinished.stopped);
}

/* The first directory on the way to `path` that is not there; NULL: all are. The caller frees. */
static char *first_missing(const char *path) {
    char *missing = NULL, *at = xstrdup(path);
    while (!path_exists(at)) {
        free(missing);
        missing = at;
        at = path_dirname(missing);
    }
    free(at);
    return missing;
}

/* Of the directories that were made for it those that nobody else has put anything in. */
static void remove_parents(void) {
    char *at = unfinished.made ? xstrdup(unfinished.parent) : NULL;
    while (at && (rmdir(at) == 0 || errno == ENOENT)) {
        bool last = strcmp(at, unfinished.made) == 0;
        char *above = last ? NULL : path_dirname(at);
        free(at);
        at = above;
    }
    free(at);
}

static void forget_unfinished(void) {
    unfinished.dir = NULL;
    free(unfinished.parent);
    free(unfinished.made);
    unfinished.parent = unfinished.made = NULL;
}

/* The writer goes on meanwhile: what it makes after the directory was listed is removed in the next round. */
static void remove_made(void) {
    for (int i = 0; i < 100 && unfinished.dir; i++) {
        err_t again = {0};
        if (dir_remove(unfinished.dir, &again) == 0) unfinished.dir = NULL;
    }
    remove_parents();
}

/* Then ends as if the signal had not been caught, which is what a shell and its scripts look for. */
static void *remove_unfinished(void *unused) {
    while (sem_wait(&unfinished.stopped) != 0) {}
    if (unfinished.leaving) return unused;
    pthread_mutex_lock(&unfinished.lock);
    remove_made();
    signal(unfinished.signal, SIG_DFL);
    raise(unfinished.signal);
    return unused;
}

/* Also where the program ends in the middle because there is no memory left. Nobody is waited for who may wait for the
 * lock: whoever holds it may be who ends the program. */
static void remove_at_exit(void) {
    if (pthread_mutex_trylock(&unfinished.lock) != 0) return;
    if (unfinished.dir) remove_made();
    pthread_mutex_unlock(&unfinished.lock);
    unfinished.leaving = 1;
    sem_post(&unfinished.stopped);
    pthread_join(unfinished.thread, NULL);
}

/* Once, before the first directory. What the program was started to ignore (nohup) it goes on ignoring. */
static void watch_signals(void) {
    static const int ending[] = {SIGHUP, SIGINT, SIGPIPE, SIGQUIT, SIGTERM};
    CHECK(sem_init(&unfinished.stopped, 0, 0) == 0);
    /* Without a thread to be had signals end the program as they always do. */
    if (pthread_create(&unfinished.thread, NULL, remove_unfinished, NULL) != 0) return;
    atexit(remove_at_exit);
    struct sigaction act = {.sa_handler = on_signal, .sa_flags = SA_RESTART}, before;
    sigemptyset(&act.sa_mask);
    for (size_t i = 0; i < sizeof ending / sizeof *ending; i++)
        if (sigaction(ending[i], NULL, &before) == 0 && before.sa_handler != SIG_IGN) sigaction(ending[i], &act, NULL);
}

/* ---- the directory -------------------------------------------------------------------------------------- */

int model_dir_begin(const char *dir, char **tmp, err_t *err) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    *tmp = NULL;
    if (model_dir_absent(dir, err)) return err->code;
    pthread_once(&once, watch_signals);
    pthread_mutex_lock(&unfinished.lock);
    unfinished.parent = path_dirname(dir);
    unfinished.made = first_missing(unfinished.parent);
    int rc = dir_make(unfinished.parent, err);
    if (rc == 0) rc = make_unique(dir, tmp, err);
    unfinished.dir = *tmp;
    if (rc) {
        remove_parents();
        forget_unfinished();
    }
    pthread_mutex_unlock(&unfinished.lock);
    return rc;
}

/* `from`, in *tmp or that itself, becomes `to`; what is left of *tmp goes. */
static int end(char *tmp, const char *from, const char *to, int rc, err_t *err) {
    pthread_mutex_lock(&unfinished.lock);
    bool whole = rc == 0;
    if (rc == 0) rc = file_rename(from, to, err);
    if (whole && rc && path_exists(to)) err_prefix(err, "%s is written, but a loss of power may take its name", to);
    if (rc || from != tmp) {
        err_t left = {0};
        if (dir_remove(tmp, &left) && rc == 0) log_warn("%s; it may go", left.msg);
    }
    if (rc) remove_parents();
    forget_unfinished();
    pthread_mutex_unlock(&unfinished.lock);
    free(tmp);
    return rc;
}

int model_dir_end(char *tmp, const char *dir, int rc, err_t *err) {
    if (rc == 0) rc = dir_sync(tmp, err);
    return end(tmp, tmp, dir, rc, err);
}

int model_dir_end_file(char *tmp, const char *name, const char *path, int rc, err_t *err) {
    char *from = path_join(tmp, name);
    rc = end(tmp, from, path, rc, err);
    free(from);
    return rc;
}

/* ---- tensors -------------------------------------------------------------------------------------------- */

static size_t tensor_bytes(const out_tensor_t *t) {
    size_t bytes = dtype_size(t->dtype);
    for (int i = 0; i < t->n_dims; i++) bytes *= t->shape[i];
    return bytes;
}

static int emit_one(emit_fn emit, void *ctx, const out_tensor_t *t, st_writer_t *w, err_t *err) {
    if (!t->other) return emit(ctx, t, w, err);
    int rc = st_writer_data(w, t->other->data, t->other->bytes, err);
    mapping_release(t->other->data, t->other->bytes);
    return rc;
}

static int write_shard(const char *path, const out_tensor_t *t, size_t n, emit_fn emit, void *ctx, err_t *err) {
    st_writer_t *w = st_writer_new();
    for (size_t i = 0; i < n; i++) st_writer_declare(w, t[i].name, t[i].dtype, t[i].n_dims, t[i].shape);
    int rc = st_writer_begin(w, path, err);
    for (size_t i = 0; rc == 0 && i < n; i++) rc = emit_one(emit, ctx, &t[st_writer_order(w, i)], w, err);
    if (rc == 0) return st_writer_finish(w, err);
    st_writer_abort(w);
    return rc;
}

/* first[i]..first[i+1]: the tensors of shard i. */
static size_t cut_shards(const out_list_t *list, size_t *first) {
    size_t n = 0, bytes = 0;
    for (size_t i = 0; i < list->n; i++) {
        size_t b = tensor_bytes(&list->t[i]);
        if (i == 0 || bytes + b > SHARD_BYTES) {
            first[n++] = i;
            bytes = 0;
        }
        bytes += b;
    }
    first[n] = list->n;
    return n;
}

static int write_index(const char *tmp, json_t *map, size_t total, err_t *err) {
    json_t *index = json_pack("{s:{s:I}, s:O}", "metadata", "total_size", (json_int_t)total, "weight_map", map);
    CHECK(index != NULL);
    char *path = path_join(tmp, "model.safetensors.index.json");
    int rc = json_write(path, index, err);
    free(path);
    json_decref(index);
    return rc;
}

int model_dir_tensors(const char *tmp, const out_list_t *list, emit_fn emit, void *ctx, err_t *err) {
    size_t *first = xmalloc((list->n + 1) * sizeof *first), total = 0;
    size_t n = cut_shards(list, first);
    json_t *map = json_object();
    int rc = 0;
    for (size_t s = 0; rc == 0 && s < n; s++) {
        char *file = n == 1 ? xstrdup("model.safetensors") : xasprintf("model-%05zu-of-%05zu.safetensors", s + 1, n);
        char *path = path_join(tmp, file);
        for (size_t i = first[s]; i < first[s + 1]; i++) {
            json_object_set_new(map, list->t[i].name, json_string(file));
            total += tensor_bytes(&list->t[i]);
        }
        rc = write_shard(path, list->t + first[s], first[s + 1] - first[s], emit, ctx, err);
        free(path);
        free(file);
    }
    if (rc == 0 && n > 1) rc = write_index(tmp, map, total, err);
    json_decref(map);
    free(first);
    return rc;
}

/* ---- the files beside them ------------------------------------------------------------------------------ */

static const char *const companions[] = {
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "generation_config.json",
    "processor_config.json",
    "preprocessor_config.json",
    "video_preprocessor_config.json",
};

/* Chat templates besides the default one, NAME.jinja in a folder of their own. */
static int copy_templates(const char *tmp, const char *from, err_t *err) {
    dir_list_t list;
    char *source = path_join(from, "additional_chat_templates"), *target = path_join(tmp, "additional_chat_templates");
    int rc = dir_list(source, &list, err);
    if (rc == 0 && list.n) rc = dir_make(target, err);
    for (size_t i = 0; rc == 0 && i < list.n; i++) {
        if (!path_has_suffix(list.name[i], ".jinja")) continue;
        char *a = path_join(source, list.name[i]), *b = path_join(target, list.name[i]);
        rc = file_copy(a, b, err);
        free(a);
        free(b);
    }
    dir_list_free(&list);
    free(source);
    free(target);
    return rc;
}

static int copy_companions(const char *tmp, const char *from, err_t *err) {
    for (size_t i = 0; i < sizeof companions / sizeof *companions; i++) {
        char *a = path_join(from, companions[i]), *b = path_join(tmp, companions[i]);
        int rc = path_exists(a) ? file_copy(a, b, err) : 0;
        free(a);
        free(b);
        if (rc) return rc;
    }
    return 0;
}

/* A GGUF of a model without a tokenizer says "none", as a directory has no such file. */
static int save_gguf_tokenizer(const char *tmp, const model_source_t *src, err_t *err) {
    tokenizer_t *tok = NULL;
    gguf_str_t kind;
    if (gguf_get_str(model_source_gguf(src), "tokenizer.ggml.model", &kind) && kind.len == 4 &&
        !memcmp(kind.p, "none", 4))
        return 0;
    int rc = tokenizer_open(model_source_path(src), &tok, err);
    if (rc == 0) rc = tokenizer_save(tok, tmp, err);
    tokenizer_close(tok);
    return rc;
}

/* As chat_template.jinja, which comes before the key of tokenizer_config.json. */
static int write_template(const char *tmp, const char *chat_template, err_t *err) {
    char *path = path_join(tmp, "chat_template.jinja");
    int rc = file_write(path, chat_template, strlen(chat_template), err);
    free(path);
    return rc;
}

static int base_config(const model_source_t *src, json_t **cfg, err_t *err) {
    if (model_source_is_gguf(src)) {
        *cfg = model_config_to_json(model_source_config(src));
        return 0;
    }
    char *path = path_join(model_source_dir(src), "config.json");
    int rc = json_file(path, cfg, err);
    free(path);
    return rc;
}

int model_dir_quantization(const model_source_t *src, json_t **quantization, err_t *err) {
    json_t *cfg = NULL;
    *quantization = NULL;
    if (base_config(src, &cfg, err)) return err->code;
    json_t *own = json_object_get(cfg, "quantization_config");
    if (json_is_object(own)) *quantization = json_incref(own);
    json_decref(cfg);
    return 0;
}

/* The name of the key tells which Transformers wrote the file, and so which will read it. */
static void set_type(json_t *cfg, dtype_t dtype) {
    json_object_set_new(cfg, json_object_get(cfg, "torch_dtype") ? "torch_dtype" : "dtype",
                        json_string(dtype_torch_name(dtype)));
}

int model_dir_untie(const char *tmp, err_t *err) {
    char *path = path_join(tmp, "config.json");
    json_t *cfg = NULL;
    int rc = json_file(path, &cfg, err);
    if (rc == 0) {
        json_t *text = json_object_get(cfg, "text_config");
        json_object_set_new(cfg, "tie_word_embeddings", json_false());
        if (json_is_object(text)) json_object_set_new(text, "tie_word_embeddings", json_false());
        rc = json_write(path, cfg, err);
    }
    json_decref(cfg);
    free(path);
    return rc;
}

/* What is computed with here must not be left out elsewhere in silence. */
static void name_biases(json_t *cfg, const model_config_t *c) {
    unsigned left = model_config_name_biases(cfg, c);
    strbuf_t names = {0};
    for (unsigned slot = 0; slot < LINEAR_SLOTS; slot++)
        if (left >> slot & 1)
            strbuf_addf(&names, "%s%s", names.len ? ", " : "", linear_name(arch_linear(c->arch, (linear_slot_t)slot)));
    if (left)
        log_warn("the biases of %s are written, but no key of a %s config.json says that these layers have some: "
                 "Transformers will compute without them",
                 names.p, c->arch->model_type);
    free(names.p);
}

int model_dir_companions(const char *tmp, const model_source_t *src, dtype_t dtype, json_t *quantization,
                         const char *chat_template, err_t *err) {
    json_t *cfg = NULL;
    if (base_config(src, &cfg, err)) return err->code;
    set_type(cfg, dtype);
    json_t *text = json_object_get(cfg, "text_config");
    if (json_object_get(text, "dtype") || json_object_get(text, "torch_dtype")) set_type(text, dtype);
    json_object_del(cfg, "quantization_config");
    if (quantization) json_object_set(cfg, "quantization_config", quantization);
    name_biases(cfg, model_source_config(src));
    char *path = path_join(tmp, "config.json");
    int rc = json_write(path, cfg, err);
    free(path);
    json_decref(cfg);
    if (rc == 0)
        rc = model_source_is_gguf(src) ? save_gguf_tokenizer(tmp, src, err)
                                       : copy_companions(tmp, model_source_dir(src), err);
    if (rc == 0 && !chat_template && !model_source_is_gguf(src)) rc = copy_templates(tmp, model_source_dir(src), err);
    return rc == 0 && chat_template ? write_template(tmp, chat_template, err) : rc;
}
