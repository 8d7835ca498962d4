/* The families of models: of each the tensors of its block, and what its config says about what the block computes.
 * Names and defaults are Transformers' and, of GGUF files, llama.cpp's. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "model/config_keys.h"

#define WINDOW_DEFAULT 4096 /* where a config does not have the key */

/* ---- tensors ------------------------------------------------------------------------------------------------ */

/* clang-format off */
#define LINEAR(slot, hf, gguf, rows, cols, site) {TENSOR_LINEAR, slot, hf, gguf, rows, cols, site}
#define NORM(slot, hf, gguf, cols) {TENSOR_NORM, slot, hf, gguf, DIM_HIDDEN, cols, SITE_COUNT}

#define Q LINEAR(LIN_Q, "self_attn.q_proj", "attn_q", DIM_Q, DIM_HIDDEN, SITE_QKV)
#define K LINEAR(LIN_K, "self_attn.k_proj", "attn_k", DIM_KV, DIM_HIDDEN, SITE_QKV)
#define V LINEAR(LIN_V, "self_attn.v_proj", "attn_v", DIM_KV, DIM_HIDDEN, SITE_QKV)
#define QKV LINEAR(LIN_Q, "self_attn.qkv_proj", "attn_qkv", DIM_Q_2KV, DIM_HIDDEN, SITE_QKV)
#define O LINEAR(LIN_O, "self_attn.o_proj", "attn_output", DIM_HIDDEN, DIM_Q, SITE_O)
#define GATE LINEAR(LIN_GATE, "mlp.gate_proj", "ffn_gate", DIM_FFN, DIM_HIDDEN, SITE_GATE_UP)
#define UP LINEAR(LIN_UP, "mlp.up_proj", "ffn_up", DIM_FFN, DIM_HIDDEN, SITE_GATE_UP)
#define GATE_UP LINEAR(LIN_GATE, "mlp.gate_up_proj", "ffn_up", DIM_2_FFN, DIM_HIDDEN, SITE_GATE_UP)
#define DOWN LINEAR(LIN_DOWN, "mlp.down_proj", "ffn_down", DIM_HIDDEN, DIM_FFN, SITE_DOWN)

static const tensor_spec_t llama_tensors[] = {
    NORM(NORM_ATTN_IN, "input_layernorm", "attn_norm", DIM_HIDDEN),
    Q, K, V, O, GATE, UP, DOWN,
    NORM(NORM_FFN_IN, "post_attention_layernorm", "ffn_norm", DIM_HIDDEN),
};

static const tensor_spec_t seed_oss_tensors[] = {
    NORM(NORM_ATTN_IN, "input_layernorm", "attn_norm", DIM_HIDDEN),
    Q, K, V, O, GATE, UP, DOWN,
    NORM(NORM_FFN_IN, "post_attention_layernorm", "post_attention_norm", DIM_HIDDEN),
};

static const tensor_spec_t qwen3_tensors[] = {
    NORM(NORM_ATTN_IN, "input_layernorm", "attn_norm", DIM_HIDDEN),
    Q, K, V, O, GATE, UP, DOWN,
    NORM(NORM_Q, "self_attn.q_norm", "attn_q_norm", DIM_HEAD),
    NORM(NORM_K, "self_attn.k_norm", "attn_k_norm", DIM_HEAD),
    NORM(NORM_FFN_IN, "post_attention_layernorm", "ffn_norm", DIM_HIDDEN),
};

static const tensor_spec_t gemma2_tensors[] = {
    NORM(NORM_ATTN_IN, "input_layernorm", "attn_norm", DIM_HIDDEN),
    Q, K, V, O, GATE, UP, DOWN,
    NORM(NORM_ATTN_OUT, "post_attention_layernorm", "post_attention_norm", DIM_HIDDEN),
    NORM(NORM_FFN_IN, "pre_feedforward_layernorm", "ffn_norm", DIM_HIDDEN),
    NORM(NORM_FFN_OUT, "post_feedforward_layernorm", "post_ffw_norm", DIM_HIDDEN),
};

