#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "base/log.h"
#include "base/mem.h"
#include "model/source_impl.h"

/* Values converted at a time: a multiple of every block length, small enough for the first-level cache. */
#define CHUNK ((size_t)1024)

/* Values copied at a time before they are looked at: they are still in the second-level cache then. */
#define COPY_CHUNK ((size_t)16384)

/* Of each tensor's bytes, what its fingerprint covers. */
#define FINGERPRINT_BYTES ((size_t)4096)

static int by_name(const void *a, const void *b) {
    return strcmp((*(source_entry_t *const *)a)->name, (*(source_entry_t *const *)b)->name);
}

/* The name in a Hugging Face file, whose prefix may be another than Llama's "model.". */
static char *stored_name(const model_source_t *src, const char *name) {
    static const char usual[] = "model.";
    if (src->prefix && !strncmp(name, usual, sizeof usual - 1))
        return xasprintf("%s%s", src->prefix, name + sizeof usual - 1);
    return xasprintf("%s%s", src->head_prefix ? src->head_prefix : "", name);
}

static int add_entry(void *ctx, const model_tensor_t *t) {
    model_source_t *src = ctx;
    char name[160];
    VEC_GROW(src->entries, src->n_entries, src->cap_entries);
    source_entry_t *e = &src->entries[src->n_entries++];
    *e = (source_entry_t){.t = {.role = t->role, .spec = t->spec, .layer = t->layer, .rows = t->rows, .cols = t->cols}};
    model_tensor_name(t, name, sizeof name);
    e->t.name = e->name = stored_name(src, name);
    model_tensor_gguf_name(t, name, sizeof name);
    e->gguf_name = xstrdup(name);
    return 0;
}

void source_list_tensors(model_source_t *src) {
    model_each_tensor(&src->config, add_entry, src);
    src->by_name = xcalloc(src->n_entries, sizeof *src->by_name);
    for (size_t i = 0; i < src->n_entries; i++) src->by_name[i] = &src->entries[i];
    qsort(src->by_name, src->n_entries, sizeof *src->by_name, by_name);
}

void source_find_biases(model_source_t *src, source_has_fn *has_bias) {
    for (unsigned slot = 0; slot < LINEAR_SLOTS; slot++) {
        const tensor_spec_t *spec = arch_linear(src->config.arch, (linear_slot_t)slot);
        if (spec && has_bias(src, spec)) src->config.biases |= 1u << slot;
    }
}

int source_leftover_error(const model_source_t *src, const char *name, size_t len, err_t *err) {
    return err_set(err, ERR_USAGE,
                   "%s: tensor \"%.*s\": not of a %s model, which would leave it out of what is computed", src->path,
                   len < 200 ? (int)len : 200, name, src->config.arch->model_type);
}

void source_note(const model_source_t *src, const char *fmt, ...) {
    va_list args;
    char text[400];
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    log_warn("%s: %s", src->path, text);
}

int source_shape_error(const model_source_t *src, const source_entry_t *e, int n_dims, const size_t *shape,
                       err_t *err) {
    strbuf_t s = {0};
    strbuf_adds(&s, "[");
    for (int i = 0; i < n_dims; i++) strbuf_addf(&s, "%s%zu", i ? ", " : "", shape[i]);
    if (tensor_is_vector(e->t.role)) strbuf_addf(&s, "]; expected [%zu]", e->t.cols);
    else strbuf_addf(&s, "]; expected [%zu, %zu]", e->t.rows, e->t.cols);
    err_set(err, ERR_USAGE, "%s: tensor \"%s\" has shape %s from the model's config", src->path,
            src->gguf ? e->gguf_name : e->name, s.p);
    free(s.p);
    return err->code;
}

int source_missing_error(const model_source_t *src, const char *name, const source_entry_t *e, err_t *err) {
    if (tensor_is_vector(e->t.role))
        return err_set(err, ERR_USAGE, "%s: tensor \"%s\" is missing; expected shape [%zu]", src->path, name,
                       e->t.cols);
    return err_set(err, ERR_USAGE, "%s: tensor \"%s\" is missing; expected shape [%zu, %zu]", src->path, name,
                   e->t.rows, e->t.cols);
}

