#include <stdio.h>
#include <string.h>

#include "model/source_impl.h"

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

/* Rows of q, k or v in one tensor of all three, which some files have for architectures that keep them apart. */
static const gguf_tensor_t *find_in_qkv(const model_source_t *src, const source_entry_t *e, gguf_tensor_t *part) {
    if (!e->t.spec || (e->t.role != TENSOR_LINEAR && e->t.role != TENSOR_BIAS) || e->t.spec->site != SITE_QKV)
        return NULL;
    char name[96];
    bool bias = e->t.role == TENSOR_BIAS;
    snprintf(name, sizeof name, "blk.%zu.attn_qkv.%s", e->t.layer, bias ? "bias" : "weight");
    const gguf_tensor_t *all = gguf_find(src->gguf, name);
    size_t q = model_dim(&src->config, DIM_Q), kv = model_dim(&src->config, DIM_KV),
           rows = bias ? e->t.cols : e->t.rows;
    size_t first = e->t.spec->slot == LIN_Q ? 0 : e->t.spec->slot == LIN_K ? q : q + kv;
    if (!all || !all->data || (bias ? all->cols : all->rows) != q + 2 * kv) return NULL;
    if (all->bytes % (q + 2 * kv)) return NULL; /* a bias in blocks cannot be cut */
    size_t row_bytes = all->bytes / (q + 2 * kv);
    *part = *all;
    part->data += first * row_bytes;
    part->bytes = rows * row_bytes;
    *(bias ? &part->cols : &part->rows) = rows;
    return part;
}

static int find_tensor(const model_source_t *src, source_entry_t *e, err_t *err) {
    const arch_t *arch = src->config.arch;
    gguf_tensor_t part;
    const gguf_tensor_t *t = gguf_find(src->gguf, e->gguf_name);
    if (!t) t = find_in_qkv(src, e, &part);
    if (!t) return source_missing_error(src, e->gguf_name, e, err);
    size_t shape[2] = {t->rows, t->cols};
    bool vector = tensor_is_vector(e->t.role) && t->rows == 1;
    if (t->rows != e->t.rows || t->cols != e->t.cols)
        return source_shape_error(src, e, vector ? 1 : 2, shape + vector, err);
    if (gguf_check_readable(t, err)) return err->code;
    e->stored = *t;
    bool linear = e->t.role == TENSOR_LINEAR || e->t.role == TENSOR_BIAS;
    if (linear && arch->gguf_permuted_qk && e->t.spec->slot == LIN_Q) e->heads = src->config.heads;
    if (linear && arch->gguf_permuted_qk && e->t.spec->slot == LIN_K) e->heads = src->config.kv_heads;
    if (e->t.role == TENSOR_NORM && arch->norm_plus_one) e->minus = 1;
    e->t.type = t->type == GGML_F32 ? DT_F32 : t->type == GGML_F16 ? DT_F16 : DT_BF16;
    e->t.file_type = gguf_type_name(t->type);
    e->t.file_bytes = t->bytes;
    return 0;
}

static bool has_bias(const model_source_t *src, const tensor_spec_t *spec) {
    char name[96];
    snprintf(name, sizeof name, "blk.0.%s.bias", spec->gguf);
    bool in_qkv = spec->site == SITE_QKV && gguf_find(src->gguf, "blk.0.attn_qkv.bias");
    return in_qkv || gguf_find(src->gguf, name);
}

static bool ends_with(gguf_str_t s, const char *end) {
    size_t n = strlen(end);
    return s.len >= n && !memcmp(s.p + s.len - n, end, n);
}

/* In a block nothing may be left over: it would be part of what the model computes. */
static int refuse_leftovers(const model_source_t *src, err_t *err) {
    for (size_t i = 0; i < gguf_tensor_count(src->gguf); i++) {
        gguf_str_t s = gguf_tensor_at(src->gguf, i)->name;
        bool bias = ends_with(s, ".bias"), known = ends_with(s, ".attn_qkv.weight") || ends_with(s, ".attn_qkv.bias");
        if (!bias && !source_layers_named(s.p, s.len, "blk.")) continue;
        for (size_t k = 0; !known && k < src->n_entries; k++)
            known = strlen(src->entries[k].gguf_name) == s.len && !memcmp(src->entries[k].gguf_name, s.p, s.len);
        if (!known) return source_leftover_error(src, s.p, s.len, err);
    }
    return 0;
}

int source_open_gguf(model_source_t *src, err_t *err) {
    if (gguf_open(src->path, &src->gguf, err) || model_config_from_gguf(src->gguf, &src->config, err)) return err->code;
    if (refuse_more_layers(src, err)) return err->code;
    source_find_biases(src, has_bias);
    source_list_tensors(src);
    for (size_t i = 0; i < src->n_entries; i++)
        if (find_tensor(src, &src->entries[i], err)) return err->code;
    return refuse_leftovers(src, err);
}
