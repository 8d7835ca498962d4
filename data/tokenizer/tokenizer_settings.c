/* The files beside a tokenizer: tokenizer_config.json, special_tokens_map.json, generation_config.json,
 * added_tokens.json, config.json. All are optional. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "data/tokenizer/tokenizer_parts.h"

/* An object, or NULL when there is no such file. All numbers become doubles: transformers writes a
 * model_max_length of 10^30, as an integer, into most of these files. */
static int read_object(const char *dir, const char *name, json_t **root, err_t *err) {
    char *path = path_join(dir, name), *text = NULL;
    size_t len;
    int rc = 0;
    *root = NULL;
    if (path_exists(path) && (rc = file_read(path, &text, &len, err)) == 0) {
        json_error_t e;
        *root = json_loadb(text, len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, &e);
        if (!*root) rc = err_set(err, ERR_USAGE, "%s:%d:%d: not valid JSON: %s", path, e.line, e.column, e.text);
        else if (!json_is_object(*root)) rc = err_set(err, ERR_USAGE, "%s: expected a JSON object", path);
    }
    if (rc) {
        json_decref(*root);
        *root = NULL;
    }
    free(text);
    free(path);
    return rc;
}

/* ---- roles ---- */

static const char *const role_names[ROLE_TOKEN_COUNT] = {"bos_token", "eos_token", "pad_token"};
static const char *const role_id_names[ROLE_TOKEN_COUNT] = {"bos_token_id", "eos_token_id", "pad_token_id"};

/* A role is given as a text, as an object with "content", or as null for none. */
static int role_by_text(tokenizer_t *t, int role, const json_t *v, const char *where, err_t *err) {
    if (json_is_object(v)) v = json_object_get(v, "content");
    if (json_is_null(v)) return 0;
    if (!json_is_string(v)) return err_set(err, ERR_USAGE, "%s: %s: expected a token or null", where, role_names[role]);
    int32_t id = vocab_find(&t->vocab, json_string_value(v), json_string_length(v));
    quoted_t q;
    if (id < 0)
        return err_set(err, ERR_USAGE, "%s: %s: the tokenizer has no token %s", where, role_names[role],
                       token_quote(q, json_string_value(v), json_string_length(v)));
    t->role[role] = id;
    return 0;
}

/* A role given as an id, or as a list of which the first counts. */
static int role_by_id(tokenizer_t *t, int role, const json_t *v, const char *where, err_t *err) {
    if (json_is_array(v)) v = json_array_get(v, 0);
    if (!v || json_is_null(v)) return 0;
    double id = json_number_value(v);
    if (id == -1) return 0; /* how some files write "none" */
    if (!json_is_number(v) || id != floor(id) || id < 0 || id > VOCAB_MAX_ID || !vocab_has(&t->vocab, (int64_t)id))
        return err_set(err, ERR_USAGE, "%s: %s: expected the id of a token", where, role_id_names[role]);
    t->role[role] = (int32_t)id;
    return 0;
}

typedef struct {
    json_t *config, *map, *generation, *model;
} files_t;

static int load_role(tokenizer_t *t, int role, const files_t *f, err_t *err) {
    const json_t *v = json_object_get(f->config, role_names[role]);
    if (v) return role_by_text(t, role, v, "tokenizer_config.json", err);
    if ((v = json_object_get(f->map, role_names[role])))
        return role_by_text(t, role, v, "special_tokens_map.json", err);
    return role_by_id(t, role, json_object_get(f->generation, role_id_names[role]), "generation_config.json", err);
}

/* ---- tokens that a SentencePiece model does not have itself ---- */

static int add_extra(tokenizer_t *t, double id, const char *text, added_token_t token, const char *where, err_t *err) {
    if (id != floor(id) || id < 0 || id > VOCAB_MAX_ID)
        return err_set(err, ERR_USAGE, "%s: \"%.100s\": expected an id of 0 to %d", where, text, VOCAB_MAX_ID);
    token.id = (int32_t)id;
    bool known = vocab_find(&t->vocab, text, strlen(text)) == token.id;
    if (!known && vocab_has(&t->vocab, token.id)) return 0; /* another spelling of a piece of the model */
    if (!known && vocab_add(&t->vocab, token.id, text, strlen(text), where, err)) return err->code;
    t->vocab.tokens[token.id].special = token.special;
    return tokenizer_add_added(t, token, err);
}