static const tensor_spec_t gemma3_tensors[] = {
    NORM(NORM_ATTN_IN, "input_layernorm", "attn_norm", DIM_HIDDEN),
    Q, K, V, O, GATE, UP, DOWN,
    NORM(NORM_Q, "self_attn.q_norm", "attn_q_norm", DIM_HEAD),
    NORM(NORM_K, "self_attn.k_norm", "attn_k_norm", DIM_HEAD),
    NORM(NORM_ATTN_OUT, "post_attention_layernorm", "post_attention_norm", DIM_HIDDEN),
    NORM(NORM_FFN_IN, "pre_feedforward_layernorm", "ffn_norm", DIM_HIDDEN),
    NORM(NORM_FFN_OUT, "post_feedforward_layernorm", "post_ffw_norm", DIM_HIDDEN),
};

static const tensor_spec_t phi3_tensors[] = {
    NORM(NORM_ATTN_IN, "input_layernorm", "attn_norm", DIM_HIDDEN),
    QKV, O, GATE_UP, DOWN,
    NORM(NORM_FFN_IN, "post_attention_layernorm", "ffn_norm", DIM_HIDDEN),
};

static const tensor_spec_t glm4_tensors[] = {
    NORM(NORM_ATTN_IN, "input_layernorm", "attn_norm", DIM_HIDDEN),
    Q, K, V, O, GATE_UP, DOWN,
    NORM(NORM_ATTN_OUT, "post_self_attn_layernorm", "post_attention_norm", DIM_HIDDEN),
    NORM(NORM_FFN_IN, "post_attention_layernorm", "ffn_norm", DIM_HIDDEN),
    NORM(NORM_FFN_OUT, "post_mlp_layernorm", "post_ffw_norm", DIM_HIDDEN),
};

static const tensor_spec_t olmo2_tensors[] = {
    Q, K, V, O, GATE, UP, DOWN,
    NORM(NORM_Q, "self_attn.q_norm", "attn_q_norm", DIM_Q),
    NORM(NORM_K, "self_attn.k_norm", "attn_k_norm", DIM_KV),
    NORM(NORM_ATTN_OUT, "post_attention_layernorm", "post_attention_norm", DIM_HIDDEN),
    NORM(NORM_FFN_OUT, "post_feedforward_layernorm", "post_ffw_norm", DIM_HIDDEN),
};

static const tensor_spec_t exaone4_tensors[] = {
    Q, K, V, O, GATE, UP, DOWN,
    NORM(NORM_Q, "self_attn.q_norm", "attn_q_norm", DIM_HEAD),
    NORM(NORM_K, "self_attn.k_norm", "attn_k_norm", DIM_HEAD),
    NORM(NORM_ATTN_OUT, "post_attention_layernorm", "post_attention_norm", DIM_HIDDEN),
    NORM(NORM_FFN_OUT, "post_feedforward_layernorm", "post_ffw_norm", DIM_HIDDEN),
};
/* clang-format on */

/* ---- pieces of descriptions ----------------------------------------------------------------------------------- */

enum {
    BIAS_QKV = 1u << LIN_Q | 1u << LIN_K | 1u << LIN_V,
    BIAS_O = 1u << LIN_O,
    BIAS_MLP = 1u << LIN_GATE | 1u << LIN_UP | 1u << LIN_DOWN
};

/* A key that says that some layers have biases. In a GGUF the tensors themselves do. */
static int read_bias(const config_keys_t *k, const char *key, bool on, unsigned slots, model_config_t *c, err_t *err) {
    if (key_bool(k, key, NULL, &on, err)) return err->code;
    if (on && k->json) c->biases |= slots;
    return 0;
}

static int read_act(const config_keys_t *k, const char *key, model_config_t *c, err_t *err) {
    char name[40] = "silu";
    if (key_string(k, key, NULL, name, sizeof name, err)) return err->code;
    c->act = ACT_SILU;
    if (!strcmp(name, "silu") || !strcmp(name, "swish")) return 0;
    return err_set(err, ERR_USAGE, "%s: %s: \"%s\" is not supported; expected \"silu\"", k->where, key, name);
}

