/* config.json of Hugging Face models, as Transformers 4 and 5 write it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "model/config_keys.h"

/* The language model's part of a vision-language model's config has a model_type of its own. */
static const json_t *text_part(const json_t *json) {
    const json_t *text = json_object_get(json, "text_config");
    return json_is_object(text) && json_object_get(text, "model_type") ? text : NULL;
}

static int read_arch(const config_keys_t *k, model_config_t *c, err_t *err) {
    const char *type;
    if (json_need_string(k->json, "model_type", k->where, &type, err)) return err->code;
    char *key = xasprintf("%s: model_type", k->where);
    c->arch = arch_by_model_type(type, key, err);
    free(key);
    return c->arch ? 0 : err->code;
}

static int missing(const char *key, const char *where, err_t *err) {
    return err_set(err, ERR_USAGE, "%s: %s is missing; expected a whole number", where, key);
}

/* What has no default in the family must be there. */
static int read_sizes(const config_keys_t *k, model_config_t *c, err_t *err) {
    double eps = c->norm_eps;
    const struct {
        const char *key;
        size_t *out;
    } sizes[] = {{"vocab_size", &c->vocab},          {"hidden_size", &c->hidden},
                 {"intermediate_size", &c->ffn},     {"num_hidden_layers", &c->layers},
                 {"num_attention_heads", &c->heads}, {"max_position_embeddings", &c->max_positions}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        if (json_opt_size(k->json, sizes[i].key, k->where, sizes[i].out, err)) return err->code;
        if (!*sizes[i].out && !json_object_get(k->json, sizes[i].key)) return missing(sizes[i].key, k->where, err);
    }
    /* null is what these follow from, whatever the family's default. */
    if (json_is_null(json_object_get(k->json, "num_key_value_heads"))) c->kv_heads = 0;
    if (json_is_null(json_object_get(k->json, "head_dim"))) c->head_dim = 0;
    if (!c->kv_heads) c->kv_heads = c->heads;
    if (json_opt_number(k->json, "rms_norm_eps", k->where, &eps, err) ||
        json_opt_bool(k->json, "tie_word_embeddings", k->where, &c->tied, err) ||
        json_opt_size(k->json, "num_key_value_heads", k->where, &c->kv_heads, err))
        return err->code;
    c->norm_eps = (float)eps;
    if (c->head_dim == 0 && c->heads && c->hidden % c->heads == 0) c->head_dim = c->hidden / c->heads;
    if (json_opt_size(k->json, "head_dim", k->where, &c->head_dim, err)) return err->code;
    if (c->heads && c->head_dim == 0 && c->hidden % c->heads)
        return err_set(err, ERR_USAGE,
                       "%s: hidden_size (%zu) is no multiple of num_attention_heads (%zu), and "
                       "there is no head_dim",
                       k->where, c->hidden, c->heads);
    return 0;
}

/* null, absent and negative (as the first LLaMA configs have it) all mean: none. */
static int read_token(const json_t *id, const char *key, const char *where, long *out, err_t *err) {
    *out = -1;
    if (!id || json_is_null(id)) return 0;
    if (!json_is_integer(id)) return err_set(err, ERR_USAGE, "%s: %s: expected a token id", where, key);
    if (json_integer_value(id) >= 0) *out = (long)json_integer_value(id);
    return 0;
}

/* outer: of a vision-language model the whole config, which may name what its text_config does not. */
static int read_tokens(const json_t *json, const json_t *outer, const char *where, model_config_t *c, err_t *err) {
    const char *const names[] = {"bos_token_id", "pad_token_id", "eos_token_id"};
    const json_t *ids[3];
    for (int i = 0; i < 3; i++) {
        ids[i] = json_object_get(json, names[i]);
        if (!ids[i] || json_is_null(ids[i])) ids[i] = json_object_get(outer, names[i]);
    }
    if (read_token(ids[0], names[0], where, &c->bos, err) || read_token(ids[1], names[1], where, &c->pad, err))
        return err->code;
    const json_t *eos = ids[2];
    bool list = json_is_array(eos);
    size_t n = list ? json_array_size(eos) : 1;
    if (n > MODEL_MAX_EOS)
        return err_set(err, ERR_USAGE, "%s: eos_token_id lists %zu tokens; at most %d are supported", where, n,
                       MODEL_MAX_EOS);
    for (size_t i = 0; i < n; i++) {
        long id;
        if (read_token(list ? json_array_get(eos, i) : eos, "eos_token_id", where, &id, err)) return err->code;
        if (id >= 0) c->eos[c->n_eos++] = id;
    }
    return 0;
}

/* Weights in a form that is not read. */
static int refuse_quantized(const json_t *json, const char *where, err_t *err) {
    const json_t *q = json_object_get(json, "quantization_config");
    if (!q || json_is_null(q)) return 0;
    const char *method = "bitsandbytes"; /* absent in its early checkpoints */
    bool four_bit = false;
    char *sub = xasprintf("%s: quantization_config", where);
    int rc = json_is_object(q) ? 0 : err_set(err, ERR_USAGE, "%s: expected an object", sub);
    if (rc == 0) rc = json_opt_string(q, "quant_method", sub, &method, err);
    if (rc == 0) rc = json_opt_bool(q, "load_in_4bit", sub, &four_bit, err);
    if (rc == 0 && (strcmp(method, "bitsandbytes") || !four_bit))
        rc = err_set(err, ERR_USAGE,
                     "%s: quant_method \"%.40s\"%s is not supported; expected bitsandbytes with "
                     "load_in_4bit, or a model that is not quantized",
                     sub, method, four_bit ? "" : " without load_in_4bit");
    free(sub);
    return rc;
}

int model_config_from_json(const json_t *json, const char *where, model_config_t *c, err_t *err) {
    if (!json_is_object(json)) return err_set(err, ERR_USAGE, "%s: expected an object", where);
    const json_t *text = text_part(json);
    char *place = text ? xasprintf("%s: text_config", where) : xstrdup(where);
    config_keys_t k = {.where = place, .json = text ? text : json};
    model_config_begin(c);
    c->wrapped = text != NULL;
    int rc = refuse_quantized(json, where, err);
    if (rc == 0) rc = read_arch(&k, c, err);
    if (rc == 0 && c->arch->defaults) c->arch->defaults(c);
    if (rc == 0 && text) rc = json_opt_bool(json, "tie_word_embeddings", where, &c->tied, err);
    if (rc == 0) rc = read_sizes(&k, c, err);
    if (rc == 0) rc = read_tokens(k.json, json, place, c, err);
    if (rc == 0) rc = model_config_describe(&k, c, err);
    free(place);
    return rc;
}
