#include "data/conversation_formats.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "data/conversation_parts.h"
#include "data/rows.h"

/* Takes the message over. */
static void add(conversation_t *c, json_t *message, train_mark_t mark) {
    if (!c->messages) c->messages = json_array();
    size_t n = json_array_size(c->messages);
    json_array_append_new(c->messages, message);
    c->marks = xrealloc_array(c->marks, n + 1, sizeof *c->marks);
    c->marks[n] = mark;
}

static void add_text(conversation_t *c, const char *role, const char *text, size_t len) {
    add(c, message_make(role, text, len), TRAIN_BY_RULE);
}

static int add_list(conversation_t *c, const json_t *row, const char *key, const char **unknown, err_t *err) {
    const json_t *list = json_object_get(row, key);
    if (!json_is_array(list)) return err_set(err, ERR_USAGE, "%s: expected a list of messages", key);
    for (size_t i = 0; i < json_array_size(list); i++) {
        json_t *message;
        train_mark_t mark;
        if (message_read(json_array_get(list, i), &message, &mark, unknown, err))
            return err_prefix(err, "%s[%zu]", key, i);
        add(c, message, mark);
    }
    return 0;
}

static void note_unknown(row_notes_t *notes, const char *key) {
    if (!key) return;
    if (!notes->unknown_keys++) snprintf(notes->unknown_key, sizeof notes->unknown_key, "%s", key);
}

/* ---- what a row has beside its messages ---- */

static int read_tools(const json_t *row, conversation_t *c, err_t *err) {
    static const char *const keys[] = {"tools", "functions"};
    if (!row_member_empty(row, keys[0]) && !row_member_empty(row, keys[1]))
        return err_set(err, ERR_USAGE, "both tools and functions; expected one of them");
    for (size_t i = 0; i < 2; i++) {
        const json_t *v = row_member(row, keys[i]);
        if (!v || c->tools) continue;
        if (tools_read(v, &c->tools, err)) return err_prefix(err, "%s", keys[i]);
    }
    return 0;
}

static int read_extras(const json_t *row, conversation_t *c, err_t *err) {
    const json_t *documents = row_member(row, "documents"), *kwargs = row_member(row, "chat_template_kwargs");
    if (refuse_media(row, err) || read_tools(row, c, err)) return err->code;
    if (documents && !json_is_array(documents)) return err_set(err, ERR_USAGE, "documents: expected a list");
    if (kwargs && !json_is_object(kwargs)) return err_set(err, ERR_USAGE, "chat_template_kwargs: expected an object");
    if (!row_member_empty(row, "documents")) c->documents = json_incref((json_t *)(uintptr_t)documents);
    c->kwargs = json_incref((json_t *)(uintptr_t)kwargs);
    return 0;
}

/* A row's "system" beside its messages; of two system messages no format knows. */
static int add_system(const json_t *row, const char *list_key, conversation_t *c, err_t *err) {
    const char *s;
    size_t n;
    if (row_text(row, "system", true, &s, &n, err)) return err->code;
    if (n == 0) return 0;
    const json_t *first = json_array_get(json_object_get(row, list_key), 0);
    const char *role = json_string_value(json_object_get(first, json_object_get(first, "role") ? "role" : "from"));
    if (role && (!strcmp(role, "system") || !strcmp(role, "developer")))
        return err_set(err, ERR_USAGE, "system: the messages begin with a system message too; expected one of them");
    add_text(c, "system", s, n);
    return 0;
}

/* ---- formats ---- */

int conversation_from_messages(const json_t *row, const char *list_key, conversation_t *c, row_notes_t *notes,
                               err_t *err) {
    const char *unknown = NULL;
    if (add_system(row, list_key, c, err) || add_list(c, row, list_key, &unknown, err) || read_extras(row, c, err))
        return err->code;
    note_unknown(notes, unknown);
    return 0;
}

bool prompt_is_conversation(const json_t *row) {
    return json_is_array(json_object_get(row, "prompt")) || json_is_array(json_object_get(row, "completion"));
}

int conversation_from_prompt(const json_t *row, bool train_prompt, conversation_t *c, row_notes_t *notes, err_t *err) {
    const char *unknown = NULL;
    if (add_list(c, row, "prompt", &unknown, err)) return err->code;
    size_t n = json_array_size(c->messages);
    for (size_t i = 0; i < n && !train_prompt; i++)
        if (c->marks[i] == TRAIN_BY_RULE) c->marks[i] = TRAIN_NO;
    if (add_list(c, row, "completion", &unknown, err) || read_extras(row, c, err)) return err->code;
    note_unknown(notes, unknown);
    return 0;
}

/* Earlier turns of an Alpaca row: [[question, answer], ...]. */
static int add_history(const json_t *row, conversation_t *c, err_t *err) {
    static const char what[] = "a list of pairs [question, answer]";
    const json_t *list = row_member(row, "history");
    if (row_member_empty(row, "history")) return 0;
    if (!json_is_array(list)) return err_set(err, ERR_USAGE, "history: expected %s", what);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *pair = json_array_get(list, i), *q = json_array_get(pair, 0), *a = json_array_get(pair, 1);
        if (json_array_size(pair) != 2 || !json_is_string(q) || !json_is_string(a))
            return err_set(err, ERR_USAGE, "history[%zu]: expected two texts: %s", i, what);
        add_text(c, "user", json_string_value(q), json_string_length(q));
        add_text(c, "assistant", json_string_value(a), json_string_length(a));
    }
    return 0;
}

#define PREAMBLE_INPUT \
    "Below is an instruction that describes a task, paired with an input that provides further context. " \
    "Write a response that appropriately completes the request."

int conversation_from_alpaca(const json_t *row, bool prompt, conversation_t *c, err_t *err) {
    const char *instruction, *input, *output, *system;
    size_t ni, nx, no, ns;
    if (row_text(row, "instruction", false, &instruction, &ni, err) || row_text(row, "input", true, &input, &nx, err) ||
        row_text(row, "output", false, &output, &no, err) || row_text(row, "system", true, &system, &ns, err))
        return err->code;
    if (no == 0) return 0; /* no answer to learn */
    if (read_extras(row, c, err)) return err->code;
    if (ns > 0) add_text(c, "system", system, ns);
    else if (prompt && nx > 0) add_text(c, "system", PREAMBLE_INPUT, sizeof PREAMBLE_INPUT - 1);
    if (add_history(row, c, err)) return err->code;
    strbuf_t user = {0};
    strbuf_add(&user, instruction, ni);
    if (nx > 0 && (prompt || ni > 0)) strbuf_adds(&user, prompt ? "\n\n### Input:\n" : "\n\n");
    strbuf_add(&user, input, nx);
    add_text(c, "user", user.p ? user.p : "", user.len);
    free(user.p);
    add_text(c, "assistant", output, no);
    return 0;
}
