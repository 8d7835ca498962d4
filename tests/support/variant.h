/* Copies of a model or an adapter directory with something changed: for tests of what others' files may be. */
#ifndef TESTS_VARIANT_H
#define TESTS_VARIANT_H

#include <jansson.h>

#include "model/formats/safetensors.h"

typedef struct {
    json_t *config; /* config.json or adapter_config.json: to be changed */
    st_tensor_t *t; /* all tensors: to be changed, but for the strings and bytes that they point to */
    size_t n;
    const char *from, *config_name, *tensors_name;
    safetensors_t *st;
} variant_t;

variant_t variant_of(const char *dir);
/* The tensor, to be changed in place; fails the test when it is not there. */
st_tensor_t *variant_tensor(variant_t *v, const char *name);
/* One more, with this name. */
void variant_add(variant_t *v, const st_tensor_t *t, const char *name);
void variant_remove(variant_t *v, const char *name);
/* Member of the config: JSON text; NULL: removed. */
void variant_set(variant_t *v, const char *key, const char *json);
/* The values of an F32, F16 or BF16 tensor in another of these types; valid until the program ends. */
st_tensor_t retyped(const st_tensor_t *t, dtype_t type);
/* Writes it into a new directory, whose path is valid until the program ends, and frees *v. */
const char *variant_write(variant_t *v);

#endif
