#include "data/dataset_chat.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "data/rows.h"

/* A conversation under construction. Texts belong to the row's JSON, or are among `owned`. */
typedef struct {
    chat_turn_t *turns;
    size_t n, cap;
    char **owned;
    size_t n_owned, cap_owned;
} talk_t;

static void talk_free(talk_t *t) {
    for (size_t i = 0; i < t->n_owned; i++) free(t->owned[i]);
    free(t->owned);
    free(t->turns);
}

static void add_turn(talk_t *t, chat_role_t role, const char *text, size_t len) {
    VEC_GROW(t->turns, t->n, t->cap);
    t->turns[t->n++] = (chat_turn_t){role, text, len, NULL};
}

static char *own(talk_t *t, char *s) {
    VEC_GROW(t->owned, t->n_owned, t->cap_owned);
    return t->owned[t->n_owned++] = s;
}

static const struct {
    const char *name;
    chat_role_t role;
} roles[] = {{"system", ROLE_SYSTEM}, {"developer", ROLE_SYSTEM},    {"user", ROLE_USER},
             {"human", ROLE_USER},    {"assistant", ROLE_ASSISTANT}, {"gpt", ROLE_ASSISTANT},
             {"tool", ROLE_TOOL},     {"function", ROLE_TOOL},       {"observation", ROLE_TOOL},
             {"ipython", ROLE_TOOL},  {"function_call", ROLE_CALL}};

static int role_from_name(const char *name, chat_role_t *role, err_t *err) {
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++) {
        if (strcmp(name, roles[i].name) != 0) continue;
        *role = roles[i].role;
        return 0;
    }
    return err_set(err, ERR_USAGE,
                   "unknown role \"%.40s\"; expected system, user, assistant or tool (messages), or "
                   "system, human, gpt, function_call or observation (sharegpt)",
                   name);
}

/* {"name": ..., "arguments": ...} of an OpenAI-style tool call, whose arguments may be a string of JSON. */
static int add_call(talk_t *t, const json_t *call, err_t *err) {
    const json_t *f = json_object_get(call, "function");
    if (!f) f = call;
    const json_t *name = json_object_get(f, "name"), *args = json_object_get(f, "arguments");
    if (!json_is_string(name)) return err_set(err, ERR_USAGE, "function.name is missing; expected a string");
    char *n = json_dumps(name, JSON_ENCODE_ANY);
    char *a = json_is_string(args) ? xstrdup(json_string_value(args))
              : args               ? json_dumps(args, JSON_ENCODE_ANY | JSON_REAL_PRECISION(15))
                                   : xstrdup("{}");
    CHECK(n && a);
    char *text = own(t, xasprintf("{\"name\": %s, \"arguments\": %s}", n, a));
    free(n);
    free(a);
    add_turn(t, ROLE_CALL, text, strlen(text));
    return 0;
}

/* Content that is a list of parts, of which only text can be trained on. */
static int parts_text(talk_t *t, const json_t *parts, const char **s, size_t *n, err_t *err) {
    strbuf_t b = {0};
    strbuf_adds(&b, "");
    for (size_t i = 0; i < json_array_size(parts); i++) {
        const json_t *text = json_object_get(json_array_get(parts, i), "text");
        if (!json_is_string(text)) {
            free(b.p);
            return err_set(err, ERR_USAGE, "part %zu is not text; expected {\"type\": \"text\", \"text\": ...}", i + 1);
        }
        strbuf_add(&b, json_string_value(text), json_string_length(text));
    }
    *n = b.len;
    *s = own(t, b.p);
    return 0;
}

/* One message: {"role", "content"} with optional "tool_calls", or {"from", "value"}. */
static int add_message(talk_t *t, const json_t *m, err_t *err) {
    if (!json_is_object(m)) return err_set(err, ERR_USAGE, "expected an object");
    bool share = json_object_get(m, "from") != NULL;
    const char *content_key = share ? "value" : "content", *name, *s = "";
    size_t n = 0;
    chat_role_t role = ROLE_USER;
    if (json_need_string(m, share ? "from" : "role", "message", &name, err)) return err->code;
    if (role_from_name(name, &role, err)) return err->code;
    const json_t *calls = json_object_get(m, "tool_calls"), *content = json_object_get(m, content_key);
    bool has_calls = json_is_array(calls) && json_array_size(calls) > 0;
    if (json_is_array(content)) {
        if (parts_text(t, content, &s, &n, err)) return err_prefix(err, "%s", content_key);
    } else if (row_text(m, content_key, has_calls, &s, &n, err)) {
        return err->code;
    }
    if (!has_calls || n > 0) add_turn(t, role, s, n);
    for (size_t i = 0; has_calls && i < json_array_size(calls); i++)
        if (add_call(t, json_array_get(calls, i), err)) return err_prefix(err, "tool_calls[%zu]", i);
    return 0;
}

