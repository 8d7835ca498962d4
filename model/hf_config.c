/* config.json of Hugging Face models, as Transformers 4 and 5 write it, to and from model_config_t. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "model/arch.h"

static int read_arch(const json_t *json, const char *where, model_config_t *c, err_t *err) {
    const char *type;
    if (json_need_string(json, "model_type", where, &type, err)) return err->code;
    char *key = xasprintf("%s: model_type", where);
    c->arch = arch_by_model_type(type, key, err);
    free(key);
    return c->arch ? 0 : err->code;
}

static int read_sizes(const json_t *json, const char *where, model_config_t *c, err_t *err) {
    c->max_positions = 2048; /* the defaults of Transformers' LlamaConfig */
    double eps = 1e-6;
    if (json_need_size(json, "vocab_size", where, &c->vocab, err) ||
        json_need_size(json, "hidden_size", where, &c->hidden, err) ||
        json_need_size(json, "intermediate_size", where, &c->ffn, err) ||
        json_need_size(json, "num_hidden_layers", where, &c->layers, err) ||
        json_need_size(json, "num_attention_heads", where, &c->heads, err) ||
        json_opt_size(json, "max_position_embeddings", where, &c->max_positions, err) ||
        json_opt_number(json, "rms_norm_eps", where, &eps, err) ||
        json_opt_bool(json, "tie_word_embeddings", where, &c->tied, err))
        return err->code;
    c->norm_eps = (float)eps;
    c->kv_heads = c->heads;
    if (json_opt_size(json, "num_key_value_heads", where, &c->kv_heads, err)) return err->code;
    if (c->heads && c->hidden % c->heads == 0) c->head_dim = c->hidden / c->heads;
    if (json_opt_size(json, "head_dim", where, &c->head_dim, err)) return err->code;
    if (c->heads && c->head_dim == 0 && c->hidden % c->heads)
        return err_set(err, ERR_USAGE,
                       "%s: hidden_size (%zu) is no multiple of num_attention_heads (%zu), and "
                       "there is no head_dim",
                       where, c->hidden, c->heads);
    return 0;
}

/* One of the two objects that describe RoPE; only the plain kind is computed here. */
static int read_rope_object(const json_t *json, const char *key, const char *where, model_config_t *c, err_t *err) {
    const json_t *rope = json_object_get(json, key);
    if (!rope || json_is_null(rope)) return 0;
    char *sub = xasprintf("%s: %s", where, key);
    const char *type = "default";
    double partial = 1;
    int rc = 0;
    if (!json_is_object(rope)) rc = err_set(err, ERR_USAGE, "%s: expected an object", sub);
    if (rc == 0) rc = json_opt_string(rope, "type", sub, &type, err); /* older name */
    if (rc == 0) rc = json_opt_string(rope, "rope_type", sub, &type, err);
    if (rc == 0) rc = json_opt_number(rope, "rope_theta", sub, &c->rope_theta, err);
    if (rc == 0) rc = json_opt_number(rope, "partial_rotary_factor", sub, &partial, err);
    if (rc == 0 && strcmp(type, "default"))
        rc = err_set(err, ERR_USAGE, "%s: rope_type \"%.40s\" is not supported; expected \"default\"", sub, type);
    if (rc == 0 && partial != 1)
        rc = err_set(err, ERR_USAGE, "%s: partial_rotary_factor is %g; only 1 is supported", sub, partial);
    free(sub);
    return rc;
}

static int read_rope(const json_t *json, const char *where, model_config_t *c, err_t *err) {
    double partial = 1;
    c->rope_theta = 10000;
    if (json_opt_number(json, "rope_theta", where, &c->rope_theta, err) ||
        json_opt_number(json, "partial_rotary_factor", where, &partial, err))
        return err->code;
    if (partial != 1)
        return err_set(err, ERR_USAGE, "%s: partial_rotary_factor is %g; only 1 is supported", where, partial);
    if (read_rope_object(json, "rope_scaling", where, c, err)) return err->code;
    return read_rope_object(json, "rope_parameters", where, c, err);
}

