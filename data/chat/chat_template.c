/* Which template it is: the model's own, one of those shipped, a file. */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "data/chat/shipped.h"
#include "data/chat/template.h"

/* ---- shipped templates ---- */

#define CHOICES "chatml, llama2, llama3, mistral, zephyr, alpaca or none, or the path of a Jinja file"
static const char *const names[] = {"chatml", "llama2", "llama3", "mistral", "zephyr", "alpaca", NULL};

const char *const *chat_template_names(void) { return names; }

/* Forms of one name, the first that fits counts. */
typedef struct {
    const char *name, *file;
    const char *markers[3]; /* which must be tokens */
    enum { ANY_KIND, OF_PIECES } kind;
    bool ends_with_eos;
} shipped_form_t;

static const shipped_form_t forms[] = {
    {"chatml", "chatml", {"<|im_start|>", "<|im_end|>"}, ANY_KIND, false},
    {"llama2", "llama2", {NULL}, ANY_KIND, true},
    {"llama3", "llama3", {"<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"}, ANY_KIND, false},
    {"mistral", "mistral-v3", {"[INST]", "[/INST]"}, OF_PIECES, true},
    {"mistral", "mistral-tekken", {"[INST]", "[/INST]"}, ANY_KIND, true},
    {"mistral", "mistral-v1", {NULL}, ANY_KIND, true},
    {"zephyr", "zephyr", {NULL}, ANY_KIND, true},
    {"alpaca", "alpaca", {NULL}, ANY_KIND, true},
};

/* The first marker that the vocabulary lacks; NULL: it has them all. */
static const char *missing_marker(const tokenizer_t *tok, const shipped_form_t *form) {
    for (size_t i = 0; i < 3 && form->markers[i]; i++)
        if (tokenizer_find(tok, form->markers[i]) < 0) return form->markers[i];
    return NULL;
}

static int find_form(const tokenizer_t *tok, const char *name, const shipped_form_t **found, err_t *err) {
    const char *missing = NULL;
    *found = NULL;
    for (size_t i = 0; !*found && i < sizeof forms / sizeof *forms; i++) {
        if (strcmp(forms[i].name, name) != 0 || (forms[i].kind == OF_PIECES && !tokenizer_is_spm(tok))) continue;
        if (!(missing = missing_marker(tok, &forms[i]))) *found = &forms[i];
    }
    if (!*found)
        return err_set(
            err, ERR_USAGE,
            "data.chat_template: %s needs the token %s, which the model's vocabulary does not have; expected "
            "another template or auto",
            name, missing);
    if ((*found)->ends_with_eos && tokenizer_eos(tok) < 0)
        return err_set(err, ERR_USAGE,
                       "data.chat_template: %s ends answers with EOS, which the tokenizer does not name; expected "
                       "eos_token in tokenizer_config.json",
                       name);
    return 0;
}

static json_t *token_text(const tokenizer_t *tok, int32_t id) {
    size_t len = 0;
    const char *text = id < 0 ? "" : tokenizer_piece(tok, id, true, &len);
    return json_stringn(text, len);
}

/* A shipped template begins with BOS where the model's own settings put one before every text. */
static void set_own_tokens(chat_template_t *t) {
    int32_t bos = tokenizer_add_bos(t->tok) ? tokenizer_bos(t->tok) : -1;
    json_object_set_new(t->values, "bos_token", token_text(t->tok, bos));
    json_object_set_new(t->values, "eos_token", token_text(t->tok, tokenizer_eos(t->tok)));
}

static int open_shipped(chat_template_t *t, const char *name, err_t *err) {
    const shipped_form_t *form;
    size_t i = 0;
    if (find_form(t->tok, name, &form, err)) return err->code;
    while (i < n_shipped_templates && strcmp(shipped_templates[i].name, form->file) != 0) i++;
    CHECK(i < n_shipped_templates);
    set_own_tokens(t);
    t->origin = xstrdup(form->file);
    t->foreign = xstrndup(shipped_templates[i].text, shipped_templates[i].len);
    return jinja_parse(form->file, shipped_templates[i].text, shipped_templates[i].len, &t->jinja, err);
}

/* ---- others ---- */

static int open_own(chat_template_t *t, err_t *err) {
    const char *from = tokenizer_templates_from(t->tok), *text, *tools;
    size_t len, tools_len;
    if (!from)
        return err_set(err, ERR_USAGE,
                       "data.chat_template: the model has no chat template, so auto finds none; expected " CHOICES);
    if (!(text = tokenizer_chat_template(t->tok, "default", &len)))
        return err_set(err, ERR_USAGE,
                       "data.chat_template: of the model's chat templates none is named default; expected " CHOICES);
    t->origin = xasprintf("the model's own (%s)", from);
    if (jinja_parse(from, text, len, &t->jinja, err)) return err->code;
    if (!(tools = tokenizer_chat_template(t->tok, "tool_use", &tools_len))) return 0;
    return jinja_parse("tool_use", tools, tools_len, &t->with_tools, err);
}

static int open_file(chat_template_t *t, const char *path, err_t *err) {
    size_t len;
    if (!path_exists(path))
        return err_set(err, ERR_USAGE,
                       "data.chat_template: \"%.200s\" is no template and no file; expected auto, " CHOICES, path);
    if (file_read_small(path, JINJA_MOST_BYTES, "a chat template of at most 1 MiB", &t->foreign, &len, err))
        return err->code;
    t->origin = xstrdup(path);
    return jinja_parse(path, t->foreign, len, &t->jinja, err);
}

static int open_choice(chat_template_t *t, const char *choice, err_t *err) {
    if (!strcmp(choice, "auto")) return open_own(t, err);
    for (size_t i = 0; names[i]; i++)
        if (!strcmp(choice, names[i])) return open_shipped(t, choice, err);
    return open_file(t, choice, err);
}

int chat_template_open(const tokenizer_t *tok, const chat_spec_t *spec, chat_template_t **out, err_t *err) {
    chat_template_t *t = xcalloc(1, sizeof *t);
    t->tok = tok;
    t->date = spec->date ? xstrdup(spec->date) : NULL;
    t->values = json_copy((json_t *)tokenizer_named_tokens(tok));
    int rc = chat_check_kwargs(spec->kwargs, err) ? err_prefix(err, "data") : open_choice(t, spec->choice, err);
    if (rc) {
        chat_template_close(t);
        return rc;
    }
    if (spec->kwargs) json_object_update(t->values, (json_t *)spec->kwargs);
    *out = t;
    return 0;
}

void chat_template_close(chat_template_t *t) {
    if (!t) return;
    jinja_free(t->jinja);
    jinja_free(t->with_tools);
    json_decref(t->values);
    free(t->origin);
    free(t->foreign);
    free(t->date);
    free(t);
}

const char *chat_template_origin(const chat_template_t *t) { return t->origin; }

const char *chat_template_foreign(const chat_template_t *t) { return t->foreign; }