/* plain: the first configs say "gelu" and mean its tanh form. */
static int read_gelu(const config_keys_t *k, bool plain, model_config_t *c, err_t *err) {
    char name[40] = "gelu_pytorch_tanh";
    bool bidirectional = false;
    const char *key = k->json && json_is_string(json_object_get(k->json, "hidden_activation")) ? "hidden_activation"
                                                                                               : "hidden_act";
    if (key_string(k, key, NULL, name, sizeof name, err) ||
        key_bool(k, "use_bidirectional_attention", NULL, &bidirectional, err))
        return err->code;
    if (bidirectional)
        return err_set(err, ERR_USAGE, "%s: use_bidirectional_attention: true is not supported; expected false",
                       k->where);
    c->act = ACT_GELU_TANH;
    if ((plain && !strcmp(name, "gelu")) || !strcmp(name, "gelu_pytorch_tanh")) return 0;
    return err_set(err, ERR_USAGE, "%s: %s: \"%s\" is not supported; expected \"gelu_pytorch_tanh\"", k->where, key,
                   name);
}

/* The size of a window: absent is the default, null is none. */
static int read_window(const config_keys_t *k, size_t absent, size_t *window, err_t *err) {
    bool there = key_is_there(k, "sliding_window", "attention.sliding_window");
    *window = there ? 0 : absent;
    return key_size(k, "sliding_window", "attention.sliding_window", window, err);
}

/* One kind of layer, all with the window. */
static int window_everywhere(const config_keys_t *k, size_t absent, model_config_t *c, err_t *err) {
    return read_window(k, absent, &c->kinds[0].window, err);
}

static int wrong_layer_types(const config_keys_t *k, size_t layers, err_t *err) {
    return err_set(err, ERR_USAGE,
                   "%s: layer_types: expected a list of \"full_attention\" and \"sliding_attention\", one "
                   "for each of %zu layers",
                   k->where, layers);
}

/* The list of a config.json, if it has one: kind 1 slides. *found: it has. */
static int read_layer_types(const config_keys_t *k, model_config_t *c, bool *found, err_t *err) {
    const json_t *types = k->json ? json_object_get(k->json, "layer_types") : NULL;
    *found = json_is_array(types);
    if (!*found) return types && !json_is_null(types) ? wrong_layer_types(k, c->layers, err) : 0;
    if (json_array_size(types) < c->layers) return wrong_layer_types(k, c->layers, err);
    for (size_t l = 0; l < c->layers; l++) {
        const char *type = json_string_value(json_array_get(types, l));
        bool slides = type && !strcmp(type, "sliding_attention");
        if (!slides && !(type && !strcmp(type, "full_attention"))) return wrong_layer_types(k, c->layers, err);
        c->kind[l] = slides;
    }
    return 0;
}

/* "LLLG": L slides. */
static bool slides_in_text(const char *pattern, size_t l) { return pattern[l % strlen(pattern)] == 'L'; }

/* Every period-th layer is full, the others slide, unless the file lists them. Where there is no window, no layer
 * slides. rope: the set of those that do. */
static int windows_by_pattern(const config_keys_t *k, size_t absent, size_t period, int rope, model_config_t *c,
                              err_t *err) {
    static const char gguf_key[] = "attention.sliding_window_pattern";
    char name[96], text[64] = "";
    bool listed = false;
    size_t window;
    if (read_window(k, absent, &window, err)) return err->code;
    c->kinds[1] = (layer_kind_t){window, rope};
    if (window == 0) return 0;
    if (read_layer_types(k, c, &listed, err) || listed) return err->code;
    key_name(k, NULL, gguf_key, name, sizeof name);
    bool in_array = k->gguf && gguf_array_len(k->gguf, name) >= (long)c->layers;
    bool in_text = k->json && json_is_string(json_object_get(k->json, "sliding_window_pattern"));
    if (in_text && key_string(k, "sliding_window_pattern", NULL, text, sizeof text, err)) return err->code;
    if (!in_text && !in_array && key_size(k, "sliding_window_pattern", gguf_key, &period, err)) return err->code;
    if (in_text ? !*text || text[strspn(text, "LG")] : period == 0)
        return err_set(err, ERR_USAGE,
                       "%s: sliding_window_pattern: expected a whole number of at least 1, or a text of L and G",
                       k->where);
    for (size_t l = 0; l < c->layers; l++) {
        bool slides = in_text ? slides_in_text(text, l) : (l + 1) % period != 0;
        if (in_array && !gguf_array_bool(k->gguf, name, l, &slides))
            return err_set(err, ERR_USAGE, "%s: %s: expected true or false for each layer", k->where, name);
        c->kind[l] = slides;
    }
    return 0;
}

