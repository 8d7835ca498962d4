/* The shape of a model whose weights are not at hand, for plans and benchmarks: from a config.json alone, or, where
 * nothing is at the path, of a published model that its last part names (model/known_models.h). */
#ifndef MODEL_OUTLINE_H
#define MODEL_OUTLINE_H

#include "model/arch.h"

/* Whether there is a shape but no weights at the path: a config.json, a directory with one and no safetensors, or
 * nothing and a known name. */
bool outline_only(const char *path);
/* *name: what it is, for messages ("llama-2-70b", or the path of the config.json); the caller frees. ERR_USAGE lists
 * the known names when the path says nothing. */
int outline_read(const char *path, model_config_t *c, char **name, err_t *err);

#endif
