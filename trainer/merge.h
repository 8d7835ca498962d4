/* Merging an adapter into its base model: W + scale * B A in fp32, rounded once to BF16 (without bias: merge.c
 * says why), a piece of rows at a time. */
#ifndef TRAINER_MERGE_H
#define TRAINER_MERGE_H

#include "model/lora.h"
#include "model/model.h"

/* Writes the merged model in 16 bits into the directory `dir` (of model_dir_begin). lora: host masters in `master`.
 * dequantized: NULL to merge onto the source's own weights, or the loaded quantized model, to merge onto what
 * was trained against. */
int merge_write(const char *dir, const model_source_t *src, const lora_t *lora, const float *master,
                const model_t *dequantized, err_t *err);

#endif