/* ---- descriptions ----------------------------------------------------------------------------------------------- */

/* theta: the defaults of the sets. */
static int read_rope(const config_keys_t *k, size_t sets, const double theta[2], model_config_t *c, err_t *err) {
    c->n_rope = sets;
    for (size_t i = 0; i < MODEL_KINDS; i++)
        c->rope[i] = (rope_spec_t){
            .theta = theta[i], .factor = 1, .beta_fast = 32, .beta_slow = 1, .low = 1, .high = 4, .truncate = true};
    return k->json ? hf_read_rope(k, sets, c, err) : gguf_read_rope(k, sets, c, err);
}

static const double theta_10000[2] = {1e4, 1e4};

static int describe_mistral(const config_keys_t *k, model_config_t *c, err_t *err) {
    return read_act(k, "hidden_act", c, err) || window_everywhere(k, WINDOW_DEFAULT, c, err) ||
           read_rope(k, 1, theta_10000, c, err);
}

/* What all like it have. */
static int llama(const config_keys_t *k, model_config_t *c, err_t *err) {
    return read_act(k, "hidden_act", c, err) || read_bias(k, "attention_bias", false, BIAS_QKV | BIAS_O, c, err) ||
           read_bias(k, "mlp_bias", false, BIAS_MLP, c, err) || read_rope(k, 1, theta_10000, c, err);
}

static int describe_llama(const config_keys_t *k, model_config_t *c, err_t *err) {
    if (!k->gguf || !key_is_there(k, NULL, "attention.sliding_window")) return llama(k, c, err);
    /* A GGUF calls Mistral's models llama too. Of an export a llama would leave the window out. */
    c->arch = arch_by_model_type("mistral", k->where, err);
    return describe_mistral(k, c, err);
}

/* Of the families whose norms have another epsilon than Llama's. */
static void defaults_eps(model_config_t *c) { c->norm_eps = 1e-5f; }

static int describe_ministral3(const config_keys_t *k, model_config_t *c, err_t *err) {
    static const double theta[2] = {1e6, 1e6};
    /* Transformers has a scaled RoPE by default. */
    if (k->json && !json_is_object(json_object_get(k->json, "rope_parameters")) &&
        !json_is_object(json_object_get(k->json, "rope_scaling")))
        return err_set(err, ERR_USAGE, "%s: rope_parameters is missing; expected an object", k->where);
    return read_act(k, "hidden_act", c, err) || window_everywhere(k, 0, c, err) || read_rope(k, 1, theta, c, err);
}

/* Layers from max_window_layers on slide, where the config asks for it. */
static int qwen_windows(const config_keys_t *k, model_config_t *c, err_t *err) {
    bool use = false, listed = false;
    size_t from = 28;
    if (key_bool(k, "use_sliding_window", NULL, &use, err) || key_size(k, "max_window_layers", NULL, &from, err))
        return err->code;
    if (!use) return 0;
    c->kinds[1].rope = 0;
    if (read_window(k, WINDOW_DEFAULT, &c->kinds[1].window, err) || read_layer_types(k, c, &listed, err))
        return err->code;
    for (size_t l = 0; !listed && l < c->layers; l++) c->kind[l] = l >= from;
    return 0;
}

static int describe_qwen2(const config_keys_t *k, model_config_t *c, err_t *err) {
    if (k->json) c->biases |= BIAS_QKV;
    return read_act(k, "hidden_act", c, err) || qwen_windows(k, c, err) || read_rope(k, 1, theta_10000, c, err);
}

static void defaults_qwen3(model_config_t *c) { c->head_dim = 128; }

static int describe_qwen3(const config_keys_t *k, model_config_t *c, err_t *err) {
    return read_act(k, "hidden_act", c, err) || read_bias(k, "attention_bias", false, BIAS_QKV | BIAS_O, c, err) ||
           qwen_windows(k, c, err) || read_rope(k, 1, theta_10000, c, err);
}

