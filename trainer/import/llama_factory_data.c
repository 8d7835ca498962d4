/* LLaMA-Factory's data sets: names, which dataset_info.json leads to files and their columns, and the template. */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/names.h"
#include "trainer/import/llama_factory.h"
#include "trainer/import/state.h"

typedef struct {
    import_t *im;
    const yaml_tree_t *at; /* the key that names data sets */
    const char *dir;
    json_t *info; /* NULL: there is no such file */
    bool is_text; /* stage: pt */
    import_data_t files;
    err_t *err;
} names_t;

static const char info_name[] = "dataset_info.json";

/* ---- what a description of rows says ---- */

static const char *const instruction[] = {"instruction", NULL}, *const input[] = {"input", NULL},
                         *const output[] = {"output", NULL}, *const history[] = {"history", NULL},
                         *const system_column[] = {"system", NULL}, *const tools[] = {"tools", NULL},
                         *const lists[] = {"conversations", "messages", NULL}, *const text[] = {"text", NULL};

typedef struct {
    const char *key;
    const char *const *usual;
} column_t;

static const column_t alpaca_columns[] = {{"prompt", instruction}, {"query", input},          {"response", output},
                                          {"history", history},    {"system", system_column}, {NULL, NULL}};
static const column_t chat_columns[] = {{"messages", lists}, {"system", system_column}, {"tools", tools}, {NULL, NULL}};
static const column_t text_columns[] = {{"prompt", text}, {NULL, NULL}};

static const char *const role[] = {"role", "from", NULL}, *const content[] = {"content", "value", NULL},
                         *const user[] = {"user", "human", NULL}, *const assistant[] = {"assistant", "gpt", NULL},
                         *const observation[] = {"observation", "tool", "ipython", NULL},
                         *const call[] = {"function_call", NULL};
static const column_t tags[] = {{"role_tag", role},
                                {"content_tag", content},
                                {"user_tag", user},
                                {"assistant_tag", assistant},
                                {"observation_tag", observation},
                                {"function_tag", call},
                                {"system_tag", system_column},
                                {NULL, NULL}};

static void check_column(names_t *n, const char *set, const char *what, const column_t *c, const char *name) {
    if (name_is_among(name, c->usual)) return;
    char *list = name_list(c->usual, name_count(c->usual));
    import_note(n->im, n->at, n->at->key, "%.60s: %s %.60s is not read; call it %s in the rows", set, what, name, list);
    free(list);
}

static int check_columns(names_t *n, const char *set, const json_t *columns, const char *what, const column_t *known) {
    static const char *const media[] = {"images", "videos", "audios", NULL};
    static const char *const preference[] = {"chosen", "rejected", "kto_tag", NULL};
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)columns, key, value) {
        if (name_is_among(key, media))
            return import_error(n->im, n->at, n->at->key, "%.60s has %s; expected text alone", set, key);
        if (name_is_among(key, preference))
            return import_error(n->im, n->at, n->at->key, "%.60s is preference data (%s); expected answers to train",
                                set, key);
        const column_t *c = known;
        while (c->key && strcmp(c->key, key) != 0) c++;
        if (c->key && json_is_string(value)) check_column(n, set, what, c, json_string_value(value));
        else import_note(n->im, n->at, n->at->key, "%.60s: %s %.60s is not known here", set, what, key);
    }
    return 0;
}

/* The list of messages has one of two names, which the formats are called by. */
static const char *chat_format(const json_t *columns) {
    const char *name = json_string_value(json_object_get(columns, "messages"));
    return name && strcmp(name, "messages") == 0 ? "messages" : "sharegpt";
}

static int take_rows(names_t *n, const char *set, const json_t *info) {
    const char *formatting = "alpaca", *where = info_name;
    const json_t *columns = json_object_get(info, "columns");
    bool ranking = false;
    if (json_opt_string(info, "formatting", where, &formatting, n->err) ||
        json_opt_bool(info, "ranking", where, &ranking, n->err))
        return n->err->code;
    if (ranking)
        return import_error(n->im, n->at, n->at->key, "%.60s is preference data; expected answers to train", set);
    if (n->is_text) {
        static const column_t prompt = {"prompt", text};
        if (!columns) check_column(n, set, "the column", &prompt, "instruction");
        return check_columns(n, set, columns, "the column", text_columns);
    }
    bool chat = strcmp(formatting, "alpaca") != 0;
    if (chat && strcmp(formatting, "sharegpt") != 0 && strcmp(formatting, "openai") != 0)
        return import_error(n->im, n->at, n->at->key, "%.60s: formatting %.40s; expected alpaca or sharegpt", set,
                            formatting);
    import_data_format(&n->files, chat ? chat_format(columns) : "alpaca");
    if (check_columns(n, set, columns, "the column", chat ? chat_columns : alpaca_columns)) return n->err->code;
    return check_columns(n, set, json_object_get(info, "tags"), "the tag", tags);
}

/* ---- where rows are ---- */

