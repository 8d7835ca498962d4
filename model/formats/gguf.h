/* GGUF files (ggml-org/ggml, docs/gguf.md), versions 2 and 3, little endian: metadata key/values, tensor
 * infos, aligned data. Reading maps the file and checks counts, lengths and offsets before anything is
 * believed. GGUF writes dimensions innermost first; here `cols` is that innermost one.
 *
 * A model in several files (NAME-00001-of-00003.gguf, ...) is opened by the first: that one has the metadata, and the
 * tensors are those of all parts. */
#ifndef MODEL_FORMATS_GGUF_H
#define MODEL_FORMATS_GGUF_H

#include <stdbool.h>

#include "base/dtype.h"
#include "base/error.h"
#include "base/file.h"

typedef enum { /* the numbers of the format; only those read here */
               GGML_F32 = 0,
               GGML_F16 = 1,
               GGML_Q4_0 = 2,
               GGML_Q4_1 = 3,
               GGML_Q5_0 = 6,
               GGML_Q5_1 = 7,
               GGML_Q8_0 = 8,
               GGML_Q2_K = 10,
               GGML_Q3_K = 11,
               GGML_Q4_K = 12,
               GGML_Q5_K = 13,
               GGML_Q6_K = 14,
               GGML_IQ4_NL = 20,
               GGML_IQ4_XS = 23,
               GGML_BF16 = 30
} ggml_type_t;

typedef struct {
    const char *p; /* not NUL-terminated, in the mapping */
    size_t len;
} gguf_str_t;

typedef struct {
    gguf_str_t name;
    uint32_t type;       /* ggml_type_t, or one that is not read here: see gguf_check_readable */
    size_t rows, cols;   /* 1-D: rows 1; beyond 2-D: rows is the product of the outer dimensions */
    const uint8_t *data; /* NULL, with 0 bytes, where the type's size is not known */
    size_t bytes;
    const char *path; /* the file that it is in */
} gguf_tensor_t;

typedef struct gguf gguf_t;

int gguf_open(const char *path, gguf_t **g, err_t *err);
void gguf_close(gguf_t *g);             /* NULL is fine */
const char *gguf_path(const gguf_t *g); /* of the first part */
size_t gguf_tensor_count(const gguf_t *g);
const gguf_tensor_t *gguf_tensor_at(const gguf_t *g, size_t i);
const gguf_tensor_t *gguf_find(const gguf_t *g, const char *name); /* NULL: not there */

/* A file may hold tensors of any type, as long as nobody needs them. gguf_check_readable: ERR_USAGE names the tensor,
 * its type, and what gguf_dequant() reads. */
bool gguf_type_readable(uint32_t type);
const char *gguf_type_name(uint32_t type); /* "Q4_1", also for types that are not read here; "type 99" */
int gguf_check_readable(const gguf_tensor_t *t, err_t *err);

/* Metadata. gguf_has: there is such a key, of whatever kind. The other getters return false when the key is
 * absent or of another kind (integers of any width convert). */
bool gguf_has(const gguf_t *g, const char *key);
bool gguf_get_uint(const gguf_t *g, const char *key, uint64_t *out);
bool gguf_get_float(const gguf_t *g, const char *key, double *out);
bool gguf_get_bool(const gguf_t *g, const char *key, bool *out);
bool gguf_get_str(const gguf_t *g, const char *key, gguf_str_t *out);
/* Length of an array, -1 when absent or no array; then its elements. */
long gguf_array_len(const gguf_t *g, const char *key);
bool gguf_array_str(const gguf_t *g, const char *key, size_t i, gguf_str_t *out); /* O(1) */
bool gguf_array_int(const gguf_t *g, const char *key, size_t i, int64_t *out);
bool gguf_array_float(const gguf_t *g, const char *key, size_t i, double *out);
bool gguf_array_bool(const gguf_t *g, const char *key, size_t i, bool *out);
/* n whole numbers, of each layer one, say: an array of n, or a single number that holds for all. */
bool gguf_get_uints(const gguf_t *g, const char *key, size_t n, uint64_t *out);

/* Elements in a block of the type (1 for the plain types), and the bytes that a block takes; 0 for a type whose
 * blocks are not known. cols is a multiple of the former. */
size_t gguf_block_len(uint32_t type);
size_t gguf_block_bytes(uint32_t type);

/* Elements [first, first+n) of a tensor in fp32; first and n multiples of gguf_block_len (so any range of whole
 * rows will do). The type must be a readable one. Thread-safe. */
void gguf_dequant(const gguf_tensor_t *t, size_t first, size_t n, float *out);
/* The same rounded to BF16. False: a value is NaN, or infinite once it is rounded; then `out` is of no use. */
bool gguf_dequant_bf16(const gguf_tensor_t *t, size_t first, size_t n, bf16_t *out);

#endif
