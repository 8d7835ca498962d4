#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/minmax.h"
#include "base/rng.h"
#include "trainer/quant_report/quant_report.h"

enum { PIECE = 64 * 256 }; /* values that a thread reads, encodes or decodes at a time */

const quant_kind_t quant_kinds[QUANT_KINDS] = {
    {"bf16", QUANT_NONE, false},
    {"int8", QUANT_INT8, false},
    {"int8-zeropoint", QUANT_INT8_ZEROPOINT, false},
    {"int4", QUANT_INT4, false},
    {"fp4", QUANT_FP4, false},
    {"nf4", QUANT_NF4, false},
    {"nf4 + double quantization", QUANT_NF4, true},
};

double quant_rmse(const quant_error_t *e) { return sqrt(e->error / (double)e->n); }

double quant_snr(const quant_error_t *e) { return 10 * log10(e->signal / e->error); }

size_t quant_code_count(quant_type_t type) { return quant_is_plain(type) ? 0 : type <= QUANT_INT4 ? 16 : 256; }

double quant_off_normal(const quant_report_t *r, int kind) {
    const quant_result_t *of = &r->of[kind];
    double sum = 0;
    for (size_t c = 0; c < quant_code_count(quant_kinds[kind].type); c++)
        sum += fabs((double)of->codes[c] / (double)r->values - of->normal[c]);
    return sum / 2;
}

/* ---- one tensor ----------------------------------------------------------------------------------------------- */

/* Its values, and what a type makes of them. */
typedef struct {
    size_t n;
    float *x, *absmax;
    qweight_t w;
} work_t;

static work_t work_new(size_t n) {
    work_t k = {.n = n, .x = xmalloc_array(n, sizeof(float)), .absmax = xcalloc(quant_blocks(n), sizeof(float))};
    k.w.codes = xmalloc(2 * n);
    k.w.absmax_q = xcalloc(quant_blocks(n), 1);
    k.w.nested_absmax = xcalloc(quant_nested_blocks(n), sizeof(float));
    return k;
}

static void work_free(work_t *k) {
    free(k->x), free(k->absmax), free(k->w.codes), free(k->w.absmax_q), free(k->w.nested_absmax);
}

static size_t pieces_of(size_t n) { return (n + PIECE - 1) / PIECE; }

static int read_all(const model_source_t *src, const source_tensor_t *t, work_t *k, err_t *err) {
    err_t first = {0};
#pragma omp parallel for schedule(static)
    for (size_t p = 0; p < pieces_of(k->n); p++) {
        err_t own = {0};
        size_t at = p * PIECE;
        if (source_read(src, t, at, min_size(PIECE, k->n - at), DT_F32, k->x + at, &own)) {
#pragma omp critical
            first = own;
        }
    }
    if (first.code) *err = first;
    return first.code;
}

static void encode(work_t *k, const quant_kind_t *kind) {
    k->w.type = kind->type;
    k->w.double_quant = kind->double_quant;
    k->w.rows = 1, k->w.cols = k->n;
    k->w.absmax = k->absmax;
#pragma omp parallel for schedule(static)
    for (size_t p = 0; p < pieces_of(k->n); p++) {
        size_t at = p * PIECE;
        quant_encode(kind->type, k->x + at, DT_F32, min_size(PIECE, k->n - at),
                     k->w.codes + quant_code_bytes(kind->type, at), k->absmax + at / QUANT_BLOCK);
    }
    if (!kind->double_quant) return;
    quant_encode_constants(k->absmax, quant_blocks(k->n), k->w.absmax_q, k->w.nested_absmax, &k->w.nested_offset);
}

static void count_codes(const qweight_t *w, size_t first, size_t n, uint64_t counts[256]) {
    if (quant_is_plain(w->type)) return;
    for (size_t i = first; i < first + n; i++) {
        uint8_t byte = w->codes[w->type <= QUANT_INT4 ? i / 2 : i];
        counts[w->type > QUANT_INT4 ? byte : i % 2 ? byte & 15 : byte >> 4]++;
    }
}

static quant_error_t compare(const float *x, const float *y, size_t n) {
    quant_error_t e = {.n = n};
    for (size_t i = 0; i < n; i++) {
        double error = (double)y[i] - x[i];
        e.signal += (double)x[i] * x[i];
        e.error += error * error;
        e.worst = fmaxf(e.worst, (float)fabs(error));
    }
    return e;
}

static void add(quant_error_t *sum, const quant_error_t *e) {
    sum->n += e->n;
    sum->signal += e->signal;
    sum->error += e->error;
    sum->worst = fmaxf(sum->worst, e->worst);
}

