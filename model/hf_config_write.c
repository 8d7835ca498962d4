/* A config.json for a model that comes from a GGUF. Every family's class takes the keys that it knows and keeps the
 * others, so one list serves all. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "model/arch.h"

/* The double with the fewest digits that rounds to `x`: 1e-05 instead of 9.9999997473787516e-06. */
static double shortest(float x) {
    char text[32];
    for (int digits = 1; digits < 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, (double)x);
        if (strtof(text, NULL) == x) return strtod(text, NULL);
    }
    return x;
}

static void set(json_t *o, const char *key, json_t *value) {
    CHECK(value != NULL && json_object_set_new(o, key, value) == 0);
}

static void set_size(json_t *o, const char *key, size_t v) { set(o, key, json_integer((json_int_t)v)); }

static void set_number(json_t *o, const char *key, double v) { set(o, key, json_real(v)); }

/* As an integer where it is one: Transformers checks the types of some keys. */
static void set_whole(json_t *o, const char *key, double v) {
    set(o, key, v == floor(v) ? json_integer((json_int_t)v) : json_real(v));
}

static void set_bool(json_t *o, const char *key, bool v) { set(o, key, json_boolean(v)); }

static json_t *token_json(long id) { return id < 0 ? json_null() : json_integer(id); }

static json_t *eos_json(const model_config_t *c) {
    if (c->n_eos < 2) return token_json(c->n_eos ? c->eos[0] : -1);
    json_t *list = json_array();
    for (size_t i = 0; i < c->n_eos; i++) json_array_append_new(list, json_integer(c->eos[i]));
    return list;
}

static json_t *factors_json(const float *factors, size_t n) {
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) json_array_append_new(list, json_real(shortest(factors[i])));
    return list;
}

static json_t *rope_json(const model_config_t *c, const rope_spec_t *r) {
    json_t *o = json_object();
    set_number(o, "rope_theta", r->theta);
    set(o, "rope_type", json_string(rope_type_names[r->type]));
    if (c->rotated != c->head_dim) set_number(o, "partial_rotary_factor", (double)c->rotated / (double)c->head_dim);
    if (r->type != ROPE_DEFAULT) set_number(o, "factor", r->factor);
    if (r->type >= ROPE_LLAMA3) set_size(o, "original_max_position_embeddings", (size_t)r->original);
    if (r->attention_factor > 0) set_number(o, "attention_factor", r->attention_factor);
    if (r->query_beta != 0) set_number(o, "llama_4_scaling_beta", r->query_beta);
    if (r->type == ROPE_LLAMA3) {
        set_number(o, "low_freq_factor", r->low);
        set_number(o, "high_freq_factor", r->high);
    }
    if (r->type == ROPE_YARN) {
        set_number(o, "beta_fast", r->beta_fast);
        set_number(o, "beta_slow", r->beta_slow);
        if (r->mscale > 0) set_number(o, "mscale", r->mscale);
        if (r->mscale_all_dim > 0) set_number(o, "mscale_all_dim", r->mscale_all_dim);
    }
    if (r->type == ROPE_LONGROPE) {
        set(o, "short_factor", factors_json(r->short_factor, r->n_factors));
        set(o, "long_factor", factors_json(r->long_factor, r->n_factors));
    }
    return o;
}

static void set_rope(json_t *o, const model_config_t *c) {
    json_t *rope = rope_json(c, &c->rope[0]);
    if (c->n_rope == 2)
        rope = json_pack("{s:o, s:o}", "full_attention", rope, "sliding_attention", rope_json(c, &c->rope[1]));
    set(o, "rope_parameters", rope);
    if (c->rope[0].type == ROPE_LONGROPE) set_size(o, "original_max_position_embeddings", (size_t)c->rope[0].original);
}

/* Windows, and layers without RoPE. */
static void set_layers(json_t *o, const model_config_t *c) {
    size_t window = c->kinds[0].window ? c->kinds[0].window : c->kinds[1].window;
    /* Some families' default is a window, which null takes away. */
    if (strcmp(c->arch->model_type, "llama") != 0)
        set(o, "sliding_window", window ? json_integer((json_int_t)window) : json_null());
    json_t *types = json_array(), *ropes = json_array();
    bool mixed = false, nope = false;
    for (size_t l = 0; l < c->layers; l++) {
        const layer_kind_t *kind = layer_kind(c, l);
        json_array_append_new(types, json_string(kind->window ? "sliding_attention" : "full_attention"));
        json_array_append_new(ropes, json_integer(kind->rope >= 0));
        mixed |= c->kind[l] != 0 && c->kinds[1].window != 0;
        nope |= kind->rope < 0;
    }
    bool divides = !strcmp(c->arch->model_type, "exaone4"); /* by its pattern, which is 0 without a window */
    if (mixed || divides) set(o, "layer_types", types);
    else json_decref(types);
    if (nope) set(o, "no_rope_layers", ropes);
    else json_decref(ropes);
}

