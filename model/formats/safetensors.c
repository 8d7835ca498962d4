#include "model/formats/safetensors.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/json.h"
#include "base/mem.h"

/* The reference implementation's own limit: keeps a hostile length from becoming a giant parse. */
#define MAX_HEADER ((uint64_t)100000000)
/* How much of a name a message shows: names come from the file and may be megabytes long. */
#define NAME_FMT "%s: tensor \"%.200s\": "

static const char *const dtype_names[DT_COUNT] = {
    [DT_F32] = "F32", [DT_F16] = "F16",         [DT_BF16] = "BF16",       [DT_F64] = "F64",
    [DT_U8] = "U8",   [DT_I8] = "I8",           [DT_I16] = "I16",         [DT_I32] = "I32",
    [DT_I64] = "I64", [DT_BOOL] = "BOOL",       [DT_U16] = "U16",         [DT_U32] = "U32",
    [DT_U64] = "U64", [DT_F8_E4M3] = "F8_E4M3", [DT_F8_E5M2] = "F8_E5M2", [DT_OTHER] = "an unknown one",
};

const char *dtype_name(dtype_t t) { return dtype_names[t]; }

const char *dtype_torch_name(dtype_t t) { return t == DT_F32 ? "float32" : t == DT_F16 ? "float16" : "bfloat16"; }

static int parse_dtype(const json_t *info, st_tensor_t *t, const char *path, err_t *err) {
    const char *s = json_string_value(json_object_get(info, "dtype"));
    if (!s) return err_set(err, ERR_USAGE, NAME_FMT "dtype is missing; expected a string", path, t->name);
    for (int i = 0; i < DT_COUNT; i++)
        if (!strcmp(s, dtype_names[i])) {
            t->dtype = (dtype_t)i;
            return 0;
        }
    t->dtype = DT_OTHER; /* whoever needs the tensor refuses it */
    return 0;
}

/* Shape, and from it the size that the offsets must agree with. */
static int parse_shape(const json_t *info, st_tensor_t *t, const char *path, err_t *err) {
    const json_t *shape = json_object_get(info, "shape");
    if (!json_is_array(shape)) return err_set(err, ERR_USAGE, NAME_FMT "shape: expected an array", path, t->name);
    size_t n = json_array_size(shape);
    if (n > TENSOR_MAX_DIMS)
        return err_set(err, ERR_USAGE, NAME_FMT "shape has %zu dimensions; at most %d are supported", path, t->name, n,
                       TENSOR_MAX_DIMS);
    t->n_dims = (int)n;
    t->bytes = t->dtype == DT_OTHER ? 1 : dtype_size(t->dtype);
    for (size_t i = 0; i < n; i++) {
        const json_t *d = json_array_get(shape, i);
        if (!json_is_integer(d) || json_integer_value(d) < 0)
            return err_set(err, ERR_USAGE, NAME_FMT "shape: expected whole numbers of at least 0", path, t->name);
        t->shape[i] = (size_t)json_integer_value(d);
        if (!size_mul(t->bytes, t->shape[i], &t->bytes))
            return err_set(err, ERR_USAGE, NAME_FMT "shape overflows the size of memory", path, t->name);
    }
    return 0;
}

static int parse_offsets(const json_t *info, st_tensor_t *t, const uint8_t *base, size_t n_data, const char *path,
                         err_t *err) {
    const json_t *o = json_object_get(info, "data_offsets"), *b = json_array_get(o, 0), *e = json_array_get(o, 1);
    if (json_array_size(o) != 2 || !json_is_integer(b) || !json_is_integer(e) || json_integer_value(b) < 0)
        return err_set(err, ERR_USAGE, NAME_FMT "data_offsets: expected [begin, end]", path, t->name);
    json_int_t begin = json_integer_value(b), end = json_integer_value(e);
    if (end < begin || (uint64_t)end > n_data)
        return err_set(err, ERR_USAGE,
                       NAME_FMT "data_offsets [%" JSON_INTEGER_FORMAT ", %" JSON_INTEGER_FORMAT
                                "] lie outside the %zu bytes of data that the file has (is it truncated?)",
                       path, t->name, begin, end, n_data);
    if (t->dtype == DT_OTHER) t->bytes = (size_t)(end - begin);
    if ((uint64_t)(end - begin) != t->bytes)
        return err_set(err, ERR_USAGE,
                       NAME_FMT "data_offsets span %" JSON_INTEGER_FORMAT " bytes; its shape and element type need %zu",
                       path, t->name, end - begin, t->bytes);
    t->data = base + begin;
    return 0;
}

