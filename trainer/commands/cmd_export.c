/* `qlora-train export`: a checkpoint's adapter for PEFT or llama.cpp, or merged into the base model. What was written is
 * read back and compared before success is reported. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "model/adapter.h"
#include "trainer/commands/command.h"
#include "trainer/config/config_schema.h"
#include "trainer/export/gguf_lora.h"
#include "trainer/export/gguf_model.h"
#include "trainer/export/merge.h"
#include "trainer/export/merge_loss.h"
#include "trainer/export/model_dir.h"
#include "trainer/export/modelfile.h"
#include "trainer/run/checkpoint.h"
#include "trainer/run/run.h"
#include "trainer/run/run_data.h"

enum { MAX_OVERRIDES = ARGS_MOST - 1 };
#define NO_TYPE UINT32_MAX

typedef struct {
    const char *checkpoint, *adapter, *merged, *gguf_lora, *gguf;
    const char *base, *type; /* as given, NULL: not */
    bool dequantized;
    dtype_t dtype;                /* DT_COUNT: the base's */
    uint32_t gguf_type;           /* of --gguf; NO_TYPE: by the base */
    const char *const *overrides; /* section.key=value */
    size_t n_overrides;
} request_t;

/* ---- adapter -------------------------------------------------------------------------------------------- */

static int read_adapter(const char *dir, const model_source_t *base, lora_t *lora, float **master, err_t *err) {
    lora_spec_t spec;
    const model_config_t *c = model_source_config(base);
    if (adapter_read_spec(dir, c, &spec, err)) return err->code;
    lora_init(lora, c, &spec);
    *master = xmalloc(lora->count * sizeof **master);
    return adapter_read(dir, lora, base, *master, err);
}

static int export_adapter(const run_t *run, const request_t *q, const lora_t *lora, const float *master, err_t *err) {
    lora_t again = {0};
    float *back = NULL;
    char *tmp;
    if (model_dir_begin(q->adapter, &tmp, err)) return err->code;
    int rc = adapter_write(tmp, lora, master, run->config.model.path, err);
    if (rc == 0) rc = read_adapter(tmp, run->src, &again, &back, err);
    if (rc == 0 && (again.count != lora->count || memcmp(back, master, lora->count * sizeof *back) != 0))
        rc = err_set(err, ERR_FAILED, "%s: what was read back is not what was written", tmp);
    double norm = 0;
    for (size_t i = 0; i < lora->count; i++) norm += (double)master[i] * master[i];
    lora_free(&again);
    free(back);
    rc = model_dir_end(tmp, q->adapter, rc, err);
    if (rc == 0)
        log_info("%s: %zu tensors, %zu parameters, norm %.6g; read back and equal", q->adapter, lora->n_tensors,
                 lora->count, sqrt(norm));
    return rc;
}

/* A result that is one file is made, under its own name, in a temporary directory beside it. */
static int begin_file(const char *file, char **tmp, char **path, err_t *err) {
    const char *slash = strrchr(file, '/'), *name = slash ? slash + 1 : file;
    *path = NULL;
    if (*file && !*name) return err_set(err, ERR_USAGE, "%s: a directory; expected a file to be made", file);
    if (model_dir_begin(file, tmp, err)) return err->code;
    *path = path_join(*tmp, name);
    return 0;
}

static int end_file(char *tmp, char *path, const char *file, int rc, err_t *err) {
    const char *slash = strrchr(path, '/');
    rc = model_dir_end_file(tmp, slash + 1, file, rc, err);
    free(path);
    return rc;
}

static int export_gguf_lora(const run_t *run, const request_t *q, const lora_t *lora, const float *master, err_t *err) {
    char *tmp, *path;
    if (begin_file(q->gguf_lora, &tmp, &path, err)) return err->code;
    int rc = gguf_lora_write(path, lora, master, err);
    if (rc == 0) rc = gguf_lora_check(path, lora, master, err);
    rc = end_file(tmp, path, q->gguf_lora, rc, err);
    if (rc) return rc;
    log_info("%s: %zu tensors, %zu parameters; read back and equal", q->gguf_lora, lora->n_tensors, lora->count);
    return modelfile_write(q->gguf_lora, run->src, true, err);
}

