/* Shapes of published models by name, for what needs no weights: memory plans and benchmarks. */
#ifndef MODEL_KNOWN_MODELS_H
#define MODEL_KNOWN_MODELS_H

#include "model/arch.h"

/* Finds the model that a name, or the last part of a path, speaks of: "llama-2-7b", "meta-llama/Llama-2-7b-chat-hf",
 * "/models/Meta-Llama-3-8B-Instruct/". Every word of it must be one of the model's name, in order, or one that is
 * known to leave the shape as it is ("instruct"): "Llama-3.2-1B" and "Llama-3-8B-262k" are no llama-3-8b. False:
 * not known. Fills *c, without token ids (those differ between a base model and its chat version), and *name, unless
 * NULL, with the short name, which is static. */
bool known_model_find(const char *path_or_name, model_config_t *c, const char **name);

/* For messages: the names that begin with the same word as the last part of a path, "llama-2-7b, llama-2-13b, ..."; if
 * none does, the words that names begin with, "smollm2-*, tinyllama-*, llama-*, ...". The caller frees. */
char *known_model_names(const char *like);

#endif
