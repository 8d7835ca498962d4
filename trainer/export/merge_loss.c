#include "trainer/export/merge_loss.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/rng.h"

/* ---- rows ----------------------------------------------------------------------------------------------- */

/* At most this many tokens of the run's own data are enough to tell a good merge from a bad one. */
#define CHECK_TOKENS ((size_t)1024)

/* The first rows, as many as are few. */
static void fill_rows(const dataset_t *ds, batch_t *b) {
    size_t rows = 0, tokens = 0;
    while (rows < ds->n_samples && (rows == 0 || tokens + ds->samples[rows].len <= CHECK_TOKENS))
        tokens += ds->samples[rows++].len;
    epoch_t e;
    epoch_plan(ds, &(batch_spec_t){.batch_size = rows, .accumulation = 1, .max_length = ds->longest}, 0, &e);
    batch_fill(&e, 0, b);
    epoch_free(&e);
}

static void make_up_rows(size_t vocab, batch_t *b) {
    sample_t sample = {.len = CHECK_TOKENS / 4, .labels = CHECK_TOKENS / 4 - 1};
    int32_t *ids = xmalloc(sample.len * sizeof *ids);
    for (size_t i = 0; i < sample.len; i++) ids[i] = (int32_t)(rng_fold(1, i) % vocab);
    fill_rows(&(dataset_t){.ids = ids,
                           .labels = ids,
                           .n_tokens = sample.len,
                           .samples = &sample,
                           .n_samples = 1,
                           .longest = sample.len},
              b);
    free(ids);
}

/* Of data.eval, else of data.train; when neither can be read any more, made-up tokens. The files are tokenized whole
 * for these few rows, since a dataset knows no limit of rows. */
static void find_rows(merge_loss_t *m, run_t *run) {
    err_t err = {0};
    dataset_t *ds = &run->eval;
    m->rows_of = "data.eval";
    if (run_open_data(run, false, true, &err) || !run->eval.n_samples) {
        ds = &run->train;
        m->rows_of = "data.train";
        err = (err_t){0};
        if (run_open_data(run, true, false, &err)) log_warn("%s; the loss is compared on made-up tokens", err.msg);
    }
    if (ds->n_samples) {
        fill_rows(ds, &m->rows);
    } else {
        m->rows_of = NULL;
        make_up_rows(model_source_config(run->src)->vocab, &m->rows);
    }
    dataset_free(&run->eval);
    dataset_free(&run->train);
}

/* ---- the loss of one model --------------------------------------------------------------------------------- */

typedef enum { AS_TRAINED, NOT_QUANTIZED } form_t;

run_t merge_run(const run_t *run, const char *path) {
    const config_t *c = &run->config;
    run_t r = {0};
    r.config.model.path = xstrdup(path);
    r.config.quantization = c->quantization;
    r.config.quantization.compute_dtype = COMPUTE_F32;
    r.config.data.max_length = c->data.max_length; /* LongRoPE's factors follow from it */
    r.config.device.backend = xstrdup(c->device.backend);
    r.config.device.memory_limit = c->device.memory_limit;
    r.config.device.page_weights = c->device.page_weights;
    r.config.device.spill = c->device.spill ? xstrdup(c->device.spill) : NULL;
    r.config.device.threads = c->device.threads;
    return r;
}

/* The model at `path`, with or without the adapter, planned for the rows. run_close(r) in any case. */
static int plan_model(run_t *r, const merge_loss_t *m, const char *path, form_t form, bool adapted, err_t *err) {
    *r = merge_run(m->run, path);
    if (form == NOT_QUANTIZED) r->config.quantization.quant_type = QUANT_NONE;
    int rc = run_open(r, false, false, false, err);
    if (rc == 0 && adapted) rc = run_set_lora(r, m->checkpoint, err);
    r->need = (plan_need_t){.eval_tokens = m->rows.T, .eval_seg = m->rows.max_seg, .resumes = true};
    if (rc == 0 && run_plan(r, err)) rc = err_prefix(err, "checking the merged model");
    return rc;
}

static double loss_of(run_t *r, const batch_t *b) {
    double sum;
    model_loss(&r->model, run_acts(r, PASS_LOSS, b->T), b, &sum, NULL);
    return sum / (double)b->n_labels;
}

/* The base in one form, loaded once: an adapter of zeros changes nothing. */
static int measure_base(const merge_loss_t *m, form_t form, loss_pair_t *pair, err_t *err) {
    run_t r;
    int rc = plan_model(&r, m, m->run->config.model.path, form, true, err);
    if (rc == 0) rc = run_load(&r, m->checkpoint, err);
    if (rc == 0) {
        float *zeros = xcalloc(r.lora.count, sizeof *zeros);
        pair->adapted = loss_of(&r, &m->rows);
        lora_upload(&r.lora, r.be, zeros);
        pair->base = loss_of(&r, &m->rows);
        free(zeros);
        if (!isfinite(pair->adapted))
            rc = err_set(err, ERR_FAILED, "%s: the loss with its adapter is not finite", m->checkpoint);
    }
    run_close(&r);
    return rc;
}

static int measure_bases(merge_loss_t *m, err_t *err) {
    if (m->measured) return 0;
    if (m->quantized && measure_base(m, AS_TRAINED, &m->trained, err)) return err->code;
    if (m->has_original && measure_base(m, NOT_QUANTIZED, &m->original, err)) return err->code;
    if (!m->quantized) m->trained = m->original;
    m->measured = true;
    return 0;
}

