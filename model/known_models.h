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

/* "smollm2-135m, smollm2-360m, ...": for messages. The caller frees. */
char *known_model_names(void);

#endif
