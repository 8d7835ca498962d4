/* A small writer of GGUF metadata for tests: version 3, little endian, no tensors. */
#ifndef TESTS_GGUF_TEXT_H
#define TESTS_GGUF_TEXT_H

#include <stdint.h>

#include "base/mem.h"

typedef struct {
    strbuf_t buf;
    uint64_t n_keys;
} gguf_text_t; /* zero-initialise; free .buf.p */

void gguf_text_str(gguf_text_t *w, const char *key, const char *value);
void gguf_text_u32(gguf_text_t *w, const char *key, uint32_t value);
void gguf_text_bool(gguf_text_t *w, const char *key, int value);
/* Starts an array of `n`; its elements follow. */
void gguf_text_strings(gguf_text_t *w, const char *key, uint64_t n);
void gguf_text_i32s(gguf_text_t *w, const char *key, uint64_t n);
void gguf_text_f32s(gguf_text_t *w, const char *key, uint64_t n);
void gguf_text_add_str(gguf_text_t *w, const char *p, size_t len);
void gguf_text_add_i32(gguf_text_t *w, int32_t v);
void gguf_text_add_f32(gguf_text_t *w, float v);
/* Writes the file into a fresh directory; the path is valid until the next call. */
const char *gguf_text_write(gguf_text_t *w);

#endif
