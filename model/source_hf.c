#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "model/source_impl.h"

static int open_shard(model_source_t *src, const char *path, safetensors_t **shard, err_t *err) {
    for (size_t i = 0; i < src->n_shards; i++)
        if (!strcmp(src->shards[i]->path, path)) {
            *shard = src->shards[i];
            return 0;
        }
    if (safetensors_open(path, shard, err)) return err->code;
    VEC_GROW(src->shards, src->n_shards, src->cap_shards);
    src->shards[src->n_shards++] = *shard;
    return 0;
}

static void add_tensor(model_source_t *src, const st_tensor_t *t) {
    VEC_GROW(src->tensors, src->n_tensors, src->cap_tensors);
    src->tensors[src->n_tensors++] = t;
}

/* One line of the index: tensor `name` is in `file`. Shards lie next to the index and nowhere else, by their names: a
 * symbolic link there is the user's own (Hugging Face's cache consists of them) and followed. A tensor that its file does
 * not have is counted: where the model needs it, it is missing. */
static int add_indexed(model_source_t *src, const char *index, const char *name, const json_t *file, size_t *stale,
                       err_t *err) {
    const char *f = json_string_value(file);
    bool whole = f && strlen(f) == json_string_length(file); /* no zero byte hides what follows it */
    if (f && !strncmp(f, "./", 2)) f += 2;
    if (!whole || !*f || strchr(f, '/') || !strcmp(f, ".") || !strcmp(f, ".."))
        return err_set(err, ERR_USAGE, "%s: weight_map: \"%.200s\": expected the name of a file in the same directory",
                       index, name);
    char *path = path_join(src->dir, f);
    safetensors_t *shard = NULL;
    int rc = open_shard(src, path, &shard, err);
    const st_tensor_t *t = rc == 0 ? safetensors_find(shard, name) : NULL;
    if (t) add_tensor(src, t);
    else *stale += rc == 0;
    free(path);
    return rc;
}

static int open_index(model_source_t *src, const char *index, err_t *err) {
    json_t *root = NULL, *file;
    const char *name;
    size_t stale = 0;
    if (json_file(index, &root, err)) return err->code;
    json_t *map = json_object_get(root, "weight_map");
    int rc = json_is_object(map) ? 0 : err_set(err, ERR_USAGE, "%s: weight_map: expected an object", index);
    if (rc == 0) {
        json_object_foreach(map, name, file) {
            rc = add_indexed(src, index, name, file, &stale, err);
            if (rc) break;
        }
    }
    json_decref(root);
    if (rc == 0 && stale)
        source_note(src, "the index names %zu tensors that its files do not have; those are left out", stale);
    return rc;
}

static int open_single(model_source_t *src, const char *path, err_t *err) {
    safetensors_t *st;
    if (open_shard(src, path, &st, err)) return err->code;
    for (size_t i = 0; i < st->n_tensors; i++) add_tensor(src, &st->tensors[i]);
    return 0;
}

static int by_name(const void *a, const void *b) {
    return strcmp((*(const st_tensor_t *const *)a)->name, (*(const st_tensor_t *const *)b)->name);
}

static int open_tensors(model_source_t *src, err_t *err) {
    char *single = path_join(src->dir, "model.safetensors");
    char *index = path_join(src->dir, "model.safetensors.index.json");
    int rc;
    if (path_exists(single)) rc = open_single(src, single, err);
    else if (path_exists(index)) rc = open_index(src, index, err);
    else
        rc = err_set(err, ERR_USAGE,
                     "%s: no model.safetensors or model.safetensors.index.json there (other formats "
                     "of weights, such as .bin, are not read)",
                     src->dir);
    free(single);
    free(index);
    if (rc == 0 && src->n_tensors) qsort(src->tensors, src->n_tensors, sizeof *src->tensors, by_name);
    return rc;
}

static const st_tensor_t *find_stored(const model_source_t *src, const char *name) {
    st_tensor_t tensor = {.name = (char *)(uintptr_t)name};
    const st_tensor_t *key = &tensor;
    const st_tensor_t **found = src->n_tensors ? bsearch(&key, src->tensors, src->n_tensors, sizeof key, by_name)
                                               : NULL;
    return found ? *found : NULL;
}

