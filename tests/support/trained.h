/* Runs of the tiny models that the program itself trained, and what of them is read again: for the tests of exports. */
#ifndef TESTS_TRAINED_H
#define TESTS_TRAINED_H

#include "model/lora.h"
#include "model/source.h"

/* A finished run of four steps: its directory, and the checkpoint of its last step. */
typedef struct {
    const char *model; /* borrowed */
    char *dir, *checkpoint;
} trained_t;

/* `dtype`: lora.dtype. `device`: more keys of that section, after a comma (NULL: none). The learning rate is so small
 * that most of the changes are below half a BF16 step of the weight. */
trained_t trained_on(const char *model, const char *dtype, const char *device);
void trained_free(trained_t *t);

model_source_t *open_source(const char *path);
/* The values of an adapter directory in the order of `lora`, which is set up for them. The caller frees both. */
float *read_adapter(const char *dir, const model_config_t *c, lora_t *lora);
/* All n values of a tensor. The caller frees. */
bf16_t *read_bf16(const model_source_t *src, const char *name, size_t *n);

/* Two runs for the tests of exports, made and freed as setup and teardown of a group: fp32 adapters on a tied model, BF16
 * ones on another. */
extern trained_t tied, plain;
int train_both(void **state);
int free_both(void **state);

#endif