static int load_extras(tokenizer_t *t, const char *dir, json_t *config, err_t *err) {
    json_t *added, *v;
    const char *key;
    json_object_foreach(json_object_get(config, "added_tokens_decoder"), key, v) {
        const char *where = "tokenizer_config.json: added_tokens_decoder", *text;
        char *end;
        double id = strtod(key, &end);
        if (*end || !*key) return err_set(err, ERR_USAGE, "%s: the key \"%.100s\" is not an id", where, key);
        if (json_need_string(v, "content", where, &text, err)) return err->code;
        added_token_t token = {.special = json_is_true(json_object_get(v, "special")),
                               .lstrip = json_is_true(json_object_get(v, "lstrip")),
                               .rstrip = json_is_true(json_object_get(v, "rstrip")),
                               .single_word = json_is_true(json_object_get(v, "single_word"))};
        if (add_extra(t, id, text, token, where, err)) return err->code;
    }
    /* Newer files say all in the decoder. */
    if (json_object_get(config, "added_tokens_decoder")) return 0;
    if (read_object(dir, "added_tokens.json", &added, err)) return err->code;
    int rc = 0;
    json_object_foreach(added, key, v) {
        rc = add_extra(t, json_is_number(v) ? json_number_value(v) : -1, key, (added_token_t){0}, "added_tokens.json",
                       err);
        if (rc) break;
    }
    json_decref(added);
    return rc;
}

/* ---- class ---- */

/* A llama's LlamaTokenizer, or LlamaTokenizerFast, is built anew by transformers 5; for other models these names mean
 * a plain reading of the files. Its "legacy" is false unless the file says otherwise, of others it is true. */
static int rule_of(const json_t *config, const json_t *model, class_rule_t *rule, err_t *err) {
    const char *name = "", *type = "llama", *where = "tokenizer_config.json";
    bool spaced = true;
    if (json_opt_string(config, "tokenizer_class", where, &name, err) ||
        json_opt_string(model, "model_type", "config.json", &type, err))
        return err->code;
    rule->llama_class = (!strcmp(name, "LlamaTokenizer") || !strcmp(name, "LlamaTokenizerFast")) &&
                        !strcmp(type, "llama");
    bool legacy = !rule->llama_class;
    if (json_opt_bool(config, "legacy", where, &legacy, err) ||
        json_opt_bool(config, "add_prefix_space", where, &spaced, err))
        return err->code;
    rule->prefix = legacy ? PREFIX_ALWAYS : PREFIX_FIRST;
    if (rule->llama_class && !spaced) rule->prefix = PREFIX_NEVER;
    return 0;
}

/* ---- all ---- */

static int load_all(tokenizer_t *t, const char *dir, const files_t *f, err_t *err) {
    class_rule_t rule;
    if (t->spm && load_extras(t, dir, f->config, err)) return err->code;
    if (rule_of(f->config, f->model, &rule, err)) return err_prefix(err, "%s", dir);
    tokenizer_name_tokens(t, f->config, f->map, t->spm || rule.llama_class);
    for (int i = 0; i < ROLE_TOKEN_COUNT; i++) {
        if (load_role(t, i, f, err)) return err_prefix(err, "%s", dir);
    }
    if (json_opt_bool(f->config, "add_bos_token", "tokenizer_config.json", &t->add_bos, err))
        return err_prefix(err, "%s", dir);
    const json_t *length = json_object_get(f->config, "model_max_length");
    double n = json_is_number(length) ? json_number_value(length) : 0;
    if (n >= 1 && n < INT32_MAX) t->context_length = (size_t)n;
    if (t->role[ROLE_TOKEN_EOS] >= 0) ids_add(&t->ends, t->role[ROLE_TOKEN_EOS]);
    tokenizer_add_ends(t, json_object_get(f->generation, "eos_token_id"));
    tokenizer_add_ends(t, json_object_get(f->model, "eos_token_id"));
    tokenizer_add_ends(t, json_object_get(json_object_get(f->model, "text_config"), "eos_token_id"));
    return tokenizer_load_templates(t, dir, f->config, err);
}

int tokenizer_class_rule(const char *dir, class_rule_t *rule, err_t *err) {
    json_t *config, *model = NULL;
    int rc = read_object(dir, "tokenizer_config.json", &config, err);
    if (rc == 0) rc = read_object(dir, "config.json", &model, err);
    if (rc == 0 && rule_of(config, model, rule, err)) rc = err_prefix(err, "%s", dir);
    json_decref(config);
    json_decref(model);
    return rc;
}

int tokenizer_load_settings(tokenizer_t *t, const char *dir, err_t *err) {
    files_t f = {0};
    int rc = read_object(dir, "tokenizer_config.json", &f.config, err);
    if (rc == 0) rc = read_object(dir, "special_tokens_map.json", &f.map, err);
    if (rc == 0) rc = read_object(dir, "generation_config.json", &f.generation, err);
    if (rc == 0) rc = read_object(dir, "config.json", &f.model, err);
    if (rc == 0) rc = load_all(t, dir, &f, err);
    json_decref(f.config);
    json_decref(f.map);
    json_decref(f.generation);
    json_decref(f.model);
    return rc;
}
