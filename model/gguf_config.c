/* Hyper-parameters from GGUF metadata: keys "ARCH.name", token ids under "tokenizer.ggml.". */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "model/arch.h"

typedef struct {
    const gguf_t *g;
    const char *arch; /* prefix of the keys */
} meta_t;

/* "llama.block_count" in `buf`. */
static const char *key_of(const meta_t *m, const char *name, char buf[64]) {
    snprintf(buf, 64, "%s.%s", m->arch, name);
    return buf;
}

static int opt_size(const meta_t *m, const char *name, size_t *out, err_t *err) {
    char key[64];
    uint64_t v;
    if (!gguf_has(m->g, key_of(m, name, key))) return 0;
    if (!gguf_get_uint(m->g, key, &v))
        return err_set(err, ERR_USAGE, "%s: %s: expected a whole number of at least 0", gguf_path(m->g), key);
    *out = (size_t)v;
    return 0;
}

static int need_size(const meta_t *m, const char *name, size_t *out, err_t *err) {
    char key[64];
    if (!gguf_has(m->g, key_of(m, name, key)))
        return err_set(err, ERR_USAGE, "%s: %s is missing; expected a whole number", gguf_path(m->g), key);
    return opt_size(m, name, out, err);
}

static int opt_number(const meta_t *m, const char *name, double *out, err_t *err) {
    char key[64];
    if (!gguf_has(m->g, key_of(m, name, key)) || gguf_get_float(m->g, key, out)) return 0;
    return err_set(err, ERR_USAGE, "%s: %s: expected a number", gguf_path(m->g), key);
}

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

static int read_sizes(const meta_t *m, model_config_t *c, err_t *err) {
    const gguf_tensor_t *embedding = gguf_find(m->g, "token_embd.weight");
    double eps = 1e-6;
    c->vocab = embedding ? embedding->rows : 0;
    c->rope_theta = 10000;
    if (opt_size(m, "vocab_size", &c->vocab, err) || need_size(m, "embedding_length", &c->hidden, err) ||
        need_size(m, "feed_forward_length", &c->ffn, err) || need_size(m, "block_count", &c->layers, err) ||
        need_size(m, "attention.head_count", &c->heads, err) ||
        need_size(m, "context_length", &c->max_positions, err) ||
        opt_number(m, "attention.layer_norm_rms_epsilon", &eps, err) ||
        opt_number(m, "rope.freq_base", &c->rope_theta, err))
        return err->code;
    c->norm_eps = (float)eps;
    c->kv_heads = c->heads;
    if (opt_size(m, "attention.head_count_kv", &c->kv_heads, err)) return err->code;
    if (c->heads && c->hidden % c->heads == 0) c->head_dim = c->hidden / c->heads;
    if (opt_size(m, "attention.key_length", &c->head_dim, err)) return err->code;
    if (c->heads && c->head_dim == 0)
        return err_set(err, ERR_USAGE,
                       "%s: the embedding length (%zu) is no multiple of the heads (%zu), and there is "
                       "no key length",
                       gguf_path(m->g), c->hidden, c->heads);
    /* Without a head of its own the model uses the embedding. */
    c->tied = !gguf_find(m->g, "output.weight");
    return 0;
}

/* What this program would compute differently from what the file asks for. */
static int refuse_unsupported(const meta_t *m, const model_config_t *c, err_t *err) {
    static const char *const tensors[] = {"rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight"};
    for (size_t i = 0; i < sizeof tensors / sizeof *tensors; i++)
        if (gguf_find(m->g, tensors[i]))
            return err_set(err, ERR_USAGE, "%s: tensor %s: scaled RoPE is not supported", gguf_path(m->g), tensors[i]);
    size_t value_dim = c->head_dim, rope_dim = c->head_dim, experts = 0, window = 0;
    double factor = 1, linear = 1;
    if (opt_size(m, "attention.value_length", &value_dim, err) || opt_size(m, "rope.dimension_count", &rope_dim, err) ||
        opt_size(m, "expert_count", &experts, err) || opt_size(m, "attention.sliding_window", &window, err) ||
        opt_number(m, "rope.scaling.factor", &factor, err) || opt_number(m, "rope.scale_linear", &linear, err))
        return err->code;
    const struct {
        const char *key;
        bool bad;
        const char *why;
    } rules[] = {
        {"attention.value_length", value_dim != c->head_dim, "expected the key length"},
        {"rope.dimension_count", rope_dim != c->head_dim, "expected the head's size: partial RoPE is not supported"},
        {"expert_count", experts != 0, "mixtures of experts are not supported"},
        {"attention.sliding_window", window != 0, "sliding windows are not supported for this architecture"},
        {"rope.scaling.factor", factor != 1, "scaled RoPE is not supported"},
        {"rope.scale_linear", linear != 1, "scaled RoPE is not supported"},
    };
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        if (rules[i].bad)
            return err_set(err, ERR_USAGE, "%s: %s.%s: %s", gguf_path(m->g), m->arch, rules[i].key, rules[i].why);
    char key[64];
    gguf_str_t s;
    if (gguf_get_str(m->g, key_of(m, "rope.scaling.type", key), &s) && !(s.len == 4 && !memcmp(s.p, "none", 4)))
        return err_set(err, ERR_USAGE, "%s: %s: \"%.*s\" is not supported; expected \"none\"", gguf_path(m->g), key,
                       s.len > 40 ? 40 : (int)s.len, s.p);
    return 0;
}

static int refuse_split(const gguf_t *g, err_t *err) {
    uint64_t parts;
    if (!gguf_get_uint(g, "split.count", &parts) || parts < 2) return 0;
    return err_set(err, ERR_USAGE,
                   "%s: split.count: a GGUF in %llu files is not supported; expected one file (merge "
                   "them with llama-gguf-split)",
                   gguf_path(g), (unsigned long long)parts);
}

static int read_token(const gguf_t *g, const char *key, long *out, err_t *err) {
    uint64_t v;
    *out = -1;
    if (!gguf_has(g, key)) return 0;
    if (!gguf_get_uint(g, key, &v) || v > INT32_MAX)
        return err_set(err, ERR_USAGE, "%s: %s: expected a token id", gguf_path(g), key);
    *out = (long)v;
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
    memset(c, 0, sizeof *c);
    if (refuse_split(g, err) || read_arch(g, c, err)) return err->code;
    meta_t m = {g, c->arch->gguf_name};
    if (read_sizes(&m, c, err) || refuse_unsupported(&m, c, err) || read_tokens(g, c, err)) return err->code;
    return model_config_check(c, gguf_path(g), err);
}
