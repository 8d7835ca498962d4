/* RoPE in a config.json: Transformers 5 has "rope_parameters", one object or one for each type of layer; Transformers 4
 * "rope_scaling" beside rope_theta, partial_rotary_factor and original_max_position_embeddings. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "model/config_keys.h"

/* All that is known in such an object: another key may mean another computation. */
static const char *const known[] = {
    "type",
    "rope_type",
    "rope_theta",
    "factor",
    "original_max_position_embeddings",
    "beta_fast",
    "beta_slow",
    "mscale",
    "mscale_all_dim",
    "attention_factor",
    "truncate",
    "low_freq_factor",
    "long_factor",
    "short_factor",
    "high_freq_factor",
    "max_position_embeddings",
    "partial_rotary_factor",
    "llama_4_scaling_beta",
};

static int refuse_unknown(const json_t *rope, const char *where, err_t *err) {
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)rope, key, value) {
        bool found = json_is_null(value);
        for (size_t i = 0; i < sizeof known / sizeof *known; i++) found |= !strcmp(key, known[i]);
        if (!found)
            return err_set(err, ERR_USAGE, "%s: \"%.60s\" is not known and may change what is computed", where, key);
    }
    return 0;
}

static int read_type(const json_t *rope, const char *where, rope_type_t *type, err_t *err) {
    const char *name = "default";
    if (json_opt_string(rope, "type", where, &name, err)) return err->code; /* the older key */
    if (json_opt_string(rope, "rope_type", where, &name, err)) return err->code;
    bool listed = json_is_array(json_object_get(rope, "short_factor"));
    if (!strcmp(name, "su") || (listed && !strcmp(name, "yarn")))
        name = "longrope"; /* as Phi-3's first configs call it */
    for (int t = 0; t < ROPE_TYPES; t++)
        if (!strcmp(name, rope_type_names[t])) {
            *type = (rope_type_t)t;
            return 0;
        }
    if (!strcmp(name, "dynamic"))
        return err_set(err, ERR_USAGE,
                       "%s: rope_type \"dynamic\" depends on the length of each text, and is not supported "
                       "in training; expected default, linear, llama3, yarn or longrope",
                       where);
    return err_set(err, ERR_USAGE,
                   "%s: rope_type \"%.40s\" is not supported; expected default, linear, llama3, yarn or "
                   "longrope",
                   where, name);
}

static int read_factors(const json_t *rope, const char *key, const char *where, float *out, size_t *n, err_t *err) {
    const json_t *list = json_object_get(rope, key);
    *n = json_array_size(list);
    if (!json_is_array(list) || *n > ROPE_MAX_PAIRS)
        return err_set(err, ERR_USAGE, "%s: %s: expected a list of at most %d numbers", where, key, ROPE_MAX_PAIRS);
    for (size_t i = 0; i < *n; i++) {
        const json_t *v = json_array_get(list, i);
        if (!json_is_number(v)) return err_set(err, ERR_USAGE, "%s: %s: expected numbers", where, key);
        out[i] = (float)json_number_value(v);
    }
    return 0;
}

static int read_longrope(const json_t *rope, const char *where, rope_spec_t *r, err_t *err) {
    size_t n_long;
    if (read_factors(rope, "short_factor", where, r->short_factor, &r->n_factors, err) ||
        read_factors(rope, "long_factor", where, r->long_factor, &n_long, err))
        return err->code;
    if (n_long == r->n_factors) return 0;
    return err_set(err, ERR_USAGE, "%s: short_factor has %zu numbers and long_factor %zu; expected as many", where,
                   r->n_factors, n_long);
}

