/* A checkpoint of bitsandbytes: quant_state and what belongs to it. */
#include "fuzz.h"

#include <string.h>

#include "model/source.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *path, *dir;
    if (!path) {
        dir = fuzz_path("m");
        fuzz_file(fuzz_path("m/config.json"), fuzz_config, strlen(fuzz_config));
        path = fuzz_path("m/model.safetensors");
    }
    model_source_t *src = NULL;
    err_t err = {0};
    part_t rest = {data, size};
    fuzz_safetensors_file(path, &rest);
    if (fuzz_outcome(model_source_open(dir, &src, &err), &err)) fuzz_use_source(src);
    model_source_close(src);
    return 0;
}
