/* Where weights come from: a Hugging Face directory (config.json and safetensors: model.safetensors or the
 * shards that model.safetensors.index.json names), possibly a bitsandbytes 4-bit checkpoint, or a GGUF file.
 * Tensors are known by their Hugging Face names whatever the file ("model.layers.3.self_attn.q_proj.weight")
 * and always have Hugging Face's row order: GGUF's permuted Q and K are put right here.
 * Opening checks that every tensor of the architecture is there with the shape that the config implies. */
#ifndef MODEL_SOURCE_H
#define MODEL_SOURCE_H

#include "model/arch.h"
#include "model/formats/quant.h"
#include "model/formats/safetensors.h"

typedef struct model_source model_source_t;

typedef enum { TENSOR_EMBEDDING, TENSOR_HEAD, TENSOR_NORM, TENSOR_LINEAR, TENSOR_CLASSES } tensor_class_t;

typedef struct {
    const char *name;
    tensor_class_t class; /* TENSOR_NORM: 1-D */
    size_t layer;         /* of a TENSOR_LINEAR, which is one of the seven of a block */
    linear_kind_t kind;
    size_t rows, cols; /* 1-D: rows 1 */
    bool quantized;    /* stored in bitsandbytes 4-bit, as: */
    quant_type_t quant;
    bool double_quant;
    const char *file_type; /* for reports: "BF16", "Q4_1", "nf4+dq" */
    size_t file_bytes;
} source_tensor_t;

int model_source_open(const char *path, model_source_t **src, err_t *err);
void model_source_close(model_source_t *src); /* NULL is fine */

const char *model_source_path(const model_source_t *src);
const model_config_t *model_source_config(const model_source_t *src);
bool model_source_is_gguf(const model_source_t *src);
const char *model_source_dir(const model_source_t *src); /* NULL for a GGUF */
size_t model_source_count(const model_source_t *src);
const source_tensor_t *model_source_at(const model_source_t *src, size_t i);
const source_tensor_t *model_source_find(const model_source_t *src, const char *name);
/* The first tensor that the file has in 4 bits; NULL: there is none. */
const source_tensor_t *model_source_quantized(const model_source_t *src);

/* Values of the longest block of any format that is read: a multiple of the others, and of QUANT_BLOCK. */
#define SOURCE_BLOCK ((size_t)256)
/* Values [first, first+n) of the tensor, row after row, as BF16 (rounded to nearest even from what the file holds).
 * Both are whole rows or multiples of SOURCE_BLOCK, or the range ends with the tensor. Not for a quantized tensor. */
int source_read_bf16(const model_source_t *src, const source_tensor_t *t, size_t first, size_t n, bf16_t *out,
                     err_t *err);
/* The same in fp32, rounded to BF16 and widened: base weights are BF16 whatever the file's type. Norms. */
int source_read_f32(const model_source_t *src, const source_tensor_t *t, size_t first, size_t n, float *out,
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