/* Linear layers in F32 are held as BF16, which rounds away what was merged in: their loss would be of another model. */
static bool is_f32(const model_source_t *src) {
    for (size_t i = 0; i < model_source_count(src); i++)
        if (model_source_at(src, i)->role == TENSOR_LINEAR) return model_source_at(src, i)->type == DT_F32;
    return false;
}

/* *loss NAN: it cannot be measured. */
static int measure_merged(const merge_loss_t *m, const char *path, double *loss, err_t *err) {
    run_t r;
    int rc = plan_model(&r, m, path, NOT_QUANTIZED, false, err);
    bool measured = rc == 0 && !is_f32(r.src);
    if (measured) rc = run_load(&r, NULL, err);
    *loss = rc == 0 && measured ? loss_of(&r, &m->rows) : NAN;
    if (rc == 0 && measured && !isfinite(*loss)) rc = err_set(err, ERR_FAILED, "the loss is not finite");
    run_close(&r);
    return rc;
}

/* ---- judgement ----------------------------------------------------------------------------------------------- */

bool merge_loses(const loss_pair_t *trained, double merged) {
    double lost = merged - trained->adapted, gain = trained->base - trained->adapted;
    return lost > 0.02 && (lost > gain / 4 || lost > trained->adapted / 5);
}

static void print_row(const char *what, double base, double adapted) {
    char left[16] = "", right[16] = "-";
    if (isfinite(base)) snprintf(left, sizeof left, "%.6f", base);
    if (isfinite(adapted)) snprintf(right, sizeof right, "%.6f", adapted);
    log_info("  %-28s  %10s  %12s", what, left, right);
}

static void print_table(const merge_loss_t *m, bool dequantized, double merged) {
    const quant_type_t type = m->run->config.quantization.quant_type;
    char what[64];
    log_info("loss on %zu tokens%s%s", m->rows.n_labels, m->rows_of ? " of " : ", made up",
             m->rows_of ? m->rows_of : "");
    log_info("  %-28s  %10s  %12s", "", "base", "with adapter");
    if (m->quantized) {
        snprintf(what, sizeof what, "quantized, as trained (%s)", quant_type_name(type));
        print_row(what, m->trained.base, m->trained.adapted);
    }
    if (m->has_original) print_row("original weights", m->original.base, m->original.adapted);
    snprintf(what, sizeof what, "merged onto %s", dequantized && m->quantized ? "the dequantized" : "the original");
    print_row(what, NAN, merged);
    if (!isfinite(merged))
        log_info("  (the merged model is in F32, which this program holds as BF16: its values were compared, not its "
                 "loss)");
}

/* What was merged onto other weights than were trained against has a remedy that what was only rounded has not. */
static void warn_of_loss(const merge_loss_t *m, const char *name, bool dequantized, double merged) {
    double gain = m->trained.base - m->trained.adapted;
    char share[48] = "";
    if (gain > 0)
        snprintf(share, sizeof share, " (%.0f%% of what was gained is lost)",
                 100 * (merged - m->trained.adapted) / gain);
    log_warn("%s: its loss is %.4f, and was %.4f as trained%s. %s", name, merged, m->trained.adapted, share,
             m->quantized && !dequantized
                 ? "The adapter was trained on the quantized weights, and fits the original ones less: merge it with "
                   "`--base dequantized`, or use it (`--adapter`) on the quantized base (`qlora-train quantize`)"
                 : "That is the rounding of the merged weights: merge with a `--dtype` of more digits, or use the "
                   "adapter (`--adapter`) beside the base");
}

int merge_loss_check(merge_loss_t *m, const char *path, const char *name, bool dequantized, err_t *err) {
    double merged;
    if (measure_bases(m, err)) return err->code;
    if (measure_merged(m, path, &merged, err)) return err_prefix(err, "%s", name);
    double want = dequantized ? m->trained.adapted : m->original.adapted;
    print_table(m, dequantized, merged);
    /* BF16 rounding of the merged weights moves a loss by some parts in a thousand. That the adapter is there is the
     * check of values' business (merge.h): it may change the loss by less. */
    if (isfinite(merged) && !(fabs(merged - want) <= 0.02 * want + 0.005))
        return err_set(err, ERR_FAILED, "%s: the merged model does not compute what base and adapter compute", name);
    double is = isfinite(merged) ? merged : want;
    if (m->rows_of && merge_loses(&m->trained, is)) warn_of_loss(m, name, dequantized, is);
    return 0;
}

int merge_loss_begin(merge_loss_t *m, run_t *run, const char *checkpoint, err_t *err) {
    bool in_4_bits = model_source_quantized(run->src) != NULL;
    *m = (merge_loss_t){.run = run,
                        .checkpoint = checkpoint,
                        .quantized = in_4_bits || run->config.quantization.quant_type != QUANT_NONE,
                        .has_original = !in_4_bits};
    find_rows(m, run);
    run_t largest;
    int rc = plan_model(&largest, m, run->config.model.path, in_4_bits ? AS_TRAINED : NOT_QUANTIZED, true, err);
    run_close(&largest);
    return rc;
}

void merge_loss_end(merge_loss_t *m) { batch_free(&m->rows); }
