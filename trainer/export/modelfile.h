/* A Modelfile: what `ollama create` makes a model from. */
#ifndef TRAINER_EXPORT_MODELFILE_H
#define TRAINER_EXPORT_MODELFILE_H

#include "model/source.h"

/* Beside the GGUF `file`, a merged model of `src` or an adapter for it. One that is there already stays; said. */
int modelfile_write(const char *file, const model_source_t *src, bool adapter, err_t *err);

#endif