/* One description; what a Transformers 4 config has beside it is in *r already. */
static int read_object(const json_t *rope, const config_keys_t *k, const char *name, const model_config_t *c,
                       double *partial, rope_spec_t *r, err_t *err) {
    double top = 0;
    char *where = xasprintf("%s: %s", k->where, name);
    int rc = json_is_object(rope) ? refuse_unknown(rope, where, err)
                                  : err_set(err, ERR_USAGE, "%s: expected an object", where);
    r->factor = NAN; /* not given */
    if (rc == 0) rc = read_type(rope, where, &r->type, err);
    if (rc == 0) rc = json_opt_number(rope, "rope_theta", where, &r->theta, err);
    if (rc == 0) rc = json_opt_number(rope, "partial_rotary_factor", where, partial, err);
    if (rc == 0) rc = json_opt_number(rope, "factor", where, &r->factor, err);
    if (rc == 0) rc = json_opt_number(rope, "original_max_position_embeddings", where, &r->original, err);
    if (rc == 0) rc = json_opt_number(rope, "attention_factor", where, &r->attention_factor, err);
    if (rc == 0) rc = json_opt_number(rope, "low_freq_factor", where, &r->low, err);
    if (rc == 0) rc = json_opt_number(rope, "high_freq_factor", where, &r->high, err);
    if (rc == 0) rc = json_opt_number(rope, "beta_fast", where, &r->beta_fast, err);
    if (rc == 0) rc = json_opt_number(rope, "beta_slow", where, &r->beta_slow, err);
    if (rc == 0) rc = json_opt_number(rope, "mscale", where, &r->mscale, err);
    if (rc == 0) rc = json_opt_number(rope, "mscale_all_dim", where, &r->mscale_all_dim, err);
    if (rc == 0) rc = json_opt_number(rope, "llama_4_scaling_beta", where, &r->query_beta, err);
    if (rc == 0) rc = json_opt_bool(rope, "truncate", where, &r->truncate, err);
    if (rc == 0) rc = json_opt_number(k->json, "original_max_position_embeddings", k->where, &top, err);
    if (top > 0) r->original = top;
    if (rc == 0 && isnan(r->factor) && (r->type == ROPE_LINEAR || r->type == ROPE_LLAMA3))
        rc = err_set(err, ERR_USAGE, "%s: factor is missing; expected a number", where);
    if (isnan(r->factor) && r->original > 0) /* what the positions have grown by */
        r->factor = (double)c->max_positions / r->original;
    if (rc == 0 && r->type == ROPE_LONGROPE) rc = read_longrope(rope, where, r, err);
    free(where);
    return rc;
}

static const json_t *object_at(const json_t *json, const char *key) {
    const json_t *o = json_object_get(json, key);
    return json_is_null(o) ? NULL : o;
}

/* Transformers 5, one for each type of layer. */
static int read_by_type(const json_t *params, const config_keys_t *k, size_t sets, model_config_t *c, double *partial,
                        err_t *err) {
    static const char *const types[] = {"full_attention", "sliding_attention"};
    if (sets < 2)
        return err_set(err, ERR_USAGE, "%s: rope_parameters differ by type of layer, which is not supported for %s",
                       k->where, c->arch->model_type);
    for (size_t i = 0; i < sets; i++) {
        char *name = xasprintf("rope_parameters.%s", types[i]);
        const json_t *one = object_at(params, types[i]);
        int rc = one ? read_object(one, k, name, c, partial, &c->rope[i], err) : 0;
        free(name);
        if (rc) return rc;
    }
    return 0;
}

/* Transformers 4: what is scaled are the layers without a window. Those with one have the same theta, where the family
 * does not have another for them by default. */
static int read_v4(const config_keys_t *k, size_t sets, model_config_t *c, double *partial, err_t *err) {
    const json_t *scaling = object_at(k->json, "rope_scaling");
    bool same = c->rope[0].theta == c->rope[1].theta;
    if (json_opt_number(k->json, "rope_theta", k->where, &c->rope[0].theta, err) ||
        json_opt_number(k->json, "partial_rotary_factor", k->where, partial, err))
        return err->code;
    if (same) c->rope[1].theta = c->rope[0].theta;
    if (sets == 2 && json_opt_number(k->json, "rope_local_base_freq", k->where, &c->rope[1].theta, err))
        return err->code;
    return scaling ? read_object(scaling, k, "rope_scaling", c, partial, &c->rope[0], err) : 0;
}

int hf_read_rope(const config_keys_t *k, size_t sets, model_config_t *c, err_t *err) {
    const json_t *params = object_at(k->json, "rope_parameters");
    double partial = (double)c->rotated / (double)c->head_dim;
    for (size_t i = 0; i < sets; i++) c->rope[i].original = (double)c->max_positions;
    int rc = read_v4(k, sets, c, &partial, err);
    if (rc == 0 && params && object_at(params, "full_attention")) rc = read_by_type(params, k, sets, c, &partial, err);
    else if (rc == 0 && params) {
        rc = read_object(params, k, "rope_parameters", c, &partial, &c->rope[0], err);
        for (size_t i = 1; rc == 0 && i < sets; i++) c->rope[i] = c->rope[0];
    }
    if (rc) return rc;
    if (!(partial > 0 && partial <= 1))
        return err_set(err, ERR_USAGE, "%s: partial_rotary_factor is %g; expected more than 0, at most 1", k->where,
                       partial);
    c->rotated = (size_t)((double)c->head_dim * partial);
    return 0;
}
