/* Linear layers as bitsandbytes stores them in 4-bit: for a weight W the tensors W (codes), W.absmax, W.quant_map,
 * W.quant_state.bitsandbytes__nf4|fp4 (a JSON text), and with double quantization W.nested_absmax and
 * W.nested_quant_map. The tables must be ours: they are what the codes mean. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "model/source_impl.h"

static const struct {
    quant_type_t type;
    const char *suffix;
    const char *file_types[2]; /* without and with double quantization */
} kinds[] = {
    {QUANT_NF4, "quant_state.bitsandbytes__nf4", {"nf4", "nf4+dq"}},
    {QUANT_FP4, "quant_state.bitsandbytes__fp4", {"fp4", "fp4+dq"}},
};
#define N_KINDS (sizeof kinds / sizeof *kinds)

/* What is being opened, for the small functions below. */
typedef struct {
    const model_source_t *src;
    source_find_fn *find;
    const char *name; /* of the weight */
} bnb_t;

static const st_tensor_t *find_part(const bnb_t *b, const char *part) {
    char *name = xasprintf("%s.%s", b->name, part);
    const st_tensor_t *t = b->find(b->src, name);
    free(name);
    return t;
}

const st_tensor_t *source_bnb_state(const model_source_t *src, source_find_fn *find, const char *name,
                                    quant_type_t *type) {
    bnb_t b = {src, find, name};
    for (size_t i = 0; i < N_KINDS; i++) {
        const st_tensor_t *t = find_part(&b, kinds[i].suffix);
        if (!t) continue;
        *type = kinds[i].type;
        return t;
    }
    return NULL;
}

/* A part that must be there, with this element type and number of elements. */
static const st_tensor_t *need_part(const bnb_t *b, const char *part, dtype_t dtype, size_t n, err_t *err) {
    const st_tensor_t *t = find_part(b, part);
    if (t && t->dtype == dtype && t->bytes == n * dtype_size(dtype)) return t;
    if (!t) err_set(err, ERR_USAGE, "%s: tensor \"%s.%s\" is missing", b->src->path, b->name, part);
    else
        err_set(err, ERR_USAGE, "%s: tensor \"%s.%s\" is %s of %zu bytes; expected %s of %zu bytes", b->src->path,
                b->name, part, dtype_name(t->dtype), t->bytes, dtype_name(dtype), n * dtype_size(dtype));
    return NULL;
}

static int check_table(const bnb_t *b, const char *part, const float *table, size_t n, err_t *err) {
    const st_tensor_t *t = need_part(b, part, DT_F32, n, err);
    if (!t) return err->code;
    if (memcmp(t->data, table, n * sizeof *table) == 0) return 0;
    return err_set(err, ERR_USAGE, "%s: tensor \"%s.%s\" is not the standard table of values", b->src->path, b->name,
                   part);
}

static int check_block(const json_t *state, const char *key, size_t want, const char *where, err_t *err) {
    size_t got = 0;
    if (json_need_size(state, key, where, &got, err)) return err->code;
    if (got == want) return 0;
    return err_set(err, ERR_USAGE, "%s: %s is %zu; only %zu is supported", where, key, got, want);
}

/* What the weight was before, which is what a merged one is again. */
static dtype_t made_from(const json_t *state) {
    const char *name = json_string_value(json_object_get(state, "dtype"));
    if (name && !strcmp(name, "float32")) return DT_F32;
    return name && !strcmp(name, "float16") ? DT_F16 : DT_BF16;
}

/* The JSON text: sizes of blocks, the weight's shape, and the mean of the constants when these are quantized. */
static int read_state(const json_t *state, const char *where, const source_entry_t *e, qweight_t *w, err_t *err) {
    if (!json_is_object(state)) return err_set(err, ERR_USAGE, "%s: expected an object", where);
    const char *type = "";
    if (json_need_string(state, "quant_type", where, &type, err) ||
        check_block(state, "blocksize", QUANT_BLOCK, where, err))
        return err->code;
    if (strcmp(type, quant_type_name(w->type)))
        return err_set(err, ERR_USAGE, "%s: quant_type is \"%.40s\"; expected \"%s\"", where, type,
                       quant_type_name(w->type));
    const json_t *shape = json_object_get(state, "shape");
    const json_t *rows = json_array_get(shape, 0), *cols = json_array_get(shape, 1);
    if (json_array_size(shape) != 2 || !json_is_integer(rows) || !json_is_integer(cols))
        return err_set(err, ERR_USAGE, "%s: shape: expected [rows, columns]", where);
    if (json_integer_value(rows) != (json_int_t)e->t.rows || json_integer_value(cols) != (json_int_t)e->t.cols)
        return err_set(err, ERR_USAGE,
                       "%s: shape is [%" JSON_INTEGER_FORMAT ", %" JSON_INTEGER_FORMAT "]; expected "
                       "[%zu, %zu] from the model's config",
                       where, json_integer_value(rows), json_integer_value(cols), e->t.rows, e->t.cols);
    w->double_quant = json_object_get(state, "nested_blocksize") != NULL;
    if (!w->double_quant) return 0;
    double offset = NAN;
    if (check_block(state, "nested_blocksize", QUANT_NESTED_BLOCK, where, err) ||
        json_opt_number(state, "nested_offset", where, &offset, err))
        return err->code;
    w->nested_offset = (float)offset;
    if (!isfinite(w->nested_offset)) return err_set(err, ERR_USAGE, "%s: nested_offset: expected a number", where);
    return 0;
}

