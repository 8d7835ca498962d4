/* str.format(): "{}", "{0}", "{name.attribute[item]!r:specification}". */
#include "data/jinja/format.h"

#include <string.h>

typedef struct {
    render_t *r;
    const call_args_t *args;
    int64_t automatic; /* number of the next {}; -1: places are numbered by hand */
    bool markup;
} fields_t;

static _Noreturn void fail_format(render_t *r, const char *what) { jinja_fail(r, "format: %s", what); }

/* ---- specifications ------------------------------------------------------------------------------------- */

static bool is_align(char c) { return c && strchr("<>^=", c); }

static int64_t read_digits(render_t *r, const string_t *s, size_t *at) {
    int64_t n = 0;
    for (; *at < s->len && s->p[*at] >= '0' && s->p[*at] <= '9'; ++*at) {
        n = n * 10 + (s->p[*at] - '0');
        if (n > FORMAT_MAX) fail_format(r, "a width or precision is too large");
    }
    return n;
}

static format_spec_t parse_spec(render_t *r, const string_t *s) {
    format_spec_t spec = {.fill = " ", .fill_len = 1, .precision = -1};
    size_t at = 0, n = 1;
    if (s->len > 0) text_char(s->p, s->len, 0, &n);
    bool filled = n < s->len && is_align(s->p[n]);
    if (filled) {
        spec.fill = s->p;
        spec.fill_len = n;
        spec.align = s->p[n];
        at = n + 1;
    } else if (s->len > 0 && is_align(s->p[0])) {
        spec.align = s->p[at++];
    }
    if (at < s->len && strchr("+- ", s->p[at])) spec.sign = s->p[at++];
    if (at < s->len && s->p[at] == '#') {
        spec.alternate = true;
        at++;
    }
    if (at < s->len && s->p[at] == '0') {
        if (!filled) spec.fill = "0";
        if (!spec.align) spec.align = '0'; /* settled by the type */
        at++;
    }
    spec.width = read_digits(r, s, &at);
    if (at < s->len && (s->p[at] == ',' || s->p[at] == '_')) spec.grouping = s->p[at++];
    if (at < s->len && s->p[at] == '.') {
        at++;
        if (at >= s->len || s->p[at] < '0' || s->p[at] > '9') fail_format(r, "the precision is missing");
        spec.precision = read_digits(r, s, &at);
    }
    if (at < s->len) spec.type = s->p[at++];
    if (at < s->len) jinja_fail(r, "format: the specification '%s' is not supported", s->p);
    return spec;
}

static _Noreturn void fail_spec(render_t *r, value_t v, const string_t *s) {
    jinja_fail(r, "format: the specification '%s' is not supported for a %s", s->p, value_type_name(v));
}

static void format_as_text(render_t *r, builder_t *b, value_t v, format_spec_t spec, const string_t *s) {
    bool plain = (spec.type == 0 || spec.type == 's') && !spec.sign && !spec.alternate && !spec.grouping;
    if (!plain || spec.align == '=') fail_spec(r, v, s);
    if (spec.align == '0') spec.align = '<';
    format_text(r, b, v.s, &spec, '<');
}

static void format_as_number(render_t *r, builder_t *b, value_t v, format_spec_t spec, const string_t *s) {
    if (spec.align == '0') spec.align = '=';
    bool whole = value_is_integer(v) && (spec.type == 0 || strchr("dboxX", spec.type));
    if (whole && spec.precision < 0 && (spec.grouping != ',' || spec.type == 0 || spec.type == 'd')) {
        format_integer(r, b, v, &spec);
    } else if (!whole && spec.type && strchr("eEfFgG%", spec.type)) {
        format_float(r, b, v, &spec);
    } else if (v.type == V_FLOAT && spec.type == 0 && spec.precision < 0 && !spec.alternate) {
        format_float(r, b, v, &spec);
    } else {
        fail_spec(r, v, s);
    }
}

/* A replacement field's worth: value by a format specification ("", ".2f", ">10"). */
static value_t text_format_spec(render_t *r, value_t v, const string_t *spec) {
    if (spec->len == 0) return value_str(r, v);
    builder_t text = {0};
    if (v.type == V_UNDEFINED) undefined_fail(r, v);
    if (v.type == V_STRING) {
        format_as_text(r, &text, v, parse_spec(r, spec), spec);
    } else if (value_is_number(v)) {
        format_as_number(r, &text, v, parse_spec(r, spec), spec);
    } else {
        fail_spec(r, v, spec);
    }
    return build_end(r, &text);
}

/* ---- fields --------------------------------------------------------------------------------------------- */

/* The first of `ends` at byte `at` or behind; the length if there is none. */
static size_t until(const string_t *s, size_t at, const char *ends) {
    while (at < s->len && !(s->p[at] && strchr(ends, s->p[at]))) at++;
    return at;
}

static int64_t index_of(render_t *r, const string_t *s) {
    size_t at = 0;
    return read_digits(r, s, &at);
}

static value_t numbered(fields_t *f, int64_t i) {
    if ((uint64_t)i >= f->args->n) jinja_fail(f->r, "format: there is no value for place %lld", (long long)i);
    return f->args->v[i];
}

