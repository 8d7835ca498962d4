/* Merging an adapter into its base model: W + scale * B A in fp32, rounded once to BF16 (without bias: merge.c
 * says why), a piece of rows at a time. */
#ifndef TRAINER_MERGE_H
#define TRAINER_MERGE_H

#include "model/lora.h"
#include "model/model.h"

typedef struct {
    const model_source_t *src;
    const lora_t *lora;
    const float *master;        /* host masters of lora */
    const model_t *dequantized; /* NULL to merge onto the source's own weights, or the loaded quantized model, to merge
                                 * onto what was trained against */
    backend_t *cpu;             /* does the products */
} merge_t;

/* Writes the merged model in 16 bits into the directory `dir` (of model_dir_begin). The same bytes each time for the
 * same number of threads. */
int merge_write(const char *dir, const merge_t *c, err_t *err);

#endif