/* ---- merged model ----------------------------------------------------------------------------------------- */

/* Value by value. `merged`: the directory or GGUF as written, still under its temporary name. */
static int check_values(const char *merged, const merge_t *merge, err_t *err) {
    merge_report_t r;
    if (merge_check(merged, merge, &r, err)) return err->code;
    if (!r.changed) log_warn("the adapter is zero: the merged model is the base model");
    else log_info("%.4f of the adapter's change arrived (1 +- %.4f expected)", r.ratio, r.tolerance);
    if (r.judged)
        log_info("of %zu changed weights %zu are large enough to judge alone; the worst is %s: %.4f (1 +- %.4f)",
                 r.changed, r.judged, r.worst_name, r.worst, r.worst_tolerance);
    return 0;
}

/* The quantized base on the CPU, for its dequantized values. */
static int load_quantized(const run_t *run, run_t *base, err_t *err) {
    *base = merge_run(run, run->config.model.path);
    base->need = (plan_need_t){.eval_tokens = 1, .eval_seg = 1};
    if (run_open(base, false, false, false, err) || run_plan(base, err)) return err->code;
    return run_load(base, NULL, err);
}

/* Writes the merged model, a directory or a GGUF, and compares its values with what they were made from. */
static int write_merged(const run_t *run, const request_t *q, const lora_t *lora, const float *master, const char *path,
                        bool gguf, err_t *err) {
    run_t base = {0};
    merge_t merge = {.src = run->src,
                     .lora = lora,
                     .master = master,
                     .dequantized = q->dequantized ? &base.model : NULL,
                     .dtype = q->dtype,
                     .chat_template = run->chat ? chat_template_foreign(run->chat) : NULL};
    int rc = q->dequantized ? load_quantized(run, &base, err) : 0;
    if (rc == 0) rc = backend_open_cpu(DT_F32, run->config.device.threads, false, &merge.cpu, err);
    gguf_model_t file = {&merge, q->gguf_type != NO_TYPE ? q->gguf_type : gguf_model_type(run->src)};
    if (rc == 0) rc = gguf ? gguf_model_write(path, &file, err) : merge_write(path, &merge, err);
    if (rc == 0) rc = check_values(path, &merge, err);
    if (merge.cpu) merge.cpu->close(merge.cpu);
    run_close(&base);
    return rc;
}

static int export_merged(const run_t *run, const request_t *q, const lora_t *lora, const float *master,
                         merge_loss_t *loss, err_t *err) {
    char *tmp = NULL;
    int rc = model_dir_begin(q->merged, &tmp, err);
    if (rc == 0) rc = write_merged(run, q, lora, master, tmp, false, err);
    if (rc == 0) rc = merge_loss_check(loss, tmp, q->merged, q->dequantized, err);
    if (tmp) rc = model_dir_end(tmp, q->merged, rc, err);
    if (rc == 0) log_info("%s: merged onto the %s weights", q->merged, q->dequantized ? "dequantized" : "original");
    return rc;
}

static int export_gguf(const run_t *run, const request_t *q, const lora_t *lora, const float *master,
                       merge_loss_t *loss, err_t *err) {
    char *tmp, *path;
    if (begin_file(q->gguf, &tmp, &path, err)) return err->code;
    int rc = write_merged(run, q, lora, master, path, true, err);
    if (rc == 0) rc = merge_loss_check(loss, path, q->gguf, q->dequantized, err);
    rc = end_file(tmp, path, q->gguf, rc, err);
    if (rc) return rc;
    log_info("%s: merged onto the %s weights", q->gguf, q->dequantized ? "dequantized" : "original");
    return modelfile_write(q->gguf, run->src, false, err);
}

/* A template other than the model's own goes along with what was trained in it. */
static int find_template(run_t *run, err_t *err) {
    const char *choice = run->config.data.chat_template;
    if (!strcmp(choice, "auto") || !strcmp(choice, "none") || run->config.data.format == DATA_TOKENS) return 0;
    if (!run->tok && tokenizer_open(run->config.model.path, &run->tok, err)) return err->code;
    return run_find_template(run, err);
}

