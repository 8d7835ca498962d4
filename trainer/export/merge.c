#include "trainer/export/merge.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "trainer/export/model_dir.h"

bool merge_unties(const merge_t *c) { return c->lora->head.n && model_source_config(c->src)->tied; }

size_t merge_job_count(const merge_t *c) { return model_source_count(c->src) + merge_unties(c); }

static merge_delta_t find_delta(const lora_t *lora, const float *master, size_t layer, linear_slot_t slot) {
    merge_delta_t d = {0};
    for (size_t i = 0; i < lora->n_tensors; i++) {
        const lora_tensor_t *t = &lora->tensors[i];
        if (t->layer != layer || t->slot != slot) continue;
        if (t->is_b) d.B = master + t->offset;
        else d = (merge_delta_t){master + t->offset, d.B, t->rows, lora_scale(lora, layer, slot)};
    }
    return d;
}

/* The name of a head beside the embedding. */
static void head_name(const source_tensor_t *embedding, char *name, size_t size) {
    bool inside = strncmp(embedding->name, "language_model.model.", 21) == 0;
    snprintf(name, size, "%slm_head.weight", inside ? "language_model." : "");
}

merge_job_t merge_job_at(const merge_t *c, size_t i) {
    size_t n = model_source_count(c->src), layers = c->lora->layers;
    merge_job_t job = {.from = i < n ? model_source_at(c->src, i) : NULL};
    for (size_t k = 0; !job.from; k++)
        if (model_source_at(c->src, k)->role == TENSOR_EMBEDDING) job.from = model_source_at(c->src, k);
    job.role = i == n ? TENSOR_HEAD : job.from->role;
    snprintf(job.name, sizeof job.name, "%s", job.from->name);
    if (i == n) head_name(job.from, job.name, sizeof job.name);
    if (i == n || job.from->role == TENSOR_HEAD) job.delta = find_delta(c->lora, c->master, layers, LIN_HEAD);
    else if (job.from->role == TENSOR_LINEAR)
        job.delta = find_delta(c->lora, c->master, job.from->layer, source_slot(job.from));
    return job;
}

size_t merge_piece_rows(const source_tensor_t *t) {
    size_t rows = LOAD_PIECE / t->cols + 1;
    return rows < t->rows ? rows : t->rows;
}

static dtype_t out_type(const merge_t *c, const source_tensor_t *from) {
    return c->dtype == DT_COUNT ? from->type : c->dtype;
}

/* Rows of the base weight in fp32. */
static int base_rows(const merge_t *c, const source_tensor_t *from, size_t row, size_t n, float *out, err_t *err) {
    model_t *m = c->dequantized;
    if (!m || from->role != TENSOR_LINEAR)
        return source_read(c->src, from, row * from->cols, n * from->cols, DT_F32, out, err);
    const qweight_t *w = &m->layers[from->layer].w[source_slot(from)];
    size_t count = n * w->cols;
    float *place = m->be->alloc(m->be, count * sizeof *place, MEM_DEVICE);
    if (!place) return err_set(err, ERR_FAILED, "%s: out of memory", m->be->device);
    model_acquire_layer(m, from->layer, 1);
    m->be->dequant(m->be, w, row * w->cols, count, place, DT_F32);
    model_release_layer(m, from->layer);
    m->be->download(m->be, out, place, count * sizeof *place);
    m->be->free(m->be, place, MEM_DEVICE);
    return 0;
}

/* Scratch of the products, for as long as they are made. */
int merge_begin(const merge_t *c, err_t *err) {
    backend_t *cpu = c->cpu;
    const workspace_need_t need = {.max_tokens = 1, .max_kv = 1, .attn = {.Hq = 1, .Hkv = 1, .D = 1}};
    cpu->workspace_size = cpu->workspace_bytes(cpu, &need);
    cpu->workspace = cpu->alloc(cpu, cpu->workspace_size, MEM_DEVICE);
    return cpu->workspace ? 0 : err_set(err, ERR_FAILED, "%s: out of memory", cpu->device);
}

