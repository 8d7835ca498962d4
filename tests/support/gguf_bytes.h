/* A GGUF in memory, piece by piece: for tests that need one that is wrong somewhere. Little endian. */
#ifndef TESTS_GGUF_BYTES_H
#define TESTS_GGUF_BYTES_H

#include <stdint.h>

#include "base/mem.h"

void bytes_u32(strbuf_t *b, uint32_t v);
void bytes_u64(strbuf_t *b, uint64_t v);
void bytes_str(strbuf_t *b, const char *s);
void bytes_zeros(strbuf_t *b, size_t n);
void bytes_pad(strbuf_t *b, size_t to); /* with zeros, to a multiple */

void bytes_head(strbuf_t *b, uint32_t version, uint64_t tensors, uint64_t kvs);
void bytes_kv_u32(strbuf_t *b, const char *key, uint32_t v);
void bytes_tensor(strbuf_t *b, const char *name, uint64_t cols, uint64_t rows, uint32_t type, uint64_t offset);

#endif