static void defaults_smollm3(model_config_t *c) { c->tied = true; }

/* no_rope_layers: 0 for a layer without RoPE; by default every fourth. With windows those are the ones that slide. */
static int smollm3_layers(const config_keys_t *k, model_config_t *c, err_t *err) {
    const json_t *list = k->json ? json_object_get(k->json, "no_rope_layers") : NULL;
    size_t interval = 4;
    bool use = false, listed = false;
    layer_kind_t none = {0, -1};
    if (key_size(k, "no_rope_layer_interval", NULL, &interval, err) ||
        key_bool(k, "use_sliding_window", NULL, &use, err))
        return err->code;
    if (use && read_window(k, 0, &none.window, err)) return err->code;
    if (json_is_null(list)) list = NULL;
    if (!list && interval == 0)
        return err_set(err, ERR_USAGE, "%s: no_rope_layer_interval: expected more than 0", k->where);
    c->kinds[1] = none;
    unsigned char kind[MODEL_MAX_LAYERS];
    for (size_t l = 0; l < c->layers; l++) {
        const json_t *rope = json_array_get(list, l);
        if (list && !json_is_integer(rope))
            return err_set(err, ERR_USAGE, "%s: no_rope_layers: expected a list of 0 and 1, one for each of %zu layers",
                           k->where, c->layers);
        kind[l] = list ? json_integer_value(rope) == 0 : (l + 1) % interval == 0;
    }
    /* Which slide is a list of its own, but two kinds of layers are all that there are. */
    if (read_layer_types(k, c, &listed, err)) return err->code;
    if (listed && none.window && memcmp(kind, c->kind, c->layers) != 0)
        return err_set(err, ERR_USAGE, "%s: layer_types: layers with RoPE that slide are not supported", k->where);
    memcpy(c->kind, kind, c->layers);
    return 0;
}

static int describe_smollm3(const config_keys_t *k, model_config_t *c, err_t *err) {
    static const double theta[2] = {2e6, 2e6};
    return read_act(k, "hidden_act", c, err) || read_bias(k, "attention_bias", false, BIAS_QKV | BIAS_O, c, err) ||
           read_bias(k, "mlp_bias", false, BIAS_MLP, c, err) || smollm3_layers(k, c, err) ||
           read_rope(k, 1, theta, c, err);
}

static void defaults_gemma(model_config_t *c) {
    c->tied = true;
    c->head_dim = 256;
}

/* What all of them have. */
static int gemma(const config_keys_t *k, bool plain_gelu, model_config_t *c, err_t *err) {
    c->embed_scale = sqrt((double)c->hidden);
    c->embed_scale_rounded = true;
    return read_gelu(k, plain_gelu, c, err) || read_bias(k, "attention_bias", false, BIAS_QKV | BIAS_O, c, err);
}

/* A GGUF does not hold it: llama.cpp knows the models in which it is not the size of a head. */
static int query_scalar(const config_keys_t *k, size_t other_layers, model_config_t *c, err_t *err) {
    double scalar = k->json ? 256 : (double)c->head_dim;
    if (k->gguf && c->layers == other_layers) scalar = (double)c->hidden / (double)c->heads;
    if (key_number(k, "query_pre_attn_scalar", NULL, &scalar, err)) return err->code;
    c->attn_scale = 1 / sqrt(scalar);
    return 0;
}

static int describe_gemma(const config_keys_t *k, model_config_t *c, err_t *err) {
    return gemma(k, true, c, err) || read_rope(k, 1, theta_10000, c, err);
}

static int describe_gemma2(const config_keys_t *k, model_config_t *c, err_t *err) {
    /* Absent is the default, null is none. */
    if (!key_is_there(k, "attn_logit_softcapping", "attn_logit_softcapping")) c->attn_softcap = 50;
    if (!key_is_there(k, "final_logit_softcapping", "final_logit_softcapping")) c->logit_softcap = 30;
    return gemma(k, false, c, err) || query_scalar(k, 46, c, err) ||
           key_number(k, "attn_logit_softcapping", "attn_logit_softcapping", &c->attn_softcap, err) ||
           key_number(k, "final_logit_softcapping", "final_logit_softcapping", &c->logit_softcap, err) ||
           windows_by_pattern(k, WINDOW_DEFAULT, 2, 0, c, err) || read_rope(k, 1, theta_10000, c, err);
}