void merge_end(const merge_t *c) {
    c->cpu->free(c->cpu, c->cpu->workspace, MEM_DEVICE);
    c->cpu->workspace = NULL;
}

/* out[n,in] = scale * B[row.., r] A[r,in] + beta * out. */
static void delta_rows(const merge_t *c, const merge_delta_t *d, size_t row, size_t n, size_t in, float beta,
                       float *out) {
    matrix_t a = {(void *)(uintptr_t)d->A, DT_F32, in}, b = {(void *)(uintptr_t)(d->B + row * d->r), DT_F32, d->r};
    c->cpu->gemm(c->cpu, false, false, n, in, d->r, d->scale, b, a, beta, (matrix_t){out, DT_F32, in});
}

/* The value of the type next to x towards zero, and the next one from there. What is on the grid is its own `low`. */
static void neighbours(float x, dtype_t type, float *low, float *high) {
    uint32_t bits = f32_to_bits(x);
    float smallest = ldexpf(1, -14), step = ldexpf(1, -24); /* F16's normal numbers begin at 2^-14 */
    if (type == DT_F32) *low = *high = x;
    else if (type == DT_F16 && fabsf(x) < smallest) {
        *low = copysignf(floorf(fabsf(x) / step) * step, x);
        *high = *low + copysignf(step, x);
    } else {
        uint32_t unit = type == DT_F16 ? 0x2000u : 0x10000u;
        *low = f32_from_bits(bits & ~(unit - 1));
        *high = f32_from_bits((bits & ~(unit - 1)) + unit);
    }
}

/* Rounds to one of the two neighbours, the nearer with the greater probability, so that the mean is kept. Nearest
 * would lose the adapter: the base weight lies on the grid, and a delta of less than half a step would vanish in
 * every element (measured on SmolLM2 after six steps: loss 2.44 merged against 2.25; see docs/decisions.md). The
 * choice is a function of the element alone. */
float merge_round(float x, dtype_t type, uint64_t key, size_t element) {
    float low, high;
    if (!isfinite(x)) return x;
    neighbours(x, type, &low, &high);
    if (low == x) return x;
    uint32_t part = (uint32_t)((x - low) / (high - low) * 65536.0f), draw = (uint32_t)(rng_fold(key, element) >> 48);
    return part + draw >= 65536 ? high : low;
}

/* The value, which has the type, in it. */
static void put(float x, dtype_t type, void *out, size_t i) {
    if (type == DT_F32) ((float *)out)[i] = x;
    else ((uint16_t *)out)[i] = type == DT_F16 ? f16_from_f32(x) : bf16_from_f32(x);
}

uint64_t merge_key(const merge_job_t *job) {
    const source_tensor_t *t = job->from;
    bool linear = t->role == TENSOR_LINEAR;
    return linear ? rng_fold(rng_mix(t->layer), source_slot(t)) : rng_fold(rng_mix(0), LINEAR_SLOTS);
}

bool merge_is_coarse(const merge_t *c, const merge_job_t *job) {
    const char *type = job->from->file_type;
    bool plain = !strcmp(type, "BF16") || !strcmp(type, "F16") || !strcmp(type, "F32");
    return job->delta.A && ((c->dequantized && job->from->role == TENSOR_LINEAR) || !plain);
}

int merge_rows(const merge_t *c, const merge_job_t *job, size_t row, size_t n, float *out, err_t *err) {
    if (base_rows(c, job->from, row, n, out, err)) return err->code;
    if (job->delta.A) delta_rows(c, &job->delta, row, n, job->from->cols, 1, out);
    return 0;
}

