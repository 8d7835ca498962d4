/* `qlora-train bench`: how fast this machine is with models of given shapes. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "model/outline.h"
#include "trainer/bench/bench.h"
#include "trainer/commands/command.h"
#include "trainer/config/config_schema.h"
#include "trainer/run/backend_open.h"
#include "trainer/run/progress.h"
#include "trainer/run/run.h"

static const char help[] =
    "usage: qlora-train bench [MODEL ...] [options]\n"
    "\n"
    "Times decoding, matrix products, attention and whole training steps at the shapes of models, and loading them,\n"
    "with random weights and tokens: needs no model files and no data.\n"
    "\n"
    "  MODEL                a known name, a directory with config.json, a config.json or a GGUF (smollm2-135m)\n"
    "  --backend NAME       auto, cpu or cuda (auto)\n"
    "  --threads N          host threads (auto)\n"
    "  --compute-dtype T    auto, bf16 or f32 (auto)\n"
    "  --quant-type T       nf4, fp4, int4, int8, int8-zeropoint or none (nf4)\n"
    "  --batch N            rows of a micro-batch (4)\n"
    "  --tokens N           instead: as many rows as make N tokens\n"
    "  --length N[,N...]    tokens of a row (1024)\n"
    "  --rank N             of the adapters, on all linear layers (16)\n"
    "  --dropout P          as lora.lora_dropout (0)\n"
    "  --steps N            training steps that are timed, after one that is not (5)\n"
    "  --layers N           only so many layers of the shape\n"
    "  --checkpointing W    auto, true or false (auto)\n"
    "  --memory-limit SIZE  as device.memory_limit (auto)\n"
    "  --cache-weights W    as device.cache_weights: auto or off (auto)\n"
    "  --no-graphs          a GPU is given each op by itself also where a pass would be one graph\n"
    "  --what PARTS         some of copy,dequant,gemm,linear,attention,step,profile,paging (all of these), load\n"
    "                       load: reads BF16 weights and quantizes them; one layer and its share of the embedding\n"
    "                       are in a nameless file in TMPDIR (0.5 GB for llama-3-8b), read once for each layer\n"
    "  --json FILE          write the figures there too\n";

/* ---- options -------------------------------------------------------------------------------------------- */

enum { MAX_MODELS = 16, MAX_LENGTHS = 8 };

typedef struct {
    config_t config; /* only the keys of config_options */
    const char *models[MAX_MODELS];
    model_config_t shapes[MAX_MODELS];
    size_t n_models;
    size_t lengths[MAX_LENGTHS];
    size_t n_lengths;
    size_t tokens, steps, layers; /* tokens, layers 0: not given */
    unsigned parts;
    bool no_graphs;
    const char *json_path;
} bench_t;

/* Options that are keys of a config: read and checked as those. */
static const struct {
    const char *option, *section, *key, *value;
} config_options[] = {
    {"backend", "device", "backend", "auto"},
    {"threads", "device", "threads", "auto"},
    {"compute-dtype", "quantization", "compute_dtype", "auto"},
    {"quant-type", "quantization", "quant_type", "nf4"},
    {"batch", "training", "per_device_train_batch_size", "4"},
    {"rank", "lora", "r", "16"},
    {"dropout", "lora", "lora_dropout", "0"},
    {"checkpointing", "training", "gradient_checkpointing", "auto"},
    {"memory-limit", "device", "memory_limit", "auto"},
    {"cache-weights", "device", "cache_weights", "auto"},
};
enum { N_CONFIG_OPTIONS = sizeof config_options / sizeof *config_options };

static int set_config(bench_t *b, const char *const values[], err_t *err) {
    for (size_t i = 0; i < N_CONFIG_OPTIONS; i++) {
        const char *section = config_options[i].section, *name = config_options[i].key;
        const config_key_t *key = config_key_find(section, name);
        yaml_doc_t doc;
        CHECK(key != NULL);
        if (yaml_doc_parse_override(section, name, values[i], &doc, err)) return err->code;
        int rc = config_value_set(key, &doc.entries[0], "/", &b->config, err);
        yaml_doc_free(&doc);
        if (rc) return rc;
    }
    return 0;
}

