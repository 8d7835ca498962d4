/* model.safetensors.index.json, and the files that it names. */
#include "fuzz.h"

#include <string.h>

#include "model/source.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *index, *shards[2], *dir;
    if (!index) {
        dir = fuzz_path("m");
        fuzz_file(fuzz_path("m/config.json"), fuzz_config, strlen(fuzz_config));
        index = fuzz_path("m/model.safetensors.index.json");
        shards[0] = fuzz_path("m/a.safetensors");
        shards[1] = fuzz_path("m/b.safetensors");
    }
    model_source_t *src = NULL;
    err_t err = {0};
    part_t rest = {data, size}, part = fuzz_part(&rest);
    fuzz_file(index, part.p, part.n);
    for (int i = 0; i < 2; i++) fuzz_safetensors_file(shards[i], &rest);
    if (fuzz_outcome(model_source_open(dir, &src, &err), &err)) fuzz_use_source(src);
    model_source_close(src);
    return 0;
}