size_t source_layers_named(const char *name, size_t len, const char *prefix) {
    size_t at = strlen(prefix), first = at, n = 0;
    if (len < at || memcmp(name, prefix, at) != 0) return 0;
    for (; at < len && name[at] >= '0' && name[at] <= '9' && n < SIZE_MAX / 16; at++)
        n = n * 10 + (size_t)(name[at] - '0');
    return at > first && at < len && name[at] == '.' ? n + 1 : 0;
}

int source_layers_error(const model_source_t *src, const char *name, size_t len, size_t held, err_t *err) {
    return err_set(err, ERR_USAGE,
                   "%s: tensor \"%.*s\": the weights are of %zu layers; expected the %zu of the "
                   "model's config",
                   src->path, len < 200 ? (int)len : 200, name, held, src->config.layers);
}

void model_source_close(model_source_t *src) {
    if (!src) return;
    for (size_t i = 0; i < src->n_entries; i++) {
        free(src->entries[i].name);
        free(src->entries[i].gguf_name);
        free(src->entries[i].own_absmax);
    }
    free(src->entries);
    free(src->by_name);
    free(src->tensors);
    free(src->others);
    for (size_t i = 0; i < src->n_shards; i++) safetensors_close(src->shards[i]);
    free(src->shards);
    gguf_close(src->gguf);
    free(src->dir);
    free(src->path);
    free(src);
}

const char *model_source_path(const model_source_t *src) { return src->path; }
const model_config_t *model_source_config(const model_source_t *src) { return &src->config; }
bool model_source_is_gguf(const model_source_t *src) { return src->gguf != NULL; }
const char *model_source_dir(const model_source_t *src) { return src->dir; }
const gguf_t *model_source_gguf(const model_source_t *src) { return src->gguf; }
size_t model_source_count(const model_source_t *src) { return src->n_entries; }
const source_tensor_t *model_source_at(const model_source_t *src, size_t i) { return &src->entries[i].t; }

size_t model_source_others(const model_source_t *src) { return src->n_others; }
const st_tensor_t *model_source_other(const model_source_t *src, size_t i) { return src->others[i]; }

const source_tensor_t *model_source_find(const model_source_t *src, const char *name) {
    source_entry_t entry = {.name = (char *)(uintptr_t)name}, *key = &entry;
    source_entry_t **found = bsearch(&key, src->by_name, src->n_entries, sizeof key, by_name);
    return found ? &(*found)->t : NULL;
}

const source_tensor_t *model_source_quantized(const model_source_t *src) {
    for (size_t i = 0; i < src->n_entries; i++)
        if (src->entries[i].t.quantized) return &src->entries[i].t;
    return NULL;
}

static const source_entry_t *entry_of(const source_tensor_t *t) { return (const source_entry_t *)t; }

/* Where row `r` of Hugging Face's order lies, of `rows`. Within a head of D rows, RoPE pairs row j with row j + D/2;
 * GGUF's llama layout keeps the two of a pair next to each other, as 2j and 2j + 1. */
static size_t stored_row(const source_entry_t *e, size_t rows, size_t r) {
    if (!e->heads) return r;
    size_t d = rows / e->heads, in_head = r % d;
    return r - in_head + in_head % (d / 2) * 2 + in_head / (d / 2);
}

static void put_bf16(const float *x, size_t n, void *out) {
    bf16_t *o = out;
    for (size_t i = 0; i < n; i++) o[i] = bf16_from_f32(x[i]);
}

static void put_f16(const float *x, size_t n, void *out) {
    uint16_t *o = out;
    for (size_t i = 0; i < n; i++) o[i] = f16_from_f32(x[i]);
}

static void put_f32(const float *x, size_t n, void *out) { memcpy(out, x, n * sizeof *x); }

