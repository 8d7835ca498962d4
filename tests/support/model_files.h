/* The files of a model directory that a test compares. */
#ifndef TESTS_MODEL_FILES_H
#define TESTS_MODEL_FILES_H

#include <jansson.h>

#include "model/formats/safetensors.h"

/* Its model.safetensors and its config.json; the caller closes the one and releases the other. Fails the test where there
 * is none. */
safetensors_t *tensors_of(const char *dir);
json_t *config_of(const char *dir);

#endif