static int place_plain(const model_source_t *src, const st_tensor_t *st, source_entry_t *e, err_t *err) {
    static const struct {
        dtype_t st;
        ggml_type_t stored;
    } types[] = {{DT_BF16, GGML_BF16}, {DT_F16, GGML_F16}, {DT_F32, GGML_F32}};
    bool shape_ok = tensor_is_vector(e->t.role)
                        ? st->n_dims == 1 && st->shape[0] == e->t.cols
                        : st->n_dims == 2 && st->shape[0] == e->t.rows && st->shape[1] == e->t.cols;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        if (types[i].st != st->dtype) continue;
        if (!shape_ok) return source_shape_error(src, e, st->n_dims, st->shape, err);
        e->stored = (gguf_tensor_t){
            .type = types[i].stored, .rows = e->t.rows, .cols = e->t.cols, .data = st->data, .bytes = st->bytes};
        e->t.type = st->dtype;
        e->t.file_type = dtype_name(st->dtype);
        e->t.file_bytes = st->bytes;
        return 0;
    }
    return err_set(err, ERR_USAGE, "%s: tensor \"%s\" has element type %s; expected BF16, F16 or F32", src->path,
                   e->name, dtype_name(st->dtype));
}

static int find_tensor(const model_source_t *src, source_entry_t *e, err_t *err) {
    quant_type_t type;
    const st_tensor_t *st = find_stored(src, e->name);
    if (!st) return source_missing_error(src, e->name, e, err);
    const st_tensor_t *state = source_bnb_state(src, find_stored, e->name, &type);
    if (!state) return place_plain(src, st, e, err);
    if (e->t.role != TENSOR_LINEAR)
        return err_set(err, ERR_USAGE, "%s: tensor \"%s\" is quantized; only the linear layers of the blocks may be",
                       src->path, e->name);
    return source_bnb_open(src, find_stored, state, type, e, err);
}

/* ---- names -------------------------------------------------------------------------------------------------- */

/* Under which names the language model's tensors are: as a causal model saves them, as the bare model does, and as
 * vision-language models do. */
static void find_prefixes(model_source_t *src) {
    static const char *const prefixes[] = {"model.", "language_model.model.", "model.language_model.",
                                           "language_model.", ""};
    static const char *const heads[] = {"", "language_model."};
    src->prefix = prefixes[0];
    src->head_prefix = heads[0];
    char name[96];
    for (size_t i = sizeof prefixes / sizeof *prefixes; i-- > 0;) {
        snprintf(name, sizeof name, "%sembed_tokens.weight", prefixes[i]);
        if (find_stored(src, name)) src->prefix = prefixes[i];
    }
    for (size_t i = sizeof heads / sizeof *heads; i-- > 0;) {
        snprintf(name, sizeof name, "%slm_head.weight", heads[i]);
        if (find_stored(src, name)) src->head_prefix = heads[i];
    }
}

static bool has_bias(const model_source_t *src, const tensor_spec_t *spec) {
    char name[160];
    snprintf(name, sizeof name, "%slayers.0.%s.bias", src->prefix, spec->hf);
    return find_stored(src, name) != NULL;
}

/* Part of what the model that wrote the file computes: in a block, a bias of the last norm or of the head. Not so a
 * buffer of RoPE, which older versions saved, and the scales of a key-value cache in 8 bits. */
static bool is_computed(const model_source_t *src, const char *name) {
    static const char *const harmless[] = {".rotary_emb.inv_freq", ".self_attn.k_scale", ".self_attn.v_scale"};
    char prefix[64], norm[64], head[64];
    snprintf(prefix, sizeof prefix, "%slayers.", src->prefix);
    snprintf(norm, sizeof norm, "%snorm.bias", src->prefix);
    snprintf(head, sizeof head, "%slm_head.bias", src->head_prefix);
    for (size_t i = 0; i < sizeof harmless / sizeof *harmless; i++)
        if (path_has_suffix(name, harmless[i])) return false;
    return !strcmp(name, norm) || !strcmp(name, head) || source_layers_named(name, strlen(name), prefix) > 0;
}

/* A head beside a tied embedding, which it equals. */
static bool is_tied_head(const model_source_t *src, const char *name) {
    char head[64];
    snprintf(head, sizeof head, "%slm_head.weight", src->head_prefix);
    return src->config.tied && !strcmp(name, head);
}

