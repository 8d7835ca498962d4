#include "gguf_bytes.h"

#include <string.h>

void bytes_u32(strbuf_t *b, uint32_t v) {
    for (int i = 0; i < 4; i++) strbuf_add(b, (char[]){(char)(v >> 8 * i)}, 1);
}

void bytes_u64(strbuf_t *b, uint64_t v) {
    bytes_u32(b, (uint32_t)v);
    bytes_u32(b, (uint32_t)(v >> 32));
}

void bytes_str(strbuf_t *b, const char *s) {
    bytes_u64(b, strlen(s));
    strbuf_adds(b, s);
}

void bytes_zeros(strbuf_t *b, size_t n) {
    while (n--) strbuf_add(b, "", 1);
}

void bytes_pad(strbuf_t *b, size_t to) {
    while (b->len % to) strbuf_add(b, "", 1);
}

void bytes_head(strbuf_t *b, uint32_t version, uint64_t tensors, uint64_t kvs) {
    strbuf_adds(b, "GGUF");
    bytes_u32(b, version);
    bytes_u64(b, tensors);
    bytes_u64(b, kvs);
}

void bytes_kv_u32(strbuf_t *b, const char *key, uint32_t v) {
    bytes_str(b, key);
    bytes_u32(b, 4);
    bytes_u32(b, v);
}

void bytes_tensor(strbuf_t *b, const char *name, uint64_t cols, uint64_t rows, uint32_t type, uint64_t offset) {
    bytes_str(b, name);
    bytes_u32(b, 2);
    bytes_u64(b, cols);
    bytes_u64(b, rows);
    bytes_u32(b, type);
    bytes_u64(b, offset);
}
