#include "gguf_text.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "testing.h"

enum { TYPE_U32 = 4, TYPE_I32 = 5, TYPE_F32 = 6, TYPE_BOOL = 7, TYPE_STRING = 8, TYPE_ARRAY = 9 };

static void put_u32(gguf_text_t *w, uint32_t v) {
    for (int i = 0; i < 4; i++) strbuf_add(&w->buf, &(char){(char)(v >> 8 * i)}, 1);
}

static void put_u64(gguf_text_t *w, uint64_t v) {
    put_u32(w, (uint32_t)v);
    put_u32(w, (uint32_t)(v >> 32));
}

void gguf_text_add_str(gguf_text_t *w, const char *p, size_t len) {
    put_u64(w, len);
    strbuf_add(&w->buf, p, len);
}

void gguf_text_add_i32(gguf_text_t *w, int32_t v) { put_u32(w, (uint32_t)v); }

void gguf_text_add_f32(gguf_text_t *w, float v) {
    uint32_t u;
    memcpy(&u, &v, 4);
    put_u32(w, u);
}

static void put_key(gguf_text_t *w, const char *key, uint32_t type) {
    gguf_text_add_str(w, key, strlen(key));
    put_u32(w, type);
    w->n_keys++;
}

void gguf_text_str(gguf_text_t *w, const char *key, const char *value) {
    put_key(w, key, TYPE_STRING);
    gguf_text_add_str(w, value, strlen(value));
}

void gguf_text_u32(gguf_text_t *w, const char *key, uint32_t value) {
    put_key(w, key, TYPE_U32);
    put_u32(w, value);
}

void gguf_text_bool(gguf_text_t *w, const char *key, int value) {
    put_key(w, key, TYPE_BOOL);
    strbuf_add(&w->buf, &(char){(char)value}, 1);
}

static void put_array(gguf_text_t *w, const char *key, uint32_t type, uint64_t n) {
    put_key(w, key, TYPE_ARRAY);
    put_u32(w, type);
    put_u64(w, n);
}

void gguf_text_strings(gguf_text_t *w, const char *key, uint64_t n) { put_array(w, key, TYPE_STRING, n); }

void gguf_text_i32s(gguf_text_t *w, const char *key, uint64_t n) { put_array(w, key, TYPE_I32, n); }

void gguf_text_f32s(gguf_text_t *w, const char *key, uint64_t n) { put_array(w, key, TYPE_F32, n); }

const char *gguf_text_write(gguf_text_t *w) {
    static char path[4096];
    gguf_text_t head = {0};
    err_t err = {0};
    strbuf_adds(&head.buf, "GGUF");
    put_u32(&head, 3);
    put_u64(&head, 0); /* tensors */
    put_u64(&head, w->n_keys);
    strbuf_add(&head.buf, w->buf.p, w->buf.len);
    while (head.buf.len % 32) strbuf_add(&head.buf, "", 1);
    char *p = path_join(test_tmpdir(), "model.gguf");
    strcpy(path, p);
    free(p);
    assert_ok(file_write(path, head.buf.p, head.buf.len, &err), err);
    free(head.buf.p);
    return path;
}
