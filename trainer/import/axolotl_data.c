/* Axolotl's data sets: where rows are, what they are, and the template that makes them text. */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/names.h"
#include "trainer/config/config_json.h"
#include "trainer/import/axolotl.h"
#include "trainer/import/state.h"

/* Templates go by one name for a run here; the first data set's counts. */
typedef struct {
    import_data_t files;
    const char *template; /* of the rows' own kind: alpaca */
    const char *chosen;   /* theirs, as a data set names it; NULL: none does */
    const yaml_tree_t *chosen_at;
} sets_t;

/* ---- templates ---- */

static const char *our_template(const char *theirs) {
    static const char *const names[][2] = {{"chatml", "chatml"},          {"llama3", "llama3"},
                                           {"alpaca", "alpaca"},          {"llama2", "llama2"},
                                           {"zephyr", "zephyr"},          {"mistral", "mistral"},
                                           {"mistral_v1", "mistral"},     {"mistral_v2v3", "mistral"},
                                           {"inst", "mistral"},           {"mistral_v3_tekken", "mistral"},
                                           {"tokenizer_default", "auto"}, {"llama-2", "llama2"},
                                           {"llama-3", "llama3"}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(names[i][0], theirs) == 0) return names[i][1];
    return NULL;
}

static void put_template(import_t *im, const char *theirs, const yaml_tree_t *at, const char *key) {
    const char *ours = our_template(theirs);
    if (!ours && strncmp(theirs, "tokenizer_default_fallback_", 27) != 0)
        import_note(im, at, key, "%.60s is the model's own template here (auto); compare with qlora-train inspect",
                    theirs);
    import_put(im, "data", "chat_template", xstrdup(ours ? ours : "auto"), at, key);
}

/* The template's text or the path of a file: only a file can be named in a config. */
static int put_jinja(import_t *im, const yaml_tree_t *v, const char *key) {
    const char *text;
    if (import_scalar(im, v, key, &text)) return im->err->code;
    if (!path_has_suffix(text, ".jinja") && !path_has_suffix(text, ".j2")) {
        import_note(im, v, key, "the text of a template; put it in a file, and that in data.chat_template");
        return 0;
    }
    return import_put_path(im, "data", "chat_template", v, key, "put a file with the template");
}

static int take_template(import_t *im, const sets_t *s) {
    const yaml_tree_t *name = import_get(im, "chat_template"), *jinja = import_get(im, "chat_template_jinja");
    const char *text = NULL;
    if (name && import_scalar(im, name, "chat_template", &text)) return im->err->code;
    if (s->template) {
        import_put_said(im, "data", "chat_template", xstrdup(s->template), "the prompt of datasets' type");
        return 0;
    }
    if (s->chosen) text = s->chosen, name = s->chosen_at;
    if (jinja && (!text || strcmp(text, "jinja") == 0)) return put_jinja(im, jinja, "chat_template_jinja");
    if (text && strcmp(text, "jinja") != 0) put_template(im, text, name, "chat_template");
    return 0;
}

int axolotl_take_kwargs(import_t *im, const import_key_t *k, const yaml_tree_t *v) {
    if (!import_is_something(v)) return 0;
    if (v->kind != YAML_ITEM_MAPPING) return import_error(im, v, k->key, "expected a mapping");
    json_t *kwargs = json_object();
    int rc = 0;
    for (size_t i = 0; i < v->n && rc == 0; i++) {
        const yaml_tree_t *m = &v->items[i];
        const char *expected = "a single value";
        json_t *value = m->kind == YAML_ITEM_SCALAR ? yaml_scalar_value(m->text, m->quoted, &expected) : NULL;
        if (value) json_object_set_new(kwargs, m->key, value);
        else rc = import_error(im, m, k->key, "%.60s: expected %s", m->key, expected);
    }
    strbuf_t b = {0};
    if (rc == 0) {
        yaml_add_value(&b, kwargs);
        import_put(im, k->section, k->name, b.p, v, k->key);
    }
    json_decref(kwargs);
    return rc;
}

