/* The metadata of a GGUF for a model that comes from a Hugging Face directory: the inverse of gguf_config.c, under the
 * keys that llama.cpp reads. What a GGUF cannot say, or llama.cpp would compute differently, is refused. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "model/gguf_config_write.h"

typedef struct {
    gguf_writer_t *w;
    const model_config_t *c;
} out_t;

static const char *key_of(const out_t *o, const char *name, char key[96]) {
    snprintf(key, 96, "%s.%s", o->c->arch->gguf_name, name);
    return key;
}

static void put_size(const out_t *o, const char *name, size_t v) {
    char key[96];
    gguf_put_u32(o->w, key_of(o, name, key), (uint32_t)v);
}

static void put_number(const out_t *o, const char *name, double v) {
    char key[96];
    gguf_put_f32(o->w, key_of(o, name, key), (float)v);
}

static void put_text(const out_t *o, const char *name, const char *v) {
    char key[96];
    gguf_put_str(o->w, key_of(o, name, key), v);
}

static bool is_family(const model_config_t *c, const char *model_type) {
    return !strcmp(c->arch->model_type, model_type);
}

/* ---- what is written ---------------------------------------------------------------------------------------- */

static void put_sizes(const out_t *o) {
    const model_config_t *c = o->c;
    put_size(o, "block_count", c->layers);
    put_size(o, "context_length", c->max_positions);
    put_size(o, "embedding_length", c->hidden);
    put_size(o, "feed_forward_length", c->ffn);
    put_size(o, "attention.head_count", c->heads);
    put_size(o, "attention.head_count_kv", c->kv_heads);
    put_size(o, "attention.key_length", c->head_dim);
    put_size(o, "attention.value_length", c->head_dim);
    put_number(o, "attention.layer_norm_rms_epsilon", c->norm_eps);
    put_size(o, "vocab_size", c->vocab);
}

static void put_yarn(const out_t *o, const rope_spec_t *r) {
    rope_spec_t plain = *r;
    plain.attention_factor = plain.mscale = plain.mscale_all_dim = 0;
    put_text(o, "rope.scaling.type", "yarn");
    put_number(o, "rope.scaling.factor", r->factor);
    put_size(o, "rope.scaling.original_context_length", (size_t)r->original);
    if (is_family(o->c, "ministral3")) { /* of the families here the one for which llama.cpp reads them */
        put_number(o, "rope.scaling.yarn_beta_fast", r->beta_fast);
        put_number(o, "rope.scaling.yarn_beta_slow", r->beta_slow);
        put_number(o, "rope.scaling.yarn_log_multiplier", r->mscale_all_dim);
    } else if (rope_attention_factor(r) != rope_attention_factor(&plain)) {
        put_number(o, "rope.scaling.attn_factor", rope_attention_factor(r) / rope_attention_factor(&plain));
    }
}

static void put_rope(const out_t *o) {
    const model_config_t *c = o->c;
    const rope_spec_t *r = &c->rope[0];
    put_number(o, "rope.freq_base", r->theta);
    put_size(o, "rope.dimension_count", c->rotated);
    if (c->n_rope == 2 && is_family(c, "gemma3_text")) put_number(o, "rope.freq_base_swa", c->rope[1].theta);
    if (r->type == ROPE_LINEAR) {
        put_text(o, "rope.scaling.type", "linear");
        put_number(o, "rope.scaling.factor", r->factor);
    }
    if (r->type == ROPE_YARN) put_yarn(o, r);
    if (r->type == ROPE_LONGROPE) {
        put_size(o, "rope.scaling.original_context_length", (size_t)r->original);
        put_number(o, "rope.scaling.attn_factor", rope_attention_factor(r));
    }
    if (r->query_beta != 0) put_number(o, "attention.temperature_scale", r->query_beta);
}

