/* How fast weights come from the page cache through the loader to their places. */
#define _DEFAULT_SOURCE /* mkdtemp */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "model/formats/safetensors.h"
#include "trainer/bench/bench.h"

/* ---- a model in a file without a name ----------------------------------------------------------------------- */

/* Loaded full_layers times it is the whole model. */
static model_config_t one_layer(const model_config_t *c, size_t full_layers) {
    model_config_t one = *c;
    one.layers = 1;
    one.vocab = (c->vocab + full_layers - 1) / full_layers;
    one.bos = one.pad = -1;
    one.n_eos = 0;
    return one;
}

static int declare(void *ctx, const model_tensor_t *t) {
    st_writer_t *w = ctx;
    char name[160];
    bool vector = tensor_is_vector(t->role);
    model_tensor_name(t, name, sizeof name);
    st_writer_declare(w, name, DT_BF16, vector ? 1 : 2, vector ? (size_t[]){t->cols} : (size_t[]){t->rows, t->cols});
    return 0;
}

/* Values of any tensor are as good as any other's. */
static int write_weights(const char *path, const model_config_t *c, err_t *err) {
    enum { PIECE = 1 << 20 };
    bf16_t *values = bench_values(PIECE, 0.02);
    st_writer_t *w = st_writer_new();
    model_each_tensor(c, declare, w);
    size_t total = st_writer_total(w), at = 0;
    int rc = st_writer_begin(w, path, err);
    for (size_t n; rc == 0 && at < total; at += n) {
        n = total - at < PIECE * sizeof *values ? total - at : PIECE * sizeof *values;
        rc = st_writer_data(w, values, n, err);
    }
    free(values);
    return st_writer_finish(w, err);
}

static int write_config(const char *dir, const model_config_t *c, err_t *err) {
    json_t *json = model_config_to_json(c);
    char *path = path_join(dir, "config.json");
    int rc = json_write(path, json, err);
    free(path);
    json_decref(json);
    return rc;
}

/* A directory for as long as it takes to open it. */
static int open_through(const char *weights, const char *tmp, const model_config_t *c, model_source_t **src,
                        err_t *err) {
    char *dir = path_join(tmp, "qlora-bench-XXXXXX");
    if (!mkdtemp(dir)) {
        err_set(err, ERR_USAGE, "cannot make a directory there: %s", strerror(errno));
        free(dir);
        return err->code;
    }
    char *link = path_join(dir, "model.safetensors");
    int rc = symlink(weights, link) ? err_set(err, ERR_FAILED, "%s: %s", link, strerror(errno)) : 0;
    if (rc == 0) rc = write_config(dir, c, err);
    if (rc == 0) rc = model_source_open(dir, src, err);
    err_t ignored = {0};
    dir_remove(dir, &ignored);
    free(link);
    free(dir);
    return rc;
}

/* The file loses its name before it is written: whatever ends the program, nothing of it stays. */
static int open_source(const char *tmp, const model_config_t *c, model_source_t **src, err_t *err) {
    char *path = path_join(tmp, "qlora-bench-XXXXXX"), weights[32];
    int fd = mkstemp(path);
    if (fd < 0) {
        err_set(err, ERR_USAGE, "cannot make a file there: %s; expected a directory to write to", strerror(errno));
        free(path);
        return err->code;
    }
    unlink(path);
    free(path);
    snprintf(weights, sizeof weights, "/proc/self/fd/%d", fd);
    int rc = write_weights(weights, c, err);
    if (rc == 0) rc = open_through(weights, tmp, c, src, err);
    close(fd);
    return rc;
}

/* ---- loading it --------------------------------------------------------------------------------------------- */

/* Seconds of n loads after one. */
static int time_loads(model_t *m, const model_source_t *src, size_t n, double *seconds, err_t *err) {
    double start = 0;
    for (size_t i = 0; i <= n; i++) {
        if (i == 1) start = clock_seconds();
        if (model_load(m, src, err)) return err->code;
    }
    *seconds = clock_seconds() - start;
    return 0;
}

static int measure(backend_t *be, const model_source_t *src, const bench_spec_t *spec, size_t n, double *seconds,
                   err_t *err) {
    model_t m;
    pool_t pool, count = pool_counting(be);
    model_init(&m, model_source_config(src), be, spec->quant, spec->double_quant, 1);
    model_place(&m, 0, 0, &count);
    int rc = pool_open(&pool, be, count.used, err);
    if (rc == 0) {
        model_place(&m, 0, 0, &pool);
        rc = time_loads(&m, src, n, seconds, err);
        pool_close(&pool);
    }
    model_free(&m);
    return rc;
}

static json_t *report(const model_source_t *src, const bench_spec_t *spec, size_t layers, size_t full_layers,
                      double seconds) {
    size_t bytes = 0;
    for (size_t i = 0; i < model_source_count(src); i++) bytes += model_source_at(src, i)->file_bytes;
    double values = (double)model_count_params(model_source_config(src)).linear * (double)layers;
    json_t *o = json_pack("{s:I, s:I, s:f, s:f, s:f}", "layers", (json_int_t)layers, "bytes",
                          (json_int_t)(bytes * layers), "seconds", seconds, "gb_per_s",
                          1e-9 * (double)(bytes * layers) / seconds, "model_seconds",
                          seconds * (double)full_layers / (double)layers);
    if (spec->quant != QUANT_NONE)
        json_object_set_new(o, "quantized_gvalues_per_s", json_real(1e-9 * values / seconds));
    return o;
}

static void print(json_t *o) {
    static const bench_column_t columns[] = {{"layers", "layers", COLUMN_NUMBER},
                                             {"bytes", "in BF16", COLUMN_BYTES},
                                             {"seconds", "s", COLUMN_NUMBER},
                                             {"gb_per_s", "GB/s", COLUMN_NUMBER},
                                             {"quantized_gvalues_per_s", "quantized, Gvalues/s", COLUMN_NUMBER},
                                             {"model_seconds", "whole model, s", COLUMN_NUMBER}};
    json_t *rows = json_pack("[O]", o);
    bench_table("loading from the page cache", rows, columns, 6);
    json_decref(rows);
}

int bench_load(backend_t *be, const model_config_t *c, const bench_spec_t *spec, size_t full_layers, json_t **json,
               err_t *err) {
    const char *tmp = getenv("TMPDIR");
    if (!tmp || !*tmp) tmp = "/tmp";
    model_config_t one = one_layer(c, full_layers);
    model_source_t *src = NULL;
    double seconds = 0;
    *json = NULL;
    if (open_source(tmp, &one, &src, err)) return err_prefix(err, "--what load: TMPDIR %s", tmp);
    int rc = measure(be, src, spec, c->layers, &seconds, err);
    if (rc == 0) {
        *json = report(src, spec, c->layers, full_layers, seconds);
        print(*json);
    }
    model_source_close(src);
    return rc;
}