static value_t first_value(fields_t *f, const string_t *name, bool alone) {
    if (name->len == 0 && alone) {
        if (f->automatic < 0) fail_format(f->r, "some places are numbered and some are not");
        return numbered(f, f->automatic++);
    }
    if (text_all_digits(name)) {
        if (f->automatic > 0 && alone) fail_format(f->r, "some places are numbered and some are not");
        if (alone) f->automatic = -1;
        return numbered(f, index_of(f->r, name));
    }
    for (size_t i = 0; i < f->args->n_named; i++) {
        if (strcmp(f->args->names[i], name->p) == 0) return f->args->v[f->args->n + i];
    }
    jinja_fail(f->r, "format: there is no value named '%s'", name->p);
}

/* name.attribute[item]: as a template would look it up. */
static value_t field_value(fields_t *f, const string_t *field) {
    size_t end = until(field, 0, ".["), at = end;
    value_t v = first_value(f, string_slice(f->r, field, 0, end).s, end == field->len);
    while (at < field->len) {
        bool item = field->p[at++] == '[';
        size_t from = at;
        at = until(field, at, item ? "]" : ".[");
        const string_t *name = string_slice(f->r, field, from, at).s;
        if (name->len == 0) fail_format(f->r, "the name of an attribute or item is empty");
        if (item && at >= field->len) fail_format(f->r, "a '[' is not closed");
        if (item && ++at < field->len && field->p[at] != '.' && field->p[at] != '[') {
            fail_format(f->r, "behind ']' comes neither '.' nor '['");
        }
        value_t key = text_all_digits(name) ? value_int(index_of(f->r, name)) : (value_t){.type = V_STRING, .s = name};
        v = item ? value_item(f->r, v, key) : value_attribute(f->r, v, name->p);
    }
    return v;
}

static value_t format_all(fields_t *f, const string_t *form, int depth);

/* Where a field that begins at `from` ends: at ':', '!' or the '}' that closes it. */
static size_t field_end(const string_t *form, size_t from) {
    bool bracket = false;
    size_t at = from;
    for (; at < form->len; at++) {
        char c = form->p[at];
        if (c == '[') bracket = true;
        if (c == ']') bracket = false;
        if (!bracket && (c == ':' || c == '!' || c == '}' || c == '{')) break;
    }
    return at;
}

static size_t closing_brace(const string_t *form, size_t from) {
    int depth = 1;
    for (size_t at = from; at < form->len; at++) {
        depth += form->p[at] == '{' ? 1 : form->p[at] == '}' ? -1 : 0;
        if (depth == 0) return at;
    }
    return form->len;
}

static value_t converted(fields_t *f, value_t v, char conversion) {
    if (conversion == 's') return value_str(f->r, v);
    if (conversion == 'r') return value_repr(f->r, v);
    jinja_fail(f->r, "format: the conversion '!%c' is not supported", conversion);
}

/* A replacement field; `at` is behind its '{' and comes to be behind its '}'. */
static void write_field(fields_t *f, builder_t *text, const string_t *form, size_t *at, int depth) {
    size_t end = field_end(form, *at);
    value_t v = field_value(f, string_slice(f->r, form, *at, end).s);
    if (end < form->len && form->p[end] == '!') {
        if (end + 2 >= form->len) fail_format(f->r, "a '{' is not closed");
        v = converted(f, v, form->p[end + 1]);
        end += 2;
    }
    const string_t *spec = string_slice(f->r, form, 0, 0).s;
    if (end < form->len && form->p[end] == ':') {
        size_t from = end + 1;
        end = closing_brace(form, from);
        spec = format_all(f, string_slice(f->r, form, from, end).s, depth + 1).s;
    }
    if (end >= form->len || form->p[end] != '}') fail_format(f->r, "a '{' is not closed");
    value_t written = f->markup && v.markup && spec->len == 0 ? v : text_format_spec(f->r, v, spec);
    if (f->markup && v.markup && spec->len > 0) fail_format(f->r, "markup takes no specification");
    if (f->markup) written = text_escape(f->r, written);
    build_string(f->r, text, written.s, 0, written.s->len);
    *at = end + 1;
}

static value_t format_all(fields_t *f, const string_t *form, int depth) {
    builder_t text = {0};
    if (depth > 1) fail_format(f->r, "places are nested too deep");
    for (size_t at = 0; at < form->len;) {
        size_t brace = until(form, at, "{}");
        build_string(f->r, &text, form, at, brace);
        at = brace;
        if (at == form->len) break;
        jinja_steps(f->r, 1);
        if (at + 1 < form->len && form->p[at + 1] == form->p[at]) {
            build_string(f->r, &text, form, at, at + 1);
            at += 2;
        } else if (form->p[at++] == '}') {
            fail_format(f->r, "a single '}'; expected '}}'");
        } else {
            write_field(f, &text, form, &at, depth);
        }
    }
    return build_end(f->r, &text);
}

value_t text_format(render_t *r, value_t format, const call_args_t *args) {
    fields_t f = {.r = r, .args = args, .markup = format.markup};
    value_t text = format_all(&f, format.s, 0);
    text.markup = format.markup;
    return text;
}
