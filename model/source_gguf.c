#include <string.h>

#include "model/source_impl.h"

static int refuse_biases(const gguf_t *g, err_t *err) {
    for (size_t i = 0; i < gguf_tensor_count(g); i++) {
        gguf_str_t s = gguf_tensor_at(g, i)->name;
        if (s.len >= 5 && !memcmp(s.p + s.len - 5, ".bias", 5))
            return err_set(err, ERR_USAGE, "%s: tensor \"%.*s\": biases are not supported for this architecture",
                           gguf_path(g), (int)s.len, s.p);
    }
    return 0;
}

static int refuse_more_layers(const model_source_t *src, err_t *err) {
    gguf_str_t last = {0};
    size_t held = 0;
    for (size_t i = 0; i < gguf_tensor_count(src->gguf); i++) {
        gguf_str_t s = gguf_tensor_at(src->gguf, i)->name;
        size_t n = source_layers_named(s.p, s.len, "blk.");
        if (n <= held) continue;
        held = n;
        last = s;
    }
    return held > src->config.layers ? source_layers_error(src, last.p, last.len, held, err) : 0;
}

static int find_tensor(const model_source_t *src, source_entry_t *e, err_t *err) {
    const gguf_tensor_t *t = gguf_find(src->gguf, e->gguf_name);
    if (!t) return source_missing_error(src, e->gguf_name, e, err);
    size_t shape[2] = {t->rows, t->cols};
    bool vector = e->t.class == TENSOR_NORM && t->rows == 1;
    if (t->rows != e->t.rows || t->cols != e->t.cols)
        return source_shape_error(src, e, vector ? 1 : 2, shape + vector, err);
    e->stored = *t;
    e->permuted = e->heads && src->config.arch->gguf_permuted_qk;
    e->t.file_type = gguf_type_name(t->type);
    e->t.file_bytes = t->bytes;
    return 0;
}

int source_open_gguf(model_source_t *src, err_t *err) {
    if (gguf_open(src->path, &src->gguf, err) || model_config_from_gguf(src->gguf, &src->config, err)) return err->code;
    if (refuse_biases(src->gguf, err) || refuse_more_layers(src, err)) return err->code;
    source_list_tensors(src);
    for (size_t i = 0; i < src->n_entries; i++)
        if (find_tensor(src, &src->entries[i], err)) return err->code;
    return 0;
}