static int read_count(const char *option, const char *text, size_t min, size_t max, size_t *out, err_t *err) {
    uint64_t v = 0;
    if (option_whole(option, text, min, max, &v, err)) return err->code;
    *out = (size_t)v;
    return 0;
}

static int read_lengths(bench_t *b, const char *text, err_t *err) {
    for (const char *p = text; b->n_lengths < MAX_LENGTHS; p++) {
        size_t len = strcspn(p, ",");
        char *one = xstrndup(p, len);
        int rc = read_count("length", one, 2, (size_t)1 << 20, &b->lengths[b->n_lengths++], err);
        free(one);
        if (rc) return rc;
        p += len;
        if (!*p) return 0;
    }
    return err_set(err, ERR_USAGE, "command line: --length: more than %d lengths", MAX_LENGTHS);
}

static int read_parts(bench_t *b, const char *text, err_t *err) {
    static const char *const names[] = {"copy", "dequant", "gemm",   "linear", "attention",
                                        "step", "profile", "paging", "load"};
    enum { N = sizeof names / sizeof *names };
    for (const char *p = text;; p++) {
        size_t len = strcspn(p, ","), i = 0;
        while (i < N && (strlen(names[i]) != len || memcmp(names[i], p, len) != 0)) i++;
        if (i == N)
            return err_set(err, ERR_USAGE,
                           "command line: --what: got \"%.60s\"; expected some of copy, dequant, gemm, "
                           "linear, attention, step, profile, paging, load, with commas between them",
                           text);
        b->parts |= 1u << i;
        p += len;
        if (!*p) break;
    }
    if (b->parts & BENCH_PROFILE) b->parts |= BENCH_STEP;
    return 0;
}

/* --batch and --tokens both say how many rows there are. */
static int check_rows(const bench_t *b, const char *const values[], err_t *err) {
    if (!b->tokens) return 0;
    for (size_t i = 0; i < N_CONFIG_OPTIONS; i++)
        if (!strcmp(config_options[i].option, "batch") && values[i] != config_options[i].value)
            return err_set(err, ERR_USAGE,
                           "command line: --tokens and --batch: both say how many rows there are; "
                           "expected one of them");
    for (size_t i = 0; i < b->n_lengths; i++)
        if (b->tokens % b->lengths[i])
            return err_set(err, ERR_USAGE,
                           "command line: --tokens: %zu is no whole number of rows of %zu; expected a "
                           "multiple of --length",
                           b->tokens, b->lengths[i]);
    return 0;
}

static int parse(int argc, char **argv, bench_t *b, bool *want_help, err_t *err) {
    const char *values[N_CONFIG_OPTIONS], *length = "1024", *steps = "5", *tokens = NULL, *layers = NULL, *what = NULL;
    enum { OTHERS = 8 };
    option_t options[N_CONFIG_OPTIONS + OTHERS] = {
        {"length", &length, NULL},          {"steps", &steps, NULL},  {"tokens", &tokens, NULL},
        {"layers", &layers, NULL},          {"what", &what, NULL},    {"json", &b->json_path, NULL},
        {"no-graphs", NULL, &b->no_graphs}, {"help", NULL, want_help}};
    for (size_t i = 0; i < N_CONFIG_OPTIONS; i++) {
        values[i] = config_options[i].value;
        options[OTHERS + i] = (option_t){config_options[i].option, &values[i], NULL};
    }
    if (options_parse(argc, argv, options, N_CONFIG_OPTIONS + OTHERS, b->models, MAX_MODELS, &b->n_models, err))
        return err->code;
    if (*want_help) return 0;
    if (b->n_models == 0) b->models[b->n_models++] = "smollm2-135m";
    b->parts = what ? 0 : BENCH_DEFAULT;
    if (set_config(b, values, err) || read_lengths(b, length, err) || (what && read_parts(b, what, err)) ||
        read_count("steps", steps, 1, 10000, &b->steps, err) ||
        (tokens && read_count("tokens", tokens, 2, (size_t)1 << 24, &b->tokens, err)) ||
        (layers && read_count("layers", layers, 1, 4096, &b->layers, err)))
        return err->code;
    return check_rows(b, values, err);
}

/* ---- shapes --------------------------------------------------------------------------------------------- */

