/* A tokenizer.json, and texts encoded by it. */
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *path;
    if (!path) path = fuzz_path("tokenizer.json");
    fuzz_tokenizer_file(path, data, size);
    return 0;
}
