/* RoPE in the metadata of a GGUF, and in its tensors where each pair has a factor of its own. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "model/config_keys.h"

/* A tensor of factors; false: there is none. */
static bool read_factors(const config_keys_t *k, const char *name, float *out, size_t *n, int *rc, err_t *err) {
    const gguf_tensor_t *t = gguf_find(k->gguf, name);
    if (!t) return false;
    if (t->type != GGML_F32 || t->rows != 1 || t->cols > ROPE_MAX_PAIRS) {
        *rc = err_set(err, ERR_USAGE, "%s: tensor %s: expected at most %d F32 values", k->where, name, ROPE_MAX_PAIRS);
        return true;
    }
    gguf_dequant(t, 0, t->cols, out);
    *n = t->cols;
    return true;
}

/* Whether the factors are those of Llama 3.1's RoPE, of which a GGUF holds only them: the largest is `factor`, and any
 * between gives the length of the first training. Fills in the description that a config.json needs. */
static bool is_llama3(const rope_spec_t *r, size_t R, rope_spec_t *out) {
    double inv[ROPE_MAX_PAIRS], plain[ROPE_MAX_PAIRS];
    rope_spec_t guess = {.type = ROPE_LLAMA3, .theta = r->theta, .factor = 1, .low = 1, .high = 4};
    if (r->n_factors != R / 2) return false;
    rope_frequencies(&(rope_spec_t){.theta = r->theta}, R, false, plain);
    for (size_t i = 0; i < r->n_factors; i++) guess.factor = fmax(guess.factor, (double)r->short_factor[i]);
    for (size_t i = 0; i < r->n_factors && guess.original == 0; i++) {
        double f = (double)r->short_factor[i];
        if (f < 1.001 || f > guess.factor * 0.999) continue;
        double t = (1 / f - 1 / guess.factor) / (1 - 1 / guess.factor);
        guess.original = round((guess.low + t * (guess.high - guess.low)) * 2 * 3.14159265358979323846 / plain[i]);
    }
    if (guess.original < 1) return false;
    rope_frequencies(&guess, R, false, inv);
    for (size_t i = 0; i < r->n_factors; i++)
        if (!(fabs(plain[i] / inv[i] / (double)r->short_factor[i] - 1) <= 1e-5)) return false; /* NaN: neither */
    *out = guess;
    return true;
}

/* What config.json calls longrope (Phi-3), and Llama 3.1's RoPE, of which a GGUF holds the resulting factors. */
static int read_factor_tensors(const config_keys_t *k, size_t R, rope_spec_t *r, err_t *err) {
    int rc = 0;
    size_t n_long = 0;
    if (read_factors(k, "rope_freqs.weight", r->short_factor, &r->n_factors, &rc, err)) {
        memcpy(r->long_factor, r->short_factor, sizeof r->long_factor);
        r->type = ROPE_LONGROPE;
        r->factor = r->attention_factor = 1;
        if (rc == 0) is_llama3(r, R, r);
        return rc;
    }
    if (!read_factors(k, "rope_factors_short.weight", r->short_factor, &r->n_factors, &rc, err)) return 0;
    if (rc) return rc;
    bool has_long = read_factors(k, "rope_factors_long.weight", r->long_factor, &n_long, &rc, err);
    if (rc) return rc;
    if (!has_long || n_long != r->n_factors)
        return err_set(err, ERR_USAGE, "%s: tensor rope_factors_long.weight: expected %zu values, as the short ones",
                       k->where, r->n_factors);
    r->type = ROPE_LONGROPE;
    r->attention_factor = 1;
    return key_number(k, NULL, "rope.scaling.attn_factor", &r->attention_factor, err);
}

static int read_yarn(const config_keys_t *k, rope_spec_t *r, err_t *err) {
    double attention = 1, general = 1, multiplier = 0;
    if (key_number(k, NULL, "rope.scaling.yarn_beta_fast", &r->beta_fast, err) ||
        key_number(k, NULL, "rope.scaling.yarn_beta_slow", &r->beta_slow, err) ||
        key_number(k, NULL, "rope.scaling.yarn_attn_factor", &attention, err) ||
        key_number(k, NULL, "rope.scaling.attn_factor", &general, err) ||
        key_number(k, NULL, "rope.scaling.yarn_log_multiplier", &multiplier, err))
        return err->code;
    if (multiplier > 0) r->mscale = 1, r->mscale_all_dim = multiplier;
    attention *= general;
    if (attention != 1) r->attention_factor = attention * rope_attention_factor(r);
    return 0;
}

static int read_scaling(const config_keys_t *k, size_t R, rope_spec_t *r, err_t *err) {
    /* A factor without a type is linear, as in llama.cpp. */
    bool factor = key_is_there(k, NULL, "rope.scaling.factor");
    char type[24];
    double linear = 1;
    snprintf(type, sizeof type, "%s", factor ? "linear" : "none");
    if (key_string(k, NULL, "rope.scaling.type", type, sizeof type, err) ||
        key_number(k, NULL, "rope.scaling.factor", &r->factor, err) ||
        key_number(k, NULL, "rope.scale_linear", &linear, err) ||
        key_number(k, NULL, "rope.scaling.original_context_length", &r->original, err))
        return err->code;
    if (linear != 1) r->type = ROPE_LINEAR, r->factor = linear;
    if (!strcmp(type, "linear")) r->type = ROPE_LINEAR;
    else if (!strcmp(type, "yarn")) r->type = ROPE_YARN;
    else if (strcmp(type, "none") != 0 && strcmp(type, "longrope") != 0)
        return err_set(err, ERR_USAGE,
                       "%s: %s.rope.scaling.type: \"%s\" is not supported; expected none, linear, yarn or "
                       "longrope",
                       k->where, k->prefix, type);
    if (r->type == ROPE_YARN && read_yarn(k, r, err)) return err->code;
    rope_type_t type_of_keys = r->type;
    bool scaled = type_of_keys == ROPE_YARN || (type_of_keys == ROPE_LINEAR && r->factor != 1);
    if (read_factor_tensors(k, R, r, err)) return err->code;
    if (scaled && r->type != type_of_keys)
        return err_set(err, ERR_USAGE, "%s: RoPE is scaled by %s.rope.scaling and by a tensor of factors; expected one",
                       k->where, k->prefix);
    return 0;
}

int gguf_read_rope(const config_keys_t *k, size_t sets, model_config_t *c, err_t *err) {
    rope_spec_t *full = &c->rope[0];
    bool same = full->theta == c->rope[1].theta; /* by default */
    full->original = (double)c->max_positions;
    if (key_number(k, NULL, "rope.freq_base", &full->theta, err) ||
        key_size(k, NULL, "rope.dimension_count", &c->rotated, err) ||
        key_number(k, NULL, "attention.temperature_scale", &full->query_beta, err) ||
        read_scaling(k, c->rotated, full, err))
        return err->code;
    if (sets < 2) return 0;
    /* Only layers without a window are scaled. */
    if (same) c->rope[1].theta = full->theta;
    return key_number(k, NULL, "rope.freq_base_swa", &c->rope[1].theta, err);
}
