/* One GGUF file: header, metadata, tensor infos. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "model/formats/gguf_impl.h"

#define MAX_DIMS 4
#define DEFAULT_ALIGNMENT 32
#define MAX_KEY 65535 /* the format's own limit for keys */
#define MAX_NAME 512  /* ggml's own limit is 64 */

/* Reading forward through the file; every step is checked against its end. */
typedef struct {
    const char *path;
    const uint8_t *base;
    size_t at, size;
} cursor_t;

static int short_file(const cursor_t *c, const char *what, err_t *err) {
    return err_set(err, ERR_USAGE,
                   "%s: byte %zu: %s reaches past the end of the file (%zu bytes); truncated or not "
                   "a GGUF",
                   c->path, c->at, what, c->size);
}

static int take(cursor_t *c, uint64_t bytes, const char *what, const uint8_t **p, err_t *err) {
    if (bytes > c->size - c->at) return short_file(c, what, err);
    *p = c->base + c->at;
    c->at += (size_t)bytes;
    return 0;
}

static int take_u32(cursor_t *c, const char *what, uint32_t *v, err_t *err) {
    const uint8_t *p = NULL;
    if (take(c, 4, what, &p, err)) return err->code;
    *v = (uint32_t)gguf_load_le(p, 4);
    return 0;
}

static int take_u64(cursor_t *c, const char *what, uint64_t *v, err_t *err) {
    const uint8_t *p = NULL;
    if (take(c, 8, what, &p, err)) return err->code;
    *v = gguf_load_le(p, 8);
    return 0;
}

static int take_str(cursor_t *c, const char *what, uint64_t max, gguf_str_t *s, err_t *err) {
    uint64_t n = 0;
    const uint8_t *p = NULL;
    size_t at = c->at;
    if (take_u64(c, what, &n, err)) return err->code;
    if (n > max)
        return err_set(err, ERR_USAGE, "%s: byte %zu: %s of %" PRIu64 " bytes; at most %" PRIu64 " are allowed",
                       c->path, at, what, n, max);
    if (take(c, n, what, &p, err)) return err->code;
    s->p = (const char *)p;
    s->len = (size_t)n;
    return 0;
}

/* A number of things that each take at least `min_bytes` of what is left: bounds it before it is believed. */
static int take_count(cursor_t *c, const char *what, size_t min_bytes, size_t *n, err_t *err) {
    uint64_t v = 0;
    size_t at = c->at;
    if (take_u64(c, what, &v, err)) return err->code;
    if (v > (c->size - c->at) / min_bytes)
        return err_set(err, ERR_USAGE, "%s: byte %zu: %" PRIu64 " as %s cannot be: the file has only %zu bytes more",
                       c->path, at, v, what, c->size - c->at);
    *n = (size_t)v;
    return 0;
}

static int parse_string_array(cursor_t *c, kv_t *kv, err_t *err) {
    kv->starts = xmalloc_array(kv->n, sizeof *kv->starts);
    for (size_t i = 0; i < kv->n; i++) {
        gguf_str_t s;
        kv->starts[i] = (uint64_t)(c->base + c->at - kv->value);
        if (take_str(c, "a string of an array", UINT64_MAX, &s, err)) return err->code;
    }
    return 0;
}

static int parse_array(cursor_t *c, kv_t *kv, err_t *err) {
    uint32_t item = 0;
    size_t at = c->at;
    if (take_u32(c, "an array's type", &item, err)) return err->code;
    if (item >= KV_COUNT || item == KV_ARRAY)
        return err_set(err, ERR_USAGE, "%s: byte %zu: arrays of value type %u are not supported", c->path, at, item);
    kv->item = (kv_type_t)item;
    if (take_count(c, "the length of an array", item == KV_STRING ? 8 : gguf_kv_bytes((kv_type_t)item), &kv->n, err))
        return err->code;
    kv->value = c->base + c->at;
    if (item == KV_STRING) return parse_string_array(c, kv, err);
    return take(c, (uint64_t)kv->n * gguf_kv_bytes((kv_type_t)item), "an array", &kv->value, err);
}