/* Puts the list of tools behind the system text, which is the template's own when the row has none. */
static int add_tools(talk_t *t, const chat_template_t *chat, const json_t *row, err_t *err) {
    const json_t *tools = json_object_get(row, "tools");
    char *text = NULL;
    if (!tools || json_is_null(tools)) return 0;
    if (chat_tools_text(chat, tools, &text, err)) return err->code;
    if (!text) return 0;
    own(t, text);
    if (t->n == 0 || t->turns[0].role != ROLE_SYSTEM) {
        const char *s = chat->default_system ? chat->default_system : "";
        add_turn(t, ROLE_SYSTEM, NULL, 0);
        memmove(t->turns + 1, t->turns, (t->n - 1) * sizeof *t->turns);
        t->turns[0] = (chat_turn_t){ROLE_SYSTEM, s, strlen(s), NULL};
    }
    t->turns[0].extra = text;
    return 0;
}

static bool has_answer(const talk_t *t) {
    for (size_t i = 0; i < t->n; i++)
        if (t->turns[i].role == ROLE_ASSISTANT || t->turns[i].role == ROLE_CALL) return true;
    return false;
}

static int render(row_writer_t *w, const chat_template_t *chat, const talk_t *t, err_t *err) {
    if (t->n == 0 || (!w->spec->train_all && !has_answer(t))) return 0; /* nothing to train: counted by the caller */
    return chat_render(w->spec->tok, chat, t->turns, t->n, w->spec->train_all, false, &w->ids, &w->labels, err);
}

static int read_conversation(talk_t *t, const chat_template_t *chat, const json_t *row, const char *list_key,
                             err_t *err) {
    const json_t *list = json_object_get(row, list_key);
    if (!json_is_array(list)) return err_set(err, ERR_USAGE, "%s: expected a list of messages", list_key);
    const char *system;
    size_t n;
    if (row_text(row, "system", true, &system, &n, err)) return err->code;
    if (n > 0) add_turn(t, ROLE_SYSTEM, system, n);
    for (size_t i = 0; i < json_array_size(list); i++)
        if (add_message(t, json_array_get(list, i), err)) return err_prefix(err, "%s[%zu]", list_key, i);
    return json_array_size(list) > 0 ? add_tools(t, chat, row, err) : 0;
}

int convert_conversation(row_writer_t *w, const json_t *row, const char *list_key, err_t *err) {
    talk_t t = {0};
    int rc = read_conversation(&t, w->spec->chat, row, list_key, err);
    if (rc == 0) rc = render(w, w->spec->chat, &t, err);
    talk_free(&t);
    return rc;
}

int convert_alpaca(row_writer_t *w, const json_t *row, err_t *err) {
    const char *instruction, *input, *output, *system;
    size_t ni, nx, no, ns;
    if (row_text(row, "instruction", false, &instruction, &ni, err) || row_text(row, "input", true, &input, &nx, err) ||
        row_text(row, "output", false, &output, &no, err) || row_text(row, "system", true, &system, &ns, err))
        return err->code;
    if (no == 0) return 0;
    const chat_template_t *chat = w->spec->chat;
    bool prompt = !chat || chat->format == CHAT_NONE || chat->format == CHAT_ALPACA;
    if (!chat || chat->format == CHAT_NONE) chat = &w->alpaca;
    talk_t t = {0};
    strbuf_t user = {0};
    strbuf_add(&user, instruction, ni);
    if (nx > 0 && (prompt || ni > 0)) strbuf_adds(&user, prompt ? "\n\n### Input:\n" : "\n\n");
    strbuf_add(&user, input, nx);
    own(&t, user.p);
    if (ns > 0) add_turn(&t, ROLE_SYSTEM, system, ns);
    else if (prompt && nx > 0) add_turn(&t, ROLE_SYSTEM, ALPACA_PREAMBLE_INPUT, strlen(ALPACA_PREAMBLE_INPUT));
    add_turn(&t, ROLE_USER, user.p, user.len);
    add_turn(&t, ROLE_ASSISTANT, output, no);
    int rc = render(w, chat, &t, err);
    talk_free(&t);
    return rc;
}
