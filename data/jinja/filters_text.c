/* Filters on texts. What is no text is one by str() first, where Jinja does so. */
#include "data/jinja/filters.h"

#include <stdio.h>
#include <string.h>

static value_t like(value_t v, value_t model) {
    v.markup = model.markup;
    return v;
}

value_t filter_string(render_t *r, value_t v, const call_args_t *args) {
    args_check(r, args, 0, 0, NULL, "string");
    return value_soft(r, v);
}

value_t filter_safe(render_t *r, value_t v, const call_args_t *args) {
    args_check(r, args, 0, 0, NULL, "safe");
    return value_markup(value_str(r, v));
}

value_t filter_escape(render_t *r, value_t v, const call_args_t *args) {
    args_check(r, args, 0, 0, NULL, "escape");
    return text_escape(r, v);
}

value_t filter_forceescape(render_t *r, value_t v, const call_args_t *args) {
    args_check(r, args, 0, 0, NULL, "forceescape");
    return text_escape(r, value_str(r, v));
}

static value_t to_case(render_t *r, value_t v, const call_args_t *args, case_t to, const char *name) {
    args_check(r, args, 0, 0, NULL, name);
    v = value_soft(r, v);
    return like(text_case(r, v.s, to), v);
}

value_t filter_upper(render_t *r, value_t v, const call_args_t *args) {
    return to_case(r, v, args, CASE_UPPER, "upper");
}
value_t filter_lower(render_t *r, value_t v, const call_args_t *args) {
    return to_case(r, v, args, CASE_LOWER, "lower");
}
value_t filter_title(render_t *r, value_t v, const call_args_t *args) {
    args_check(r, args, 0, 0, NULL, "title");
    return text_jinja_title(r, value_str(r, v).s);
}
value_t filter_capitalize(render_t *r, value_t v, const call_args_t *args) {
    return to_case(r, v, args, CASE_CAPITALIZE, "capitalize");
}

value_t filter_trim(render_t *r, value_t v, const call_args_t *args) {
    static const char *const names[] = {"chars", NULL};
    args_check(r, args, 0, 1, names, "trim");
    v = value_soft(r, v);
    bool all = arg_or(args, 0, "chars", value_none()).type == V_NONE;
    return like(text_strip(r, v.s, all ? NULL : arg_string(r, args, 0, "chars", "trim"), 3), v);
}

value_t filter_replace(render_t *r, value_t v, const call_args_t *args) {
    static const char *const names[] = {"old", "new", "count", NULL};
    args_check(r, args, 0, 3, names, "replace");
    value_t old = value_str(r, arg_required(r, args, 0, "old", "replace"));
    value_t with = value_str(r, arg_required(r, args, 1, "new", "replace"));
    bool all = arg_or(args, 2, "count", value_none()).type == V_NONE;
    return text_replace(r, value_str(r, v).s, old.s, with.s,
                        all ? -1 : arg_integer(r, args, 2, "count", -1, "replace"));
}

value_t filter_center(render_t *r, value_t v, const call_args_t *args) {
    static const char *const names[] = {"width", NULL};
    args_check(r, args, 0, 1, names, "center");
    v = value_soft(r, v);
    string_t space = {.p = " ", .len = 1, .ascii = true};
    return like(text_pad(r, v.s, arg_integer(r, args, 0, "width", 80, "center"), &space, '^'), v);
}

value_t filter_format(render_t *r, value_t v, const call_args_t *args) {
    if (args->n > 0 && args->n_named > 0) { jinja_fail(r, "format: values by position and by name at once"); }
    v = value_soft(r, v);
    if (args->n_named == 0) {
        value_t values = value_list(r, V_TUPLE, args->n);
        for (size_t i = 0; i < args->n; i++) values.list->v[i] = args->v[i];
        return text_percent(r, v, values);
    }
    value_t values = value_dict(r, args->n_named);
    for (size_t i = 0; i < args->n_named; i++) {
        dict_set(r, values.dict, value_text(r, args->names[i], strlen(args->names[i]), 0), args->v[i]);
    }
    return text_percent(r, v, values);
}

/* ---- indent --------------------------------------------------------------------------------------------- */

static const string_t *indention(render_t *r, const call_args_t *args) {
    value_t width = arg_or(args, 0, "width", value_int(4));
    if (width.type == V_STRING) return width.s;
    return text_repeat(r, value_text(r, " ", 1, 0).s, value_integer(r, width, "the argument 'width' of indent")).s;
}

