#include "model/config_keys.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"

void key_name(const config_keys_t *k, const char *hf, const char *gguf, char *buf, size_t size) {
    if (k->json) snprintf(buf, size, "%s", hf ? hf : "");
    else snprintf(buf, size, "%s.%s", k->prefix, gguf ? gguf : "");
}

bool key_is_there(const config_keys_t *k, const char *hf, const char *gguf) {
    char name[96];
    if (k->json) return hf && json_object_get(k->json, hf) != NULL;
    key_name(k, hf, gguf, name, sizeof name);
    return gguf && gguf_has(k->gguf, name);
}

static int wrong_kind(const config_keys_t *k, const char *name, const char *expected, err_t *err) {
    return err_set(err, ERR_USAGE, "%s: %s: expected %s", k->where, name, expected);
}

int key_size(const config_keys_t *k, const char *hf, const char *gguf, size_t *out, err_t *err) {
    char name[96];
    uint64_t v;
    if (k->json) return hf ? json_opt_size(k->json, hf, k->where, out, err) : 0;
    if (!key_is_there(k, hf, gguf)) return 0;
    key_name(k, hf, gguf, name, sizeof name);
    if (!gguf_get_uint(k->gguf, name, &v)) return wrong_kind(k, name, "a whole number of at least 0", err);
    *out = (size_t)v;
    return 0;
}

int key_number(const config_keys_t *k, const char *hf, const char *gguf, double *out, err_t *err) {
    char name[96];
    if (k->json) return hf ? json_opt_number(k->json, hf, k->where, out, err) : 0;
    if (!key_is_there(k, hf, gguf)) return 0;
    key_name(k, hf, gguf, name, sizeof name);
    return gguf_get_float(k->gguf, name, out) ? 0 : wrong_kind(k, name, "a number", err);
}

int key_bool(const config_keys_t *k, const char *hf, const char *gguf, bool *out, err_t *err) {
    char name[96];
    if (k->json) return hf ? json_opt_bool(k->json, hf, k->where, out, err) : 0;
    if (!key_is_there(k, hf, gguf)) return 0;
    key_name(k, hf, gguf, name, sizeof name);
    return gguf_get_bool(k->gguf, name, out) ? 0 : wrong_kind(k, name, "true or false", err);
}

int key_string(const config_keys_t *k, const char *hf, const char *gguf, char *out, size_t size, err_t *err) {
    char name[96];
    const char *text = NULL;
    gguf_str_t s;
    if (k->json) {
        if (hf && json_opt_string(k->json, hf, k->where, &text, err)) return err->code;
        if (text) snprintf(out, size, "%s", text);
        return 0;
    }
    if (!key_is_there(k, hf, gguf)) return 0;
    key_name(k, hf, gguf, name, sizeof name);
    if (!gguf_get_str(k->gguf, name, &s)) return wrong_kind(k, name, "a string", err);
    snprintf(out, size, "%.*s", s.len < size ? (int)s.len : (int)size - 1, s.p);
    return 0;
}

/* ---- a description ------------------------------------------------------------------------------------------ */

void model_config_begin(model_config_t *c) {
    memset(c, 0, sizeof *c);
    c->max_positions = 2048; /* the defaults of Transformers' LlamaConfig */
    c->norm_eps = 1e-6f;
    c->bos = c->pad = -1;
    c->residual_scale = c->embed_scale = c->logit_scale = 1;
}

int model_config_describe(const config_keys_t *k, model_config_t *c, err_t *err) {
    /* Before what divides by sizes, or walks layers. */
    c->rotated = 2;
    c->attn_scale = 1;
    if (model_config_check(c, k->where, err)) return err->code;
    c->rotated = c->head_dim;
    c->attn_scale = 1.0f / sqrtf((float)c->head_dim);
    if (c->arch->describe(k, c, err)) return err->code;
    return model_config_check(c, k->where, err);
}
