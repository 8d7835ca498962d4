#include "model/formats/gguf_write.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/out_file.h"
#include "model/formats/gguf_impl.h"

#define ALIGNMENT ((size_t)32) /* the format's default, which is not written */

typedef struct {
    char *name;
    uint32_t type;
    size_t rows, cols, bytes, offset; /* rows 0: one dimension; offset: in the data section */
} slot_t;

struct gguf_writer {
    strbuf_t kvs;
    size_t n_kvs;
    size_t owed; /* elements of an array that are to follow */
    slot_t *slots;
    size_t n, cap;
    size_t at, left; /* the tensor whose data comes next, and how many bytes of it */
    out_file_t file;
};

gguf_writer_t *gguf_writer_new(void) { return xcalloc(1, sizeof(gguf_writer_t)); }

/* ---- metadata ----------------------------------------------------------------------------------------------- */

static void put_le(strbuf_t *b, uint64_t v, size_t bytes) {
    char le[8];
    for (size_t i = 0; i < bytes; i++) le[i] = (char)(v >> 8 * i);
    strbuf_add(b, le, bytes);
}

static void put_text(strbuf_t *b, const char *text, size_t len) {
    put_le(b, len, 8);
    strbuf_add(b, text, len);
}

static void put_key(gguf_writer_t *w, const char *key, size_t len, kv_type_t type) {
    CHECK(!w->file.path && w->owed == 0);
    put_text(&w->kvs, key, len);
    put_le(&w->kvs, type, 4);
    w->n_kvs++;
}

void gguf_put_u32(gguf_writer_t *w, const char *key, uint32_t v) {
    put_key(w, key, strlen(key), KV_U32);
    put_le(&w->kvs, v, 4);
}

void gguf_put_f32(gguf_writer_t *w, const char *key, float v) {
    put_key(w, key, strlen(key), KV_F32);
    put_le(&w->kvs, f32_to_bits(v), 4);
}

void gguf_put_bool(gguf_writer_t *w, const char *key, bool v) {
    put_key(w, key, strlen(key), KV_BOOL);
    put_le(&w->kvs, v, 1);
}

void gguf_put_str(gguf_writer_t *w, const char *key, const char *text) {
    put_key(w, key, strlen(key), KV_STRING);
    put_text(&w->kvs, text, strlen(text));
}

static void put_array(gguf_writer_t *w, const char *key, kv_type_t item, size_t n) {
    put_key(w, key, strlen(key), KV_ARRAY);
    put_le(&w->kvs, item, 4);
    put_le(&w->kvs, n, 8);
    w->owed = n;
}

static void one_less(gguf_writer_t *w) { CHECK(w->owed-- > 0); }

void gguf_put_strs(gguf_writer_t *w, const char *key, size_t n) { put_array(w, key, KV_STRING, n); }
void gguf_put_i32s(gguf_writer_t *w, const char *key, size_t n) { put_array(w, key, KV_I32, n); }
void gguf_put_f32s(gguf_writer_t *w, const char *key, size_t n) { put_array(w, key, KV_F32, n); }
void gguf_put_bools(gguf_writer_t *w, const char *key, size_t n) { put_array(w, key, KV_BOOL, n); }

void gguf_add_str(gguf_writer_t *w, const char *text, size_t len) {
    one_less(w);
    put_text(&w->kvs, text, len);
}

void gguf_add_i32(gguf_writer_t *w, int32_t v) {
    one_less(w);
    put_le(&w->kvs, (uint32_t)v, 4);
}

void gguf_add_f32(gguf_writer_t *w, float v) {
    one_less(w);
    put_le(&w->kvs, f32_to_bits(v), 4);
}

void gguf_add_bool(gguf_writer_t *w, bool v) {
    one_less(w);
    put_le(&w->kvs, v, 1);
}

/* Bytes of a value, or of an array's elements. */
static size_t value_bytes(const kv_t *kv) {
    if (kv->type == KV_STRING) return 8 + (size_t)gguf_load_le(kv->value, 8);
    if (kv->type != KV_ARRAY) return gguf_kv_bytes(kv->type);
    if (kv->item != KV_STRING) return kv->n * gguf_kv_bytes(kv->item);
    if (kv->n == 0) return 0;
    size_t last = (size_t)kv->starts[kv->n - 1];
    return last + 8 + (size_t)gguf_load_le(kv->value + last, 8);
}

static int by_place(const void *a, const void *b) {
    const uint8_t *x = (*(const kv_t *const *)a)->value, *y = (*(const kv_t *const *)b)->value;
    return (x > y) - (x < y);
}

void gguf_put_all(gguf_writer_t *w, const gguf_t *from, bool (*keep)(gguf_str_t key)) {
    const kv_t **kvs = xmalloc_array(from->n_kvs + 1, sizeof *kvs);
    for (size_t i = 0; i < from->n_kvs; i++) kvs[i] = &from->kvs[i];
    qsort(kvs, from->n_kvs, sizeof *kvs, by_place);
    for (size_t i = 0; i < from->n_kvs; i++) {
        const kv_t *kv = kvs[i];
        if (!keep(kv->key)) continue;
        put_key(w, kv->key.p, kv->key.len, kv->type);
        if (kv->type == KV_ARRAY) {
            put_le(&w->kvs, kv->item, 4);
            put_le(&w->kvs, kv->n, 8);
        }
        strbuf_add(&w->kvs, (const char *)kv->value, value_bytes(kv));
    }
    free(kvs);
}

