/* One message of a conversation. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/names.h"
#include "data/conversation_parts.h"
#include "data/rows.h"

static const char *const media_keys[] = {"images", "image", "videos", "video", "audios", "audio", NULL};

int refuse_media(const json_t *obj, err_t *err) {
    for (size_t i = 0; media_keys[i]; i++)
        if (!row_member_empty(obj, media_keys[i]))
            return err_set(err, ERR_USAGE, "%s: only text is trained; expected rows without images, video and audio",
                           media_keys[i]);
    return 0;
}

json_t *message_make(const char *role, const char *text, size_t len) {
    json_t *m = json_object();
    json_object_set_new(m, "role", json_string(role));
    json_object_set_new(m, "content", json_stringn_nocheck(text, len));
    return m;
}

/* ---- role ---- */

typedef struct {
    const char *name, *role;
    bool call; /* the content is a call of a tool */
} role_name_t;

static const role_name_t roles[] = {
    {"system", "system", false}, {"developer", "developer", false},   {"user", "user", false},
    {"human", "user", false},    {"assistant", "assistant", false},   {"gpt", "assistant", false},
    {"tool", "tool", false},     {"function", "tool", false},         {"observation", "tool", false},
    {"ipython", "tool", false},  {"function_call", "assistant", true}};

static int read_role(const json_t *m, const role_name_t **role, err_t *err) {
    const json_t *v = row_member(m, "role");
    if (!v) v = row_member(m, "from");
    if (!v) return err_set(err, ERR_USAGE, "role is missing; expected a string");
    if (!json_is_string(v)) return err_set(err, ERR_USAGE, "role: expected a string");
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++) {
        if (strcmp(json_string_value(v), roles[i].name) != 0) continue;
        *role = &roles[i];
        return 0;
    }
    return err_set(err, ERR_USAGE,
                   "unknown role \"%.40s\"; expected system, developer, user, assistant or tool (messages), or "
                   "system, human, gpt, function_call or observation (sharegpt)",
                   json_string_value(v));
}

/* ---- content ---- */

/* A list of parts, of which only text can be trained on: one text. */
static int join_parts(const json_t *parts, json_t **text, err_t *err) {
    strbuf_t b = {0};
    strbuf_adds(&b, "");
    for (size_t i = 0; i < json_array_size(parts); i++) {
        const json_t *part = json_array_get(parts, i), *s = row_member(part, "text");
        const char *type = json_string_value(row_member(part, "type"));
        if (json_is_string(s) && (!type || strcmp(type, "text") == 0)) {
            strbuf_add(&b, json_string_value(s), json_string_length(s));
            continue;
        }
        free(b.p);
        return err_set(
            err, ERR_USAGE,
            "part %zu is %.40s, not text; only text is trained; expected {\"type\": \"text\", \"text\": ...}", i + 1,
            type ? type : "of no type");
    }
    *text = json_stringn_nocheck(b.p, b.len);
    free(b.p);
    return 0;
}

static const char *content_key(const json_t *m) {
    bool value = row_member(m, "value") ? !row_member(m, "content") : !json_object_get(m, "content");
    return value ? "value" : "content";
}

/* *text NULL and no error: there is none, which is for calls of tools only. */
static int read_content(const json_t *m, bool optional, json_t **text, err_t *err) {
    const json_t *v = row_member(m, content_key(m));
    *text = NULL;
    if (json_is_array(v)) return join_parts(v, text, err) ? err_prefix(err, "%s", content_key(m)) : 0;
    if (!v && optional) return 0;
    if (!v && !json_object_get(m, "value") && !json_object_get(m, "from"))
        return err_set(err, ERR_USAGE, "content is missing; expected a string");
    if (!v) return err_set(err, ERR_USAGE, "%s is missing; expected a string", content_key(m));
    if (!json_is_string(v)) return err_set(err, ERR_USAGE, "%s: expected a string", content_key(m));
    *text = json_incref((json_t *)(uintptr_t)v);
    return 0;
}

/* ---- calls ---- */

static int read_calls(const json_t *m, const role_name_t *role, json_t **calls, err_t *err) {
    const json_t *list = row_member(m, "tool_calls"), *one = row_member(m, "function_call");
    *calls = NULL;
    if (role->call && (one || !row_member_empty(m, "tool_calls")))
        return err_set(err, ERR_USAGE,
                       "a message of the role %s is a call; expected no tool_calls or function_call beside",
                       role->name);
    if (role->call) {
        const char *key = content_key(m);
        return calls_read_text(row_member(m, key), calls, err) ? err_prefix(err, "%s", key) : 0;
    }
    if (!row_member_empty(m, "tool_calls") && one)
        return err_set(err, ERR_USAGE, "both tool_calls and function_call; expected one of them");
    if (one) return calls_read(one, calls, err) ? err_prefix(err, "function_call") : 0;
    if (!list) return 0;
    if (!json_is_array(list)) return err_set(err, ERR_USAGE, "tool_calls: expected a list");
    if (calls_read(list, calls, err) == 0) return 0;
    /* "tool_calls[0]: ..." */
    err_t inner = *err;
    return err_set(err, inner.code, "tool_calls%s", inner.msg);
}

/* ---- reasoning: three names for one thing, and templates know one of them each ---- */

