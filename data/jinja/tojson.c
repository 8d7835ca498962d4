/* The filter tojson as Transformers has it: json.dumps(). */
#include "data/jinja/filters.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct {
    render_t *r;
    bool ascii, sorted;
    const string_t *indent; /* NULL: all on one line */
    const string_t *item_separator, *key_separator;
    builder_t text;
} json_writer_t;

static void put(json_writer_t *w, const char *s, jinja_origin_t origin) {
    build_bytes(w->r, &w->text, s, strlen(s), origin);
}

static void put_line(json_writer_t *w, size_t level) {
    if (!w->indent) return;
    put(w, "\n", 0);
    for (size_t i = 0; i < level; i++) build_string(w->r, &w->text, w->indent, 0, w->indent->len);
}

static void put_escape(json_writer_t *w, int32_t c, jinja_origin_t origin) {
    char text[16];
    static const char short_of[][3] = {['\b'] = "\\b", ['\t'] = "\\t", ['\n'] = "\\n", ['\f'] = "\\f",
                                       ['\r'] = "\\r", ['"'] = "\\\"", ['\\'] = "\\\\"};
    if (c <= '\\' && short_of[c][0]) {
        put(w, short_of[c], origin);
    } else if (c < 0x10000) {
        snprintf(text, sizeof text, "\\u%04x", (unsigned)c);
        put(w, text, origin);
    } else {
        unsigned pair = (unsigned)c - 0x10000;
        snprintf(text, sizeof text, "\\u%04x\\u%04x", 0xd800 + (pair >> 10), 0xdc00 + (pair & 0x3ff));
        put(w, text, origin);
    }
}

static void put_string(json_writer_t *w, const string_t *s) {
    put(w, "\"", s->len > 0 ? string_origin(s, 0) : s->origin);
    size_t done = 0, n;
    for (size_t i = 0; i < s->len; i += n) {
        int32_t c = text_char(s->p, s->len, i, &n);
        if (c >= 0x20 && c != '"' && c != '\\' && !(w->ascii && c >= 0x7f)) continue;
        build_string(w->r, &w->text, s, done, i);
        put_escape(w, c, string_origin(s, i));
        done = i + n;
    }
    build_string(w->r, &w->text, s, done, s->len);
    put(w, "\"", s->len > 0 ? string_origin(s, s->len - 1) : s->origin);
}

static void put_number(json_writer_t *w, value_t v) {
    char text[FLOAT_TEXT];
    if (v.type == V_INT) {
        snprintf(text, sizeof text, "%lld", (long long)v.i);
    } else if (isfinite(v.f)) {
        float_text(v.f, text);
    } else {
        snprintf(text, sizeof text, "%s", isnan(v.f) ? "NaN" : v.f < 0 ? "-Infinity" : "Infinity");
    }
    put(w, text, v.origin);
}

static void put_value(json_writer_t *w, value_t v, size_t level);

static void put_list(json_writer_t *w, const list_t *list, size_t level) {
    put(w, "[", 0);
    for (size_t i = 0; i < list->n; i++) {
        if (i > 0) build_string(w->r, &w->text, w->item_separator, 0, w->item_separator->len);
        put_line(w, level + 1);
        put_value(w, list->v[i], level + 1);
    }
    if (list->n > 0) put_line(w, level);
    put(w, "]", 0);
}

/* Keys that are no strings are written as strings of their JSON. */
static void put_key(json_writer_t *w, value_t key) {
    if (key.type == V_STRING) {
        put_string(w, key.s);
        return;
    }
    if (!value_is_number(key) && key.type != V_NONE) {
        jinja_fail(w->r, "tojson: a %s cannot be a key in JSON", value_type_name(key));
    }
    put(w, "\"", key.origin);
    put_value(w, key, 0);
    put(w, "\"", key.origin);
}

/* The items by their keys, as they are in Python: keys that cannot be compared are an error. */
static const dict_item_t *sorted_items(render_t *r, const dict_t *d) {
    value_t keys = dict_view(r, d, LIST_KEYS);
    dict_item_t *sorted = jinja_alloc(r, (d->n + 1) * sizeof *sorted);
    size_t *order = value_order(r, keys.list, false);
    for (size_t i = 0; i < d->n; i++) sorted[i] = d->v[order[i]];
    return sorted;
}

static void put_dict(json_writer_t *w, const dict_t *d, size_t level) {
    const dict_item_t *items = w->sorted ? sorted_items(w->r, d) : d->v;
    put(w, "{", 0);
    for (size_t i = 0; i < d->n; i++) {
        if (i > 0) build_string(w->r, &w->text, w->item_separator, 0, w->item_separator->len);
        put_line(w, level + 1);
        put_key(w, items[i].key);
        build_string(w->r, &w->text, w->key_separator, 0, w->key_separator->len);
        put_value(w, items[i].value, level + 1);
    }
    if (d->n > 0) put_line(w, level);
    put(w, "}", 0);
}

static void put_value(json_writer_t *w, value_t v, size_t level) {
    value_enter(w->r);
    jinja_steps(w->r, 1);
    switch (v.type) {
    case V_NONE: put(w, "null", v.origin); break;
    case V_BOOL: put(w, v.b ? "true" : "false", v.origin); break;
    case V_INT:
    case V_FLOAT: put_number(w, v); break;
    case V_STRING: put_string(w, v.s); break;
    case V_LIST:
    case V_TUPLE: put_list(w, v.list, level); break;
    case V_DICT: put_dict(w, v.dict, level); break;
    case V_UNDEFINED:
        if (v.name) jinja_fail(w->r, "tojson: a value is undefined (%s)", v.name);
        jinja_fail(w->r, "tojson: a value is undefined");
    default: jinja_fail(w->r, "tojson: a %s has no form in JSON", value_type_name(v));
    }
    value_leave(w->r);
}

static const string_t *indent_of(render_t *r, value_t v) {
    if (v.type == V_NONE) return NULL;
    if (v.type == V_STRING) return v.s;
    int64_t n = value_integer(r, v, "the argument 'indent' of tojson");
    if (n > 1000) jinja_fail(r, "tojson: an indent of %lld is too wide", (long long)n);
    return text_repeat(r, value_text(r, " ", 1, 0).s, n).s;
}

static void read_separators(json_writer_t *w, value_t v) {
    render_t *r = w->r;
    w->item_separator = value_text(r, w->indent ? "," : ", ", w->indent ? 1 : 2, 0).s;
    w->key_separator = value_text(r, ": ", 2, 0).s;
    if (v.type == V_NONE) return;
    const list_t *list = value_elements(r, v);
    if (list->n != 2 || list->v[0].type != V_STRING || list->v[1].type != V_STRING) {
        jinja_fail(r, "tojson: 'separators' is not a pair of texts");
    }
    w->item_separator = list->v[0].s;
    w->key_separator = list->v[1].s;
}

value_t filter_tojson(render_t *r, value_t v, const call_args_t *args) {
    static const char *const names[] = {"ensure_ascii", "indent", "separators", "sort_keys", NULL};
    args_check(r, args, 0, 4, names, "tojson");
    json_writer_t w = {.r = r};
    w.ascii = arg_truth(args, 0, "ensure_ascii", false);
    w.indent = indent_of(r, arg_or(args, 1, "indent", value_none()));
    read_separators(&w, arg_or(args, 2, "separators", value_none()));
    w.sorted = arg_truth(args, 3, "sort_keys", false);
    put_value(&w, v, 0);
    return build_end(r, &w.text);
}