/* fp32 constants, which some checkpoints have in BF16 or F16. safetensors aligns data by element size only as long as
 * the header does; a copy serves where it does not. */
static float *floats_of(const st_tensor_t *t, size_t n, source_entry_t *e) {
    if (t->dtype == DT_F32 && (uintptr_t)t->data % sizeof(float) == 0) return (float *)(uintptr_t)t->data;
    e->own_absmax = xmalloc_array(n, sizeof(float));
    for (size_t i = 0; i < n; i++) CHECK(st_value(t, i, &e->own_absmax[i]));
    return e->own_absmax;
}

/* Of n values in any of the types that fp32 holds. */
static const st_tensor_t *need_floats(const bnb_t *b, const char *part, size_t n, err_t *err) {
    const st_tensor_t *t = find_part(b, part);
    bool narrow = t && (t->dtype == DT_BF16 || t->dtype == DT_F16) && t->bytes == n * dtype_size(t->dtype);
    return narrow ? t : need_part(b, part, DT_F32, n, err);
}

static int find_constants(const bnb_t *b, source_entry_t *e, qweight_t *w, err_t *err) {
    size_t blocks = quant_blocks(qweight_count(w));
    const st_tensor_t *absmax = w->double_quant ? need_part(b, "absmax", DT_U8, blocks, err)
                                                : need_floats(b, "absmax", blocks, err);
    if (!absmax) return err->code;
    e->t.file_bytes += absmax->bytes;
    if (!w->double_quant) {
        w->absmax = floats_of(absmax, blocks, e);
        return 0;
    }
    size_t n_nested = quant_nested_blocks(qweight_count(w));
    const st_tensor_t *nested = need_floats(b, "nested_absmax", n_nested, err);
    if (!nested) return err->code;
    w->absmax_q = (uint8_t *)(uintptr_t)absmax->data;
    w->nested_absmax = floats_of(nested, n_nested, e);
    e->t.file_bytes += nested->bytes;
    return check_table(b, "nested_quant_map", quant_dynamic_signed()->value, 256, err);
}

/* The codes may be typed as anything (bnb_4bit_quant_storage): only their bytes count. */
static int find_codes(const bnb_t *b, source_entry_t *e, qweight_t *w, err_t *err) {
    const st_tensor_t *codes = b->find(b->src, b->name);
    size_t want = (qweight_count(w) + 1) / 2;
    if (codes->bytes != want)
        return err_set(err, ERR_USAGE, "%s: tensor \"%s\" has %zu bytes of 4-bit codes; expected %zu for [%zu, %zu]",
                       b->src->path, b->name, codes->bytes, want, w->rows, w->cols);
    w->codes = (uint8_t *)(uintptr_t)codes->data;
    e->t.file_bytes = want;
    return 0;
}

int source_bnb_open(const model_source_t *src, source_find_fn *find, const st_tensor_t *state, quant_type_t type,
                    source_entry_t *e, err_t *err) {
    bnb_t b = {src, find, e->name};
    qweight_t w = {.type = type, .rows = e->t.rows, .cols = e->t.cols};
    char *where = xasprintf("%s: tensor \"%s\"", src->path, state->name);
    json_t *json = NULL;
    int rc = json_text((const char *)state->data, state->bytes, where, &json, err);
    if (rc == 0) rc = read_state(json, where, e, &w, err);
    if (rc == 0) e->t.type = made_from(json);
    json_decref(json);
    free(where);
    if (rc || check_table(&b, "quant_map", quant_table(type), 16, err) || find_codes(&b, e, &w, err) ||
        find_constants(&b, e, &w, err))
        return err->code;
    e->quantized = w;
    e->t.quantized = true;
    e->t.quant = w.type;
    e->t.double_quant = w.double_quant;
    for (size_t i = 0; i < N_KINDS; i++)
        if (kinds[i].type == type) e->t.file_type = kinds[i].file_types[w.double_quant];
    return 0;
}