/* Before anything is written: whether there can be what is asked for, and room to check it. */
static int prepare(run_t *run, const request_t *q, const lora_t *lora, merge_loss_t *loss, err_t *err) {
    const char *path = run->config.model.path;
    if (q->gguf_lora && gguf_lora_refuse(lora, path, err)) return err->code;
    if (q->gguf && gguf_model_check(run->src, err)) return err->code;
    if (!q->merged && !q->gguf) return 0;
    if (!q->dequantized && model_source_quantized(run->src))
        return err_set(err, ERR_USAGE,
                       "%s holds 4-bit weights, there are no original ones to merge onto; expected --base dequantized",
                       path);
    if (merge_loss_begin(loss, run, q->checkpoint, err)) return err->code;
    return find_template(run, err);
}

/* ---- command -------------------------------------------------------------------------------------------- */

/* The directory of a run, or what lies in it (its `adapter`, say), is near enough to name the checkpoint meant. */
static int not_a_checkpoint(const char *dir, err_t *err) {
    err_t none_good = {0};
    char *parent = path_dirname(dir), *newest = NULL;
    if (checkpoint_newest(dir, &newest, &none_good) == 0 && !newest) checkpoint_newest(parent, &newest, &none_good);
    err_set(err, ERR_USAGE, "%s: not a checkpoint (no config.yaml); expected %s", dir,
            newest ? newest : "a directory output_dir/checkpoint-N");
    free(parent);
    free(newest);
    return err->code;
}

/* Whether an override changes what was trained, which is no longer to be said. */
static int check_override(const char *arg, err_t *err) {
    size_t all = strcspn(arg, "="), section = strcspn(arg, ".=");
    if (!arg[all]) return err_set(err, ERR_USAGE, "command line: unexpected argument \"%s\"; see --help", arg);
    char *s = xstrndup(arg, section), *name = xstrndup(arg + section, all - section);
    const config_key_t *key = config_key_find(s, name[0] ? name + 1 : name);
    free(s);
    free(name);
    if (!key || !key->defines_run) return 0; /* what is no key at all is config_load()'s to say */
    return err_set(err, ERR_USAGE,
                   "command line: %s.%s: the run was trained with what the checkpoint says; expected "
                   "keys that do not define it, such as model.path or device.memory_limit",
                   key->section, key->name);
}

/* The checkpoint's config. An export computes on the CPU, on whatever machine: of the device that the run was trained
 * on only the number of threads counts, and what the command line says. */
static int load_config(const request_t *q, const char *path, config_t *c, err_t *err) {
    static const char *const neutral[] = {"device.backend=cpu", "device.memory_limit=auto", "device.page_weights=auto",
                                          "device.spill=none"};
    enum { NEUTRAL = sizeof neutral / sizeof *neutral };
    char *overrides[NEUTRAL + MAX_OVERRIDES + 1];
    size_t n = 0;
    for (size_t i = 0; i < NEUTRAL; i++) overrides[n++] = (char *)(uintptr_t)neutral[i];
    for (size_t i = 0; i < q->n_overrides; i++) {
        if (check_override(q->overrides[i], err)) return err->code;
        overrides[n++] = (char *)(uintptr_t)q->overrides[i];
    }
    /* The file that was the template may be gone since, or another. */
    char *template = checkpoint_chat_template(q->checkpoint), *text = NULL;
    if (template) overrides[n++] = text = config_override("data.chat_template", template);
    int rc = config_load(path, overrides, n, CONFIG_GENERATE, c, err);
    free(template);
    free(text);
    if (rc) return rc;
    if (strcmp(c->device.backend, "cpu") != 0)
        return err_set(err, ERR_USAGE,
                       "command line: device.backend: got \"%s\"; an export computes on the CPU; "
                       "expected cpu",
                       c->device.backend);
    return 0;
}

static int check_model(const request_t *q, const run_t *run, err_t *err) {
    train_state_t state;
    if (checkpoint_read_state(q->checkpoint, &state, err)) return err->code;
    if (state.model_id == run_model_id(run)) return 0;
    return err_set(err, ERR_USAGE, "%s: not the model that %s was trained on: its weights differ; expected that model",
                   run->config.model.path, q->checkpoint);
}