static int shape_from_gguf(const char *path, model_config_t *c, err_t *err) {
    model_source_t *src;
    if (model_source_open(path, &src, err)) return err->code;
    *c = *model_source_config(src);
    model_source_close(src);
    return 0;
}

static int find_shape(const char *model, model_config_t *c, err_t *err) {
    if (path_has_suffix(model, ".gguf")) return shape_from_gguf(model, c, err);
    char *name = NULL;
    int rc = outline_read(model, c, &name, err);
    free(name);
    return rc;
}

/* ---- the command ---------------------------------------------------------------------------------------- */

static bench_spec_t spec_of(const bench_t *b, backend_t *be, size_t length) {
    size_t rows = b->tokens ? b->tokens / length : b->config.training.batch_size;
    return (bench_spec_t){.rows = rows,
                          .length = length,
                          .rank = b->config.lora.r,
                          .dropout = b->config.lora.dropout,
                          .quant = b->config.quantization.quant_type,
                          .double_quant = quant_can_nest(b->config.quantization.quant_type),
                          .checkpointing = b->config.training.gradient_checkpointing,
                          .limit = run_memory_limit(&b->config, be),
                          .paging = !be->unified || b->config.device.memory_limit,
                          .cache = !be->unified && b->config.device.cache_weights};
}

static json_t *describe(const char *model, const model_config_t *c, size_t full_layers, const bench_spec_t *s) {
    model_params_t p = model_count_params(c);
    size_t parameters = p.linear + p.embedding + p.head + p.rest;
    log_info("\n%s: %.1f M parameters, %zu%s%zu layers; %zu rows of %zu, %s, rank %zu, dropout %g", model,
             (double)parameters / 1e6, c->layers, c->layers < full_layers ? " of " : "/", full_layers, s->rows,
             s->length, quant_type_name(s->quant), s->rank, s->dropout);
    return json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:s, s:I, s:f}", "model", model, "parameters",
                     (json_int_t)parameters, "layers", (json_int_t)c->layers, "full_layers", (json_int_t)full_layers,
                     "rows", (json_int_t)s->rows, "length", (json_int_t)s->length, "tokens",
                     (json_int_t)(s->rows * s->length), "quant_type", quant_type_name(s->quant), "rank",
                     (json_int_t)s->rank, "dropout", s->dropout);
}

static int measure(const bench_t *b, backend_t *be, const model_config_t *c, const bench_spec_t *spec,
                   size_t full_layers, double copy, json_t *run, err_t *err) {
    const unsigned op_parts = BENCH_DEQUANT | BENCH_GEMM | BENCH_LINEAR | BENCH_ATTENTION;
    bench_ops_t ops = {0};
    int rc = b->parts & op_parts ? bench_ops(be, c, spec, b->parts, copy, &ops, err) : 0;
    if (ops.json) json_object_update(run, ops.json);
    json_decref(ops.json);
    json_t *json = NULL;
    bench_step_spec_t step = {.steps = b->steps,
                              .full_layers = full_layers,
                              .profile = b->parts & BENCH_PROFILE,
                              .gemm_flops = ops.gemm_flops};
    if (rc == 0 && b->parts & BENCH_STEP) {
        rc = bench_step(be, c, spec, &step, &json, err);
        if (json) json_object_set_new(run, "step", json);
    }
    if (rc == 0 && b->parts & BENCH_PAGING) {
        rc = bench_paging(be, c, spec, b->steps, &json, err);
        json_object_set_new(run, "paging", json);
    }
    if (rc == 0 && b->parts & BENCH_LOAD) {
        rc = bench_load(be, c, spec, full_layers, &json, err);
        if (json) json_object_set_new(run, "load", json);
    }
    return rc;
}

/* One model at one length. What goes wrong with it stands in its place in the report, and the next one follows. */
static int bench_one(const bench_t *b, backend_t *be, const char *model, const model_config_t *shape, size_t length,
                     double copy, json_t *runs) {
    err_t err = {0};
    size_t full_layers = shape->layers;
    model_config_t c = *shape;
    if (b->layers && b->layers < c.layers) c.layers = b->layers;
    bench_spec_t spec = spec_of(b, be, length);
    json_t *run = describe(model, &c, full_layers, &spec);
    int rc = measure(b, be, &c, &spec, full_layers, copy, run, &err);
    if (rc) {
        json_object_set_new(run, "error", json_string(err.msg));
        log_error("%s", err.msg);
    }
    json_array_append_new(runs, run);
    return rc;
}

