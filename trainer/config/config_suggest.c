#include "trainer/config/config_suggest.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/mem.h"
#include "base/names.h"
#include "trainer/config/config_schema.h"

/* Keys by the names that Transformers, Axolotl, LLaMA-Factory and habit give them, where they are too far from ours. */
static const struct {
    const char *theirs, *section, *ours;
} synonyms[] = {
    {"base_model", "model", "path"},
    {"model_name_or_path", "model", "path"},
    {"bnb_4bit_quant_type", "quantization", "quant_type"},
    {"bnb_4bit_use_double_quant", "quantization", "double_quant"},
    {"bnb_4bit_compute_dtype", "quantization", "compute_dtype"},
    {"rank", "lora", "r"},
    {"lora_r", "lora", "r"},
    {"dataset", "data", "train"},
    {"train_file", "data", "train"},
    {"validation_file", "data", "eval"},
    {"val_set_size", "data", "eval_split"},
    {"cutoff_len", "data", "max_length"},
    {"seq_len", "data", "max_length"},
    {"sequence_len", "data", "max_length"},
    {"train_on_inputs", "data", "train_on"},
    {"lr", "training", "learning_rate"},
    {"num_epochs", "training", "num_train_epochs"},
    {"micro_batch_size", "training", "per_device_train_batch_size"},
    {"optimizer", "training", "optim"},
    {"num_threads", "device", "threads"},
};

static const config_key_t *by_synonym(const char *name) {
    for (size_t i = 0; i < sizeof synonyms / sizeof *synonyms; i++)
        if (strcmp(synonyms[i].theirs, name) == 0) {
            const config_key_t *key = config_key_find(synonyms[i].section, synonyms[i].ours);
            CHECK(key != NULL);
            return key;
        }
    return NULL;
}

/* A near name, or one that `name` is a part of ("epochs"); in the section, or with NULL anywhere. */
static const config_key_t *near_key(const char *section, const char *name) {
    const char **names = xcalloc(config_n_keys, sizeof *names);
    const config_key_t *found = NULL;
    for (size_t i = 0; i < config_n_keys; i++)
        names[i] = !section || strcmp(config_keys[i].section, section) == 0 ? config_keys[i].name : "";
    const char *near = closest_name(name, names, config_n_keys);
    for (size_t i = 0; !found && i < config_n_keys; i++)
        if (near ? names[i] == near : strlen(name) >= 4 && strstr(names[i], name)) found = &config_keys[i];
    free(names);
    return found;
}

bool config_suggest_key(const char *section, const char *name, char out[128]) {
    const config_key_t *found = NULL;
    for (size_t i = 0; !found && i < config_n_keys; i++)
        if (strcmp(config_keys[i].name, name) == 0) found = &config_keys[i];
    if (!found) found = by_synonym(name);
    if (!found && section) found = near_key(section, name);
    if (!found) found = near_key(NULL, name);
    if (!found) return false;
    bool here = section && strcmp(found->section, section) == 0;
    snprintf(out, 128, "%s%s%s", here ? "" : found->section, here ? "" : ".", found->name);
    return true;
}
