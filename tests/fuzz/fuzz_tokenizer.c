/* A tokenizer.json, and texts encoded by it. */
#include "fuzz.h"

#include "data/tokenizer/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *path;
    if (!path) path = fuzz_path("tokenizer.json");
    tokenizer_t *tok = NULL;
    err_t err = {0};
    fuzz_file(path, data, size);
    if (fuzz_outcome(tokenizer_open(path, &tok, &err), &err)) {
        fuzz_use_tokenizer(tok);
        tokenizer_close(tok);
    }
    return 0;
}