int axolotl_take_train_on(import_t *im, const import_key_t *k, const yaml_tree_t *v) {
    bool all;
    if (import_bool(im, v, k->key, &all)) return im->err->code;
    import_put(im, k->section, k->name, xstrdup(all ? "all" : "completion"), v, k->key);
    return 0;
}

/* ---- what rows are ---- */

typedef struct {
    const char *type, *format, *template;
} row_type_t;

static const row_type_t row_types[] = {{"alpaca", "alpaca", "alpaca"}, {"chat_template", NULL, NULL},
                                       {"sharegpt", "sharegpt", NULL}, {"completion", "text", NULL},
                                       {"pretrain", "text", NULL},     {"chat_template.default", NULL, NULL}};

/* A type given field by field, which says how a prompt is put together. */
static void note_own_type(import_t *im, const yaml_tree_t *v) {
    import_note(im, v, "type", "a prompt of its own making; write rows as {\"prompt\": ..., \"completion\": ...}");
}

/* The list of messages has one of two names, which the formats are called by. */
static const char *chat_format(const yaml_tree_t *set) {
    const yaml_tree_t *name = yaml_tree_member(set, "field_messages");
    return name && name->text && strcmp(name->text, "conversations") == 0 ? "sharegpt" : "messages";
}

static int take_type(import_t *im, sets_t *s, const yaml_tree_t *set, const yaml_tree_t *v) {
    const char *text;
    if (v->kind == YAML_ITEM_MAPPING) {
        note_own_type(im, v);
        return 0;
    }
    if (import_scalar(im, v, "type", &text)) return im->err->code;
    for (size_t i = 0; i < sizeof row_types / sizeof *row_types; i++) {
        const row_type_t *t = &row_types[i];
        if (strcmp(text, t->type) != 0) continue;
        import_data_format(&s->files, t->format ? t->format : chat_format(set));
        if (t->template) s->template = t->template;
        return 0;
    }
    import_note(im, v, "type",
                "rows of the type %.60s are not read; write them as messages, or as prompt and completion", text);
    return 0;
}

/* Columns whose usual names are read, whatever they are called in a data set. */
static int check_names(import_t *im, const yaml_tree_t *v, const char *const *usual) {
    const char *text;
    if (import_scalar(im, v, v->key, &text)) return im->err->code;
    if (name_is_among(text, usual)) return 0;
    char *list = name_list(usual, name_count(usual));
    import_note(im, v, v->key, "%.60s is not read; call it %s in the rows", text, list);
    free(list);
    return 0;
}

static int check_mapping(import_t *im, const yaml_tree_t *v) {
    static const char *const roles[] = {"role", "from", NULL}, *const contents[] = {"content", "value", NULL};
    if (v->kind != YAML_ITEM_MAPPING) return import_error(im, v, v->key, "expected a mapping");
    for (size_t i = 0; i < v->n; i++) {
        const yaml_tree_t *m = &v->items[i];
        bool role = strcmp(m->key, "role") == 0, content = strcmp(m->key, "content") == 0;
        const char *own[] = {m->key, NULL};
        if (check_names(im, m, role ? roles : content ? contents : own)) return im->err->code;
    }
    return 0;
}

/* Names of senders that are not known by themselves. */
static int check_roles(import_t *im, const yaml_tree_t *v) {
    static const char *const known[] = {"user", "human",       "assistant", "gpt",     "system",
                                        "tool", "observation", "function",  "ipython", NULL};
    static const char *const target[][5] = {
        {"user", "human"}, {"assistant", "gpt"}, {"system"}, {"tool", "observation", "function", "ipython"}};
    if (v->kind != YAML_ITEM_MAPPING) return import_error(im, v, v->key, "expected a mapping");
    for (size_t i = 0; i < v->n; i++)
        for (size_t j = 0; j < v->items[i].n; j++) {
            const yaml_tree_t *to = &v->items[i], *from = &to->items[j];
            bool same = from->text && strcmp(from->text, to->key) == 0 && name_is_among(from->text, known);
            for (size_t k = 0; from->text && k < 4; k++)
                same = same || (name_is_among(from->text, target[k]) && strcmp(to->key, target[k][0]) == 0);
            if (!same)
                import_note(im, from, v->key, "%.60s is not known as %.60s; call it so in the rows",
                            from->text ? from->text : "a list", to->key);
        }
    return 0;
}

