/* `qlora-train bench`: how fast this machine is with models of given shapes. */
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
#include "trainer/commands/help.h"
#include "trainer/config/config_schema.h"
#include "trainer/run/backend_open.h"
#include "trainer/run/progress.h"
#include "trainer/run/run.h"

/* ---- options -------------------------------------------------------------------------------------------- */

enum { MAX_MODELS = 16, MAX_LENGTHS = 8 };

typedef struct {
    const char *backend, *threads, *compute_dtype, *quant_type, *batch, *rank, *dropout, *checkpointing, *memory_limit,
        *cache_weights, *length, *json;
    uint64_t tokens, steps, layers; /* tokens, layers 0: not given */
    unsigned parts;                 /* 0: not given */
    bool no_graphs;
} given_t;

static const char *const part_names[] = {"copy", "dequant", "gemm",   "linear", "attention",
                                         "step", "profile", "paging", "load",   NULL};

/* Of kind ARG_KEY: read and checked as that key of a config. */
static const option_t options[] = {
    {"backend", ARG_KEY, offsetof(given_t, backend), "NAME", "auto", .key = "device.backend", .help = "%s"},
    {"threads", ARG_KEY, offsetof(given_t, threads), "N", "auto", .key = "device.threads", .help = "host threads"},
    {"compute-dtype", ARG_KEY, offsetof(given_t, compute_dtype), "TYPE", "auto", .key = "quantization.compute_dtype",
     .help = "%s"},
    {"quant-type", ARG_KEY, offsetof(given_t, quant_type), "TYPE", "nf4", .key = "quantization.quant_type",
     .help = "%s"},
    {"batch", ARG_KEY, offsetof(given_t, batch), "N", "4", .key = "training.per_device_train_batch_size",
     .help = "rows of a micro-batch"},
    {"tokens", ARG_WHOLE, offsetof(given_t, tokens), "N", .min = 2, .max = 1 << 24,
     .help = "instead: as many rows as make N tokens"},
    {"length", ARG_TEXT, offsetof(given_t, length), "N[,N...]", "1024", .help = "tokens of a row"},
    {"rank", ARG_KEY, offsetof(given_t, rank), "N", "16", .key = "lora.r",
     .help = "of the adapters, on all linear layers"},
    {"dropout", ARG_KEY, offsetof(given_t, dropout), "P", "0", .key = "lora.lora_dropout",
     .help = "as lora.lora_dropout"},
    {"steps", ARG_WHOLE, offsetof(given_t, steps), "N", "5", .min = 1, .max = 10000,
     .help = "training steps that are timed, after one that is not"},
    {"layers", ARG_WHOLE, offsetof(given_t, layers), "N", .min = 1, .max = 4096,
     .help = "only so many layers of the shape"},
    {"checkpointing", ARG_KEY, offsetof(given_t, checkpointing), "WHICH", "auto",
     .key = "training.gradient_checkpointing", .help = "%s"},
    {"memory-limit", ARG_KEY, offsetof(given_t, memory_limit), "SIZE", "auto", .key = "device.memory_limit",
     .help = "as device.memory_limit"},
    {"cache-weights", ARG_KEY, offsetof(given_t, cache_weights), "WHICH", "auto", .key = "device.cache_weights",
     .help = "as device.cache_weights: %s"},
    {"no-graphs", ARG_FLAG, offsetof(given_t, no_graphs),
     .help = "a GPU is given each op by itself also where a pass would be one graph"},
    {"what", ARG_WORDS, offsetof(given_t, parts), "PARTS", .words = part_names,
     .help = "some of %s, with commas between them; all but load if not given. load reads BF16 weights and quantizes "
             "them; one layer and its share of the embedding are in a nameless file in TMPDIR (0.5 GB for llama-3-8b), "
             "read once for each layer"},
    {"json", ARG_FILE, offsetof(given_t, json), "FILE", .help = "write the figures there too"},
};
enum { N_OPTIONS = sizeof options / sizeof *options };

typedef struct {
    config_t config; /* only the keys of the options */
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

static int set_config(bench_t *b, const given_t *given, err_t *err) {
    for (size_t i = 0; i < N_OPTIONS; i++) {
        const config_key_t *key = option_key(&options[i]);
        const char *value;
        yaml_doc_t doc;
        if (!key) continue;
        memcpy(&value, (const char *)given + options[i].offset, sizeof value);
        if (yaml_doc_parse_override(key->section, key->name, value, &doc, err)) return err->code;
        int rc = config_value_set(key, &doc.entries[0], "/", &b->config, err);
        yaml_doc_free(&doc);
        if (rc) return rc;
    }
    return 0;
}

static int read_lengths(bench_t *b, const char *text, err_t *err) {
    for (const char *p = text; b->n_lengths < MAX_LENGTHS; p++) {
        size_t len = strcspn(p, ",");
        char *one = xstrndup(p, len);
        uint64_t v = 0;
        int rc = option_whole("length", one, 2, 1 << 20, &v, err);
        free(one);
        if (rc) return rc;
        b->lengths[b->n_lengths++] = (size_t)v;
        p += len;
        if (!*p) return 0;
    }
    return err_set(err, ERR_USAGE, "command line: --length: more than %d lengths", MAX_LENGTHS);
}

/* Whether a value is given, be it the usual one. */
static bool is_given(const char *name, const char *value) {
    for (size_t i = 0; i < N_OPTIONS; i++)
        if (strcmp(options[i].name, name) == 0) return value != options[i].usual;
    return false;
}

/* --batch and --tokens both say how many rows there are. */
static int check_rows(const bench_t *b, const given_t *given, err_t *err) {
    if (!b->tokens) return 0;
    if (is_given("batch", given->batch))
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

static int read_given(const args_t *args, const given_t *given, bench_t *b, err_t *err) {
    for (size_t i = 0; i < args->n; i++) b->models[b->n_models++] = args->pos[i];
    if (b->n_models == 0) b->models[b->n_models++] = "smollm2-135m";
    b->parts = given->parts ? given->parts : BENCH_DEFAULT;
    if (b->parts & BENCH_PROFILE) b->parts |= BENCH_STEP;
    b->tokens = (size_t)given->tokens;
    b->steps = (size_t)given->steps;
    b->layers = (size_t)given->layers;
    b->json_path = given->json;
    b->no_graphs = given->no_graphs;
    if (set_config(b, given, err) || read_lengths(b, given->length, err)) return err->code;
    return check_rows(b, given, err);
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

static int run_bench(int argc, char **argv) {
    given_t given = {0};
    args_t args;
    bench_t b = {0};
    err_t err = {0};
    int rc = command_parse(&command_bench, argc, argv, &given, &args, &err);
    if (rc == 0 && args.helped) return 0;
    if (rc == 0) rc = read_given(&args, &given, &b, &err);
    if (rc == 0) rc = bench(&b, &err);
    if (err.code) log_error("%s", err.msg);
    config_free(&b.config);
    return rc;
}

static const positional_t positionals[] = {
    {"MODEL", ARG_PATH, MAX_MODELS, .optional = true,
     .help = "a known name, a directory with config.json, a config.json or a GGUF (smollm2-135m)"},
};

const command_t command_bench = {
    .name = "bench",
    .synopsis = "[MODEL ...] [options]",
    .what = "time ops and training steps at a model's shapes; needs no files",
    .about = "Times decoding, matrix products, attention and whole training steps at the shapes of models, and loading "
             "them, with random weights and tokens: needs no model files and no data.",
    COMMAND_POSITIONALS(positionals),
    COMMAND_OPTIONS(options),
    .run = run_bench,
};
