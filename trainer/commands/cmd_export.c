/* `qlora-train export`: a checkpoint's adapter for PEFT, or merged into the base model. What was written is read
 * back and compared before success is reported. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/rng.h"
#include "model/adapter.h"
#include "trainer/commands/command.h"
#include "trainer/config/config_schema.h"
#include "trainer/export/merge.h"
#include "trainer/export/model_dir.h"
#include "trainer/run/checkpoint.h"
#include "trainer/run/run.h"

static const char help[] =
    "usage: qlora-train export CHECKPOINT_DIR --adapter DIR [section.key=value ...]\n"
    "       qlora-train export CHECKPOINT_DIR --merged DIR [--base original|dequantized]\n"
    "                    [--dtype auto|bf16|f16|f32] [section.key=value ...]\n"
    "\n"
    "Writes what was trained for other tools; DIR must not exist.\n"
    "\n"
    "  --adapter DIR   the LoRA adapter, as PEFT and vLLM load it\n"
    "  --merged DIR    the whole model with the adapter merged in, as transformers and vLLM load it\n"
    "  --base WHICH    merge onto the original weights (default), or onto the dequantized ones that the\n"
    "                  adapter was trained against\n"
    "  --dtype TYPE    of the merged weights: the base's (auto, the default; of 4 bits what they were made from),\n"
    "                  or bf16, f16 or f32\n"
    "\n"
    "The result is read again: values, and for a merged model its loss, are compared with those of base and\n"
    "adapter; a difference that rounding cannot explain is an error. For its loss a merged model is loaded, on\n"
    "the CPU. Where that takes too much memory, device.spill=DIR keeps weights in a file there, and\n"
    "device.memory_limit=SIZE says how much may be taken; the limits that the run was trained under do not count.\n"
    "\n"
    "The checkpoint has the run's config. Keys that do not define the run may be given anew: model.path=PATH where\n"
    "the model has moved, device.threads=N.\n";

enum { MAX_OVERRIDES = 64 };

typedef struct {
    const char *checkpoint, *adapter, *merged;
    bool dequantized;
    dtype_t dtype;                /* DT_COUNT: the base's */
    const char *const *overrides; /* section.key=value */
    size_t n_overrides;
} request_t;

/* ---- adapter -------------------------------------------------------------------------------------------- */