/* The pattern as llama.cpp reads it: for Gemma 3 the period, else one bool for each layer; Gemma 2's it knows. */
static void put_windows(const out_t *o) {
    const model_config_t *c = o->c;
    size_t window = c->kinds[0].window ? c->kinds[0].window : c->kinds[1].window, period = 1;
    char key[96];
    bool any = false;
    for (size_t l = 0; l < c->layers; l++) any |= layer_kind(c, l)->window != 0;
    /* A window of a llama is Mistral's to the reader, and none to llama.cpp. */
    if (!any || is_family(c, "qwen2") || is_family(c, "qwen3") || is_family(c, "smollm3")) return;
    put_size(o, "attention.sliding_window", window);
    if (is_family(c, "gemma3_text")) {
        while (period <= c->layers && layer_kind(c, period - 1)->window) period++;
        put_size(o, "attention.sliding_window_pattern", period);
    } else if (is_family(c, "olmo3") || is_family(c, "exaone4")) {
        gguf_put_bools(o->w, key_of(o, "attention.sliding_window_pattern", key), c->layers);
        for (size_t l = 0; l < c->layers; l++) gguf_add_bool(o->w, layer_kind(c, l)->window != 0);
    }
}

static void put_scales(const out_t *o) {
    const model_config_t *c = o->c;
    if (is_family(c, "granite")) {
        put_number(o, "attention.scale", c->attn_scale);
        put_number(o, "embedding_scale", c->embed_scale);
        put_number(o, "residual_scale", c->residual_scale);
        put_number(o, "logit_scale", 1 / c->logit_scale);
    }
    if (is_family(c, "gemma2")) {
        put_number(o, "attn_logit_softcapping", c->attn_softcap);
        put_number(o, "final_logit_softcapping", c->logit_softcap);
    }
}

void gguf_put_config(gguf_writer_t *w, const model_config_t *c) {
    out_t o = {w, c};
    put_sizes(&o);
    put_rope(&o);
    put_windows(&o);
    put_scales(&o);
}

size_t gguf_rope_tensors(const model_config_t *c, gguf_rope_tensor_t out[2]) {
    const rope_spec_t *r = &c->rope[0];
    size_t half = c->rotated / 2;
    if (r->type == ROPE_LONGROPE) {
        out[0] = (gguf_rope_tensor_t){.name = "rope_factors_long.weight", .n = r->n_factors};
        out[1] = (gguf_rope_tensor_t){.name = "rope_factors_short.weight", .n = r->n_factors};
        memcpy(out[0].factor, r->long_factor, sizeof out[0].factor);
        memcpy(out[1].factor, r->short_factor, sizeof out[1].factor);
        return 2;
    }
    if (r->type != ROPE_LLAMA3 || half > ROPE_MAX_PAIRS) return 0;
    double inv[ROPE_MAX_PAIRS], plain[ROPE_MAX_PAIRS];
    rope_frequencies(r, c->rotated, false, inv);
    rope_frequencies(&(rope_spec_t){.theta = r->theta}, c->rotated, false, plain);
    out[0] = (gguf_rope_tensor_t){.name = "rope_freqs.weight", .n = half};
    for (size_t i = 0; i < half; i++) out[0].factor[i] = (float)(plain[i] / inv[i]);
    return 1;
}

/* ---- what cannot be written --------------------------------------------------------------------------------- */

static int refuse(const model_config_t *c, const char *where, const char *what, err_t *err) {
    return err_set(err, ERR_USAGE, "%s: a GGUF that llama.cpp computes alike cannot be written: %s (%s)", where, what,
                   c->arch->model_type);
}

/* The biases that llama.cpp has for the family. */
static unsigned known_biases(const model_config_t *c) {
    static const unsigned qkv = 1u << LIN_Q | 1u << LIN_K | 1u << LIN_V;
    if (is_family(c, "llama") || is_family(c, "mistral") || is_family(c, "granite")) return (1u << LINEAR_SLOTS) - 1;
    return is_family(c, "qwen2") || is_family(c, "glm4") || is_family(c, "seed_oss") ? qkv : 0;
}

/* llama.cpp looks for such factors in these only. */
static bool knows_factors(const model_config_t *c) {
    if (c->rope[0].type == ROPE_LONGROPE) return is_family(c, "phi3") || is_family(c, "llama");
    return is_family(c, "llama") || is_family(c, "mistral") || is_family(c, "exaone4");
}

