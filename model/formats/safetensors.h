/* safetensors files (huggingface/safetensors): u64 little-endian header length, a JSON header
 * {name: {dtype, shape, data_offsets: [begin, end]}, "__metadata__": {...}}, then the bytes.
 * Reading maps the file and checks everything once: the header fits, offsets are in range, cover the
 * data without gap or overlap, and their length is shape * dtype. */
#ifndef MODEL_FORMATS_SAFETENSORS_H
#define MODEL_FORMATS_SAFETENSORS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/dtype.h"
#include "base/error.h"
#include "base/file.h"

#define TENSOR_MAX_DIMS 8

typedef struct {
    char *name;
    dtype_t dtype;
    int n_dims; /* 0: a scalar */
    size_t shape[TENSOR_MAX_DIMS];
    const uint8_t *data; /* in the mapping; not aligned to the element size */
    size_t bytes;
} st_tensor_t;

typedef struct {
    char *path;
    mapping_t map;
    st_tensor_t *tensors; /* sorted by name */
    size_t n_tensors;
} safetensors_t;

int safetensors_open(const char *path, safetensors_t **st, err_t *err);
void safetensors_close(safetensors_t *st);                                      /* NULL is fine */
const st_tensor_t *safetensors_find(const safetensors_t *st, const char *name); /* NULL: not there */

/* Element i in fp32; false: the type is not F32, F16 or BF16. */
bool st_value(const st_tensor_t *t, size_t i, float *out);

/* "F32", "BF16", ...: the names of the format. */
const char *dtype_name(dtype_t t);
/* "float32", "float16" or "bfloat16": those of PyTorch, for a type that weights have. */
const char *dtype_torch_name(dtype_t t);

/* Writing: declare every tensor, begin(), then give the bytes of each (in pieces, if large), so that nothing
 * is held in memory. The file has the layout of the reference writer, byte for byte: metadata
 * {"format":"pt"}, tensors by element type (widest first, so that each is aligned), then by name, the header
 * padded with spaces to a multiple of 8. begin() sorts, so the caller gives the data in file order:
 *
 *     for (size_t i = 0; i < n_declared; i++) {
 *         size_t k = st_writer_order(w, i);   // the k-th declared tensor comes i-th in the file
 *         st_writer_data(w, data[k], bytes[k], err);
 *     }
 *
 * A failed begin() or data() leaves the writer to be ended with finish() or abort(), which free it. */
typedef struct st_writer st_writer_t;
st_writer_t *st_writer_new(void);
void st_writer_declare(st_writer_t *w, const char *name, dtype_t dtype, int n_dims, const size_t *shape);
int st_writer_begin(st_writer_t *w, const char *path, err_t *err); /* sorts, creates the file, writes the header */
size_t st_writer_order(const st_writer_t *w, size_t i);            /* after begin() */
size_t st_writer_total(const st_writer_t *w);                      /* bytes of all tensors, without the header */
int st_writer_data(st_writer_t *w, const void *data, size_t bytes, err_t *err);
/* Fsyncs and frees. CHECKs that every byte came, unless an earlier call failed: then the file is removed and the
 * earlier error stays in *err. */
int st_writer_finish(st_writer_t *w, err_t *err);
void st_writer_abort(st_writer_t *w); /* removes the file and frees; NULL is fine */

#endif
