/* Hyper-parameters from GGUF metadata: keys "ARCH.name", token ids under "tokenizer.ggml.". */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "model/config_keys.h"

static int read_arch(const gguf_t *g, model_config_t *c, err_t *err) {
    gguf_str_t s;
    if (gguf_get_str(g, "general.type", &s) && !(s.len == 5 && !memcmp(s.p, "model", 5)))
        return err_set(err, ERR_USAGE, "%s: general.type is \"%.*s\"; expected a model", gguf_path(g),
                       s.len > 40 ? 40 : (int)s.len, s.p);
    if (!gguf_get_str(g, "general.architecture", &s))
        return err_set(err, ERR_USAGE, "%s: general.architecture is missing; expected a string", gguf_path(g));
    char *name = xstrndup(s.p, s.len), *where = xasprintf("%s: general.architecture", gguf_path(g));
    c->arch = arch_by_gguf_name(name, where, err);
    free(name);
    free(where);
    return c->arch ? 0 : err->code;
}

static int missing(const config_keys_t *k, const char *name, err_t *err) {
    return err_set(err, ERR_USAGE, "%s: %s.%s is missing; expected a whole number", k->where, k->prefix, name);
}

/* A number, or a list of one for each layer that must be the same for all. */
static int read_size(const config_keys_t *k, const char *name, size_t *out, err_t *err) {
    char key[96];
    int64_t first, v;
    key_name(k, NULL, name, key, sizeof key);
    long n = gguf_array_len(k->gguf, key);
    if (n < 0) return key_size(k, NULL, name, out, err);
    if (!gguf_array_int(k->gguf, key, 0, &first) || first < 0)
        return err_set(err, ERR_USAGE, "%s: %s: expected whole numbers", k->where, key);
    for (long i = 1; i < n; i++)
        if (!gguf_array_int(k->gguf, key, (size_t)i, &v) || v != first)
            return err_set(err, ERR_USAGE, "%s: %s: layers of different sizes are not supported", k->where, key);
    *out = (size_t)first;
    return 0;
}

static int read_sizes(const config_keys_t *k, model_config_t *c, err_t *err) {
    const gguf_tensor_t *embedding = gguf_find(k->gguf, "token_embd.weight");
    double eps = c->norm_eps;
    c->vocab = embedding ? embedding->rows : 0;
    const struct {
        const char *key;
        size_t *out;
    } sizes[] = {{"embedding_length", &c->hidden},
                 {"feed_forward_length", &c->ffn},
                 {"block_count", &c->layers},
                 {"attention.head_count", &c->heads},
                 {"context_length", &c->max_positions}};
    static const char eps_key[] = "attention.layer_norm_rms_epsilon";
    if (key_size(k, NULL, "vocab_size", &c->vocab, err)) return err->code;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        if (!key_is_there(k, NULL, sizes[i].key)) return missing(k, sizes[i].key, err);
        if (read_size(k, sizes[i].key, sizes[i].out, err)) return err->code;
    }
    if (!key_is_there(k, NULL, eps_key))
        return err_set(err, ERR_USAGE, "%s: %s.%s is missing; expected a number", k->where, k->prefix, eps_key);
    c->kv_heads = c->heads;
    if (read_size(k, "attention.head_count_kv", &c->kv_heads, err) || key_number(k, NULL, eps_key, &eps, err))
        return err->code;
    c->norm_eps = (float)eps;
    c->head_dim = c->heads && c->hidden % c->heads == 0 ? c->hidden / c->heads : 0;
    if (key_size(k, NULL, "attention.key_length", &c->head_dim, err)) return err->code;
    if (c->heads && c->head_dim == 0)
        return err_set(err, ERR_USAGE,
                       "%s: the embedding length (%zu) is no multiple of the heads (%zu), and there is "
                       "no key length",
                       k->where, c->hidden, c->heads);
    /* Without a head of its own the model uses the embedding. */
    c->tied = !gguf_find(k->gguf, "output.weight");
    return 0;
}

/* What this program would compute differently from what the file asks for. */
static int refuse_unsupported(const config_keys_t *k, const model_config_t *c, err_t *err) {
    size_t value_dim = c->head_dim, experts = 0;
    if (key_size(k, NULL, "attention.value_length", &value_dim, err) ||
        key_size(k, NULL, "expert_count", &experts, err))
        return err->code;
    if (value_dim != c->head_dim)
        return err_set(err, ERR_USAGE, "%s: %s.attention.value_length: expected the key length", k->where, k->prefix);
    if (experts)
        return err_set(err, ERR_USAGE, "%s: %s.expert_count: mixtures of experts are not supported", k->where,
                       k->prefix);
    return 0;
}

/* -1, as some programs write it into the unsigned value, means none. */
static int read_token(const gguf_t *g, const char *key, long *out, err_t *err) {
    uint64_t v;
    *out = -1;
    if (!gguf_has(g, key)) return 0;
    if (!gguf_get_uint(g, key, &v) || (v > INT32_MAX && v != UINT32_MAX))
        return err_set(err, ERR_USAGE, "%s: %s: expected a token id", gguf_path(g), key);
    if (v != UINT32_MAX) *out = (long)v;
    return 0;
}

/* The end of a turn ends generation too, where it is another token than the end of the text. */
static int read_tokens(const gguf_t *g, model_config_t *c, err_t *err) {
    static const char *const ends[] = {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id"};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        long id;
        if (read_token(g, ends[i], &id, err)) return err->code;
        if (id >= 0 && !(c->n_eos && c->eos[0] == id)) c->eos[c->n_eos++] = id;
    }
    if (read_token(g, "tokenizer.ggml.bos_token_id", &c->bos, err)) return err->code;
    return read_token(g, "tokenizer.ggml.padding_token_id", &c->pad, err);
}

int model_config_from_gguf(const gguf_t *g, model_config_t *c, err_t *err) {
    model_config_begin(c);
    if (read_arch(g, c, err)) return err->code;
    config_keys_t k = {.where = gguf_path(g), .gguf = g, .prefix = c->arch->gguf_name};
    if (read_sizes(&k, c, err) || refuse_unsupported(&k, c, err) || read_tokens(g, c, err)) return err->code;
    return model_config_describe(&k, c, err);
}