int gguf_family_check(const model_config_t *c, const char *where, err_t *err) {
    if (c->arch->gguf_name) return 0;
    return err_set(err, ERR_USAGE, "%s: a %s model has no architecture in GGUF files; expected another family", where,
                   c->arch->model_type);
}

int gguf_config_check(const model_config_t *c, const char *where, err_t *err) {
    rope_type_t type = c->rope[0].type;
    if (gguf_family_check(c, where, err)) return err->code;
    if (c->biases & ~known_biases(c)) return refuse(c, where, "it has biases that are unknown there", err);
    if ((type == ROPE_LLAMA3 || type == ROPE_LONGROPE) && !knows_factors(c))
        return refuse(c, where, "RoPE with a factor for each pair is unknown there", err);
    if (is_family(c, "exaone4") && c->kinds[1].window && c->layers != 64)
        return refuse(c, where, "layers with a window are known there for models of 64 layers only", err);
    if (is_family(c, "gemma2") && (c->attn_softcap == 0 || c->logit_softcap == 0))
        return refuse(c, where, "scores and logits are capped there", err);
    return 0;
}

size_t gguf_ignored_window(const model_config_t *c) {
    return is_family(c, "mistral") || is_family(c, "phi3") || is_family(c, "ministral3") ? c->kinds[0].window : 0;
}

/* ---- whether what is read back is the same -------------------------------------------------------------------- */

static bool near(double a, double b) { return fabs(a - b) <= 1e-6 * fabs(b); }

static bool same_rope(const model_config_t *a, const model_config_t *b, int i, int j) {
    double x[2048], y[2048];
    const rope_spec_t *p = &a->rope[i], *q = &b->rope[j];
    if (a->rotated != b->rotated || a->rope_interleaved != b->rope_interleaved || a->rotated / 2 > 2048) return false;
    if (!near(rope_attention_factor(p), rope_attention_factor(q)) || !near(p->query_beta, q->query_beta)) return false;
    if ((p->query_beta != 0 || p->type == ROPE_LONGROPE) && p->original != q->original) return false;
    for (int far = 0; far < 2; far++) {
        rope_frequencies(p, a->rotated, far, x);
        rope_frequencies(q, b->rotated, far, y);
        for (size_t k = 0; k < a->rotated / 2; k++)
            if (!near(x[k], y[k])) return false;
    }
    return true;
}

static const char *different_layer(const model_config_t *a, const model_config_t *b) {
    for (size_t l = 0; l < a->layers; l++) {
        const layer_kind_t *x = layer_kind(a, l), *y = layer_kind(b, l);
        if (x->window != y->window) return "windows of attention";
        if ((x->rope < 0) != (y->rope < 0)) return "layers without RoPE";
        if (x->rope >= 0 && !same_rope(a, b, x->rope, y->rope)) return "RoPE";
    }
    return NULL;
}

const char *model_config_difference(const model_config_t *a, const model_config_t *b) {
    const struct {
        const char *what;
        bool same;
    } parts[] = {
        {"sizes", a->vocab == b->vocab && a->hidden == b->hidden && a->ffn == b->ffn && a->layers == b->layers &&
                      a->heads == b->heads && a->kv_heads == b->kv_heads && a->head_dim == b->head_dim},
        {"the longest text", a->max_positions == b->max_positions},
        {"the epsilon of norms", a->norm_eps == b->norm_eps},
        {"a head of its own", a->tied == b->tied},
        {"the activation", a->act == b->act},
        {"the scale of attention", near(a->attn_scale, b->attn_scale)},
        {"the cap of scores", near(a->attn_softcap, b->attn_softcap)},
        {"the scale of the residual stream", near(a->residual_scale, b->residual_scale)},
        {"the scale of the embedding",
         near(a->embed_scale, b->embed_scale) && a->embed_scale_rounded == b->embed_scale_rounded},
        {"the scale or cap of logits",
         near(a->logit_scale, b->logit_scale) && near(a->logit_softcap, b->logit_softcap)},
    };
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (!parts[i].same) return parts[i].what;
    return different_layer(a, b);
}