/* Piece by piece, and the pieces' sums added in their order: the same figures from any number of threads. */
static quant_error_t errors_of(const work_t *k, uint64_t counts[256]) {
    size_t n_pieces = pieces_of(k->n);
    quant_error_t *each = xcalloc(n_pieces, sizeof *each), sum = {0};
#pragma omp parallel
    {
        uint64_t own[256] = {0};
        float *y = xmalloc_array(PIECE, sizeof *y);
#pragma omp for schedule(static)
        for (size_t p = 0; p < n_pieces; p++) {
            size_t at = p * PIECE, n = min_size(PIECE, k->n - at);
            quant_decode(&k->w, at, n, y);
            each[p] = compare(k->x + at, y, n);
            count_codes(&k->w, at, n, own);
        }
#pragma omp critical
        for (int c = 0; c < 256; c++) counts[c] += own[c];
        free(y);
    }
    for (size_t p = 0; p < n_pieces; p++) add(&sum, &each[p]);
    free(each);
    return sum;
}

/* ---- codes ---------------------------------------------------------------------------------------------------- */

/* Counts by code -> by the value that the code has. */
static void order_codes(quant_type_t type, uint64_t counts[256]) {
    uint64_t by_code[256];
    memcpy(by_code, counts, sizeof by_code);
    if (type == QUANT_INT8)
        for (int c = 0; c < 256; c++) counts[(c + 128) % 256] = by_code[c];
    if (type > QUANT_INT4) return;
    const quant_order_t order = quant_order(type);
    size_t written = type == QUANT_INT4 ? 15 : 16;
    memset(counts, 0, 16 * sizeof *counts);
    for (size_t c = 0; c < written; c++) counts[c] = by_code[order.ascending[c]];
}

/* Shares of the codes among values drawn from a normal distribution (by Box and Muller). */
static void normal_codes(const quant_kind_t *kind, double share[256]) {
    enum { N = 1 << 20 };
    work_t k = work_new(N);
    uint64_t counts[256] = {0};
    for (uint64_t i = 0; i < N; i++) {
        double radius = sqrt(-2 * log(1 - (double)rng_uniform(1, i)));
        k.x[i] = (float)(radius * cos(6.283185307179586 * (double)rng_uniform(2, i)));
    }
    encode(&k, kind);
    count_codes(&k.w, 0, N, counts);
    order_codes(kind->type, counts);
    for (int c = 0; c < 256; c++) share[c] = (double)counts[c] / N;
    work_free(&k);
}

/* ---- all tensors ---------------------------------------------------------------------------------------------- */

static int measure_tensor(const model_source_t *src, const source_tensor_t *t, quant_report_t *r, err_t *err) {
    work_t k = work_new(t->rows * t->cols);
    int rc = read_all(src, t, &k, err);
    source_release(src, t);
    for (int i = 0; i < QUANT_KINDS && rc == 0; i++) {
        quant_result_t *of = &r->of[i];
        encode(&k, &quant_kinds[i]);
        quant_error_t e = errors_of(&k, of->codes);
        if (!isfinite(e.signal))
            rc = err_set(err, ERR_USAGE, "%s: tensor \"%s\" has values that are not finite numbers; expected weights",
                         r->model, t->name);
        add(&of->whole, &e);
        add(&of->layer[t->layer], &e);
        of->bytes += quant_code_bytes(quant_kinds[i].type, k.n) +
                     quant_constant_bytes(quant_kinds[i].type, quant_kinds[i].double_quant, k.n);
    }
    r->values += k.n;
    work_free(&k);
    return rc;
}

int quant_measure(const model_source_t *src, quant_report_t *r, err_t *err) {
    if (model_source_quantized(src))
        return err_set(
            err, ERR_USAGE,
            "%s: quantized to 4 bits by bitsandbytes: what the values were before is not in it; expected the "
            "model that it was made from",
            r->model);
    const model_config_t *c = model_source_config(src);
    r->layers = c->layers;
    r->max_length = c->max_positions ? min_size(c->max_positions, 1024) : 1024;
    for (int i = 0; i < QUANT_KINDS; i++) r->of[i].layer = xcalloc(r->layers, sizeof *r->of[i].layer);
    for (size_t i = 0; i < model_source_count(src); i++) {
        const source_tensor_t *t = model_source_at(src, i);
        if (t->role == TENSOR_LINEAR && measure_tensor(src, t, r, err)) return err->code;
    }
    for (int i = 0; i < QUANT_KINDS; i++) {
        if (quant_is_plain(quant_kinds[i].type)) continue;
        order_codes(quant_kinds[i].type, r->of[i].codes);
        normal_codes(&quant_kinds[i], r->of[i].normal);
    }
    return 0;
}

void quant_report_free(quant_report_t *r) {
    for (int i = 0; i < QUANT_KINDS; i++) free(r->of[i].layer);
}