static int parse_kv(cursor_t *c, kv_t *kv, err_t *err) {
    uint32_t type = 0;
    gguf_str_t s;
    if (take_str(c, "a metadata key", MAX_KEY, &kv->key, err)) return err->code;
    size_t at = c->at;
    if (take_u32(c, "a value's type", &type, err)) return err->code;
    if (type >= KV_COUNT)
        return err_set(err, ERR_USAGE, "%s: byte %zu: value type %u is not one of the format", c->path, at, type);
    kv->type = (kv_type_t)type;
    kv->value = c->base + c->at;
    if (type == KV_ARRAY) return parse_array(c, kv, err);
    if (type == KV_STRING) return take_str(c, "a string", UINT64_MAX, &s, err);
    return take(c, gguf_kv_bytes(kv->type), "a value", &kv->value, err);
}

static int parse_kvs(cursor_t *c, gguf_t *g, size_t n, err_t *err) {
    g->kvs = xcalloc(n, sizeof *g->kvs);
    while (g->n_kvs < n)
        if (parse_kv(c, &g->kvs[g->n_kvs++], err)) return err->code;
    qsort(g->kvs, n, sizeof *g->kvs, gguf_kv_order);
    for (size_t i = 1; i < n; i++)
        if (gguf_kv_order(&g->kvs[i - 1], &g->kvs[i]) == 0)
            return err_set(err, ERR_USAGE, "%s: metadata key \"%.*s\" is there twice", c->path,
                           g->kvs[i].key.len > 200 ? 200 : (int)g->kvs[i].key.len, g->kvs[i].key.p);
    return 0;
}

/* A tensor info; its offset in the data section goes to *offset. */
static int parse_tensor(cursor_t *c, gguf_tensor_t *t, uint64_t *offset, err_t *err) {
    uint32_t n_dims = 0;
    uint64_t dims[MAX_DIMS];
    if (take_str(c, "a tensor's name", MAX_NAME, &t->name, err)) return err->code;
    size_t at = c->at;
    int w = (int)t->name.len;
    if (take_u32(c, "a tensor's dimensions", &n_dims, err)) return err->code;
    if (n_dims < 1 || n_dims > MAX_DIMS)
        return err_set(err, ERR_USAGE, "%s: byte %zu: tensor \"%.*s\" has %u dimensions; expected 1 to %d", c->path, at,
                       w, t->name.p, n_dims, MAX_DIMS);
    for (uint32_t i = 0; i < n_dims; i++)
        if (take_u64(c, "a tensor's dimensions", &dims[i], err)) return err->code;
    at = c->at;
    if (take_u32(c, "a tensor's type", &t->type, err) || take_u64(c, "a tensor's offset", offset, err))
        return err->code;
    /* A type that is not known may be that of a tensor that nobody needs. Its size is not known either. */
    size_t len = gguf_block_len(t->type), unit = gguf_block_bytes(t->type);
    /* Sizes are compared with the file's: the division keeps the products from wrapping. */
    uint64_t limit = len ? c->size / unit * len : INT64_MAX, n = 1;
    for (uint32_t i = 0; i < n_dims; i++) {
        if (dims[i] == 0 || dims[i] > limit / n)
            return err_set(err, ERR_USAGE,
                           "%s: tensor \"%.*s\": dimension %u of %" PRIu64 " cannot be: the file has "
                           "%zu bytes; truncated, or not a GGUF",
                           c->path, w, t->name.p, i, dims[i], c->size);
        n *= dims[i];
    }
    if (len && dims[0] % len)
        return err_set(err, ERR_USAGE,
                       "%s: tensor \"%.*s\": rows of %" PRIu64 " values cannot be %s, which comes in "
                       "blocks of %zu",
                       c->path, w, t->name.p, dims[0], gguf_type_name(t->type), len);
    t->cols = (size_t)dims[0];
    t->rows = (size_t)(n / dims[0]);
    t->bytes = len ? (size_t)(n / len) * unit : 0;
    return 0;
}

