/* The hyper-parameters of a model by key, from a config.json or from the metadata of a GGUF: so that what a family
 * computes is read by one function, whichever file it comes from. */
#ifndef MODEL_CONFIG_KEYS_H
#define MODEL_CONFIG_KEYS_H

#include "model/arch.h"

struct config_keys {
    const char *where;  /* the file, and the object in it, for messages */
    const json_t *json; /* one of the two */
    const gguf_t *gguf;
    const char *prefix; /* of a GGUF's keys: its architecture's name */
};

/* Of each key its name in a config.json and, without the prefix, in a GGUF; NULL: that kind of file does not have it.
 * Absent or null leaves *out alone. ERR_USAGE: another kind of value. */
int key_size(const config_keys_t *k, const char *hf, const char *gguf, size_t *out, err_t *err);
int key_number(const config_keys_t *k, const char *hf, const char *gguf, double *out, err_t *err);
int key_bool(const config_keys_t *k, const char *hf, const char *gguf, bool *out, err_t *err);
/* At most size - 1 characters. */
int key_string(const config_keys_t *k, const char *hf, const char *gguf, char *out, size_t size, err_t *err);
/* Whether the key is there; null counts. */
bool key_is_there(const config_keys_t *k, const char *hf, const char *gguf);
/* A key's whole name, for messages. */
void key_name(const config_keys_t *k, const char *hf, const char *gguf, char *buf, size_t size);

/* What a config has before anything is read, for model_config_describe() after the sizes: what the family's function
 * says, and the checks. */
void model_config_begin(model_config_t *c);
int model_config_describe(const config_keys_t *k, model_config_t *c, err_t *err);

/* RoPE into c->rope and c->rotated, which hold the defaults, for one set, or for two, the second of layers with a
 * window (hf_rope.c, gguf_rope.c). */
int hf_read_rope(const config_keys_t *k, size_t sets, model_config_t *c, err_t *err);
int gguf_read_rope(const config_keys_t *k, size_t sets, model_config_t *c, err_t *err);

#endif