static int emit(void *ctx, const out_tensor_t *t, st_writer_t *w, err_t *err) {
    const merge_t *c = ctx;
    const source_tensor_t *from = t->from;
    const merge_job_t job = merge_job_at(c, (size_t)t->part);
    size_t in = from->cols, rows = merge_piece_rows(from);
    uint64_t key = merge_key(&job);
    float *wide = xmalloc(rows * in * sizeof *wide);
    void *narrow = xmalloc(rows * in * dtype_size(t->dtype));
    int rc = 0;
    for (size_t row = 0; rc == 0 && row < from->rows; row += rows) {
        size_t n = from->rows - row < rows ? from->rows - row : rows;
        rc = merge_rows(c, &job, row, n, wide, err);
        if (rc) break;
#pragma omp parallel for schedule(static) num_threads(c->cpu->threads)
        for (size_t i = 0; i < n * in; i++) put(merge_round(wide[i], t->dtype, key, row * in + i), t->dtype, narrow, i);
        rc = st_writer_data(w, narrow, n * in * dtype_size(t->dtype), err);
    }
    free(wide);
    free(narrow);
    source_release(c->src, from);
    return rc;
}

/* The merged weights are not quantized; other parts of a vision-language model stay as they are, and where those are
 * in 4 bits the config has to go on saying so, of them alone. NULL: nothing is. */
static int quantization_left(const model_source_t *src, json_t **quantization, err_t *err) {
    static const char *const merged[] = {"language_model", "model.language_model", "lm_head"};
    bool any = false;
    *quantization = NULL;
    for (size_t i = 0; i < model_source_others(src); i++)
        any |= strstr(model_source_other(src, i)->name, ".quant_state.") != NULL;
    if (!any || model_dir_quantization(src, quantization, err) || !*quantization) return err->code;
    json_t *skipped = json_object_get(*quantization, "llm_int8_skip_modules");
    skipped = json_is_array(skipped) ? json_incref(skipped) : json_array();
    for (size_t i = 0; i < sizeof merged / sizeof *merged; i++) json_array_append_new(skipped, json_string(merged[i]));
    json_object_set_new(*quantization, "llm_int8_skip_modules", skipped);
    return 0;
}

int merge_write(const char *dir, const merge_t *c, err_t *err) {
    out_list_t list = {0};
    json_t *quantization = NULL;
    for (size_t i = 0; i < merge_job_count(c); i++) {
        const merge_job_t job = merge_job_at(c, i);
        const source_tensor_t *s = job.from;
        bool vector = tensor_is_vector(s->role);
        out_tensor_t *t = out_list_add(&list, out_type(c, s), vector ? 1 : 2, vector ? s->cols : s->rows, s->cols, "%s",
                                       job.name);
        t->from = s;
        t->part = (int)i;
    }
    for (size_t i = 0; i < model_source_others(c->src); i++) out_list_add_other(&list, model_source_other(c->src, i));
    int rc = merge_begin(c, err);
    if (rc == 0) rc = model_dir_tensors(dir, &list, emit, (void *)(uintptr_t)c, err);
    merge_end(c);
    if (rc == 0) rc = quantization_left(c->src, &quantization, err);
    if (rc == 0)
        rc = model_dir_companions(dir, c->src, out_type(c, model_source_at(c->src, 0)), quantization, c->chat_template,
                                  err);
    if (rc == 0 && merge_unties(c)) rc = model_dir_untie(dir, err);
    json_decref(quantization);
    free(list.t);
    return rc;
}

/* ---- check ---------------------------------------------------------------------------------------------- */

/* How much of a change d arrived. With x = W + d and the merged value x + e, the ratio Σ (x + e - W) d / Σ d² is
 * 1 + Σ e d / Σ d². The rounding error e has mean 0 and variance step² f (1 - f), f the place of x between its two
 * neighbours; so the ratio has mean 1 and variance Σ step² f (1 - f) d² / (Σ d²)². Without the adapter it is 0. */
typedef struct {
    double arrived, variance, delta2; /* Σ (merged - W) d, Σ step² f (1 - f) d², Σ d² */
    bool wrong;                       /* some value is neither neighbour */
    size_t wrong_col;
} moments_t;

static double ratio_of(const moments_t *m) { return m->arrived / m->delta2; }

/* Six deviations, and 1% for the tails of a sum that few elements dominate. */
static double tolerance_of(const moments_t *m) { return 6 * sqrt(m->variance) / m->delta2 + 0.01; }

