/* Calls of tools, and lists of them. */
#include <string.h>

#include "base/json.h"
#include "data/conversation_parts.h"
#include "data/rows.h"

/* Text that holds JSON, which must be `what`. */
static int parse_text(const json_t *text, const char *what, json_t **out, err_t *err) {
    json_error_t e;
    *out = json_loadb(json_string_value(text), json_string_length(text), JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &e);
    if (*out) return 0;
    return err_set(err, ERR_USAGE, "not valid JSON: %.200s; expected %s", e.text, what);
}

/* Templates want an object; APIs write it as text. Without any, a function has no arguments. */
static int read_arguments(json_t *function, err_t *err) {
    static const char what[] = "an object, or an object as JSON text";
    const json_t *arguments = row_member(function, "arguments");
    json_t *parsed = NULL;
    if (json_is_object(arguments)) return 0;
    if (json_is_string(arguments)) {
        if (parse_text(arguments, what, &parsed, err)) return err_prefix(err, "arguments");
    } else if (!arguments) {
        parsed = json_object();
    }
    if (!json_is_object(parsed)) {
        json_decref(parsed);
        return err_set(err, ERR_USAGE, "arguments: expected %s", what);
    }
    json_object_set_new(function, "arguments", parsed);
    return 0;
}

/* {"type": "function", "function": {...}} with what else the call has (an id), or the function alone. */
static int read_call(const json_t *call, json_t **out, err_t *err) {
    if (!json_is_object(call)) return err_set(err, ERR_USAGE, "expected an object {\"name\", \"arguments\"}");
    const json_t *inner = row_member(call, "function");
    if (inner && !json_is_object(inner)) return err_set(err, ERR_USAGE, "function: expected an object");
    json_t *function = json_copy((json_t *)(uintptr_t)(inner ? inner : call));
    *out = inner ? json_copy((json_t *)(uintptr_t)call) : json_object();
    if (!row_member(*out, "type")) json_object_set_new(*out, "type", json_string("function"));
    json_object_set_new(*out, "function", function);
    if (!json_is_string(row_member(function, "name")))
        return err_set(err, ERR_USAGE, "function.name is missing; expected a string");
    return read_arguments(function, err);
}

int calls_read(const json_t *calls, json_t **out, err_t *err) {
    bool list = json_is_array(calls);
    size_t n = list ? json_array_size(calls) : 1;
    *out = n ? json_array() : NULL;
    for (size_t i = 0; i < n; i++) {
        json_t *call = NULL;
        int rc = read_call(list ? json_array_get(calls, i) : calls, &call, err);
        if (call) json_array_append_new(*out, call);
        if (rc == 0) continue;
        json_decref(*out);
        *out = NULL;
        return list ? err_prefix(err, "[%zu]", i) : rc;
    }
    return 0;
}

int calls_read_text(const json_t *text, json_t **out, err_t *err) {
    static const char what[] = "a call {\"name\": ..., \"arguments\": {...}}, or a list of them";
    json_t *parsed = NULL;
    *out = NULL;
    if (!json_is_string(text)) return err_set(err, ERR_USAGE, "expected %s as JSON text", what);
    if (parse_text(text, what, &parsed, err)) return err->code;
    int rc = calls_read(parsed, out, err);
    json_decref(parsed);
    if (rc == 0 && !*out) rc = err_set(err, ERR_USAGE, "an empty list; expected %s", what);
    return rc;
}

static json_t *in_its_envelope(json_t *tool) {
    bool bare = json_is_string(row_member(tool, "name")) && !row_member(tool, "function");
    const char *type = json_string_value(row_member(tool, "type"));
    if (!bare || (type && strcmp(type, "function") != 0)) return json_incref(tool);
    return json_pack("{s:s, s:O}", "type", "function", "function", tool);
}

static int read_list(const json_t *tools, json_t **out, err_t *err) {
    if (!json_is_array(tools)) return err_set(err, ERR_USAGE, "expected a list of functions, or one as JSON text");
    if (json_array_size(tools) == 0) return 0;
    *out = json_array();
    for (size_t i = 0; i < json_array_size(tools); i++) {
        json_t *tool = json_array_get(tools, i);
        if (json_is_object(tool)) {
            json_array_append_new(*out, in_its_envelope(tool));
            continue;
        }
        json_decref(*out);
        *out = NULL;
        return err_set(err, ERR_USAGE, "[%zu]: expected an object that describes a function", i);
    }
    return 0;
}

int tools_read(const json_t *tools, json_t **out, err_t *err) {
    json_t *parsed = NULL;
    *out = NULL;
    if (!json_is_string(tools)) return read_list(tools, out, err);
    if (json_string_length(tools) == 0) return 0;
    if (parse_text(tools, "a list of functions", &parsed, err)) return err->code;
    int rc = read_list(parsed, out, err);
    json_decref(parsed);
    return rc;
}