static int read_adapter(const char *dir, const model_source_t *base, lora_t *lora, float **master, err_t *err) {
    lora_spec_t spec;
    unsigned char targets[MODEL_MAX_LAYERS];
    const model_config_t *c = model_source_config(base);
    if (adapter_read_spec(dir, c, &spec, targets, err)) return err->code;
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

/* ---- merged model and its check ------------------------------------------------------------------------- */

/* At most this many tokens of the run's own data are enough to tell a good merge from a bad one. */
#define CHECK_TOKENS ((size_t)1024)

/* The first rows of data.eval, else of data.train; when neither can be read any more, made-up tokens. The
 * files are tokenized whole for these few rows, since a dataset knows no limit of rows. */
static void check_batch(run_t *run, batch_t *b) {
    err_t err = {0};
    dataset_t made = {0}, *ds = &run->eval;
    int32_t *ids = NULL;
    sample_t sample = {.len = CHECK_TOKENS / 4, .labels = CHECK_TOKENS / 4 - 1};
    if (run_open_data(run, false, true, &err) || !run->eval.n_samples) {
        ds = &run->train;
        err.code = 0;
        if (run_open_data(run, true, false, &err)) log_warn("%s; the loss is compared on made-up tokens", err.msg);
    }
    if (!ds->n_samples) {
        ids = xmalloc(sample.len * sizeof *ids);
        for (size_t i = 0; i < sample.len; i++)
            ids[i] = (int32_t)(rng_fold(1, i) % model_source_config(run->src)->vocab);
        made = (dataset_t){.ids = ids,
                           .labels = ids,
                           .n_tokens = sample.len,
                           .samples = &sample,
                           .n_samples = 1,
                           .longest = sample.len};
        ds = &made;
    }
    size_t rows = 0, tokens = 0;
    while (rows < ds->n_samples && (rows == 0 || tokens + ds->samples[rows].len <= CHECK_TOKENS))
        tokens += ds->samples[rows++].len;
    epoch_t e;
    epoch_plan(ds, &(batch_spec_t){.batch_size = rows, .accumulation = 1, .max_length = ds->longest}, 0, &e);
    batch_fill(&e, 0, b);
    epoch_free(&e);
    free(ids);
}

/* Where an export computes. */
static void use_device(config_t *c, const config_t *asked) {
    c->device.backend = xstrdup(asked->device.backend);
    c->device.memory_limit = asked->device.memory_limit;
    c->device.page_weights = asked->device.page_weights;
    c->device.spill = asked->device.spill ? xstrdup(asked->device.spill) : NULL;
    c->device.threads = asked->device.threads;
}

/* The model at `path` under a quantization, with or without an adapter, planned for the batch. run_close(r) in any
 * case. */
static int plan_loss(run_t *r, const run_t *run, const char *path, quant_type_t quant, const char *adapter,
                     const batch_t *b, err_t *err) {
    *r = (run_t){0};
    r->config.model.path = xstrdup(path);
    r->config.quantization.quant_type = quant;
    r->config.quantization.double_quant = run->config.quantization.double_quant;
    r->config.quantization.compute_dtype = COMPUTE_F32;
    use_device(&r->config, &run->config);
    int rc = run_open(r, false, false, false, err);
    if (rc == 0 && adapter) rc = run_set_lora(r, adapter, err);
    r->need = (plan_need_t){.eval_tokens = b->T, .eval_seg = b->max_seg, .resumes = true};
    if (rc == 0 && run_plan(r, err)) rc = err_prefix(err, "checking the merged model");
    return rc;
}

/* Its mean loss on the batch. */
static int loss_of(const run_t *run, const char *path, quant_type_t quant, const char *adapter, const batch_t *b,
                   double *loss, err_t *err) {
    run_t r;
    int rc = plan_loss(&r, run, path, quant, adapter, b, err);
    if (rc == 0) rc = run_load(&r, adapter, err);
    if (rc == 0) {
        double sum;
        model_loss(&r.model, run_acts(&r, PASS_LOSS, b->T), b, &sum, NULL);
        *loss = sum / (double)b->n_labels;
    }
    run_close(&r);
    return rc;
}

/* Whether the largest model of the check fits, before an hour is spent on writing: the base with the adapter, in the 16
 * bits that the merged model has. (A base that is in 4 bits already cannot be planned so.) */
static int check_fits(const run_t *run, const request_t *q, const batch_t *b, err_t *err) {
    run_t r;
    bool in_4_bits = model_source_quantized(run->src) != NULL;
    int rc = plan_loss(&r, run, run->config.model.path, in_4_bits ? run->config.quantization.quant_type : QUANT_NONE,
                       q->checkpoint, b, err);
    run_close(&r);
    return rc;
}

/* Value by value. `merged`: the directory as written, still under its temporary name. */
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

/* And as the program itself loads and computes it. */
static int check_loss(const run_t *run, const request_t *q, const char *merged, const batch_t *b, err_t *err) {
    double alone = 0, want = 0, got = 0;
    quant_type_t base = q->dequantized ? run->config.quantization.quant_type : QUANT_NONE;
    if (loss_of(run, run->config.model.path, base, NULL, b, &alone, err) ||
        loss_of(run, run->config.model.path, base, q->checkpoint, b, &want, err) ||
        loss_of(run, merged, QUANT_NONE, NULL, b, &got, err))
        return err->code;
    log_info("loss on %zu tokens: base %.6f, base and adapter %.6f, merged model %.6f (difference %.2g)", b->n_labels,
             alone, want, got, fabs(got - want));
    /* BF16 rounding of the merged weights moves a loss by some parts in a thousand. That the adapter is there is the
     * other check's business: it may change the loss by less. */
    if (!(fabs(got - want) <= 0.02 * want + 0.005))
        return err_set(err, ERR_FAILED, "%s: the merged model does not compute what base and adapter compute",
                       q->merged);
    return 0;
}

/* The quantized base on the CPU, for its dequantized values. */
static int load_quantized(const run_t *run, run_t *base, err_t *err) {
    base->config.model.path = xstrdup(run->config.model.path);
    use_device(&base->config, &run->config);
    base->config.quantization = run->config.quantization;
    base->config.quantization.compute_dtype = COMPUTE_F32;
    base->need = (plan_need_t){.eval_tokens = 1, .eval_seg = 1};
    if (run_open(base, false, false, false, err) || run_plan(base, err)) return err->code;
    return run_load(base, NULL, err);
}

/* Writes the merged model, and compares its values with what they were made from. */
static int write_merged(const run_t *run, const request_t *q, const lora_t *lora, const float *master, const char *dir,
                        err_t *err) {
    run_t base = {0};
    merge_t merge = {.src = run->src,
                     .lora = lora,
                     .master = master,
                     .dequantized = q->dequantized ? &base.model : NULL,
                     .dtype = q->dtype};
    int rc = q->dequantized ? load_quantized(run, &base, err) : 0;
    if (rc == 0) rc = backend_open_cpu(DT_F32, run->config.device.threads, false, &merge.cpu, err);
    if (rc == 0) rc = merge_write(dir, &merge, err);
    if (rc == 0) rc = check_values(dir, &merge, err);
    if (merge.cpu) merge.cpu->close(merge.cpu);
    run_close(&base);
    return rc;
}

static int export_merged(run_t *run, const request_t *q, const lora_t *lora, const float *master, err_t *err) {
    if (!q->dequantized && model_source_quantized(run->src))
        return err_set(err, ERR_USAGE,
                       "%s holds 4-bit weights, there are no original ones to merge onto; expected --base dequantized",
                       run->config.model.path);
    batch_t b = {0};
    char *tmp = NULL;
    check_batch(run, &b);
    int rc = check_fits(run, q, &b, err);
    if (rc == 0) rc = model_dir_begin(q->merged, &tmp, err);
    if (rc == 0) rc = write_merged(run, q, lora, master, tmp, err);
    if (rc == 0) rc = check_loss(run, q, tmp, &b, err);
    if (tmp) rc = model_dir_end(tmp, q->merged, rc, err);
    if (rc == 0) log_info("%s: merged onto the %s weights", q->merged, q->dequantized ? "dequantized" : "original");
    batch_free(&b);
    return rc;
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
    char *overrides[NEUTRAL + MAX_OVERRIDES];
    for (size_t i = 0; i < NEUTRAL; i++) overrides[i] = (char *)(uintptr_t)neutral[i];
    for (size_t i = 0; i < q->n_overrides; i++) {
        if (check_override(q->overrides[i], err)) return err->code;
        overrides[NEUTRAL + i] = (char *)(uintptr_t)q->overrides[i];
    }
    if (config_load(path, overrides, NEUTRAL + q->n_overrides, CONFIG_GENERATE, c, err)) return err->code;
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

static int export(const request_t *q, err_t *err) {
    run_t run = {0};
    lora_t lora = {0};
    float *master = NULL;
    char *config = path_join(q->checkpoint, "config.yaml");
    /* Of two results neither is written when one could not be. */
    int rc = q->adapter ? model_dir_absent(q->adapter, err) : 0;
    if (rc == 0 && q->merged) rc = model_dir_absent(q->merged, err);
    if (rc == 0 && q->adapter && q->merged && !strcmp(q->adapter, q->merged))
        rc = err_set(err, ERR_USAGE, "--adapter and --merged: both %s; expected two directories", q->merged);
    if (rc == 0 && !path_exists(config)) rc = not_a_checkpoint(q->checkpoint, err);
    if (rc == 0) rc = checkpoint_verify(q->checkpoint, err);
    if (rc == 0) rc = load_config(q, config, &run.config, err);
    if (rc == 0) rc = run_open(&run, false, false, false, err);
    if (rc == 0) rc = check_model(q, &run, err);
    if (rc == 0) rc = read_adapter(q->checkpoint, run.src, &lora, &master, err);
    if (rc == 0 && q->adapter) rc = export_adapter(&run, q, &lora, master, err);
    if (rc == 0 && q->merged) rc = export_merged(&run, q, &lora, master, err);
    free(config);
    free(master);
    lora_free(&lora);
    run_close(&run);
    return rc;
}

static int read_dtype(const char *name, dtype_t *dtype, err_t *err) {
    static const struct {
        const char *name;
        dtype_t dtype;
    } types[] = {{"auto", DT_COUNT}, {"bf16", DT_BF16}, {"f16", DT_F16}, {"f32", DT_F32}};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (!strcmp(name, types[i].name)) {
            *dtype = types[i].dtype;
            return 0;
        }
    return err_set(err, ERR_USAGE, "--dtype: %s; expected auto, bf16, f16 or f32", name);
}

int command_export(int argc, char **argv) {
    const char *pos[1 + MAX_OVERRIDES], *base = NULL, *dtype = NULL;
    bool want_help = false;
    size_t n;
    err_t err = {0};
    request_t q = {0};
    option_t opts[] = {{"adapter", &q.adapter, NULL},
                       {"merged", &q.merged, NULL},
                       {"base", &base, NULL},
                       {"dtype", &dtype, NULL},
                       {"help", NULL, &want_help}};
    int rc = options_parse(argc, argv, opts, sizeof opts / sizeof *opts, pos, 1 + MAX_OVERRIDES, &n, &err);
    if (rc == 0 && want_help) {
        fputs(help, stdout);
        return 0;
    }
    if (rc == 0 && (n == 0 || (!q.adapter && !q.merged)))
        rc = err_set(&err, ERR_USAGE, "export: expected CHECKPOINT_DIR and --adapter DIR or --merged DIR (see --help)");
    if (rc == 0 && !q.merged && (base || dtype))
        rc = err_set(&err, ERR_USAGE, "%s is of a merged model; expected --merged DIR", base ? "--base" : "--dtype");
    if (!base) base = "original";
    if (!dtype) dtype = "auto";
    q.dequantized = !strcmp(base, "dequantized");
    if (rc == 0 && !q.dequantized && strcmp(base, "original") != 0)
        rc = err_set(&err, ERR_USAGE, "--base: %s; expected original or dequantized", base);
    if (rc == 0) rc = read_dtype(dtype, &q.dtype, &err);
    q.checkpoint = n ? pos[0] : NULL;
    q.overrides = pos + 1;
    q.n_overrides = n ? n - 1 : 0;
    if (rc == 0) rc = export(&q, &err);
    if (rc) log_error("%s", err.msg);
    return rc;
}