/* What the values of a merged tensor are rounded to. */
typedef struct {
    dtype_t type;
    bool q8_0;    /* GGUF's blocks of 32 */
    bool coarse;  /* merge_is_coarse() */
    double slack; /* relative to 1 + |x|: what adding 1 in the file, and taking it off where it is read, leaves */
} grid_t;

/* Q8_0: the step of the block that begins at x_j. */
static double step_of_block(const float *w, const float *d, size_t j) {
    float most = 0;
    for (size_t k = j; k < j + 32; k++) most = fmaxf(most, fabsf(w[k] + d[k]));
    return most / 127;
}

/* Between which two values x lies: how far they are apart, and where x is between them. */
static double step_at(float x, dtype_t type, double *part) {
    float low, high;
    neighbours(x, type, &low, &high);
    double step = fabs((double)high - low);
    *part = step > 0 ? fabs((double)x - low) / step : 0;
    return step;
}

/* How far the value in the file may be from x. What does not change and needs no rounding stays. */
static double reach_of(const grid_t *g, double x, double d, double step, double part) {
    if (g->q8_0) return step * (g->coarse ? 1 : 0.5) + (step + fabs(x)) / 2000; /* the scale in half precision */
    if (g->type == DT_F32) return d == 0 ? g->slack * (1 + fabs(x)) : 1e-6 * fabs(d) + 1e-7 * fabs(x);
    /* 1/256 of a step: what the order of the sum BA may make. */
    return d == 0 && part == 0 ? 0 : step * (1 + 1.0 / 256);
}

/* Of the rounding. Q8_0: of a value that may be anywhere in a step, and of the scale in half precision. */
static double variance_of(const grid_t *g, double x, double step, double part) {
    if (!g->q8_0) return step * step * part * (1 - part);
    return step * step * (g->coarse ? 1.0 / 4 : 1.0 / 12) + x * x / (3.0 * 2048 * 2048);
}

/* d [n] is the change, w [n] the base weight, got [n] the merged values of one row. */
static moments_t row_moments(const float *w, const float *d, const float *got, size_t n, const grid_t *g) {
    moments_t m = {0};
    double part = 0, step = 0;
    for (size_t j = 0; j < n; j++) {
        float x = w[j] + d[j];
        if (!g->q8_0) step = step_at(x, g->type, &part);
        else if (j % 32 == 0) step = step_of_block(w, d, j);
        /* A NaN of the base must be one in the result. */
        bool good = isfinite(x) ? fabs((double)got[j] - x) <= reach_of(g, x, d[j], step, part)
                    : isnan(x)  ? isnan(got[j])
                                : got[j] == x;
        if (!good && !m.wrong) m.wrong = true, m.wrong_col = j;
        if (!good || d[j] == 0) continue;
        m.arrived += ((double)got[j] - w[j]) * d[j];
        m.variance += variance_of(g, x, step, part) * d[j] * d[j];
        m.delta2 += (double)d[j] * d[j];
    }
    return m;
}

typedef struct {
    float *w, *d, *got; /* a piece of rows each */
    moments_t *row;     /* of each row in the piece: they are added in order, whatever the threads */
} piece_t;

static const arch_t *arch_of(const model_source_t *src) { return model_source_config(src)->arch; }

