/* What the files beside a tokenizer say for chat templates: the templates, special tokens by name, ids that end a text. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "data/tokenizer/tokenizer_parts.h"
#include "data/tokenizer/utf8.h"

/* ---- templates ---- */

#define TEMPLATE_FILE "chat_template.jinja"
#define TEMPLATE_DIR "additional_chat_templates"
#define TEMPLATE_SUFFIX ".jinja"

int tokenizer_add_template(tokenizer_t *t, const char *name, const char *text, size_t len, const char *where,
                           const char *from, err_t *err) {
    if (utf8_valid(text, len) != len) return err_set(err, ERR_USAGE, "%s: not valid UTF-8", where);
    if (!t->templates) t->templates = json_object();
    json_object_set_new(t->templates, name, json_stringn(text, len));
    t->templates_from = from;
    return 0;
}

static int load_template_file(tokenizer_t *t, const char *path, const char *name, err_t *err) {
    char *text = NULL;
    size_t len;
    int rc = file_read(path, &text, &len, err);
    if (rc == 0) rc = tokenizer_add_template(t, name, text, len, path, TEMPLATE_FILE, err);
    free(text);
    return rc;
}

/* NAME.jinja of the directory in which transformers saves all templates but the default one. */
static int load_template_dir(tokenizer_t *t, const char *dir, err_t *err) {
    dir_list_t list;
    char *path = path_join(dir, TEMPLATE_DIR);
    int rc = dir_list(path, &list, err);
    for (size_t i = 0; rc == 0 && i < list.n; i++) {
        if (!path_has_suffix(list.name[i], TEMPLATE_SUFFIX)) continue;
        char *file = path_join(path, list.name[i]);
        char *name = xstrndup(list.name[i], strlen(list.name[i]) - strlen(TEMPLATE_SUFFIX));
        rc = load_template_file(t, file, name, err);
        free(name);
        free(file);
    }
    dir_list_free(&list);
    free(path);
    return rc;
}

/* A text, or a list of {name, template}. */
static int load_template_key(tokenizer_t *t, const json_t *v, err_t *err) {
    static const char where[] = "tokenizer_config.json: chat_template";
    const json_t *item;
    size_t i;
    if (json_is_string(v))
        return tokenizer_add_template(t, "default", json_string_value(v), json_string_length(v), where,
                                      "tokenizer_config.json", err);
    json_array_foreach(v, i, item) {
        const json_t *name = json_object_get(item, "name"), *text = json_object_get(item, "template");
        if (!json_is_string(name) || !json_is_string(text))
            return err_set(err, ERR_USAGE, "%s[%zu]: expected {\"name\", \"template\"}", where, i);
        if (tokenizer_add_template(t, json_string_value(name), json_string_value(text), json_string_length(text), where,
                                   "tokenizer_config.json", err))
            return err->code;
    }
    return 0;
}

/* Files before the key, as transformers has it. */
int tokenizer_load_templates(tokenizer_t *t, const char *dir, const json_t *config, err_t *err) {
    char *path = path_join(dir, TEMPLATE_FILE);
    int rc = path_exists(path) ? load_template_file(t, path, "default", err) : 0;
    free(path);
    if (rc || load_template_dir(t, dir, err)) return err->code;
    return t->templates ? 0 : load_template_key(t, json_object_get(config, "chat_template"), err);
}

const char *tokenizer_chat_template(const tokenizer_t *t, const char *name, size_t *len) {
    const json_t *v = json_object_get(t->templates, name);
    *len = json_string_length(v);
    return json_string_value(v);
}

const char *tokenizer_templates_from(const tokenizer_t *t) { return t->templates_from; }

/* ---- tokens by name ---- */

/* NAME_token: a text, or an object with "content"; null takes a name away. */
static void name_tokens(json_t *named, const json_t *from, bool all) {
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)from, key, v) {
        if (!all && !path_has_suffix(key, "_token")) continue;
        const json_t *text = json_is_object(v) ? json_object_get(v, "content") : v;
        if (json_is_string(text)) json_object_set(named, key, (json_t *)text);
        else if (json_is_null(v)) json_object_del(named, key);
    }
}

/* Of a class with BOS and EOS of its own (`own_roles`), those stand where no file names others. */
void tokenizer_name_tokens(tokenizer_t *t, const json_t *config, const json_t *map, bool own_roles) {
    static const char *const roles[ROLE_TOKEN_COUNT] = {"bos_token", "eos_token", "pad_token"};
    json_t *named = json_object();
    for (int i = 0; own_roles && i < ROLE_TOKEN_COUNT; i++) {
        size_t len;
        const char *text = t->role[i] < 0 ? NULL : vocab_text(&t->vocab, t->role[i], &len);
        if (text) json_object_set_new(named, roles[i], json_stringn(text, len));
    }
    name_tokens(named, config, false);
    name_tokens(named, json_object_get(config, "extra_special_tokens"), true);
    /* Newer files say all in the config. */
    if (!json_object_get(config, "added_tokens_decoder")) name_tokens(named, map, false);
    t->named = named;
}

const json_t *tokenizer_named_tokens(const tokenizer_t *t) { return t->named; }

/* ---- ids that end a text ---- */

static void add_end(tokenizer_t *t, double id) {
    if (id != floor(id) || id < 0 || id > VOCAB_MAX_ID || !vocab_has(&t->vocab, (int64_t)id)) return;
    for (size_t i = 0; i < t->ends.len; i++)
        if (t->ends.ids[i] == (int32_t)id) return;
    ids_add(&t->ends, (int32_t)id);
}

/* One id, or a list of them; what is no id of the vocabulary ends nothing. */
void tokenizer_add_ends(tokenizer_t *t, const json_t *v) {
    const json_t *item;
    size_t i;
    if (json_is_number(v)) add_end(t, json_number_value(v));
    json_array_foreach(v, i, item) if (json_is_number(item)) add_end(t, json_number_value(item));
}

const int32_t *tokenizer_ends(const tokenizer_t *t, size_t *n) {
    *n = t->ends.len;
    return t->ends.ids;
}