/* Any end of a line becomes a line feed, as Jinja has it; the text's own last one stays. */
value_t filter_indent(render_t *r, value_t v, const call_args_t *args) {
    static const char *const names[] = {"width", "first", "blank", NULL};
    args_check(r, args, 0, 3, names, "indent");
    if (v.type == V_UNDEFINED) undefined_fail(r, v);
    if (v.type != V_STRING) jinja_fail(r, "indent: a %s; expected a str", value_type_name(v));
    const string_t *by = indention(r, args), *s = v.s;
    bool first = arg_truth(args, 1, "first", false), blank = arg_truth(args, 2, "blank", false);
    value_t with_end = value_binary(r, '+', value_plain(v), value_text(r, "\n", 1, 0));
    const list_t *lines = text_lines(r, with_end.s, false);
    builder_t text = {0};
    size_t at = 0; /* in s, where the line begins */
    for (size_t i = 0; i < lines->n; i++) {
        const string_t *line = lines->v[i].s;
        if (i == 0 ? first : blank || line->len > 0) build_string(r, &text, by, 0, by->len);
        build_string(r, &text, line, 0, line->len);
        at += line->len;
        if (i + 1 == lines->n) break;
        size_t n;
        int32_t end = text_char(s->p, s->len, at, &n);
        build_bytes(r, &text, "\n", 1, string_origin(s, at));
        at += end == '\r' && at + 1 < s->len && s->p[at + 1] == '\n' ? 2 : n;
    }
    return like(build_end(r, &text), v);
}

/* ---- truncate, wordcount, urlencode --------------------------------------------------------------------- */

value_t filter_truncate(render_t *r, value_t v, const call_args_t *args) {
    static const char *const names[] = {"length", "killwords", "end", "leeway", NULL};
    args_check(r, args, 0, 4, names, "truncate");
    size_t chars;
    if (!value_has_length(r, v, &chars)) jinja_fail(r, "truncate: a %s; expected a str", value_type_name(v));
    int64_t length = arg_integer(r, args, 0, "length", 255, "truncate"), leeway = 5;
    value_t end = arg_or(args, 2, "end", value_text(r, "...", 3, 0));
    if (end.type != V_STRING) jinja_fail(r, "truncate: 'end' is a %s; expected a str", value_type_name(end));
    if (arg_or(args, 3, "leeway", value_none()).type != V_NONE)
        leeway = arg_integer(r, args, 3, "leeway", 5, "truncate");
    int64_t end_length = (int64_t)count_chars(r, end.s);
    if (length < end_length || leeway < 0)
        jinja_fail(r, "truncate: 'length' is shorter than 'end', or 'leeway' negative");
    if (length > INT64_MAX - leeway || (int64_t)chars <= length + leeway) return v;
    if (v.type != V_STRING) jinja_fail(r, "truncate: a %s; expected a str", value_type_name(v));
    size_t keep = string_byte(v.s, (size_t)(length - end_length));
    if (!arg_truth(args, 1, "killwords", false)) {
        string_t space = {.p = " ", .len = 1};
        size_t word = text_rfind(r, v.s, &space, 0, keep);
        if (word != NOT_FOUND) keep = word;
    }
    return value_binary(r, '+', like(string_slice(r, v.s, 0, keep), v), end);
}

value_t filter_wordcount(render_t *r, value_t v, const call_args_t *args) {
    args_check(r, args, 0, 0, NULL, "wordcount");
    const string_t *s = value_str(r, v).s;
    int64_t words = 0;
    bool in_word = false;
    size_t n;
    jinja_steps(r, s->len / 4);
    for (size_t i = 0; i < s->len; i += n) {
        int32_t c = text_char(s->p, s->len, i, &n);
        bool letter = c == '_' || char_alpha(c) || char_numeric(c) || char_digit(c);
        words += letter && !in_word;
        in_word = letter;
    }
    return value_int(words);
}

static void build_quoted(render_t *r, builder_t *b, const string_t *s, bool query) {
    for (size_t i = 0; i < s->len; i++) {
        unsigned char c = (unsigned char)s->p[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                     (c && strchr("_.-~", c)) || (c == '/' && !query);
        char text[4];
        snprintf(text, sizeof text, plain ? "%c" : "%%%02X", c);
        if (query && c == ' ') snprintf(text, sizeof text, "+");
        build_bytes(r, b, text, strlen(text), string_origin(s, i));
    }
}

value_t filter_urlencode(render_t *r, value_t v, const call_args_t *args) {
    args_check(r, args, 0, 0, NULL, "urlencode");
    builder_t text = {0};
    bool pairs = v.type == V_DICT || v.type == V_LIST || v.type == V_TUPLE || v.type == V_VIEW || v.type == V_GENERATOR;
    if (!pairs) {
        build_quoted(r, &text, value_str(r, v).s, false);
        return build_end(r, &text);
    }
    const list_t *items = value_elements(r, v.type == V_DICT ? dict_view(r, v.dict, LIST_ITEMS) : v);
    for (size_t i = 0; i < items->n; i++) {
        const list_t *pair = value_elements(r, items->v[i]);
        if (pair->n != 2) jinja_fail(r, "urlencode: an element is no pair of a key and a value");
        if (i > 0) build_bytes(r, &text, "&", 1, 0);
        build_quoted(r, &text, value_str(r, pair->v[0]).s, true);
        build_bytes(r, &text, "=", 1, 0);
        build_quoted(r, &text, value_str(r, pair->v[1]).s, true);
    }
    return build_end(r, &text);
}
