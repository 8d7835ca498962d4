/* safetensors files (huggingface/safetensors): u64 little-endian header length, a JSON header
 * {name: {dtype, shape, data_offsets: [begin, end]}, "__metadata__": {...}}, then the bytes.
 * Reading maps the file and checks everything once: the header fits, offsets are in range, in order,
 * without gap or overlap, and their length is shape * dtype. */
#ifndef MODEL_SAFETENSORS_H
#define MODEL_SAFETENSORS_H

#include <stdint.h>

#include "base/dtype.h"
#include "base/error.h"
#include "base/file.h"

#define TENSOR_MAX_DIMS 4

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
void safetensors_close(safetensors_t *st);                                /* NULL is fine */
const st_tensor_t *safetensors_find(const safetensors_t *st, const char *name); /* NULL: not there */

/* Writing: declare every tensor, then give the bytes of each in the order of declaration (in pieces, if
 * large), so that nothing is held in memory. Metadata is {"format":"pt"}. finish() checks that all bytes came
 * and fsyncs; abort removes the file. Offsets are aligned to 8 bytes as the reference writer does. */
typedef struct st_writer st_writer_t;
st_writer_t *st_writer_new(void);
void st_writer_declare(st_writer_t *w, const char *name, dtype_t dtype, int n_dims, const size_t *shape);
int st_writer_begin(st_writer_t *w, const char *path, err_t *err); /* writes the header */
int st_writer_data(st_writer_t *w, const void *data, size_t bytes, err_t *err);
int st_writer_finish(st_writer_t *w, err_t *err); /* frees w, also on error (the file is then removed) */
void st_writer_abort(st_writer_t *w);

#endif
