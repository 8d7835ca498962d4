/* LoRA adapters on disk as PEFT writes and reads them: a directory with adapter_config.json and
 * adapter_model.safetensors (tensor names: lora_tensor_name; F32, F16 or BF16). */
#ifndef MODEL_ADAPTER_H
#define MODEL_ADAPTER_H

#include "model/lora.h"
#include "model/source.h"

/* Rank and scale of each layer, dropout and rsLoRA from adapter_config.json; f32 by what the tensors hold. Which linear
 * layers are adapted the tensors say (c NULL: not asked for, and no table). rank_pattern and alpha_pattern count for the
 * names that the file has. lora_spec_free(spec) unless it failed. ERR_USAGE on what would change what the adapter
 * computes and is not supported (DoRA, biases, other initialisations of the base, keys that are not known), and on
 * tensors of other modules. */
int adapter_read_spec(const char *dir, const model_config_t *c, lora_spec_t *spec, err_t *err);
/* What adapter_config.json says of the layers, for reports: "targets" is target_modules; further lines name what else is
 * set (rank_pattern, ...). The callers frees. */
int adapter_target_text(const char *dir, char **text, err_t *err);

/* Every tensor of `lora` from the directory, to the host buffer master[lora->count]. A missing tensor, another shape, a
 * value that is not finite, or embeddings saved along that are not those of `base` (NULL: any): ERR_USAGE naming it. */
int adapter_read(const char *dir, const lora_t *lora, const model_source_t *base, float *master, err_t *err);

/* Writes both files into an existing directory, with fsync; F32 or BF16 by lora->spec.f32. `base`: what
 * base_model_name_or_path says. */
int adapter_write(const char *dir, const lora_t *lora, const float *master, const char *base, err_t *err);

#endif