static json_t *describe_device(backend_t *be) {
    char free_text[16], total_text[16];
    size_t free_bytes, total;
    be->mem_info(be, &free_bytes, &total);
    format_bytes(free_bytes, free_text);
    format_bytes(total, total_text);
    const char *act = backend_type_name(be), *why = be->why_act;
    log_info("device    %s, %d thread%s, compute in %s%s%s%s; %s of %s free", be->device, be->threads,
             be->threads == 1 ? "" : "s", act, *why ? " (auto: " : "", why, *why ? ")" : "", free_text, total_text);
    return json_pack("{s:s, s:s, s:s, s:i, s:s, s:I, s:I}", "version", QLORA_VERSION, "backend", be->name, "device",
                     be->device, "threads", be->threads, "compute_dtype", act, "free_bytes", (json_int_t)free_bytes,
                     "total_bytes", (json_int_t)total);
}

/* Before anything is measured; the figures that the file has from before stay until there are new ones. */
static int check_json_path(const char *path, err_t *err) {
    char *dir = path_dirname(path);
    int rc = 0;
    if (path_is_dir(path) || !path_is_dir(dir) || access(dir, W_OK) != 0)
        rc = err_set(err, ERR_USAGE, "--json: %s: cannot be written; expected a file in a directory to write to", path);
    free(dir);
    return rc;
}

static int bench_all(const bench_t *b, backend_t *be, err_t *err) {
    if (b->json_path && check_json_path(b->json_path, err)) return err->code;
    int rc = 0, worst = 0;
    double copy = 0;
    json_t *root = describe_device(be), *runs = json_array();
    json_object_set_new(root, "runs", runs);
    if (b->parts & (BENCH_COPY | BENCH_DEQUANT)) {
        copy = bench_copy(be, err);
        rc = err->code;
        if (rc == 0) json_object_set_new(root, "copy_gb_per_s", json_real(1e-9 * copy));
        if (rc == 0) log_info("copy      %.1f GB/s (read and written)", 1e-9 * copy);
    }
    for (size_t i = 0; rc == 0 && i < b->n_models; i++)
        for (size_t k = 0; rc == 0 && k < b->n_lengths; k++) {
            int failed = bench_one(b, be, b->models[i], &b->shapes[i], b->lengths[k], copy, runs);
            if (failed) worst = failed;
            /* After each, so that one that is cut short has left what it found. */
            if (b->json_path) rc = json_write(b->json_path, root, err);
        }
    json_decref(root);
    return rc ? rc : worst;
}

static int bench(bench_t *b, err_t *err) {
    const compute_t compute = b->config.quantization.compute_dtype;
    dtype_t act = compute == COMPUTE_BF16 ? DT_BF16 : compute == COMPUTE_F32 ? DT_F32 : DT_COUNT;
    backend_t *be;
    /* A misspelt name is known before the first minute of measuring. */
    for (size_t i = 0; i < b->n_models; i++) {
        if (find_shape(b->models[i], &b->shapes[i], err)) return err->code;
        if (b->layers > b->shapes[i].layers)
            return err_set(err, ERR_USAGE, "command line: --layers: got %zu; %s has %zu", b->layers, b->models[i],
                           b->shapes[i].layers);
    }
    if (backend_open(b->config.device.backend, act, b->config.device.threads, HOST_ALONE, &be, err)) return err->code;
    if (b->no_graphs) be->recorded = NULL;
    int rc = bench_all(b, be, err);
    be->close(be);
    return rc;
}

int command_bench(int argc, char **argv) {
    bench_t b = {0};
    bool want_help = false;
    err_t err = {0};
    int rc = parse(argc, argv, &b, &want_help, &err);
    if (rc == 0 && want_help) fputs(help, stdout);
    else if (rc == 0) rc = bench(&b, &err);
    if (err.code) log_error("%s", err.msg);
    config_free(&b.config);
    return rc;
}