/* Of several results none is written when one could not be. */
static int check_results(const request_t *q, err_t *err) {
    const struct {
        const char *option, *path;
    } results[] = {
        {"--adapter", q->adapter}, {"--merged", q->merged}, {"--gguf-lora", q->gguf_lora}, {"--gguf", q->gguf}};
    for (size_t i = 0; i < sizeof results / sizeof *results; i++) {
        if (!results[i].path) continue;
        if (model_dir_absent(results[i].path, err)) return err->code;
        for (size_t k = 0; k < i; k++)
            if (results[k].path && !strcmp(results[k].path, results[i].path))
                return err_set(err, ERR_USAGE, "%s and %s: both %s; expected two names", results[k].option,
                               results[i].option, results[i].path);
    }
    return 0;
}

static int export(const request_t *q, err_t *err) {
    run_t run = {0};
    lora_t lora = {0};
    merge_loss_t loss = {0};
    float *master = NULL;
    char *config = path_join(q->checkpoint, "config.yaml");
    int rc = check_results(q, err);
    if (rc == 0 && !path_exists(config)) rc = not_a_checkpoint(q->checkpoint, err);
    if (rc == 0) rc = checkpoint_verify(q->checkpoint, err);
    if (rc == 0) rc = load_config(q, config, &run.config, err);
    if (rc == 0) rc = run_open(&run, false, false, false, err);
    if (rc == 0) rc = check_model(q, &run, err);
    if (rc == 0) rc = read_adapter(q->checkpoint, run.src, &lora, &master, err);
    if (rc == 0) rc = prepare(&run, q, &lora, &loss, err);
    if (rc == 0 && q->adapter) rc = export_adapter(&run, q, &lora, master, err);
    if (rc == 0 && q->gguf_lora) rc = export_gguf_lora(&run, q, &lora, master, err);
    if (rc == 0 && q->merged) rc = export_merged(&run, q, &lora, master, &loss, err);
    if (rc == 0 && q->gguf) rc = export_gguf(&run, q, &lora, master, &loss, err);
    free(config);
    free(master);
    merge_loss_end(&loss);
    lora_free(&lora);
    run_close(&run);
    return rc;
}

/* For each of the two kinds of merged models that are asked for. */
static int read_dtype(const char *name, request_t *q, err_t *err) {
    static const struct {
        const char *name;
        bool dir, gguf;
        dtype_t dtype;
        uint32_t gguf_type;
    } types[] = {{"auto", true, true, DT_COUNT, NO_TYPE},
                 {"bf16", true, true, DT_BF16, GGML_BF16},
                 {"f16", true, true, DT_F16, GGML_F16},
                 {"f32", true, false, DT_F32, NO_TYPE},
                 {"q8_0", false, true, DT_COUNT, GGML_Q8_0}};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (strcmp(name, types[i].name) != 0) continue;
        q->dtype = types[i].dtype;
        q->gguf_type = types[i].gguf_type;
        if ((types[i].dir || !q->merged) && (types[i].gguf || !q->gguf)) return 0;
    }
    return err_set(err, ERR_USAGE, "--dtype: %s; expected auto, bf16, f16 or %s", name,
                   q->merged && q->gguf ? "two exports"
                   : q->gguf            ? "q8_0"
                                        : "f32");
}

static int read_request(const args_t *args, request_t *q, err_t *err) {
    if (args->n == 0 || (!q->adapter && !q->merged && !q->gguf_lora && !q->gguf))
        return err_set(err, ERR_USAGE,
                       "export: expected CHECKPOINT_DIR and --adapter DIR, --merged DIR, --gguf-lora FILE or "
                       "--gguf FILE (see --help)");
    if (!q->merged && !q->gguf && (q->base || q->type))
        return err_set(err, ERR_USAGE, "%s is of a merged model; expected --merged DIR or --gguf FILE",
                       q->base ? "--base" : "--dtype");
    q->dequantized = q->base && !strcmp(q->base, "dequantized");
    q->checkpoint = args->pos[0];
    q->overrides = args->pos + 1;
    q->n_overrides = args->n - 1;
    return read_dtype(q->type ? q->type : "auto", q, err);
}

