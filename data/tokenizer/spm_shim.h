/* The SentencePiece library behind a C interface. Nothing of C++ passes: no exception, no ownership. */
#ifndef DATA_TOKENIZER_SPM_SHIM_H
#define DATA_TOKENIZER_SPM_SHIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct spm_model spm_model_t;

typedef enum { /* the numbers of sentencepiece_model.proto, which GGUF's tokenizer.ggml.token_type shares */
               SPM_NORMAL = 1,
               SPM_UNKNOWN = 2,
               SPM_CONTROL = 3,
               SPM_USER_DEFINED = 4,
               SPM_UNUSED = 5,
               SPM_BYTE = 6
} spm_type_t;

/* A serialized ModelProto (the contents of a tokenizer.model). NULL, with the reason in `why`, on failure. */
spm_model_t *spm_model_open(const void *proto, size_t len, char *why, size_t why_size);
/* The same model without a space before the first word of a text. */
spm_model_t *spm_model_unspaced(spm_model_t *m, char *why, size_t why_size);
void spm_model_close(spm_model_t *m); /* NULL is fine */

size_t spm_model_size(const spm_model_t *m);
/* The piece as in the model, valid until the next call; its score and type. id < size. */
const char *spm_model_piece(spm_model_t *m, int32_t id, size_t *len, float *score, spm_type_t *type);
int32_t spm_model_bos(const spm_model_t *m); /* -1: none */
int32_t spm_model_eos(const spm_model_t *m);
/* Calls `add` for each id of the text, with the byte of the text where it begins; false, with the reason, on failure. Safe
 * from several threads. */
typedef void spm_add_fn(void *ctx, int32_t id, size_t start);
bool spm_model_encode(const spm_model_t *m, const char *text, size_t len, spm_add_fn *add, void *ctx, char *why,
                      size_t why_size);

#ifdef __cplusplus
}
#endif

#endif
