/* Values of a GGUF's metadata. */
#include <stdlib.h>
#include <string.h>

#include "model/formats/gguf_impl.h"

static const uint8_t kv_bytes[KV_COUNT] = {
    /* 0: no fixed size */
    [KV_U8] = 1,  [KV_I8] = 1,   [KV_U16] = 2, [KV_I16] = 2, [KV_U32] = 4, [KV_I32] = 4,
    [KV_F32] = 4, [KV_BOOL] = 1, [KV_U64] = 8, [KV_I64] = 8, [KV_F64] = 8,
};

size_t gguf_kv_bytes(kv_type_t type) { return kv_bytes[type]; }

int gguf_str_cmp(gguf_str_t a, gguf_str_t b) {
    int d = memcmp(a.p, b.p, a.len < b.len ? a.len : b.len);
    return d ? d : (a.len > b.len) - (a.len < b.len);
}

int gguf_kv_order(const void *a, const void *b) { return gguf_str_cmp(((const kv_t *)a)->key, ((const kv_t *)b)->key); }

static const kv_t *find_kv(const gguf_t *g, const char *name) {
    kv_t key = {.key = {name, strlen(name)}};
    return bsearch(&key, g->kvs, g->n_kvs, sizeof key, gguf_kv_order);
}

bool gguf_has(const gguf_t *g, const char *key) { return find_kv(g, key) != NULL; }

/* An integer of any width, sign-extended; false for other types and for what int64 cannot hold. */
static bool load_int(kv_type_t type, const uint8_t *p, int64_t *out) {
    bool is_signed = type == KV_I8 || type == KV_I16 || type == KV_I32 || type == KV_I64;
    if (!is_signed && type != KV_U8 && type != KV_U16 && type != KV_U32 && type != KV_U64) return false;
    size_t bytes = kv_bytes[type];
    uint64_t v = gguf_load_le(p, bytes), sign = (uint64_t)1 << (8 * bytes - 1);
    if (is_signed) v = (v ^ sign) - sign;
    else if (v > INT64_MAX) return false;
    *out = (int64_t)v;
    return true;
}

static bool load_float(kv_type_t type, const uint8_t *p, double *out) {
    int64_t i;
    uint64_t bits;
    if (type == KV_F32) *out = f32_from_bits((uint32_t)gguf_load_le(p, 4));
    else if (type == KV_F64) {
        bits = gguf_load_le(p, 8);
        memcpy(out, &bits, 8);
    } else if (load_int(type, p, &i)) *out = (double)i;
    else return false;
    return true;
}

bool gguf_get_uint(const gguf_t *g, const char *key, uint64_t *out) {
    const kv_t *kv = find_kv(g, key);
    int64_t v;
    if (!kv || !load_int(kv->type, kv->value, &v) || v < 0) return false;
    *out = (uint64_t)v;
    return true;
}

bool gguf_get_float(const gguf_t *g, const char *key, double *out) {
    const kv_t *kv = find_kv(g, key);
    return kv && load_float(kv->type, kv->value, out);
}

bool gguf_get_bool(const gguf_t *g, const char *key, bool *out) {
    const kv_t *kv = find_kv(g, key);
    if (!kv || kv->type != KV_BOOL) return false;
    *out = kv->value[0] != 0;
    return true;
}

static gguf_str_t load_str(const uint8_t *p) { return (gguf_str_t){(const char *)p + 8, (size_t)gguf_load_le(p, 8)}; }

bool gguf_get_str(const gguf_t *g, const char *key, gguf_str_t *out) {
    const kv_t *kv = find_kv(g, key);
    if (!kv || kv->type != KV_STRING) return false;
    *out = load_str(kv->value);
    return true;
}

long gguf_array_len(const gguf_t *g, const char *key) {
    const kv_t *kv = find_kv(g, key);
    return kv && kv->type == KV_ARRAY ? (long)kv->n : -1;
}

/* The array, if it is one and has an element i. */
static const kv_t *array_with(const gguf_t *g, const char *key, size_t i) {
    const kv_t *kv = find_kv(g, key);
    return kv && kv->type == KV_ARRAY && i < kv->n ? kv : NULL;
}

bool gguf_array_str(const gguf_t *g, const char *key, size_t i, gguf_str_t *out) {
    const kv_t *kv = array_with(g, key, i);
    if (!kv || kv->item != KV_STRING) return false;
    *out = load_str(kv->value + kv->starts[i]);
    return true;
}

bool gguf_array_int(const gguf_t *g, const char *key, size_t i, int64_t *out) {
    const kv_t *kv = array_with(g, key, i);
    return kv && load_int(kv->item, kv->value + i * kv_bytes[kv->item], out);
}

bool gguf_array_float(const gguf_t *g, const char *key, size_t i, double *out) {
    const kv_t *kv = array_with(g, key, i);
    return kv && load_float(kv->item, kv->value + i * kv_bytes[kv->item], out);
}

bool gguf_array_bool(const gguf_t *g, const char *key, size_t i, bool *out) {
    const kv_t *kv = array_with(g, key, i);
    if (!kv || kv->item != KV_BOOL) return false;
    *out = kv->value[i] != 0;
    return true;
}

bool gguf_get_uints(const gguf_t *g, const char *key, size_t n, uint64_t *out) {
    long len = gguf_array_len(g, key);
    if (len >= 0 && (size_t)len != n) return false;
    for (size_t i = 0; i < n; i++) {
        int64_t v;
        if (len < 0) {
            if (!gguf_get_uint(g, key, &out[i])) return false;
        } else {
            if (!gguf_array_int(g, key, i, &v) || v < 0) return false;
            out[i] = (uint64_t)v;
        }
    }
    return true;
}
