/* str() and repr(). Each part of a nested value keeps its origin; brackets, commas and colons between them have none. */
#include "data/jinja/library.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void build_text(render_t *r, builder_t *b, const char *s, jinja_origin_t origin) {
    build_bytes(r, b, s, strlen(s), origin);
}

/* ---- floats --------------------------------------------------------------------------------------------- */

/* The fewest digits that are read back as f, and the power of ten of the first. */
static int shortest_digits(double f, char digits[24]) {
    char text[40];
    for (int precision = 0; precision < 17; precision++) {
        snprintf(text, sizeof text, "%.*e", precision, f);
        if (strtod(text, NULL) == f) break;
    }
    size_t n = 0;
    const char *p = text;
    for (; *p != 'e'; p++) {
        if (*p != '.') digits[n++] = *p;
    }
    while (n > 1 && digits[n - 1] == '0') n--;
    digits[n] = '\0';
    return atoi(p + 1);
}

void float_text(double f, char text[FLOAT_TEXT]) {
    if (isnan(f) || isinf(f)) {
        snprintf(text, FLOAT_TEXT, "%s", isnan(f) ? "nan" : f < 0 ? "-inf" : "inf");
        return;
    }
    char digits[24];
    int exponent = shortest_digits(fabs(f), digits);
    int n = (int)strlen(digits);
    const char *sign = signbit(f) ? "-" : "";
    if (exponent < -4 || exponent >= 16) {
        snprintf(text, FLOAT_TEXT, "%s%c%s%se%c%02d", sign, digits[0], n > 1 ? "." : "", digits + 1,
                 exponent < 0 ? '-' : '+', abs(exponent));
    } else if (exponent < 0) {
        snprintf(text, FLOAT_TEXT, "%s0.%.*s%s", sign, -exponent - 1, "000", digits);
    } else if (n <= exponent + 1) {
        snprintf(text, FLOAT_TEXT, "%s%s%.*s.0", sign, digits, exponent + 1 - n, "0000000000000000");
    } else {
        snprintf(text, FLOAT_TEXT, "%s%.*s.%s", sign, exponent + 1, digits, digits + exponent + 1);
    }
}

/* ---- repr() --------------------------------------------------------------------------------------------- */

static void build_repr(render_t *r, builder_t *b, value_t v);

static void build_escape(render_t *r, builder_t *b, int32_t c, jinja_origin_t origin) {
    char text[16];
    const char *form = c < 0x100 ? "\\x%02x" : c < 0x10000 ? "\\u%04x" : "\\U%08x";
    snprintf(text, sizeof text, form, (unsigned)c);
    build_text(r, b, c == '\n' ? "\\n" : c == '\r' ? "\\r" : c == '\t' ? "\\t" : text, origin);
}

static void build_quoted(render_t *r, builder_t *b, const string_t *s) {
    bool single = memchr(s->p, '\'', s->len) != NULL, both = single && memchr(s->p, '"', s->len) != NULL;
    char quote = single && !both ? '"' : '\'';
    build_bytes(r, b, &quote, 1, s->len > 0 ? string_origin(s, 0) : s->origin);
    size_t n;
    for (size_t i = 0; i < s->len; i += n) {
        int32_t c = text_char(s->p, s->len, i, &n);
        if (c == '\\' || c == (int32_t)quote) build_bytes(r, b, "\\", 1, string_origin(s, i));
        if (char_printable(c)) {
            build_string(r, b, s, i, i + n);
        } else {
            build_escape(r, b, c, string_origin(s, i));
        }
    }
    build_bytes(r, b, &quote, 1, s->len > 0 ? string_origin(s, s->len - 1) : s->origin);
}

static void build_elements(render_t *r, builder_t *b, const list_t *list) {
    for (size_t i = 0; i < list->n; i++) {
        if (i > 0) build_text(r, b, ", ", 0);
        build_repr(r, b, list->v[i]);
    }
}

static void build_dict(render_t *r, builder_t *b, const dict_t *d) {
    build_text(r, b, "{", 0);
    for (size_t i = 0; i < d->n; i++) {
        if (i > 0) build_text(r, b, ", ", 0);
        build_repr(r, b, d->v[i].key);
        build_text(r, b, ": ", 0);
        build_repr(r, b, d->v[i].value);
    }
    build_text(r, b, "}", 0);
}

static void build_view(render_t *r, builder_t *b, value_t v) {
    const list_t *list = v.list;
    build_text(r, b, value_type_name(v), 0);
    if (list->kind == LIST_RANGE) {
        char text[80];
        int n = snprintf(text, sizeof text, "(%lld, %lld", (long long)list->start, (long long)list->stop);
        if (list->step != 1) snprintf(text + n, sizeof text - (size_t)n, ", %lld", (long long)list->step);
        build_text(r, b, text, 0);
        build_text(r, b, ")", 0);
        return;
    }
    build_text(r, b, "([", 0);
    build_elements(r, b, list);
    build_text(r, b, "])", 0);
}

static void build_number(render_t *r, builder_t *b, value_t v) {
    char text[FLOAT_TEXT];
    if (v.type == V_FLOAT) {
        float_text(v.f, text);
    } else {
        snprintf(text, sizeof text, "%lld", (long long)v.i);
    }
    build_text(r, b, text, v.origin);
}

static void build_repr(render_t *r, builder_t *b, value_t v) {
    value_enter(r);
    switch (v.type) {
    case V_UNDEFINED: build_text(r, b, "Undefined", 0); break;
    case V_NONE: build_text(r, b, "None", v.origin); break;
    case V_BOOL: build_text(r, b, v.b ? "True" : "False", v.origin); break;
    case V_INT:
    case V_FLOAT: build_number(r, b, v); break;
    case V_STRING:
        if (v.markup) build_text(r, b, "Markup(", 0);
        build_quoted(r, b, v.s);
        if (v.markup) build_text(r, b, ")", 0);
        break;
    case V_LIST:
    case V_TUPLE:
        build_text(r, b, v.type == V_LIST ? "[" : "(", 0);
        build_elements(r, b, v.list);
        build_text(r, b, v.type == V_LIST ? "]" : v.list->n == 1 ? ",)" : ")", 0);
        break;
    case V_DICT: build_dict(r, b, v.dict); break;
    case V_NAMESPACE:
        build_text(r, b, "<Namespace ", 0);
        build_dict(r, b, v.dict);
        build_text(r, b, ">", 0);
        break;
    case V_VIEW: build_view(r, b, v); break;
    case V_GENERATOR: jinja_fail(r, "a generator is written as text; put `|list` or `|join` behind it");
    case V_FUNCTION: jinja_fail(r, "the function '%s' is written as text; expected a call of it", v.fn->name);
    }
    value_leave(r);
}

value_t value_repr(render_t *r, value_t v) {
    builder_t b = {0};
    build_repr(r, &b, v);
    return build_end(r, &b);
}

/* ---- str() ---------------------------------------------------------------------------------------------- */

value_t value_plain(value_t string) {
    string.markup = false;
    return string;
}

value_t value_markup(value_t string) {
    string.markup = true;
    return string;
}

value_t value_str(render_t *r, value_t v) {
    if (v.type == V_STRING) return value_plain(v);
    if (v.type == V_UNDEFINED) return value_text(r, "", 0, 0);
    return value_repr(r, v);
}

value_t value_soft(render_t *r, value_t v) { return v.type == V_STRING ? v : value_str(r, v); }
