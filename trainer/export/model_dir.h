/* Writing a Hugging Face model directory: tensors in one file or shards, and the files beside them. The
 * directory is made under a temporary name and renamed when it is whole. */
#ifndef TRAINER_EXPORT_MODEL_DIR_H
#define TRAINER_EXPORT_MODEL_DIR_H

#include <jansson.h>

#include "model/formats/safetensors.h"
#include "model/source.h"

/* One tensor to be written; what follows its shape is for the emitter, which gives its bytes. */
typedef struct {
    char name[160];
    dtype_t dtype;
    int n_dims;
    size_t shape[TENSOR_MAX_DIMS];
    const source_tensor_t *from; /* of the model; NULL: */
    const st_tensor_t *other;    /* one that the model does not have, copied as it is */
    int part;
} out_tensor_t;

typedef struct {
    out_tensor_t *t;
    size_t n, cap;
} out_list_t;
out_tensor_t *out_list_add(out_list_t *list, dtype_t dtype, int n_dims, size_t rows, size_t cols, const char *fmt, ...)
    __attribute__((format(printf, 6, 7)));

/* A tensor that is no part of the model, but of its directory. */
void out_list_add_other(out_list_t *list, const st_tensor_t *t);

/* Gives all bytes of one tensor to the writer. */
typedef int (*emit_fn)(void *ctx, const out_tensor_t *t, st_writer_t *w, err_t *err);

/* ERR_USAGE when `dir` exists already, since nothing is overwritten, or is an empty string. */
int model_dir_absent(const char *dir, err_t *err);
/* The same check; then makes the parents of `dir` and, beside it, a new directory *tmp (freed by model_dir_end). One at
 * a time: from here on a signal that ends the program (HUP, INT, PIPE, QUIT, TERM) first removes *tmp, and the parents
 * that were made. */
int model_dir_begin(const char *dir, char **tmp, err_t *err);
/* model.safetensors, or model-0000i-of-0000n.safetensors of at most SHARD_BYTES with their index. */
int model_dir_tensors(const char *tmp, const out_list_t *list, emit_fn emit, void *ctx, err_t *err);
#define SHARD_BYTES ((size_t)5 << 30)
/* config.json (of the source, or made from a GGUF's metadata) for weights of type dtype, with `quantization` as its
 * quantization_config (borrowed; NULL: none), and the tokenizer, template and generation files. `chat_template`: the
 * Jinja text that takes the place of the model's own; NULL: that stays. */
int model_dir_companions(const char *tmp, const model_source_t *src, dtype_t dtype, json_t *quantization,
                         const char *chat_template, err_t *err);
/* Has the directory's config.json say that the head is not the embedding. */
int model_dir_untie(const char *tmp, err_t *err);
/* The source's own quantization_config; NULL: it has none. */
int model_dir_quantization(const model_source_t *src, json_t **quantization, err_t *err);
/* For a result that is one file: moves the file `name` of *tmp to `path` instead, unless rc is an error, and removes the
 * directory. The same otherwise. */
int model_dir_end_file(char *tmp, const char *name, const char *path, int rc, err_t *err);
/* Renames into place, or, when rc is an error, removes what was made. Frees tmp. Returns rc or its own error. */
int model_dir_end(char *tmp, const char *dir, int rc, err_t *err);

#endif
