/* Writes safetensors files from tensors that are in memory, or in another file's mapping. */
#ifndef TESTS_TENSORS_H
#define TESTS_TENSORS_H

#include "model/formats/safetensors.h"

/* The list's order does not matter. Fails the test when the file cannot be written. */
void tensors_write(const char *path, const st_tensor_t *list, size_t n);

#endif