static int run_export(int argc, char **argv) {
    args_t args;
    err_t err = {0};
    request_t q = {0};
    int rc = command_parse(&command_export, argc, argv, &q, &args, &err);
    if (rc == 0 && args.helped) return 0;
    if (rc == 0) rc = read_request(&args, &q, &err);
    if (rc == 0) rc = export(&q, &err);
    if (rc) log_error("%s", err.msg);
    return rc;
}

static const char *const bases[] = {"original", "dequantized", NULL};
static const char *const dtypes[] = {"auto", "bf16", "f16", "f32", "q8_0", NULL};
static const positional_t positionals[] = {{"CHECKPOINT_DIR", ARG_DIR, .help = "output_dir/checkpoint-N of a run"}};
static const option_t options[] = {
    {"adapter", ARG_DIR, offsetof(request_t, adapter), "DIR", .help = "the LoRA adapter, as PEFT and vLLM load it"},
    {"merged", ARG_DIR, offsetof(request_t, merged), "DIR",
     .help = "the whole model with the adapter merged in, as transformers and vLLM load it"},
    {"gguf-lora", ARG_FILE, offsetof(request_t, gguf_lora), "FILE",
     .help = "the LoRA adapter as a GGUF, as llama.cpp (--lora) and Ollama (ADAPTER) load it"},
    {"gguf", ARG_FILE, offsetof(request_t, gguf), "FILE",
     .help = "the whole model with the adapter merged in as one GGUF, with tokenizer and chat template"},
    {"base", ARG_CHOICE, offsetof(request_t, base), "WHICH", .words = bases,
     .help = "%s: merge onto the original weights, as if not given, or onto the dequantized ones that the adapter was "
             "trained against"},
    {"dtype", ARG_CHOICE, offsetof(request_t, type), "TYPE", .words = dtypes,
     .help =
         "of the merged weights, %s: the base's if auto or not given (of 4 bits what they were made from), in a GGUF "
         "f16 where the base is, else bf16; f32 is not for a GGUF, q8_0 for nothing else"},
};

const command_t command_export = {
    .name = "export",
    .synopsis = "CHECKPOINT_DIR --adapter DIR [section.key=value ...]\n"
                "CHECKPOINT_DIR --merged DIR [--base original|dequantized] [--dtype auto|bf16|f16|f32] "
                "[section.key=value ...]\n"
                "CHECKPOINT_DIR --gguf-lora FILE [section.key=value ...]\n"
                "CHECKPOINT_DIR --gguf FILE [--base original|dequantized] [--dtype auto|bf16|f16|q8_0] "
                "[section.key=value ...]",
    .what = "write an adapter or a merged model",
    .about = "Writes what was trained for other tools; DIR or FILE must not exist.",
    .notes =
        "Beside a GGUF a Modelfile is written, from which Ollama makes a model, unless there is one.\n"
        "The result is read again: values, and for a merged model its loss, are compared with those of base and "
        "adapter; a difference that rounding cannot explain is an error. For its loss a merged model is loaded, on "
        "the CPU. Where that takes too much memory, device.spill=DIR keeps weights in a file there, and "
        "device.memory_limit=SIZE says how much may be taken; the limits that the run was trained under do not "
        "count.\n"
        "A table shows the loss of the base, with the adapter as trained (on the quantized base), with the adapter "
        "on the original weights, and of the merged model as written, on rows of data.eval or else data.train. An "
        "adapter fits the weights that it was trained on: when merging onto the original ones makes the loss higher "
        "by more than a quarter of what the training gained, or by more than a fifth, a warning says so. `--base "
        "dequantized` then merges without that loss.\n"
        "The checkpoint has the run's config. Keys that do not define the run may be given anew: model.path=PATH "
        "where the model has moved, device.threads=N.",
    COMMAND_POSITIONALS(positionals),
    COMMAND_OPTIONS(options),
    .overrides = true,
    .run = run_export,
};
