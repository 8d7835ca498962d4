/* A made-up Hugging Face model of any size, for tests of memory and of plans: pseudo-random BF16 weights. */
#ifndef TESTS_MADE_MODEL_H
#define TESTS_MADE_MODEL_H

#include <stdbool.h>
#include <stddef.h>

typedef struct {
    size_t vocab, hidden, ffn, layers, heads, kv_heads;
    bool tied;
} made_model_t;

/* Writes config.json and model.safetensors into the directory, which exists. */
void made_model_write(const char *dir, const made_model_t *spec);

#endif
