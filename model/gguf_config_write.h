/* A model's description as the metadata of a GGUF: what it is written as, and what cannot be. */
#ifndef MODEL_GGUF_CONFIG_WRITE_H
#define MODEL_GGUF_CONFIG_WRITE_H

#include "model/arch.h"
#include "model/formats/gguf_write.h"

/* ERR_USAGE where the family has no GGUF; */
int gguf_family_check(const model_config_t *c, const char *where, err_t *err);
/* and where llama.cpp would compute something else than `c` says. `where` for messages. */
int gguf_config_check(const model_config_t *c, const char *where, err_t *err);
/* A window of attention that llama.cpp does not have for the family, so that longer texts come out differently there;
 * 0: none. */
size_t gguf_ignored_window(const model_config_t *c);

/* The keys "ARCH.name". */
void gguf_put_config(gguf_writer_t *w, const model_config_t *c);

/* Tensors that hold what RoPE multiplies the wavelength of each pair by; how many there are. */
typedef struct {
    const char *name;
    size_t n;
    float factor[ROPE_MAX_PAIRS];
} gguf_rope_tensor_t;
size_t gguf_rope_tensors(const model_config_t *c, gguf_rope_tensor_t out[2]);

/* What two descriptions compute differently, but for biases and token ids, which tensors and tokenizer say; NULL:
 * nothing. */
const char *model_config_difference(const model_config_t *a, const model_config_t *b);

#endif
