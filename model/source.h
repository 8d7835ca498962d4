/* Where weights come from: a Hugging Face directory (config.json and safetensors: model.safetensors or the
 * shards that model.safetensors.index.json names), possibly a bitsandbytes 4-bit checkpoint, or a GGUF file.
 * Tensors always have Hugging Face's row order and values: what GGUF permutes, joins or adds 1 to is put right here.
 * Opening checks that every tensor of the architecture is there with the shape that the config implies. What a file has
 * beyond them (the towers of a vision-language model, say) is counted and not read. */
#ifndef MODEL_SOURCE_H
#define MODEL_SOURCE_H

#include "model/arch.h"
#include "model/formats/quant.h"
#include "model/formats/safetensors.h"

typedef struct model_source model_source_t;

typedef struct {
    const char *name; /* as stored in a Hugging Face directory; of a GGUF the name that it would have there */
    tensor_role_t role;
    const tensor_spec_t *spec; /* NULL: not of a block */
    size_t layer;              /* of a block's */
    size_t rows, cols;         /* 1-D: rows 1 */
    dtype_t type;              /* BF16, F16 or F32: holds its values exactly; GGUF's blocks are rounded to BF16. Of a
                                * quantized one: what it was made from */
    bool quantized;            /* stored in bitsandbytes 4-bit, as: */
    quant_type_t quant;
    bool double_quant;
    const char *file_type; /* for reports: "BF16", "Q4_1", "nf4+dq" */
    size_t file_bytes;
} source_tensor_t;

/* The slot of a block's linear layer, or of its bias. */
static inline linear_slot_t source_slot(const source_tensor_t *t) { return (linear_slot_t)t->spec->slot; }

int model_source_open(const char *path, model_source_t **src, err_t *err);
void model_source_close(model_source_t *src); /* NULL is fine */

const char *model_source_path(const model_source_t *src);
const model_config_t *model_source_config(const model_source_t *src);
bool model_source_is_gguf(const model_source_t *src);
const char *model_source_dir(const model_source_t *src);    /* NULL for a GGUF */
const gguf_t *model_source_gguf(const model_source_t *src); /* NULL for a directory */
/* The tensors of the model, in the order of model_each_tensor(). */
size_t model_source_count(const model_source_t *src);
const source_tensor_t *model_source_at(const model_source_t *src, size_t i);
const source_tensor_t *model_source_find(const model_source_t *src, const char *name);
/* What else is in a Hugging Face directory's files: n tensors; the i-th of them. */
size_t model_source_others(const model_source_t *src);
const st_tensor_t *model_source_other(const model_source_t *src, size_t i);
/* The first tensor that the file has in 4 bits; NULL: there is none. */
const source_tensor_t *model_source_quantized(const model_source_t *src);

/* Values of the longest block of any format that is read: a multiple of the others, and of QUANT_BLOCK. */
#define SOURCE_BLOCK ((size_t)256)
/* Values [first, first+n) of the tensor, row after row, rounded to nearest even where `type` (BF16, F16 or F32) does
 * not hold them. Both are whole rows or multiples of SOURCE_BLOCK, or the range ends with the tensor. Not for a
 * quantized tensor. */
int source_read(const model_source_t *src, const source_tensor_t *t, size_t first, size_t n, dtype_t type, void *out,
                err_t *err);
/* The same in F32, GGUF's blocks not rounded to BF16: for those who judge a file rather than run it. */
int source_read_exact(const model_source_t *src, const source_tensor_t *t, size_t first, size_t n, float *out,
                      err_t *err);
/* A quantized tensor as it lies in the file: the pointers of *w go into the mapping. */
int source_quantized(const model_source_t *src, const source_tensor_t *t, qweight_t *w, err_t *err);
/* Lets go of the tensor's pages; of the i-th of n equal parts of them, for threads that share the work. */
void source_release(const model_source_t *src, const source_tensor_t *t);
void source_release_part(const model_source_t *src, const source_tensor_t *t, size_t i, size_t n);

/* Identity of the weights: XXH3 over every tensor's name, shape, file type and the first 4 KiB of its stored bytes (of
 * a quantized one also of its constants). A cheap guard against another model under the same path: it reads a page or
 * two of a tensor, so a change further inside one passes unseen. */
uint64_t model_source_fingerprint(const model_source_t *src);

#endif
