/* The header of a safetensors file, and every byte of its tensors. */
#include "fuzz.h"

#include "model/formats/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *path;
    if (!path) path = fuzz_path("a.safetensors");
    safetensors_t *st = NULL;
    err_t err = {0};
    part_t rest = {data, size};
    fuzz_safetensors_file(path, &rest);
    if (!fuzz_outcome(safetensors_open(path, &st, &err), &err)) return 0;
    size_t bytes = 0;
    for (size_t i = 0; i < st->n_tensors; i++) {
        const st_tensor_t *t = &st->tensors[i];
        size_t n = 1;
        unsigned sum = 0;
        float value;
        for (int d = 0; d < t->n_dims; d++) n *= t->shape[d];
        for (size_t k = 0; k < t->bytes; k++) sum += t->data[k];
        FUZZ_CHECK(t->dtype == DT_OTHER || t->bytes == n * dtype_size(t->dtype));
        for (size_t k = 0; t->dtype != DT_OTHER && k < n && st_value(t, k, &value); k++) sum += value != 0;
        FUZZ_CHECK(safetensors_find(st, t->name) != NULL);
        bytes += t->bytes + 0 * sum;
    }
    FUZZ_CHECK(bytes < size + (1 << 17));
    safetensors_close(st);
    return 0;
}