/* ---- tensors ------------------------------------------------------------------------------------------------ */

static size_t aligned(size_t n) { return (n + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT; }

void gguf_writer_declare(gguf_writer_t *w, const char *name, uint32_t type, size_t rows, size_t cols) {
    size_t len = gguf_block_len(type);
    CHECK(!w->file.path && w->owed == 0 && len && cols && cols % len == 0);
    VEC_GROW(w->slots, w->n, w->cap);
    slot_t *s = &w->slots[w->n];
    *s = (slot_t){xstrdup(name), type, rows, cols, (rows ? rows : 1) * (cols / len) * gguf_block_bytes(type), 0};
    if (w->n) s->offset = aligned(s[-1].offset + s[-1].bytes);
    w->n++;
}

static void put_infos(const gguf_writer_t *w, strbuf_t *b) {
    for (size_t i = 0; i < w->n; i++) {
        const slot_t *s = &w->slots[i];
        put_text(b, s->name, strlen(s->name));
        put_le(b, s->rows ? 2 : 1, 4);
        put_le(b, s->cols, 8); /* the innermost first */
        if (s->rows) put_le(b, s->rows, 8);
        put_le(b, s->type, 4);
        put_le(b, s->offset, 8);
    }
}

static int write_zeros(gguf_writer_t *w, size_t n, err_t *err) {
    static const uint8_t zeros[ALIGNMENT];
    CHECK(n < ALIGNMENT);
    return out_write(&w->file, zeros, n, err);
}

/* Goes to the first tensor, from `at`, of which data is still missing. */
static void seek_tensor(gguf_writer_t *w) {
    if (w->at < w->n) w->left = w->slots[w->at].bytes;
}

int gguf_writer_begin(gguf_writer_t *w, const char *path, err_t *err) {
    CHECK(!w->file.path && w->owed == 0);
    strbuf_t head = {0};
    strbuf_add(&head, "GGUF", 4);
    put_le(&head, 3, 4);
    put_le(&head, w->n, 8);
    put_le(&head, w->n_kvs, 8);
    if (w->kvs.len) strbuf_add(&head, w->kvs.p, w->kvs.len);
    put_infos(w, &head);
    size_t size = aligned(head.len) + (w->n ? aligned(w->slots[w->n - 1].offset + w->slots[w->n - 1].bytes) : 0);
    int rc = out_open(&w->file, path, err);
    if (rc == 0) rc = out_write(&w->file, head.p, head.len, err);
    if (rc == 0) rc = write_zeros(w, aligned(head.len) - head.len, err);
    if (rc == 0) rc = out_flush(&w->file, err);
    if (rc == 0) rc = out_extend(&w->file, size, err);
    free(head.p);
    seek_tensor(w);
    return rc;
}

int gguf_writer_data(gguf_writer_t *w, const void *data, size_t bytes, err_t *err) {
    CHECK(w->at < w->n && bytes <= w->left);
    if (out_write(&w->file, data, bytes, err)) return err->code;
    w->left -= bytes;
    if (w->left) return 0;
    size_t end = w->slots[w->at].bytes;
    w->at++;
    seek_tensor(w);
    return write_zeros(w, aligned(end) - end, err);
}

int gguf_writer_flush(gguf_writer_t *w, err_t *err) { return out_flush(&w->file, err); }

static void writer_free(gguf_writer_t *w) {
    for (size_t i = 0; i < w->n; i++) free(w->slots[i].name);
    free(w->slots);
    free(w->kvs.p);
    free(w);
}

int gguf_writer_finish(gguf_writer_t *w, err_t *err) {
    bool failed = out_failed(&w->file);
    CHECK(failed || (w->file.path && w->at == w->n));
    int rc = out_close(&w->file, failed ? err->code : 0, err);
    writer_free(w);
    return rc;
}

void gguf_writer_abort(gguf_writer_t *w) {
    if (!w) return;
    err_t told = {0};
    out_close(&w->file, ERR_FAILED, &told);
    writer_free(w);
}

/* ---- Q8_0 --------------------------------------------------------------------------------------------------- */

enum { Q8_BLOCK = 32 };

static void encode_block(const float *x, const float *draw, uint8_t *out) {
    float most = 0;
    for (int i = 0; i < Q8_BLOCK; i++) most = fmaxf(most, fabsf(x[i]));
    float d = most / 127;
    uint16_t half = f16_from_f32(d);
    /* With draws by the scale as it is stored: that it is rounded would be a change of every value of the block. */
    if (draw) d = f16_to_f32(half);
    float inverse = d != 0 ? 1 / d : 0;
    out[0] = (uint8_t)half;
    out[1] = (uint8_t)(half >> 8);
    for (int i = 0; i < Q8_BLOCK; i++) {
        float q = x[i] * inverse;
        q = draw ? floorf(q + draw[i]) : roundf(q);
        out[2 + i] = (uint8_t)(int8_t)fminf(fmaxf(q, -127), 127);
    }
}

void gguf_encode_q8_0(const float *x, size_t n, const float *draw, void *out) {
    CHECK(n % Q8_BLOCK == 0);
    for (size_t i = 0; i < n; i += Q8_BLOCK)
        encode_block(x + i, draw ? draw + i : NULL, (uint8_t *)out + i / Q8_BLOCK * (2 + Q8_BLOCK));
}