static int parse_tensor(safetensors_t *st, const char *name, const json_t *info, size_t data_at, err_t *err) {
    st_tensor_t *t = &st->tensors[st->n_tensors++];
    t->name = xstrdup(name);
    if (!json_is_object(info)) return err_set(err, ERR_USAGE, NAME_FMT "expected an object", st->path, name);
    if (parse_dtype(info, t, st->path, err) || parse_shape(info, t, st->path, err)) return err->code;
    return parse_offsets(info, t, st->map.data + data_at, st->map.size - data_at, st->path, err);
}

static int by_place(const void *a, const void *b) {
    const st_tensor_t *x = a, *y = b;
    if (x->data != y->data) return x->data < y->data ? -1 : 1;
    return (x->bytes > y->bytes) - (x->bytes < y->bytes); /* empty tensors first */
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const st_tensor_t *)a)->name, ((const st_tensor_t *)b)->name);
}

/* The format demands that the tensors cover the data exactly: nothing hides between them or behind them. */
static int check_cover(safetensors_t *st, size_t data_at, err_t *err) {
    const uint8_t *base = st->map.data + data_at, *at = base, *end = st->map.data + st->map.size;
    qsort(st->tensors, st->n_tensors, sizeof *st->tensors, by_place);
    for (size_t i = 0; i < st->n_tensors; i++) {
        const st_tensor_t *t = &st->tensors[i];
        if (t->data != at)
            return err_set(err, ERR_USAGE, NAME_FMT "its data begins at byte %zu, %s; expected %zu", st->path, t->name,
                           (size_t)(t->data - base), t->data < at ? "inside another tensor" : "after a gap",
                           (size_t)(at - base));
        at += t->bytes;
    }
    if (at != end)
        return err_set(err, ERR_USAGE, "%s: %zu bytes follow the last tensor at byte %zu", st->path, (size_t)(end - at),
                       (size_t)(at - st->map.data));
    return 0;
}

static int parse_header(safetensors_t *st, err_t *err) {
    uint64_t n = 0;
    if (st->map.size < 8)
        return err_set(err, ERR_USAGE, "%s: %zu bytes are too few for a safetensors file", st->path, st->map.size);
    for (int i = 7; i >= 0; i--) n = n << 8 | st->map.data[i];
    if (n > MAX_HEADER || n > st->map.size - 8)
        return err_set(err, ERR_USAGE,
                       "%s: the header at byte 8 claims %" PRIu64 " bytes, the file has %zu; not a "
                       "safetensors file, or truncated",
                       st->path, n, st->map.size - 8);
    char *where = xasprintf("%s: header", st->path);
    json_t *root = NULL;
    int rc = json_text((const char *)st->map.data + 8, (size_t)n, where, &root, err);
    if (rc == 0 && !json_is_object(root)) rc = err_set(err, ERR_USAGE, "%s: expected an object", where);
    free(where);
    size_t data_at = 8 + (size_t)n;
    if (rc == 0) {
        const char *name;
        json_t *info;
        st->tensors = xcalloc(json_object_size(root), sizeof *st->tensors);
        json_object_foreach(root, name, info) {
            if (!strcmp(name, "__metadata__")) continue;
            rc = parse_tensor(st, name, info, data_at, err);
            if (rc) break;
        }
    }
    json_decref(root);
    if (rc == 0) rc = check_cover(st, data_at, err);
    if (rc == 0) qsort(st->tensors, st->n_tensors, sizeof *st->tensors, by_name);
    return rc;
}

int safetensors_open(const char *path, safetensors_t **out, err_t *err) {
    mapping_t map;
    if (file_map(path, &map, err)) return err->code;
    safetensors_t *st = xcalloc(1, sizeof *st);
    st->path = xstrdup(path);
    st->map = map;
    if (parse_header(st, err)) {
        safetensors_close(st);
        return err->code;
    }
    *out = st;
    return 0;
}

void safetensors_close(safetensors_t *st) {
    if (!st) return;
    for (size_t i = 0; i < st->n_tensors; i++) free(st->tensors[i].name);
    free(st->tensors);
    file_unmap(&st->map);
    free(st->path);
    free(st);
}

const st_tensor_t *safetensors_find(const safetensors_t *st, const char *name) {
    st_tensor_t key = {.name = (char *)(uintptr_t)name};
    return bsearch(&key, st->tensors, st->n_tensors, sizeof key, by_name);
}

bool st_value(const st_tensor_t *t, size_t i, float *out) {
    uint16_t h;
    if (t->dtype == DT_F32) {
        memcpy(out, t->data + 4 * i, 4);
        return true;
    }
    if (t->dtype != DT_BF16 && t->dtype != DT_F16) return false;
    memcpy(&h, t->data + 2 * i, 2);
    *out = t->dtype == DT_BF16 ? bf16_to_f32(h) : f16_to_f32(h);
    return true;
}
