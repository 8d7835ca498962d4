#include "trainer/export/merge.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "trainer/export/model_dir.h"

/* What an adapter adds to a weight: scale * B A. */
typedef struct {
    const float *A, *B; /* [r, in], [out, r]; NULL: there is none */
    size_t r;
    float scale;
} delta_t;

/* A tensor of the merged model. */
typedef struct {
    const source_tensor_t *from;
    char name[160];
    delta_t delta;
} job_t;

/* Where an adapter of the head would be added to the embedding too, the head becomes a tensor of its own. */
static bool unties(const merge_t *c) { return c->lora->head.n && model_source_config(c->src)->tied; }

static size_t job_count(const merge_t *c) { return model_source_count(c->src) + unties(c); }

static delta_t find_delta(const lora_t *lora, const float *master, size_t layer, linear_slot_t slot) {
    delta_t d = {0};
    for (size_t i = 0; i < lora->n_tensors; i++) {
        const lora_tensor_t *t = &lora->tensors[i];
        if (t->layer != layer || t->slot != slot) continue;
        if (t->is_b) d.B = master + t->offset;
        else d = (delta_t){master + t->offset, d.B, t->rows, lora_scale(lora, layer, slot)};
    }
    return d;
}

/* The name of a head beside the embedding. */
static void head_name(const source_tensor_t *embedding, char *name, size_t size) {
    bool inside = strncmp(embedding->name, "language_model.model.", 21) == 0;
    snprintf(name, size, "%slm_head.weight", inside ? "language_model." : "");
}

static job_t job_at(const merge_t *c, size_t i) {
    size_t n = model_source_count(c->src), layers = c->lora->layers;
    job_t job = {.from = i < n ? model_source_at(c->src, i) : NULL};
    for (size_t k = 0; !job.from; k++)
        if (model_source_at(c->src, k)->role == TENSOR_EMBEDDING) job.from = model_source_at(c->src, k);
    snprintf(job.name, sizeof job.name, "%s", job.from->name);
    if (i == n) head_name(job.from, job.name, sizeof job.name);
    if (i == n || job.from->role == TENSOR_HEAD) job.delta = find_delta(c->lora, c->master, layers, LIN_HEAD);
    else if (job.from->role == TENSOR_LINEAR)
        job.delta = find_delta(c->lora, c->master, job.from->layer, source_slot(job.from));
    return job;
}