static const char *const reasoning_keys[] = {"reasoning_content", "reasoning", "thinking"};
enum { REASONING_KEYS = sizeof reasoning_keys / sizeof *reasoning_keys };

static int add_reasoning(const json_t *m, json_t *out, err_t *err) {
    const json_t *text = NULL;
    const char *name = NULL;
    for (size_t i = 0; i < REASONING_KEYS; i++) {
        const json_t *v = row_member(m, reasoning_keys[i]);
        if (!v) continue;
        if (!json_is_string(v)) return err_set(err, ERR_USAGE, "%s: expected a string", reasoning_keys[i]);
        if (text && !json_equal(v, text))
            return err_set(err, ERR_USAGE, "%s and %s differ; expected one of them", name, reasoning_keys[i]);
        text = v;
        name = reasoning_keys[i];
    }
    if (!text) return 0;
    bool empty = json_string_length(text) == 0; /* says that there is none, to who reads that name */
    for (size_t i = 0; i < REASONING_KEYS; i++)
        if (!empty || row_member(m, reasoning_keys[i]))
            json_object_set(out, reasoning_keys[i], (json_t *)(uintptr_t)text);
    return 0;
}

/* ---- what is trained ---- */

static int read_one_mark(const json_t *v, const char *key, train_mark_t *mark, err_t *err) {
    bool number = json_is_number(v);
    double x = number ? json_number_value(v) : 0;
    if (json_is_true(v) || (number && x == 1)) *mark = TRAIN_YES;
    else if (json_is_false(v) || (number && x == 0)) *mark = TRAIN_NO;
    else
        return err_set(err, ERR_USAGE, "%s: only whole messages are trained or not; expected 0, 1, true or false", key);
    return 0;
}

static int read_mark(const json_t *m, const char *role, train_mark_t *mark, err_t *err) {
    static const char *const keys[] = {"train", "weight"};
    *mark = TRAIN_BY_RULE;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const json_t *v = row_member(m, keys[i]);
        train_mark_t said = TRAIN_BY_RULE;
        if (!v) continue;
        if (read_one_mark(v, keys[i], &said, err)) return err->code;
        if (*mark != TRAIN_BY_RULE && *mark != said)
            return err_set(err, ERR_USAGE, "train and weight differ; expected one of them");
        *mark = said;
    }
    if (*mark == TRAIN_YES && strcmp(role, "assistant") != 0)
        return err_set(err, ERR_USAGE, "a message of the role %s is not trained; expected no weight, or 0", role);
    static const char *const detail[] = {"train_detail", "training_detail"};
    for (size_t i = 0; i < sizeof detail / sizeof *detail; i++)
        if (!row_member_empty(m, detail[i]))
            return err_set(err, ERR_USAGE,
                           "%s: only whole messages are trained or not; expected \"train\" or "
                           "\"weight\"",
                           detail[i]);
    return 0;
}

/* ---- the message ---- */

/* The keys that were read above, and those that some template reads beside them, in the wild. */
static const char *const read_keys[] = {
    "role",  "from",   "content",      "value",           "tool_calls", "function_call",
    "train", "weight", "train_detail", "training_detail", NULL};
static const char *const template_keys[] = {"name",      "tool_call_id", "id",        "prefix",         "recipient",
                                            "channel",   "end_turn",     "tool_plan", "tool_responses", "citations",
                                            "documents", "tools",        NULL};

/* ShareGPT's names are read where there are no others, else they say something else. */
static bool was_read(const json_t *m, const char *key) {
    if (strcmp(key, "from") == 0) return !row_member(m, "role");
    if (strcmp(key, "value") == 0) return strcmp(content_key(m), "value") == 0;
    return name_is_among(key, read_keys);
}

static void add_others(const json_t *m, json_t *out, const char **unknown) {
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)(uintptr_t)m, key, v) {
        if (json_is_null(v) || was_read(m, key) || name_is_among(key, media_keys) || json_object_get(out, key))
            continue;
        json_object_set(out, key, v);
        if (!name_is_among(key, template_keys) && !*unknown) *unknown = key;
    }
}

static int fill_message(const json_t *m, json_t *out, train_mark_t *mark, const char **unknown, err_t *err) {
    const role_name_t *role = NULL;
    json_t *calls, *content = NULL;
    if (read_role(m, &role, err) || read_mark(m, role->role, mark, err) || refuse_media(m, err)) return err->code;
    if (read_calls(m, role, &calls, err)) return err->code;
    int rc = role->call ? 0 : read_content(m, calls != NULL, &content, err);
    json_object_set_new(out, "role", json_string(role->role));
    if (content) json_object_set_new(out, "content", content);
    if (rc == 0 && strcmp(role->role, "assistant") == 0) rc = add_reasoning(m, out, err);
    if (calls) json_object_set_new(out, "tool_calls", calls);
    if (rc == 0) add_others(m, out, unknown);
    return rc;
}

int message_read(const json_t *message, json_t **out, train_mark_t *mark, const char **unknown, err_t *err) {
    *out = NULL;
    if (!json_is_object(message)) return err_set(err, ERR_USAGE, "expected an object");
    json_t *m = json_object();
    if (fill_message(message, m, mark, unknown, err)) {
        json_decref(m);
        return err->code;
    }
    *out = m;
    return 0;
}