static void defaults_gemma3(model_config_t *c) {
    defaults_gemma(c);
    c->heads = 8;
    c->kv_heads = 4;
    c->vocab = 262208;
    c->hidden = 2304;
    c->ffn = 9216;
    c->layers = 26;
    c->max_positions = 131072;
}

static int describe_gemma3(const config_keys_t *k, model_config_t *c, err_t *err) {
    static const double theta[2] = {1e6, 1e4};
    return gemma(k, false, c, err) || query_scalar(k, 62, c, err) ||
           key_number(k, "attn_logit_softcapping", NULL, &c->attn_softcap, err) ||
           key_number(k, "final_logit_softcapping", NULL, &c->logit_softcap, err) ||
           windows_by_pattern(k, WINDOW_DEFAULT, 6, 1, c, err) || read_rope(k, 2, theta, c, err);
}

static int describe_phi3(const config_keys_t *k, model_config_t *c, err_t *err) {
    return read_act(k, "hidden_act", c, err) || window_everywhere(k, 0, c, err) || read_rope(k, 1, theta_10000, c, err);
}

static int describe_granite(const config_keys_t *k, model_config_t *c, err_t *err) {
    double divisor = 1;
    c->attn_scale = 1;
    if (key_number(k, "attention_multiplier", "attention.scale", &c->attn_scale, err) ||
        key_number(k, "embedding_multiplier", "embedding_scale", &c->embed_scale, err) ||
        key_number(k, "residual_multiplier", "residual_scale", &c->residual_scale, err) ||
        key_number(k, "logits_scaling", "logit_scale", &divisor, err))
        return err->code;
    c->logit_scale = 1 / divisor;
    return llama(k, c, err);
}

static int describe_olmo3(const config_keys_t *k, model_config_t *c, err_t *err) {
    static const double theta[2] = {5e5, 5e5};
    return read_act(k, "hidden_act", c, err) || read_bias(k, "attention_bias", false, BIAS_QKV | BIAS_O, c, err) ||
           windows_by_pattern(k, WINDOW_DEFAULT, 4, 1, c, err) || read_rope(k, 2, theta, c, err);
}

static int describe_olmo2(const config_keys_t *k, model_config_t *c, err_t *err) {
    if (k->gguf && key_is_there(k, NULL, "attention.sliding_window")) { /* a GGUF calls both olmo2 */
        c->arch = arch_by_model_type("olmo3", k->where, err);
        return describe_olmo3(k, c, err);
    }
    return read_act(k, "hidden_act", c, err) || read_bias(k, "attention_bias", false, BIAS_QKV | BIAS_O, c, err) ||
           read_rope(k, 1, theta_10000, c, err);
}

static void defaults_glm4(model_config_t *c) {
    c->head_dim = 128;
    c->norm_eps = 1.5625e-7f;
}

static int describe_glm4(const config_keys_t *k, model_config_t *c, err_t *err) {
    c->rope_interleaved = true;
    if (k->json) c->rotated = c->head_dim / 2; /* partial_rotary_factor is 0.5 unless given */
    return read_act(k, "hidden_act", c, err) || read_bias(k, "attention_bias", false, BIAS_QKV, c, err) ||
           read_rope(k, 1, theta_10000, c, err);
}

/* Where there is a window, layers without one have no RoPE. */
static int describe_exaone4(const config_keys_t *k, model_config_t *c, err_t *err) {
    if (read_act(k, "hidden_act", c, err) || windows_by_pattern(k, k->json ? WINDOW_DEFAULT : 0, 4, 0, c, err) ||
        read_rope(k, 1, theta_10000, c, err))
        return err->code;
    if (c->kinds[1].window) c->kinds[0].rope = -1;
    return 0;
}

static void defaults_seed_oss(model_config_t *c) { c->head_dim = 128; }

static int describe_seed_oss(const config_keys_t *k, model_config_t *c, err_t *err) {
    return read_act(k, "hidden_act", c, err) || read_bias(k, "attention_bias", true, BIAS_QKV, c, err) ||
           read_bias(k, "attention_out_bias", false, BIAS_O, c, err) ||
           read_bias(k, "mlp_bias", false, BIAS_MLP, c, err) || read_rope(k, 1, theta_10000, c, err);
}

