#define _DEFAULT_SOURCE /* gmtime_r, gethostname */
#include "trainer/run/starts.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/version.h"
#include "cpu/kernels/kernels.h"
#include "cpu/tiles_choice.h"
#include "trainer/ranks/ranks.h"
#include "trainer/run/backend_open.h"

/* ---- the row -------------------------------------------------------------------------------------------- */

/* What is no UTF-8 (a host's name may be anything) is left out. */
static json_t *text(const char *s) {
    json_t *j = json_string(s);
    return j ? j : json_null();
}

static json_t *size(size_t n) { return json_integer((json_int_t)n); }

static json_t *now(void) {
    char out[32] = "";
    time_t t = time(NULL);
    struct tm tm;
    if (gmtime_r(&t, &tm)) strftime(out, sizeof out, "%Y-%m-%dT%H:%M:%SZ", &tm);
    return text(out);
}

static size_t count_hosts(void) {
    size_t n = 0;
    for (int k = 0; k < ranks_size(); k++) {
        int first = 0;
        while (first < k && strcmp(ranks_host(first), ranks_host(k)) != 0) first++;
        n += first == k;
    }
    return n;
}

static json_t *program(void) {
    char kernels[64];
    tiles_describe(kernels_best()->isa, tiles_choice()->bf16, kernels, sizeof kernels);
    return json_pack("{s:o, s:o, s:o}", "version", text(QLORA_VERSION), "commit", text(version_commit()), "kernels",
                     text(kernels));
}

static json_t *machine(const run_t *run) {
    char host[256] = "";
    if (gethostname(host, sizeof host - 1) != 0) *host = 0;
    return json_pack("{s:o, s:o, s:o, s:i, s:i, s:o}", "host", text(host), "device", text(run->be->device), "backend",
                     text(run->be->name), "threads", run->be->threads, "ranks", ranks_size(), "hosts",
                     size(count_hosts()));
}

static json_t *model(const run_t *run) {
    const model_config_t *c = &run->model.config;
    const model_params_t p = model_count_params(c);
    char *lora = lora_spec_text(&run->lora.spec);
    json_t *j = json_pack("{s:o, s:o, s:o, s:o, s:b, s:o, s:o, s:o}", "path", text(run->config.model.path), "arch",
                          text(c->arch->model_type), "parameters", size(p.linear + p.embedding + p.head + p.rest),
                          "quant_type", text(quant_type_name(run->model.quant)), "double_quant",
                          (int)run->model.double_quant, "compute_dtype", text(backend_type_name(run->be)), "lora",
                          text(lora), "trainable", size(run->lora.count));
    free(lora);
    return j;
}

static json_t *dataset(const dataset_t *ds, json_t *files) {
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "files", files, "format",
                     text(data_format_name(ds->format)), "rows", size(ds->n_samples), "tokens", size(ds->n_tokens),
                     "label_tokens", size(ds->label_tokens), "longest", size(ds->longest), "truncated_rows",
                     size(ds->truncated_rows), "unlabelled_rows", size(ds->unlabelled_rows));
}

static json_t *data(const run_t *run) {
    const config_t *c = &run->config;
    json_t *train = json_array(), *eval = json_array(), *j = json_object();
    for (size_t i = 0; i < c->data.n_train; i++) json_array_append_new(train, text(c->data.train[i]));
    if (c->data.eval) json_array_append_new(eval, text(c->data.eval));
    json_object_set_new(j, "train", dataset(&run->train, train));
    if (run->eval.n_samples) json_object_set_new(j, "eval", dataset(&run->eval, eval));
    else json_decref(eval);
    return j;
}

static json_t *memory(const run_t *run) {
    const plan_t *p = &run->plan;
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o}", "planned_bytes", size(p->total), "limit_bytes", size(p->limit),
                     "recomputed_blocks", size(run->model.config.layers - p->layout.n_kept), "paged_layers",
                     size(p->layout.n_paged), "host_optimizer_bytes", size(p->host_optimizer), "host_weight_bytes",
                     size(p->host_weights));
}

static char *row_text(const run_t *run, const steps_t *steps, const train_state_t *state) {
    char *yaml = config_to_yaml(&run->config);
    json_t *j = json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "time", now(), "run_id",
                          json_of_id(state->run_id), "step", size(state->step), "total_steps", size(steps->total),
                          "program", program(), "machine", machine(run), "model", model(run), "data", data(run),
                          "memory", memory(run), "config", text(yaml));
    CHECK(j != NULL);
    char *line = mem_checked(json_dumps(j, JSON_COMPACT), 0), *row = xasprintf("%s\n", line);
    json_decref(j);
    free(line);
    free(yaml);
    return row;
}

/* ---- the file ------------------------------------------------------------------------------------------- */

static bool is_start_of(const char *line, size_t len, uint64_t run_id) {
    json_t *j = json_loadb(line, len, 0, NULL);
    err_t other = {0};
    uint64_t id = 0;
    bool is = json_is_object(j) && json_need_id(j, "run_id", "", &id, &other) == 0 && id == run_id;
    json_decref(j);
    return is;
}

/* Leaves whole lines of this run. */
static int trim(const char *path, uint64_t run_id, err_t *err) {
    char *old;
    size_t len;
    strbuf_t kept = {0};
    if (!path_exists(path)) return 0;
    if (file_read(path, &old, &len, err)) return err->code;
    for (size_t at = 0; at < len;) {
        const char *newline = memchr(old + at, '\n', len - at);
        size_t n = newline ? (size_t)(newline - old) - at : len - at;
        if (newline && is_start_of(old + at, n, run_id)) strbuf_add(&kept, old + at, n + 1);
        at += n + 1;
    }
    int rc = 0;
    if (kept.len != len) {
        char *tmp = xasprintf("%s.tmp", path);
        rc = file_replace(tmp, path, file_write(tmp, kept.len ? kept.p : "", kept.len, err), err);
        free(tmp);
    }
    free(kept.p);
    free(old);
    return rc;
}

static int append(const char *path, const char *row, err_t *err) {
    int fd = fd_open_append(path, err);
    if (fd < 0) return err->code;
    int rc = fd_write(fd, path, row, strlen(row), err);
    fd_close(fd); /* nothing is buffered, and no checkpoint relies on it */
    return rc;
}

int starts_add(const run_t *run, const steps_t *steps, const train_state_t *state, err_t *err) {
    char *path = path_join(run->config.training.output_dir, "starts.jsonl"), *row = row_text(run, steps, state);
    int rc = trim(path, state->run_id, err);
    if (rc == 0) rc = append(path, row, err);
    free(row);
    free(path);
    return rc;
}
