/* A LoRA adapter in a GGUF, as llama.cpp's convert_lora_to_gguf.py lays it out. */
#ifndef TRAINER_EXPORT_GGUF_LORA_H
#define TRAINER_EXPORT_GGUF_LORA_H

#include "model/lora.h"

/* ERR_USAGE where llama.cpp does not take such an adapter; `where` for the message. */
int gguf_lora_refuse(const lora_t *lora, const char *where, err_t *err);
/* F32, which holds what a checkpoint has without a loss. llama.cpp scales by alpha over the rank that it sees; what of
 * a scale that does not say goes into B. */
int gguf_lora_write(const char *path, const lora_t *lora, const float *master, err_t *err);
/* Reads it back: every value is the one that was to be written, to the bit. */
int gguf_lora_check(const char *path, const lora_t *lora, const float *master, err_t *err);

#endif