/* null, absent and negative (as the first LLaMA configs have it) all mean: none. */
static int read_token(const json_t *id, const char *key, const char *where, long *out, err_t *err) {
    *out = -1;
    if (!id || json_is_null(id)) return 0;
    if (!json_is_integer(id)) return err_set(err, ERR_USAGE, "%s: %s: expected a token id", where, key);
    if (json_integer_value(id) >= 0) *out = (long)json_integer_value(id);
    return 0;
}

static int read_tokens(const json_t *json, const char *where, model_config_t *c, err_t *err) {
    if (read_token(json_object_get(json, "bos_token_id"), "bos_token_id", where, &c->bos, err) ||
        read_token(json_object_get(json, "pad_token_id"), "pad_token_id", where, &c->pad, err))
        return err->code;
    const json_t *eos = json_object_get(json, "eos_token_id");
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

/* What this program would compute differently from what the config asks for. */
static int refuse_unsupported(const json_t *json, const char *where, err_t *err) {
    static const char *const must_be_false[] = {"attention_bias", "mlp_bias"};
    for (size_t i = 0; i < sizeof must_be_false / sizeof *must_be_false; i++) {
        bool on = false;
        if (json_opt_bool(json, must_be_false[i], where, &on, err)) return err->code;
        if (!on) continue;
        return err_set(err, ERR_USAGE, "%s: %s: true is not supported; expected false", where, must_be_false[i]);
    }
    const char *act = "silu";
    if (json_opt_string(json, "hidden_act", where, &act, err)) return err->code;
    if (strcmp(act, "silu"))
        return err_set(err, ERR_USAGE, "%s: hidden_act: \"%.40s\" is not supported; expected \"silu\"", where, act);
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
    memset(c, 0, sizeof *c);
    if (!json_is_object(json)) return err_set(err, ERR_USAGE, "%s: expected an object", where);
    if (read_arch(json, where, c, err) || refuse_unsupported(json, where, err) || read_sizes(json, where, c, err) ||
        read_rope(json, where, c, err) || read_tokens(json, where, c, err))
        return err->code;
    return model_config_check(c, where, err);
}

/* The double with the fewest digits that rounds to `x`: 1e-05 instead of 9.9999997473787516e-06. */
static double shortest(float x) {
    char text[32];
    for (int digits = 1; digits < 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, (double)x);
        if (strtof(text, NULL) == x) return strtod(text, NULL);
    }
    return x;
}

static json_t *token_json(long id) { return id < 0 ? json_null() : json_integer(id); }

static json_t *eos_json(const model_config_t *c) {
    if (c->n_eos < 2) return token_json(c->n_eos ? c->eos[0] : -1);
    json_t *list = json_array();
    for (size_t i = 0; i < c->n_eos; i++) json_array_append_new(list, json_integer(c->eos[i]));
    return list;
}

json_t *model_config_to_json(const model_config_t *c) {
    json_t *json = json_pack(
        "{s:[s], s:b, s:f, s:o, s:s, s:o, s:I, s:s, s:I, s:I, s:I, s:b, s:s, s:I, s:I, s:I, s:o, s:f, s:{s:f, s:s}, "
        "s:b, s:b, s:I}",
        "architectures", c->arch->hf_class, "attention_bias", 0, "attention_dropout", 0.0, "bos_token_id",
        token_json(c->bos), "dtype", "bfloat16", "eos_token_id", eos_json(c), "head_dim", (json_int_t)c->head_dim,
        "hidden_act", "silu", "hidden_size", (json_int_t)c->hidden, "intermediate_size", (json_int_t)c->ffn,
        "max_position_embeddings", (json_int_t)c->max_positions, "mlp_bias", 0, "model_type", c->arch->model_type,
        "num_attention_heads", (json_int_t)c->heads, "num_hidden_layers", (json_int_t)c->layers, "num_key_value_heads",
        (json_int_t)c->kv_heads, "pad_token_id", token_json(c->pad), "rms_norm_eps", shortest(c->norm_eps),
        "rope_parameters", "rope_theta", c->rope_theta, "rope_type", "default", "tie_word_embeddings", c->tied,
        "use_cache", 1, "vocab_size", (json_int_t)c->vocab);
    CHECK(json != NULL);
    return json;
}