static int refuse_more_layers(const model_source_t *src, err_t *err) {
    const char *last = NULL;
    char prefix[64];
    size_t held = 0;
    snprintf(prefix, sizeof prefix, "%slayers.", src->prefix);
    for (size_t i = 0; i < src->n_tensors; i++) {
        const char *name = src->tensors[i]->name;
        size_t n = source_layers_named(name, strlen(name), prefix);
        if (n <= held) continue;
        held = n;
        last = name;
    }
    return held > src->config.layers ? source_layers_error(src, last, strlen(last), held, err) : 0;
}

/* Whether the tensor is one of the model's, or of what bitsandbytes keeps beside a weight in 4 bits: "W.absmax". */
static bool is_part_of_entry(const model_source_t *src, const char *name) {
    static const char *const parts[] = {".absmax",
                                        ".quant_map",
                                        ".nested_absmax",
                                        ".nested_quant_map",
                                        ".quant_state.bitsandbytes__nf4",
                                        ".quant_state.bitsandbytes__fp4"};
    if (model_source_find(src, name)) return true;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        if (!path_has_suffix(name, parts[i])) continue;
        char *weight = xstrndup(name, strlen(name) - strlen(parts[i]));
        const source_tensor_t *t = model_source_find(src, weight);
        free(weight);
        if (t && t->quantized) return true;
    }
    return false;
}

/* The rest of the files. Nothing may be left over that would be part of what is computed. */
static int find_others(model_source_t *src, err_t *err) {
    for (size_t i = 0; i < src->n_tensors; i++) {
        const char *name = src->tensors[i]->name;
        if (is_part_of_entry(src, name) || is_tied_head(src, name)) continue;
        if (is_computed(src, name)) return source_leftover_error(src, name, strlen(name), err);
        VEC_GROW(src->others, src->n_others, src->cap_others);
        src->others[src->n_others++] = src->tensors[i];
    }
    return 0;
}

/* Some files of tied models hold the head too. It is not read, so it must be what is read in its place. */
static bool same_values(const st_tensor_t *a, const st_tensor_t *b) {
    if (a->dtype == b->dtype) return a->bytes == b->bytes && memcmp(a->data, b->data, a->bytes) == 0;
    size_t n = a->bytes / dtype_size(a->dtype);
    if (n != b->bytes / dtype_size(b->dtype)) return false;
    for (size_t i = 0; i < n; i++) {
        float x, y;
        if (!st_value(a, i, &x) || !st_value(b, i, &y) || x != y) return false;
    }
    return true;
}

static int check_tied_head(const model_source_t *src, err_t *err) {
    char name[96];
    snprintf(name, sizeof name, "%slm_head.weight", src->head_prefix);
    const st_tensor_t *head = find_stored(src, name);
    snprintf(name, sizeof name, "%sembed_tokens.weight", src->prefix);
    const st_tensor_t *embedding = find_stored(src, name);
    if (!src->config.tied || !head || !embedding) return 0;
    bool same = same_values(head, embedding);
    mapping_release(head->data, head->bytes);
    mapping_release(embedding->data, embedding->bytes);
    if (same) return 0;
    return err_set(err, ERR_USAGE,
                   "%s: tensor \"%s\" differs from the embedding, and tie_word_embeddings is true; expected the same "
                   "values, none, or tie_word_embeddings: false",
                   src->path, head->name);
}

static int read_config(model_source_t *src, err_t *err) {
    char *path = path_join(src->dir, "config.json");
    json_t *json = NULL;
    int rc = path_exists(path) ? json_file(path, &json, err)
                               : err_set(err, ERR_USAGE,
                                         "%s: no config.json there; expected a model's directory, or a "
                                         "GGUF file",
                                         src->dir);
    if (rc == 0) rc = model_config_from_json(json, path, &src->config, err);
    json_decref(json);
    free(path);
    return rc;
}

int source_open_hf(model_source_t *src, err_t *err) {
    src->dir = xstrdup(src->path);
    if (read_config(src, err) || open_tensors(src, err)) return err->code;
    find_prefixes(src);
    if (refuse_more_layers(src, err) || check_tied_head(src, err)) return err->code;
    source_find_biases(src, has_bias);
    source_list_tensors(src);
    for (size_t i = 0; i < src->n_entries; i++)
        if (find_tensor(src, &src->entries[i], err)) return err->code;
    return find_others(src, err);
}
