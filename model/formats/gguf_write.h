/* Writing a GGUF file, version 3, little endian: metadata, then tensors declared in the order in which their data
 * follows. The file has its whole size from begin() on, so that it can be opened, for what is written by then. */
#ifndef MODEL_FORMATS_GGUF_WRITE_H
#define MODEL_FORMATS_GGUF_WRITE_H

#include "model/formats/gguf.h"

typedef struct gguf_writer gguf_writer_t;

gguf_writer_t *gguf_writer_new(void);

/* Metadata; a key once. */
void gguf_put_u32(gguf_writer_t *w, const char *key, uint32_t v);
void gguf_put_f32(gguf_writer_t *w, const char *key, float v);
void gguf_put_bool(gguf_writer_t *w, const char *key, bool v);
void gguf_put_str(gguf_writer_t *w, const char *key, const char *text);
/* Arrays of n: exactly as many elements follow. */
void gguf_put_strs(gguf_writer_t *w, const char *key, size_t n);
void gguf_add_str(gguf_writer_t *w, const char *text, size_t len);
void gguf_put_i32s(gguf_writer_t *w, const char *key, size_t n);
void gguf_add_i32(gguf_writer_t *w, int32_t v);
void gguf_put_f32s(gguf_writer_t *w, const char *key, size_t n);
void gguf_add_f32(gguf_writer_t *w, float v);
void gguf_put_bools(gguf_writer_t *w, const char *key, size_t n);
void gguf_add_bool(gguf_writer_t *w, bool v);
/* The values of another file whose keys `keep` wants, unchanged and in their order. */
void gguf_put_all(gguf_writer_t *w, const gguf_t *from, bool (*keep)(gguf_str_t key));

/* A tensor; rows 0: one dimension. cols is a multiple of gguf_block_len(type). */
void gguf_writer_declare(gguf_writer_t *w, const char *name, uint32_t type, size_t rows, size_t cols);
/* Creates the file and writes all but the data. */
int gguf_writer_begin(gguf_writer_t *w, const char *path, err_t *err);
/* The next bytes of data, of all tensors without the padding between them; no piece goes beyond a tensor. */
int gguf_writer_data(gguf_writer_t *w, const void *data, size_t bytes, err_t *err);
/* Hands what was given so far to the file, for those who open it. */
int gguf_writer_flush(gguf_writer_t *w, err_t *err);
/* fsync and close; the file is removed where that fails, or something before did. Frees w. */
int gguf_writer_finish(gguf_writer_t *w, err_t *err);
/* Removes the file and frees w; NULL is fine. */
void gguf_writer_abort(gguf_writer_t *w);

/* llama.cpp's Q8_0 of n values, a multiple of 32: per block a scale, the largest over 127, in half precision, and 8-bit
 * multiples of it, rounded to nearest. `draw` [n], multiples of 2^-16 in [0, 1): are added before the rest is cut off
 * instead, so that with even draws the mean is kept; NULL: to nearest. */
void gguf_encode_q8_0(const float *x, size_t n, const float *draw, void *out);

#endif
