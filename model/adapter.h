/* LoRA adapters on disk as PEFT writes and reads them: a directory with adapter_config.json and
 * adapter_model.safetensors (tensor names: lora_tensor_name; F32, F16 or BF16). */
#ifndef MODEL_ADAPTER_H
#define MODEL_ADAPTER_H

#include "model/lora.h"

/* r, alpha, targets, rsLoRA from adapter_config.json; f32 by what the tensors hold. ERR_USAGE on what would be
 * ignored silently otherwise (DoRA, rank patterns, biases, saved modules, another PEFT type). */
int adapter_read_spec(const char *dir, lora_spec_t *spec, err_t *err);

/* Every tensor of `lora` from the directory, to the host buffer master[lora->count]. A missing tensor, an
 * unknown one or another shape means an adapter for another model: ERR_USAGE naming it. */
int adapter_read(const char *dir, const lora_t *lora, float *master, err_t *err);

/* Writes both files into an existing directory, with fsync; F32 or BF16 by lora->spec.f32. `base`: what
 * base_model_name_or_path says. */
int adapter_write(const char *dir, const lora_t *lora, const float *master, const char *base, err_t *err);

#endif
