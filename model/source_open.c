#include "base/mem.h"
#include "model/source_impl.h"

/* A directory, or one file. */
static int open_kind(model_source_t *src, err_t *err) {
    if (path_is_dir(src->path)) return source_open_hf(src, err);
    if (path_has_suffix(src->path, ".safetensors") || path_has_suffix(src->path, ".json"))
        return err_set(err, ERR_USAGE, "%s: expected the model's directory (that has config.json), or a GGUF file",
                       src->path);
    return source_open_gguf(src, err);
}

int model_source_open(const char *path, model_source_t **out, err_t *err) {
    model_source_t *src = xcalloc(1, sizeof *src);
    src->path = xstrdup(path);
    if (open_kind(src, err)) {
        model_source_close(src);
        return err->code;
    }
    *out = src;
    return 0;
}
