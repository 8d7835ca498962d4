/* What a template is given: the messages in one of the forms that templates want, and the variables of Transformers. */
#include <stdlib.h>
#include <string.h>

#include "data/chat/template.h"

/* ---- messages ---- */

static bool put_content_into_part(json_t *message) {
    json_t *content = json_object_get(message, "content");
    if (!json_is_string(content)) return false;
    json_object_set_new(message, "content", json_pack("[{s:s, s:O}]", "type", "text", "text", content));
    return true;
}

/* JSON as Python's json.dumps writes it, which is what the filter of templates gives. */
static json_t *as_text(const json_t *value) {
    static const char filter[] = "{{ value | tojson }}";
    jinja_t *t = NULL;
    jinja_output_t out = {0};
    jinja_var_t var = {.name = "value", .value = value};
    jinja_input_t in = {.vars = &var, .n_vars = 1};
    err_t err = {0};
    CHECK(jinja_parse("arguments", filter, sizeof filter - 1, &t, &err) == 0);
    json_t *text = jinja_render(t, &in, &out, &err) == 0 ? json_stringn(out.text.p, out.text.len) : NULL;
    jinja_output_free(&out);
    jinja_free(t);
    return text;
}

static bool put_arguments_into_text(json_t *message) {
    json_t *calls = json_object_get(message, "tool_calls"), *call;
    size_t i;
    bool changed = false;
    if (!json_is_array(calls)) return false;
    calls = json_deep_copy(calls);
    json_array_foreach(calls, i, call) {
        json_t *f = json_object_get(call, "function"), *arguments = json_object_get(f, "arguments");
        json_t *text = arguments && !json_is_string(arguments) ? as_text(arguments) : NULL;
        if (!text) continue;
        json_object_set_new(f, "arguments", text);
        changed = true;
    }
    json_object_set_new(message, "tool_calls", calls);
    return changed;
}

static bool put_beside_calls(json_t *message, json_t *content) {
    bool absent = json_object_get(message, "tool_calls") && !json_object_get(message, "content");
    if (absent) json_object_set(message, "content", content);
    json_decref(content);
    return absent;
}

static bool put_empty_beside_calls(json_t *message) { return put_beside_calls(message, json_string("")); }

static bool put_none_beside_calls(json_t *message) { return put_beside_calls(message, json_null()); }

static const struct {
    form_t bit;
    bool (*put)(json_t *message);
} forms[] = {{FORM_STRING_ARGUMENTS, put_arguments_into_text},
             {FORM_EMPTY, put_empty_beside_calls},
             {FORM_PARTS, put_content_into_part},
             {FORM_NONE, put_none_beside_calls}};

json_t *chat_messages(const json_t *messages, form_t form) {
    json_t *list = json_array(), *m;
    size_t i;
    unsigned changed = 0;
    json_array_foreach(messages, i, m) {
        json_t *copy = json_copy(m);
        for (size_t k = 0; k < sizeof forms / sizeof *forms; k++)
            if (form & forms[k].bit && forms[k].put(copy)) changed |= forms[k].bit;
        json_array_append_new(list, copy);
    }
    if (changed == (unsigned)form) return list;
    json_decref(list);
    return NULL;
}

/* ---- variables ---- */

static const char *const own_names[] = {"messages", "tools", "documents", "add_generation_prompt"};

int chat_check_kwargs(const json_t *kwargs, err_t *err) {
    for (size_t i = 0; i < sizeof own_names / sizeof *own_names; i++) {
        if (json_object_get(kwargs, own_names[i]))
            return err_set(err, ERR_USAGE, "chat_template_kwargs: %s comes from the row; expected other names",
                           own_names[i]);
    }
    return 0;
}

static bool is_empty(const json_t *list) { return json_array_size(list) == 0; }

/* What a row has and the template has no place for would be gone without a word. */
static int check_places(const jinja_t *jinja, const conversation_t *c, err_t *err) {
    if (!is_empty(c->tools) && !jinja_reads(jinja, "tools"))
        return err_set(
            err, ERR_USAGE,
            "tools: the chat template has no place for a list of tools; expected another template, or rows without");
    if (!is_empty(c->documents) && !jinja_reads(jinja, "documents"))
        return err_set(err, ERR_USAGE, "documents: the chat template has no place for them");
    return chat_check_kwargs(c->kwargs, err);
}

int chat_render(const chat_template_t *t, const conversation_t *c, const json_t *messages, size_t n, bool prompt,
                jinja_output_t *out, err_t *err) {
    const jinja_t *jinja = t->with_tools && c->tools ? t->with_tools : t->jinja;
    if (check_places(jinja, c, err)) return err->code;
    json_t *values = c->kwargs ? json_copy(t->values) : json_incref(t->values), *none = json_null(), *v;
    if (c->kwargs) json_object_update(values, c->kwargs);
    jinja_var_t *vars = xmalloc_array(json_object_size(values) + 4, sizeof *vars);
    size_t n_vars = 0;
    const char *name;
    vars[n_vars++] = (jinja_var_t){.name = "messages", .value = messages, .traced = true, .items = n};
    vars[n_vars++] = (jinja_var_t){.name = "tools", .value = c->tools ? c->tools : none};
    vars[n_vars++] = (jinja_var_t){.name = "documents", .value = c->documents ? c->documents : none};
    vars[n_vars++] = (jinja_var_t){.name = "add_generation_prompt", .value = json_boolean(prompt)};
    json_object_foreach(values, name, v) vars[n_vars++] = (jinja_var_t){.name = name, .value = v};
    jinja_input_t in = {.vars = vars, .n_vars = n_vars, .date = t->date};
    int rc = jinja_render(jinja, &in, out, err);
    if (rc && !t->date && strstr(err->msg, "strftime_now")) {
        err_t refused = *err;
        err_set(err, rc, "%.800s; it asks for today's date: expected data.chat_template_date", refused.msg);
    }
    free(vars);
    json_decref(values);
    return rc;
}
