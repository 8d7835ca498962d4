#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "base/out_file.h"
#include "model/formats/safetensors.h"

typedef struct {
    char *name;
    dtype_t dtype;
    int n_dims;
    size_t shape[TENSOR_MAX_DIMS], bytes;
    size_t declared; /* its number in the order of declaration */
} slot_t;

struct st_writer {
    slot_t *slots; /* begin() puts them in file order */
    size_t n, cap;
    size_t total, written; /* bytes of data */
    out_file_t file;
};

/* The reference writer's order of element types: from the widest, so that each tensor is aligned. */
static const int dtype_rank[DT_COUNT] = {
    [DT_U64] = 0,      [DT_I64] = 1,      [DT_F64] = 2, [DT_F32] = 3, [DT_U32] = 4,
    [DT_I32] = 5,      [DT_BF16] = 6,     [DT_F16] = 7, [DT_U16] = 8, [DT_I16] = 9,
    [DT_F8_E4M3] = 10, [DT_F8_E5M2] = 11, [DT_I8] = 12, [DT_U8] = 13, [DT_BOOL] = 14,
};

st_writer_t *st_writer_new(void) { return xcalloc(1, sizeof(st_writer_t)); }

void st_writer_declare(st_writer_t *w, const char *name, dtype_t dtype, int n_dims, const size_t *shape) {
    CHECK(!w->file.path && n_dims >= 0 && n_dims <= TENSOR_MAX_DIMS);
    VEC_GROW(w->slots, w->n, w->cap);
    slot_t *s = &w->slots[w->n];
    *s = (slot_t){.name = xstrdup(name), .dtype = dtype, .n_dims = n_dims, .bytes = dtype_size(dtype)};
    s->declared = w->n;
    for (int i = 0; i < n_dims; i++) {
        s->shape[i] = shape[i];
        s->bytes *= shape[i];
    }
    w->total += s->bytes;
    w->n++;
}

static int by_file_order(const void *a, const void *b) {
    const slot_t *x = a, *y = b;
    int d = dtype_rank[x->dtype] - dtype_rank[y->dtype];
    return d ? d : strcmp(x->name, y->name);
}

static json_t *slot_json(const slot_t *s, size_t at) {
    json_t *shape = json_array();
    for (int i = 0; i < s->n_dims; i++) json_array_append_new(shape, json_integer((json_int_t)s->shape[i]));
    return json_pack("{s:s, s:o, s:[I, I]}", "dtype", dtype_name(s->dtype), "shape", shape, "data_offsets",
                     (json_int_t)at, (json_int_t)(at + s->bytes));
}

/* The JSON header, padded with spaces so that the data starts at a multiple of 8. Caller frees. */
static char *make_header(const st_writer_t *w, size_t *len) {
    json_t *root = json_pack("{s:{s:s}}", "__metadata__", "format", "pt");
    size_t at = 0;
    for (size_t i = 0; i < w->n; i++) {
        CHECK(json_object_get(root, w->slots[i].name) == NULL);
        CHECK(json_object_set_new(root, w->slots[i].name, slot_json(&w->slots[i], at)) == 0);
        at += w->slots[i].bytes;
    }
    char *s = json_dumps(root, JSON_COMPACT);
    CHECK(s != NULL);
    json_decref(root);
    size_t n = strlen(s), padded = (n + 7) / 8 * 8;
    s = xrealloc(s, padded + 1);
    memset(s + n, ' ', padded - n);
    *len = padded;
    return s;
}

int st_writer_begin(st_writer_t *w, const char *path, err_t *err) {
    CHECK(!w->file.path);
    if (w->n) qsort(w->slots, w->n, sizeof *w->slots, by_file_order);
    if (out_open(&w->file, path, err)) return err->code;
    size_t n;
    char *header = make_header(w, &n);
    uint8_t length[8];
    for (int i = 0; i < 8; i++) length[i] = (uint8_t)(n >> 8 * i);
    int rc = out_write(&w->file, length, sizeof length, err);
    if (rc == 0) rc = out_write(&w->file, header, n, err);
    free(header);
    return rc;
}

size_t st_writer_order(const st_writer_t *w, size_t i) {
    CHECK(w->file.path && i < w->n);
    return w->slots[i].declared;
}

size_t st_writer_total(const st_writer_t *w) { return w->total; }

int st_writer_data(st_writer_t *w, const void *data, size_t bytes, err_t *err) {
    CHECK(bytes <= w->total - w->written);
    w->written += bytes;
    return out_write(&w->file, data, bytes, err);
}

static void writer_free(st_writer_t *w) {
    for (size_t i = 0; i < w->n; i++) free(w->slots[i].name);
    free(w->slots);
    free(w);
}

int st_writer_finish(st_writer_t *w, err_t *err) {
    bool failed = out_failed(&w->file);
    CHECK(failed || (w->file.path && w->written == w->total));
    int rc = out_close(&w->file, failed ? err->code : 0, err);
    writer_free(w);
    return rc;
}

void st_writer_abort(st_writer_t *w) {
    if (!w) return;
    err_t told = {0};
    out_close(&w->file, ERR_FAILED, &told);
    writer_free(w);
}