/* Infinity or NaN among them? What is not finite after rounding would turn every loss into NaN. */
static bool any_not_finite(const float *x, size_t n) {
    unsigned bad = 0;
    for (size_t i = 0; i < n; i++) bad |= (f32_to_bits(x[i]) & 0x7fffffffu) >= 0x7f7f8000u; /* rounds to infinity */
    return bad != 0;
}

static bool any_not_finite_16(const uint16_t *x, size_t n, uint16_t exponent) {
    uint16_t bad = 0;
    for (size_t i = 0; i < n; i++) bad |= (x[i] & exponent) == exponent;
    return bad != 0;
}

static int not_finite_error(const model_source_t *src, const source_entry_t *e, size_t element, err_t *err) {
    return err_set(err, ERR_USAGE, "%s: tensor \"%s\" has a value that is not a finite number near row %zu", src->path,
                   e->name, tensor_is_vector(e->t.role) ? element : element / e->t.cols);
}

/* exact: blocks are not rounded to BF16 on their way to F32. */
static int read_span(const model_source_t *src, const source_entry_t *e, size_t first, size_t n, dtype_t type,
                     bool exact, uint8_t *out, err_t *err) {
    float x[CHUNK];
    for (size_t i = 0; i < n; i += CHUNK) {
        size_t m = n - i < CHUNK ? n - i : CHUNK;
        if (type == DT_BF16 && e->minus == 0) { /* what most of a file is read as: rounded where it is decoded */
            if (!gguf_dequant_bf16(&e->stored, first + i, m, (bf16_t *)(void *)out + i))
                return not_finite_error(src, e, first + i, err);
            continue;
        }
        gguf_dequant(&e->stored, first + i, m, x);
        if (any_not_finite(x, m)) return not_finite_error(src, e, first + i, err);
        for (size_t k = 0; e->minus != 0 && k < m; k++) x[k] -= e->minus;
        for (size_t k = 0; !exact && e->t.type == DT_BF16 && type == DT_F32 && k < m; k++) x[k] = bf16_round(x[k]);
        (type == DT_BF16 ? put_bf16 : type == DT_F16 ? put_f16 : put_f32)(x, m, out + i * dtype_size(type));
    }
    return 0;
}

/* What has the type in the file needs no way through fp32: at four times the speed, and most models are BF16. */
static int copy_span(const model_source_t *src, const source_entry_t *e, size_t first, size_t n, dtype_t type,
                     uint8_t *out, err_t *err) {
    size_t size = dtype_size(type);
    for (size_t i = 0; i < n; i += COPY_CHUNK) {
        size_t m = n - i < COPY_CHUNK ? n - i : COPY_CHUNK;
        uint8_t *o = out + i * size;
        memcpy(o, e->stored.data + (first + i) * size, m * size);
        bool bad = type == DT_F32 ? any_not_finite((const float *)(void *)o, m)
                                  : any_not_finite_16((const uint16_t *)(void *)o, m, type == DT_F16 ? 0x7c00 : 0x7f80);
        if (bad) return not_finite_error(src, e, first + i, err);
    }
    return 0;
}

static bool is_stored_as(const source_entry_t *e, dtype_t type) {
    return e->minus == 0 && e->stored.type == (type == DT_BF16  ? (uint32_t)GGML_BF16
                                               : type == DT_F16 ? (uint32_t)GGML_F16
                                                                : (uint32_t)GGML_F32);
}

/* Of a permuted tensor row by row, of others as one span. */
static int read_values(const model_source_t *src, const source_tensor_t *t, size_t first, size_t n, dtype_t type,
                       bool exact, void *out, err_t *err) {
    const source_entry_t *e = entry_of(t);
    bool vector = tensor_is_vector(t->role);
    size_t count = t->rows * t->cols, width = vector ? 1 : t->cols;
    CHECK(!t->quantized && first <= count && n <= count - first);
    for (size_t i = 0, m; i < n; i += m) {
        size_t row = (first + i) / width, col = (first + i) % width, left = n - i;
        m = e->heads && width - col < left ? width - col : left;
        size_t from = stored_row(e, count / width, row) * width + col;
        uint8_t *to = (uint8_t *)out + i * dtype_size(type);
        int rc = is_stored_as(e, type) ? copy_span(src, e, from, m, type, to, err)
                                       : read_span(src, e, from, m, type, exact, to, err);
        if (rc) return rc;
    }
    return 0;
}