static void defaults_ernie4_5(model_config_t *c) {
    c->tied = true;
    c->head_dim = 128;
    c->kv_heads = 2;
    c->norm_eps = 1e-5f;
    c->max_positions = 131072;
}

static int describe_ernie4_5(const config_keys_t *k, model_config_t *c, err_t *err) {
    static const double theta[2] = {5e5, 5e5};
    c->rope_interleaved = true;
    return read_act(k, "hidden_act", c, err) || read_bias(k, "use_bias", false, BIAS_QKV | BIAS_O | BIAS_MLP, c, err) ||
           read_rope(k, 1, theta, c, err);
}

/* ---- the table -------------------------------------------------------------------------------------------------- */

#define TENSORS(t) .tensors = (t), .n_tensors = sizeof(t) / sizeof *(t)

/* A GGUF's name stands for the first family that has it. */
const arch_t archs[] = {
    {"llama", "LlamaForCausalLM", "llama", TENSORS(llama_tensors), .gguf_permuted_qk = true,
     .describe = describe_llama},
    {"mistral", "MistralForCausalLM", "llama", TENSORS(llama_tensors), .gguf_permuted_qk = true,
     .describe = describe_mistral},
    {"ministral3", "Ministral3ForCausalLM", "mistral3", TENSORS(llama_tensors), .gguf_permuted_qk = true,
     .defaults = defaults_eps, .describe = describe_ministral3},
    {"qwen2", "Qwen2ForCausalLM", "qwen2", TENSORS(llama_tensors), .describe = describe_qwen2},
    {"qwen3", "Qwen3ForCausalLM", "qwen3", TENSORS(qwen3_tensors), .defaults = defaults_qwen3,
     .describe = describe_qwen3},
    {"smollm3", "SmolLM3ForCausalLM", "smollm3", TENSORS(llama_tensors), .gguf_permuted_qk = true,
     .defaults = defaults_smollm3, .describe = describe_smollm3},
    {"gemma", "GemmaForCausalLM", "gemma", TENSORS(llama_tensors), .norm_plus_one = true, .defaults = defaults_gemma,
     .describe = describe_gemma},
    {"gemma2", "Gemma2ForCausalLM", "gemma2", TENSORS(gemma2_tensors), .norm_plus_one = true,
     .defaults = defaults_gemma, .describe = describe_gemma2},
    {"gemma3_text", "Gemma3ForCausalLM", "gemma3", TENSORS(gemma3_tensors), .norm_plus_one = true,
     .defaults = defaults_gemma3, .describe = describe_gemma3},
    {"phi3", "Phi3ForCausalLM", "phi3", TENSORS(phi3_tensors), .defaults = defaults_eps, .describe = describe_phi3},
    {"granite", "GraniteForCausalLM", "granite", TENSORS(llama_tensors), .gguf_permuted_qk = true,
     .describe = describe_granite},
    {"olmo2", "Olmo2ForCausalLM", "olmo2", TENSORS(olmo2_tensors), .defaults = defaults_eps,
     .describe = describe_olmo2},
    {"olmo3", "Olmo3ForCausalLM", "olmo2", TENSORS(olmo2_tensors), .defaults = defaults_eps,
     .describe = describe_olmo3},
    {"glm4", "Glm4ForCausalLM", "glm4", TENSORS(glm4_tensors), .defaults = defaults_glm4, .describe = describe_glm4},
    {"exaone4", "Exaone4ForCausalLM", "exaone4", TENSORS(exaone4_tensors), .defaults = defaults_eps,
     .describe = describe_exaone4},
    {"seed_oss", "SeedOssForCausalLM", "seed_oss", TENSORS(seed_oss_tensors), .defaults = defaults_seed_oss,
     .describe = describe_seed_oss},
    {"ernie4_5", "Ernie4_5ForCausalLM", "ernie4_5", TENSORS(llama_tensors), .defaults = defaults_ernie4_5,
     .describe = describe_ernie4_5},
};
const size_t n_archs = sizeof archs / sizeof *archs;
