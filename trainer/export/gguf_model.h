/* A merged model in one GGUF: weights, metadata, tokenizer and chat template, for llama.cpp and what is built on it. */
#ifndef TRAINER_EXPORT_GGUF_MODEL_H
#define TRAINER_EXPORT_GGUF_MODEL_H

#include "trainer/export/merge.h"

typedef struct {
    const merge_t *merge; /* its dtype does not count */
    uint32_t type;        /* of weights: GGML_BF16, GGML_F16 or GGML_Q8_0 */
} gguf_model_t;

/* What `type` is where nobody says: F16 where the model's linear layers are, else BF16. */
uint32_t gguf_model_type(const model_source_t *src);
/* ERR_USAGE where the model cannot be one: before an hour is spent. */
int gguf_model_check(const model_source_t *src, err_t *err);
/* Writes the file. Weights are rounded as merge_write() rounds them, to Q8_0 as llama.cpp does; norms and biases are
 * F32. The same bytes each time. Metadata and tokenizer are read back before the weights are written: ERR_USAGE where
 * the model read would compute something else, or a token's text or a text of many scripts has other ids. The values
 * are merge_check()'s to read back. */
int gguf_model_write(const char *path, const gguf_model_t *m, err_t *err);

#endif