static int take_place(names_t *n, const char *set, const json_t *info) {
    static const char *const hubs[] = {"hf_hub_url", "ms_hub_url", "om_hub_url", "script_url", "cloud_file_name"};
    static const char *const parts[] = {"subset", "folder", "num_samples"};
    const char *name = NULL;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (json_object_get(info, parts[i]))
            import_note(n->im, n->at, n->at->key, "%.60s: %s: all rows of the file are read", set, parts[i]);
    for (size_t i = 0; i < sizeof hubs / sizeof *hubs; i++) {
        if (json_opt_string(info, hubs[i], info_name, &name, n->err)) return n->err->code;
        if (!name) continue;
        import_data_file(n->im, &n->files, n->at, n->at->key, name);
        return 0;
    }
    if (json_need_string(info, "file_name", info_name, &name, n->err)) return err_prefix(n->err, "%s", set);
    char *path = path_join(n->dir, name);
    import_data_file(n->im, &n->files, n->at, n->at->key, path);
    free(path);
    return 0;
}

static int take_set(names_t *n, const char *set) {
    const json_t *info = json_object_get(n->info, set);
    if (n->info && !json_is_object(info))
        return import_error(n->im, n->at, n->at->key, "%.60s is not in %.200s/%s; expected a data set of it", set,
                            n->dir, info_name);
    if (n->info) return take_place(n, set, info) || take_rows(n, set, info) ? n->err->code : 0;
    char *file = xasprintf("%s.json", set), *path = path_join(n->dir, file);
    import_data_file(n->im, &n->files, n->at, n->at->key, path);
    free(path);
    free(file);
    return 0;
}

/* Names with commas between them. */
static int take_list(names_t *n, const char *list) {
    int rc = 0;
    for (const char *s = list; rc == 0 && *s;) {
        s += strspn(s, ", ");
        size_t len = strcspn(s, ",");
        size_t end = len;
        while (end > 0 && s[end - 1] == ' ') end--;
        char *set = xstrndup(s, end);
        if (end) rc = take_set(n, set);
        free(set);
        s += len;
    }
    return rc;
}

static int take_names(names_t *n) {
    const char *list;
    if (n->at->kind != YAML_ITEM_LIST)
        return import_scalar(n->im, n->at, n->at->key, &list) ? n->err->code : take_list(n, list);
    for (size_t i = 0; i < n->at->n; i++) {
        const char *set;
        if (import_scalar(n->im, &n->at->items[i], n->at->key, &set) || take_set(n, set)) return n->err->code;
    }
    return 0;
}

static int take_sets(names_t *n, const char *key, const char *name) {
    n->at = import_get(n->im, key);
    n->files = (import_data_t){.one = strcmp(name, "eval") == 0};
    if (!n->at || !import_is_something(n->at)) return 0;
    if (take_names(n)) {
        free(n->files.files.p);
        return n->err->code;
    }
    if (n->files.n == 0) return import_error(n->im, n->at, key, "no names; expected data sets");
    import_data_put(n->im, &n->files, name, n->at, key);
    return 0;
}

static int read_info(names_t *n) {
    const yaml_tree_t *dir = import_get(n->im, "dataset_dir"), *at = import_get(n->im, "dataset");
    bool there;
    n->dir = "data";
    if (dir && import_scalar(n->im, dir, "dataset_dir", &n->dir)) return n->err->code;
    char *path = path_join(n->dir, info_name), *found = import_path(n->im, path, &there);
    if (there) json_file(found, &n->info, n->err);
    else if (at)
        import_note(n->im, dir ? dir : at, dir ? "dataset_dir" : "dataset",
                    "%.200s is not here, which says what rows are; see data.train and data.format", path);
    free(path);
    free(found);
    return n->err->code;
}

/* ---- the template ---- */

static int take_template(import_t *im) {
    static const char *const ours[] = {"llama2", "llama3", "mistral", "zephyr", "chatml", "alpaca", NULL};
    const yaml_tree_t *v = import_get(im, "template");
    const char *name;
    if (!v) return 0;
    int rc = import_scalar(im, v, "template", &name);
    if (rc) return rc;
    bool known = name_is_among(name, ours);
    import_put(im, "data", "chat_template", xstrdup(known ? name : "auto"), v, "template");
    if (!known)
        import_note(im, v, "template",
                    "%.60s is the model's own template here (auto); compare with qlora-train inspect", name);
    return 0;
}

int llama_factory_take_data(import_t *im) {
    names_t n = {.im = im, .is_text = import_has(im, "data", "format"), .err = im->err};
    if (!import_set_there(im, "dataset")) return err_set(im->err, ERR_USAGE, "%s: no data; expected dataset", im->file);
    int rc = read_info(&n);
    if (rc == 0) rc = take_sets(&n, "dataset", "train");
    if (rc == 0) rc = take_sets(&n, "eval_dataset", "eval");
    json_decref(n.info);
    return rc || n.is_text ? rc : take_template(im);
}