int source_read(const model_source_t *src, const source_tensor_t *t, size_t first, size_t n, dtype_t type, void *out,
                err_t *err) {
    return read_values(src, t, first, n, type, false, out, err);
}

int source_read_exact(const model_source_t *src, const source_tensor_t *t, size_t first, size_t n, float *out,
                      err_t *err) {
    return read_values(src, t, first, n, DT_F32, true, out, err);
}

int source_quantized(const model_source_t *src, const source_tensor_t *t, qweight_t *w, err_t *err) {
    CHECK(t->quantized);
    *w = entry_of(t)->quantized;
    size_t blocks = quant_blocks(t->rows * t->cols);
    const float *constants = w->double_quant ? w->nested_absmax : w->absmax;
    if (any_not_finite(constants, w->double_quant ? (blocks + QUANT_NESTED_BLOCK - 1) / QUANT_NESTED_BLOCK : blocks))
        return err_set(err, ERR_USAGE, "%s: tensor \"%s\" has a constant that is not a finite number", src->path,
                       t->name);
    return 0;
}

void source_release_part(const model_source_t *src, const source_tensor_t *t, size_t i, size_t n) {
    (void)src;
    const source_entry_t *e = entry_of(t);
    const uint8_t *data = t->quantized ? e->quantized.codes : e->stored.data;
    size_t bytes = t->quantized ? quant_code_bytes(e->quantized.type, t->rows * t->cols) : e->stored.bytes;
    size_t a = bytes / n * i, b = i + 1 < n ? bytes / n * (i + 1) : bytes;
    mapping_release(data + a, b - a);
}

void source_release(const model_source_t *src, const source_tensor_t *t) { source_release_part(src, t, 0, 1); }

/* With their length, so that no two sequences of fields make the same stream of bytes. */
static void hash_field(XXH3_state_t *state, const void *data, size_t len) {
    uint64_t n = len;
    XXH3_64bits_update(state, &n, sizeof n);
    XXH3_64bits_update(state, data, len);
}

static void hash_start(XXH3_state_t *state, const void *data, size_t len) {
    hash_field(state, data, len < FINGERPRINT_BYTES ? len : FINGERPRINT_BYTES);
}

static void hash_weight(XXH3_state_t *state, const source_entry_t *e) {
    const qweight_t *w = &e->quantized;
    size_t n = e->t.rows * e->t.cols, blocks = quant_blocks(n);
    if (!e->t.quantized) {
        hash_start(state, e->stored.data, e->stored.bytes);
        return;
    }
    hash_start(state, w->codes, quant_code_bytes(w->type, n));
    if (w->double_quant) {
        hash_start(state, w->absmax_q, blocks);
        hash_start(state, w->nested_absmax, quant_nested_blocks(n) * sizeof *w->nested_absmax);
        hash_field(state, &w->nested_offset, sizeof w->nested_offset);
    } else {
        hash_start(state, w->absmax, blocks * sizeof *w->absmax);
    }
}

uint64_t model_source_fingerprint(const model_source_t *src) {
    XXH3_state_t *state = mem_checked(XXH3_createState(), 0);
    XXH3_64bits_reset(state);
    for (size_t i = 0; i < src->n_entries; i++) {
        const source_entry_t *e = &src->entries[i];
        uint64_t shape[2] = {e->t.rows, e->t.cols};
        hash_field(state, e->name, strlen(e->name));
        hash_field(state, shape, sizeof shape);
        hash_field(state, e->t.file_type, strlen(e->t.file_type));
        hash_weight(state, e);
        source_release(src, &e->t);
    }
    uint64_t hash = XXH3_64bits_digest(state);
    XXH3_freeState(state);
    return hash;
}