static int check_trained(import_t *im, const yaml_tree_t *v) {
    bool usual = v->kind == YAML_ITEM_LIST && v->n > 0;
    for (size_t i = 0; usual && i < v->n; i++)
        usual = v->items[i].text &&
                (strcmp(v->items[i].text, "assistant") == 0 || strcmp(v->items[i].text, "gpt") == 0);
    if (!usual) import_note(im, v, v->key, "the answers are trained, or all (data.train_on), not other roles");
    return 0;
}

/* ---- a data set ---- */

static const char *const lost_of_set[][2] = {
    {"shards", "all rows are read; cut the file"},
    {"shards_idx", "all rows are read; cut the file"},
    {"drop_system_message", "system messages are kept; take them out of the rows"},
    {"message_field_training_detail", "parts of an answer cannot be left out"},
    {"split_thinking", "reasoning is taken as the rows have it"},
    {"input_transform", "rows are taken as they are"},
    {"logprobs_field", "distillation is not there"},
    {"field_human", "rows have the names that docs/config.md lists"},
    {"field_model", "rows have the names that docs/config.md lists"},
};

static int take_member(import_t *im, sets_t *s, const yaml_tree_t *set, const yaml_tree_t *m) {
    static const char *const messages[] = {"messages", "conversations", NULL}, *const text[] = {"text", NULL},
                             *const tools[] = {"tools", NULL}, *const train[] = {"train", "weight", NULL},
                             *const thinking[] = {"reasoning_content", "reasoning", "thinking", NULL},
                             *const turn[] = {"turn", NULL}, *const role[] = {"role", "from", NULL},
                             *const content[] = {"content", "value", NULL};
    static const char *const idle[] = {"path",          "data_files",
                                       "ds_type",       "name",
                                       "revision",      "trust_remote_code",
                                       "chat_template", "chat_template_jinja",
                                       "conversation",  "preprocess_shards",
                                       "split",         "template_thinking_key",
                                       "strict",        NULL};
    const struct {
        const char *key;
        const char *const *usual;
    } columns[] = {{"field_messages", messages},
                   {"field", text},
                   {"text_column", text},
                   {"field_tools", tools},
                   {"message_field_training", train},
                   {"field_thinking", thinking},
                   {"train_on_eos", turn},
                   {"message_field_role", role},
                   {"message_field_content", content}};
    if (strcmp(m->key, "type") == 0) return take_type(im, s, set, m);
    if (strcmp(m->key, "message_property_mappings") == 0) return check_mapping(im, m);
    if (strcmp(m->key, "roles") == 0) return check_roles(im, m);
    if (strcmp(m->key, "roles_to_train") == 0) return check_trained(im, m);
    for (size_t i = 0; i < sizeof columns / sizeof *columns; i++)
        if (strcmp(m->key, columns[i].key) == 0) return check_names(im, m, columns[i].usual);
    for (size_t i = 0; i < sizeof lost_of_set / sizeof *lost_of_set; i++)
        if (strcmp(m->key, lost_of_set[i][0]) == 0) {
            if (import_is_something(m)) import_note(im, m, m->key, "%s", lost_of_set[i][1]);
            return 0;
        }
    if (!name_is_among(m->key, idle)) import_note(im, m, m->key, "is not known here, and left out");
    return 0;
}