/* The sums over one tensor. */
static int check_tensor(const merge_t *c, const model_source_t *merged, size_t number, const char *dir, moments_t *sum,
                        err_t *err) {
    /* By its place in the order of the architecture: names differ between kinds of files. */
    const merge_job_t job = merge_job_at(c, number);
    const source_tensor_t *from = job.from, *to = model_source_at(merged, number);
    size_t in = from->cols, rows = merge_piece_rows(from);
    CHECK(to->role == job.role && to->layer == from->layer && to->rows == from->rows && to->cols == in);
    bool plus_one = model_source_is_gguf(merged) && from->role == TENSOR_NORM && arch_of(merged)->norm_plus_one;
    const grid_t grid = {.type = to->type,
                         .q8_0 = !strcmp(to->file_type, "Q8_0"),
                         .coarse = merge_is_coarse(c, &job),
                         .slack = plus_one ? 0x1p-22 : 0};
    piece_t p = {xmalloc(rows * in * sizeof(float)), xcalloc(rows * in, sizeof(float)),
                 xmalloc(rows * in * sizeof(float)), xmalloc(rows * sizeof(moments_t))};
    int rc = 0;
    for (size_t row = 0; rc == 0 && row < from->rows; row += rows) {
        size_t n = from->rows - row < rows ? from->rows - row : rows;
        rc = base_rows(c, from, row, n, p.w, err);
        if (rc == 0) rc = source_read_exact(merged, to, row * in, n * in, p.got, err);
        if (rc) break;
        if (job.delta.A) delta_rows(c, &job.delta, row, n, in, 0, p.d);
#pragma omp parallel for schedule(static) num_threads(c->cpu->threads)
        for (size_t i = 0; i < n; i++) p.row[i] = row_moments(p.w + i * in, p.d + i * in, p.got + i * in, in, &grid);
        for (size_t i = 0; rc == 0 && i < n; i++) {
            sum->arrived += p.row[i].arrived;
            sum->variance += p.row[i].variance;
            sum->delta2 += p.row[i].delta2;
            size_t at = i * in + p.row[i].wrong_col;
            if (p.row[i].wrong)
                rc = err_set(err, ERR_FAILED, "%s: %s[%zu,%zu] is %.9g; expected a neighbour of %.9g + %.9g", dir,
                             job.name, row + i, p.row[i].wrong_col, p.got[at], p.w[at], p.d[at]);
        }
    }
    free(p.w), free(p.d), free(p.got), free(p.row);
    source_release(c->src, from);
    source_release(merged, to);
    return rc;
}

/* One weight, or all together: whether the change arrived. */
static int judge(const moments_t *m, const char *dir, const char *name, err_t *err) {
    double ratio = ratio_of(m), tolerance = tolerance_of(m);
    if (fabs(ratio - 1) <= tolerance) return 0;
    return err_set(err, ERR_FAILED, "%s: %s: %.4f of the adapter's change arrived; expected 1 within %.4f", dir, name,
                   ratio, tolerance);
}

static int check_all(const char *dir, const merge_t *c, const model_source_t *merged, merge_report_t *report,
                     err_t *err) {
    moments_t all = {0};
    size_t adapted = 0;
    if (model_source_count(merged) != merge_job_count(c))
        return err_set(err, ERR_FAILED, "%s: the model has %zu tensors; expected %zu", dir, model_source_count(merged),
                       merge_job_count(c));
    for (size_t i = 0; i < merge_job_count(c); i++) {
        const merge_job_t job = merge_job_at(c, i);
        moments_t m = {0};
        if (check_tensor(c, merged, i, dir, &m, err)) return err->code;
        adapted += job.delta.A != NULL;
        if (m.delta2 == 0) continue;
        report->changed++;
        all.arrived += m.arrived;
        all.variance += m.variance;
        all.delta2 += m.delta2;
        /* Too small a change beside its rounding: such a weight counts only in the sum over all. */
        if (tolerance_of(&m) >= 1) continue;
        report->judged++;
        if (judge(&m, dir, job.name, err)) return err->code;
        if (report->judged == 1 || fabs(ratio_of(&m) - 1) > fabs(report->worst - 1)) {
            report->worst = ratio_of(&m);
            report->worst_tolerance = tolerance_of(&m);
            snprintf(report->worst_name, sizeof report->worst_name, "%s", job.name);
        }
    }
    CHECK(2 * adapted == c->lora->n_tensors);
    if (!report->changed) return 0;
    report->ratio = ratio_of(&all);
    report->tolerance = tolerance_of(&all);
    return judge(&all, dir, "all weights", err);
}

int merge_check(const char *dir, const merge_t *c, merge_report_t *report, err_t *err) {
    model_source_t *merged = NULL;
    *report = (merge_report_t){0};
    int rc = model_source_open(dir, &merged, err);
    if (rc == 0) rc = merge_begin(c, err);
    if (rc == 0) rc = check_all(dir, c, merged, report, err);
    merge_end(c);
    model_source_close(merged);
    return rc;
}