static void set_scales(json_t *o, const model_config_t *c) {
    bool gemma = c->act == ACT_GELU_TANH;
    set(o, gemma ? "hidden_activation" : "hidden_act", json_string(gemma ? "gelu_pytorch_tanh" : "silu"));
    if (gemma) {
        set_whole(o, "query_pre_attn_scalar", round(1e6 / (c->attn_scale * c->attn_scale)) / 1e6);
        set(o, "attn_logit_softcapping", c->attn_softcap > 0 ? json_real(c->attn_softcap) : json_null());
        set(o, "final_logit_softcapping", c->logit_softcap > 0 ? json_real(c->logit_softcap) : json_null());
        return;
    }
    bool plain = c->attn_scale == (double)(1.0f / sqrtf((float)c->head_dim));
    if (plain && c->embed_scale == 1 && c->residual_scale == 1 && c->logit_scale == 1) return;
    set_number(o, "attention_multiplier", shortest((float)c->attn_scale));
    set_number(o, "embedding_multiplier", shortest((float)c->embed_scale));
    set_number(o, "residual_multiplier", shortest((float)c->residual_scale));
    set_number(o, "logits_scaling", shortest((float)(1 / c->logit_scale)));
}

/* By the family's reader, so that no key is taken to mean more or less than it does there. */
static unsigned named_biases(const json_t *cfg) {
    model_config_t c;
    err_t err = {0};
    unsigned there = 0;
    if (model_config_from_json(cfg, "config.json", &c, &err)) return 0;
    for (unsigned slot = 0; slot < LINEAR_SLOTS; slot++)
        if (arch_linear(c.arch, (linear_slot_t)slot)) there |= 1u << slot;
    return c.biases & there;
}

unsigned model_config_name_biases(json_t *cfg, const model_config_t *c) {
    static const char *const keys[] = {"attention_bias", "attention_out_bias", "mlp_bias", "use_bias"};
    json_t *text = c->wrapped ? json_object_get(cfg, "text_config") : NULL; /* what is written here has none */
    json_t *part = text ? text : cfg;
    unsigned named = named_biases(cfg);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        json_t *before = json_incref(json_object_get(part, keys[i])); /* NULL: it is not there */
        set_bool(part, keys[i], true);
        unsigned now = named_biases(cfg);
        bool means_these = now != named && !(now & ~c->biases);
        if (means_these) named = now;
        else if (before) json_object_set(part, keys[i], before);
        else json_object_del(part, keys[i]);
        json_decref(before);
    }
    return c->biases & ~named;
}

json_t *model_config_to_json(const model_config_t *c) {
    json_t *o = json_object();
    set(o, "architectures", json_pack("[s]", c->arch->hf_class));
    set_bool(o, "attention_bias", false);
    set_number(o, "attention_dropout", 0);
    set(o, "bos_token_id", token_json(c->bos));
    set(o, "dtype", json_string("bfloat16"));
    set(o, "eos_token_id", eos_json(c));
    set_size(o, "head_dim", c->head_dim);
    set_size(o, "hidden_size", c->hidden);
    set_size(o, "intermediate_size", c->ffn);
    set_size(o, "max_position_embeddings", c->max_positions);
    set_bool(o, "mlp_bias", false);
    set(o, "model_type", json_string(c->arch->model_type));
    set_size(o, "num_attention_heads", c->heads);
    set_size(o, "num_hidden_layers", c->layers);
    set_size(o, "num_key_value_heads", c->kv_heads);
    set(o, "pad_token_id", token_json(c->pad));
    set_number(o, "rms_norm_eps", shortest(c->norm_eps));
    set_bool(o, "tie_word_embeddings", c->tied);
    set_bool(o, "use_cache", true);
    set_size(o, "vocab_size", c->vocab);
    set_scales(o, c);
    set_layers(o, c);
    set_rope(o, c);
    model_config_name_biases(o, c);
    return o;
}