/* path alone, or files of a directory or of a data set of the hub. */
static int take_files(import_t *im, sets_t *s, const yaml_tree_t *set, const char *key) {
    const yaml_tree_t *path = yaml_tree_member(set, "path"), *files = yaml_tree_member(set, "data_files");
    const char *dir, *name;
    if (!path) return import_error(im, set, key, "path is missing; expected a file or a data set");
    if (import_scalar(im, path, "path", &dir)) return im->err->code;
    if (!files || !import_is_something(files)) {
        import_data_file(im, &s->files, path, "path", dir);
        return 0;
    }
    bool list = files->kind == YAML_ITEM_LIST;
    for (size_t i = 0; i < (list ? files->n : 1); i++) {
        const yaml_tree_t *f = list ? &files->items[i] : files;
        bool there, kind = strcmp(dir, "json") == 0; /* "json" and the like name a reader, not a place */
        if (import_scalar(im, f, "data_files", &name)) return im->err->code;
        char *found = import_path(im, name, &there), *joined = path_join(dir, name);
        import_data_file(im, &s->files, f, "data_files", there || kind ? name : joined);
        free(found);
        free(joined);
    }
    return 0;
}

static int take_split(import_t *im, const yaml_tree_t *v, bool eval) {
    const char *text;
    if (!v) return 0;
    if (import_scalar(im, v, "split", &text)) return im->err->code;
    if (strcmp(text, "train") == 0 || (eval && !strchr(text, '['))) return 0;
    import_note(im, v, "split", "%.60s: all rows of the file are read", text);
    return 0;
}

static int take_set(import_t *im, sets_t *s, const yaml_tree_t *set, const char *key, bool eval) {
    bool bare = strcmp(key, "pretraining_dataset") == 0; /* which may be a path alone */
    if (bare && set->kind == YAML_ITEM_SCALAR && !yaml_tree_is_null(set)) {
        import_data_file(im, &s->files, set, key, set->text);
        return 0;
    }
    if (set->kind != YAML_ITEM_MAPPING) return import_error(im, set, key, "expected a mapping with path and type");
    if (take_files(im, s, set, key) || take_split(im, yaml_tree_member(set, "split"), eval)) return im->err->code;
    for (size_t i = 0; i < set->n; i++)
        if (!yaml_tree_is_null(&set->items[i]) && take_member(im, s, set, &set->items[i])) return im->err->code;
    static const char *const names[] = {"chat_template", "conversation"};
    for (size_t i = 0; i < 2 && !s->chosen; i++) {
        const yaml_tree_t *chosen = yaml_tree_member(set, names[i]);
        if (!chosen) continue;
        if (import_scalar(im, chosen, names[i], &s->chosen)) return im->err->code;
        s->chosen_at = chosen;
    }
    const yaml_tree_t *type = yaml_tree_member(set, "type"), *jinja = yaml_tree_member(set, "chat_template_jinja");
    if (type && type->text && strcmp(type->text, "sharegpt") == 0 && !s->chosen && !import_get(im, "chat_template"))
        import_note(im, type, "type", "sharegpt alone is Vicuna's prompt there, and the model's own template here");
    return jinja ? put_jinja(im, jinja, "chat_template_jinja") : 0;
}

static int take_sets(import_t *im, sets_t *s, const yaml_tree_t *v, const char *key, const char *name) {
    bool list = v->kind == YAML_ITEM_LIST, eval = strcmp(name, "eval") == 0;
    if (list && v->n == 0) return import_error(im, v, key, "an empty list; expected data sets");
    s->files.one = eval;
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < (list ? v->n : 1); i++) rc = take_set(im, s, list ? &v->items[i] : v, key, eval);
    if (rc) {
        free(s->files.files.p);
        return rc;
    }
    import_data_put(im, &s->files, name, v, key);
    return 0;
}

int axolotl_take_data(import_t *im) {
    const yaml_tree_t *train = import_get(im, "datasets"), *text = import_get(im, "pretraining_dataset"),
                      *eval = import_get(im, "test_datasets");
    sets_t s = {0};
    if (!train && !text)
        return err_set(im->err, ERR_USAGE, "%s: no data; expected datasets or pretraining_dataset", im->file);
    if (train && text)
        return import_error(im, text, "pretraining_dataset", "datasets are there too; expected one of them");
    if (text) import_data_format(&s.files, "text");
    if (take_sets(im, &s, train ? train : text, train ? "datasets" : "pretraining_dataset", "train"))
        return im->err->code;
    sets_t held_out = {0};
    if (eval && take_sets(im, &held_out, eval, "test_datasets", "eval")) return im->err->code;
    return take_template(im, &s);
}