/* Offsets count from the data section, which starts at the next multiple of the alignment. */
static int place_tensor(const cursor_t *c, gguf_tensor_t *t, uint64_t offset, uint64_t alignment, err_t *err) {
    uint64_t start = (c->at + alignment - 1) / alignment * alignment;
    int w = (int)t->name.len;
    if (offset % alignment)
        return err_set(err, ERR_USAGE,
                       "%s: tensor \"%.*s\": offset %" PRIu64 " is no multiple of the alignment %" PRIu64, c->path, w,
                       t->name.p, offset, alignment);
    if (start > c->size || offset > c->size - start || t->bytes > c->size - start - offset)
        return err_set(err, ERR_USAGE,
                       "%s: tensor \"%.*s\": %zu bytes at byte %" PRIu64 " of the data reach past the "
                       "end of the file (%zu bytes); truncated",
                       c->path, w, t->name.p, t->bytes, offset, c->size);
    if (t->bytes) t->data = c->base + start + offset;
    t->path = c->path;
    return 0;
}

static int by_place(const void *a, const void *b) {
    const gguf_tensor_t *x = a, *y = b;
    return (x->data > y->data) - (x->data < y->data);
}

/* Those without data come first. */
static int refuse_overlaps(gguf_t *g, err_t *err) {
    qsort(g->tensors, g->n_tensors, sizeof *g->tensors, by_place);
    for (size_t i = 1; i < g->n_tensors; i++) {
        const gguf_tensor_t *a = &g->tensors[i - 1], *b = &g->tensors[i];
        if (a->data && b->data < a->data + a->bytes)
            return err_set(err, ERR_USAGE, "%s: tensors \"%.*s\" and \"%.*s\" overlap at byte %zu", g->path,
                           (int)a->name.len, a->name.p, (int)b->name.len, b->name.p, (size_t)(b->data - g->map.data));
    }
    return 0;
}

static int parse_tensors(cursor_t *c, gguf_t *g, size_t n, err_t *err) {
    uint64_t alignment = DEFAULT_ALIGNMENT;
    if (gguf_has(g, "general.alignment") && !gguf_get_uint(g, "general.alignment", &alignment)) alignment = 0;
    if (alignment == 0 || alignment > UINT32_MAX || (alignment & (alignment - 1)))
        return err_set(err, ERR_USAGE, "%s: general.alignment: expected a power of two", c->path);
    g->tensors = xcalloc(n, sizeof *g->tensors);
    uint64_t *offsets = xcalloc(n, sizeof *offsets);
    int rc = 0;
    for (size_t i = 0; i < n && rc == 0; i++) rc = parse_tensor(c, &g->tensors[i], &offsets[i], err);
    for (size_t i = 0; i < n && rc == 0; i++) rc = place_tensor(c, &g->tensors[i], offsets[i], alignment, err);
    free(offsets);
    g->n_tensors = n;
    return rc ? rc : refuse_overlaps(g, err);
}

int gguf_parse(gguf_t *g, err_t *err) {
    cursor_t c = {g->path, g->map.data, 0, g->map.size};
    const uint8_t *magic = NULL;
    uint32_t version = 0;
    size_t n_tensors = 0, n_kvs = 0;
    if (take(&c, 4, "the magic", &magic, err)) return err->code;
    if (memcmp(magic, "GGUF", 4)) return err_set(err, ERR_USAGE, "%s: byte 0: not a GGUF file", g->path);
    if (take_u32(&c, "the version", &version, err)) return err->code;
    if (version != 2 && version != 3)
        return err_set(err, ERR_USAGE,
                       "%s: byte 4: GGUF version %" PRIu32 " is not supported; expected 2 or 3, little "
                       "endian",
                       g->path, version);
    /* The least that an info takes: a name's length, dimensions (count and one), type, offset; that a key/value
     * takes: a key's length, type, one byte. */
    if (take_count(&c, "the number of tensors", 8 + 4 + 8 + 4 + 8, &n_tensors, err) ||
        take_count(&c, "the number of metadata values", 8 + 4 + 1, &n_kvs, err))
        return err->code;
    if (parse_kvs(&c, g, n_kvs, err)) return err->code;
    return parse_tensors(&c, g, n_tensors, err);
}
