/* What the parts of the GGUF reader share: gguf_parse.c fills one file's entries, gguf.c joins the parts of a split
 * model and finds tensors, gguf_meta.c reads the values. */
#ifndef MODEL_FORMATS_GGUF_IMPL_H
#define MODEL_FORMATS_GGUF_IMPL_H

#include "model/formats/gguf.h"

typedef enum {
    KV_U8,
    KV_I8,
    KV_U16,
    KV_I16,
    KV_U32,
    KV_I32,
    KV_F32,
    KV_BOOL,
    KV_STRING,
    KV_ARRAY,
    KV_U64,
    KV_I64,
    KV_F64,
    KV_COUNT
} kv_type_t;

typedef struct {
    gguf_str_t key;
    kv_type_t type;
    kv_type_t item;       /* arrays: type of the elements */
    size_t n;             /* arrays: their number */
    const uint8_t *value; /* the scalar, the string's length, or the first element */
    uint64_t *starts;     /* arrays of strings: where each begins, from `value`; makes access O(1) */
} kv_t;

struct gguf {
    char *path;
    mapping_t map;
    kv_t *kvs; /* sorted by key */
    size_t n_kvs;
    gguf_tensor_t *tensors; /* sorted by name; in the first part those of all parts */
    size_t n_tensors;
    gguf_t **others; /* in the first part: the other parts, in order */
    size_t n_others;
};

/* Fills everything but the path, the mapping and the other parts. Tensors are left in the order of their data. */
int gguf_parse(gguf_t *g, err_t *err);

int gguf_str_cmp(gguf_str_t a, gguf_str_t b);
int gguf_kv_order(const void *a, const void *b); /* of kv_t, by key */
size_t gguf_kv_bytes(kv_type_t type);            /* 0: no fixed size */

static inline uint64_t gguf_load_le(const uint8_t *p, size_t bytes) {
    uint64_t v = 0;
    for (size_t i = bytes; i-- > 0;) v = v << 8 | p[i];
    return v;
}

#endif