static size_t piece_rows(const source_tensor_t *t) {
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
static int scratch_begin(backend_t *cpu, err_t *err) {
    const workspace_need_t need = {.max_tokens = 1, .max_kv = 1, .attn = {.Hq = 1, .Hkv = 1, .D = 1}};
    cpu->workspace_size = cpu->workspace_bytes(cpu, &need);
    cpu->workspace = cpu->alloc(cpu, cpu->workspace_size, MEM_DEVICE);
    return cpu->workspace ? 0 : err_set(err, ERR_FAILED, "%s: out of memory", cpu->device);
}

static void scratch_end(backend_t *cpu) {
    cpu->free(cpu, cpu->workspace, MEM_DEVICE);
    cpu->workspace = NULL;
}

/* out[n,in] = scale * B[row.., r] A[r,in] + beta * out. */
static void delta_rows(const merge_t *c, const delta_t *d, size_t row, size_t n, size_t in, float beta, float *out) {
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
static float round_unbiased(float x, dtype_t type, uint64_t key, size_t element) {
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

static int emit(void *ctx, const out_tensor_t *t, st_writer_t *w, err_t *err) {
    const merge_t *c = ctx;
    const source_tensor_t *from = t->from;
    bool linear = from->role == TENSOR_LINEAR;
    size_t in = from->cols, rows = piece_rows(from), i = 0, n_src = model_source_count(c->src);
    uint64_t key = linear ? rng_fold(rng_mix(from->layer), source_slot(from)) : rng_fold(rng_mix(0), LINEAR_SLOTS);
    while (i < n_src && strcmp(model_source_at(c->src, i)->name, t->name) != 0) i++;
    const job_t job = job_at(c, i);
    float *wide = xmalloc(rows * in * sizeof *wide);
    void *narrow = xmalloc(rows * in * dtype_size(t->dtype));
    int rc = 0;
    for (size_t row = 0; rc == 0 && row < from->rows; row += rows) {
        size_t n = from->rows - row < rows ? from->rows - row : rows;
        rc = base_rows(c, from, row, n, wide, err);
        if (rc) break;
        if (job.delta.A) delta_rows(c, &job.delta, row, n, in, 1, wide);
#pragma omp parallel for schedule(static) num_threads(c->cpu->threads)
        for (size_t k = 0; k < n * in; k++)
            put(round_unbiased(wide[k], t->dtype, key, row * in + k), t->dtype, narrow, k);
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
    for (size_t i = 0; i < job_count(c); i++) {
        const job_t job = job_at(c, i);
        const source_tensor_t *s = job.from;
        bool vector = tensor_is_vector(s->role);
        out_list_add(&list, out_type(c, s), vector ? 1 : 2, vector ? s->cols : s->rows, s->cols, "%s", job.name)->from =
            s;
    }
    for (size_t i = 0; i < model_source_others(c->src); i++) out_list_add_other(&list, model_source_other(c->src, i));
    int rc = scratch_begin(c->cpu, err);
    if (rc == 0) rc = model_dir_tensors(dir, &list, emit, (void *)(uintptr_t)c, err);
    scratch_end(c->cpu);
    if (rc == 0) rc = quantization_left(c->src, &quantization, err);
    if (rc == 0) rc = model_dir_companions(dir, c->src, out_type(c, model_source_at(c->src, 0)), quantization, err);
    if (rc == 0 && unties(c)) rc = model_dir_untie(dir, err);
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

/* d [n] is the change, w [n] the base weight, got [n] the merged values of one row. */
static moments_t row_moments(const float *w, const float *d, const float *got, size_t n, dtype_t type) {
    moments_t m = {0};
    for (size_t j = 0; j < n; j++) {
        float x = w[j] + d[j];
        float low, high;
        neighbours(x, type, &low, &high);
        double step = fabs((double)high - low), f = step > 0 ? fabs((double)x - low) / step : 0;
        /* 1/256 of a step: what the order of the sum BA may make. What does not change and needs no rounding stays.
         * A NaN of the base must be one in the result. */
        double reach = d[j] == 0 && f == 0 ? 0
                       : type == DT_F32    ? 1e-6 * fabs((double)d[j]) + 1e-7 * fabs((double)x)
                                           : step * (1 + 1.0 / 256);
        bool good = isfinite(x) ? fabs((double)got[j] - x) <= reach : isnan(x) ? isnan(got[j]) : got[j] == x;
        if (!good && !m.wrong) m.wrong = true, m.wrong_col = j;
        if (!good || d[j] == 0) continue;
        m.arrived += ((double)got[j] - w[j]) * d[j];
        m.variance += step * step * f * (1 - f) * d[j] * d[j];
        m.delta2 += (double)d[j] * d[j];
    }
    return m;
}

typedef struct {
    float *w, *d, *got; /* a piece of rows each */
    moments_t *row;     /* of each row in the piece: they are added in order, whatever the threads */
} piece_t;

/* The sums over one tensor. */
static int check_tensor(const merge_t *c, const model_source_t *merged, const job_t *job, const char *dir,
                        moments_t *sum, err_t *err) {
    const source_tensor_t *from = job->from, *to = model_source_find(merged, job->name);
    size_t in = from->cols, rows = piece_rows(from);
    CHECK(to && to->rows == from->rows && to->cols == in);
    piece_t p = {xmalloc(rows * in * sizeof(float)), xcalloc(rows * in, sizeof(float)),
                 xmalloc(rows * in * sizeof(float)), xmalloc(rows * sizeof(moments_t))};
    int rc = 0;
    for (size_t row = 0; rc == 0 && row < from->rows; row += rows) {
        size_t n = from->rows - row < rows ? from->rows - row : rows;
        rc = base_rows(c, from, row, n, p.w, err);
        if (rc == 0) rc = source_read(merged, to, row * in, n * in, DT_F32, p.got, err);
        if (rc) break;
        if (job->delta.A) delta_rows(c, &job->delta, row, n, in, 0, p.d);
#pragma omp parallel for schedule(static) num_threads(c->cpu->threads)
        for (size_t i = 0; i < n; i++) p.row[i] = row_moments(p.w + i * in, p.d + i * in, p.got + i * in, in, to->type);
        for (size_t i = 0; rc == 0 && i < n; i++) {
            sum->arrived += p.row[i].arrived;
            sum->variance += p.row[i].variance;
            sum->delta2 += p.row[i].delta2;
            size_t at = i * in + p.row[i].wrong_col;
            if (p.row[i].wrong)
                rc = err_set(err, ERR_FAILED, "%s: %s[%zu,%zu] is %.9g; expected a neighbour of %.9g + %.9g", dir,
                             job->name, row + i, p.row[i].wrong_col, p.got[at], p.w[at], p.d[at]);
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
    for (size_t i = 0; i < job_count(c); i++) {
        const job_t job = job_at(c, i);
        moments_t m = {0};
        if (check_tensor(c, merged, &job, dir, &m, err)) return err->code;
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
    if (rc == 0) rc = scratch_begin(c->cpu, err);
    if (rc == 0) rc = check_all(dir, c, merged, report, err);
    scratch_end(c->cpu);
    model_source_close(merged);
    return rc;
}
