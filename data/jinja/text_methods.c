/* Methods of texts. */
#include "data/jinja/methods.h"

#include <string.h>

#define METHOD(name) static value_t name(render_t *r, const function_t *fn, const call_args_t *args)

static value_t like_self(const function_t *fn, value_t v) {
    v.markup = fn->self.markup;
    return v;
}

static void no_arguments(render_t *r, const function_t *fn, const call_args_t *args) {
    args_check(r, args, 0, 0, NULL, fn->name);
}

/* A text argument that becomes part of the result: escaped if that is markup. */
static const string_t *written(render_t *r, const function_t *fn, value_t v) {
    if (fn->self.markup) return text_escape(r, v).s;
    if (v.type == V_UNDEFINED) undefined_fail(r, v);
    if (v.type != V_STRING) { jinja_fail(r, "%s: an argument is a %s; expected a str", fn->name, value_type_name(v)); }
    return v.s;
}

static const string_t *given_text(render_t *r, const function_t *fn, value_t v) {
    if (v.type == V_UNDEFINED) undefined_fail(r, v);
    if (v.type != V_STRING) jinja_fail(r, "%s: an argument is a %s; expected a str", fn->name, value_type_name(v));
    return v.s;
}

/* ---- case ----------------------------------------------------------------------------------------------- */

static value_t to_case(render_t *r, const function_t *fn, const call_args_t *args, case_t to) {
    no_arguments(r, fn, args);
    return like_self(fn, text_case(r, fn->self.s, to));
}

METHOD(text_upper) { return to_case(r, fn, args, CASE_UPPER); }
METHOD(text_lower) { return to_case(r, fn, args, CASE_LOWER); }
METHOD(text_title) { return to_case(r, fn, args, CASE_TITLE); }
METHOD(text_capitalize) { return to_case(r, fn, args, CASE_CAPITALIZE); }
METHOD(text_swapcase) { return to_case(r, fn, args, CASE_SWAP); }
METHOD(text_casefold) { return to_case(r, fn, args, CASE_FOLD); }

/* ---- ends ----------------------------------------------------------------------------------------------- */

static value_t strip_sides(render_t *r, const function_t *fn, const call_args_t *args, int sides) {
    args_check(r, args, 0, 1, NULL, fn->name);
    const string_t *chars = args->n == 0 || args->v[0].type == V_NONE ? NULL : given_text(r, fn, args->v[0]);
    return like_self(fn, text_strip(r, fn->self.s, chars, sides));
}

METHOD(text_strip_method) { return strip_sides(r, fn, args, 3); }
METHOD(text_lstrip) { return strip_sides(r, fn, args, 1); }
METHOD(text_rstrip) { return strip_sides(r, fn, args, 2); }

METHOD(text_removeprefix) {
    args_check(r, args, 1, 1, NULL, fn->name);
    const string_t *s = fn->self.s, *prefix = given_text(r, fn, args->v[0]);
    jinja_steps(r, prefix->len / 64);
    bool there = prefix->len <= s->len && memcmp(s->p, prefix->p, prefix->len) == 0;
    return like_self(fn, string_slice(r, s, there ? prefix->len : 0, s->len));
}

METHOD(text_removesuffix) {
    args_check(r, args, 1, 1, NULL, fn->name);
    const string_t *s = fn->self.s, *suffix = given_text(r, fn, args->v[0]);
    jinja_steps(r, suffix->len / 64);
    bool there = suffix->len <= s->len && memcmp(s->p + s->len - suffix->len, suffix->p, suffix->len) == 0;
    return like_self(fn, string_slice(r, s, 0, there ? s->len - suffix->len : s->len));
}

/* ---- search --------------------------------------------------------------------------------------------- */

static size_t range_bound(render_t *r, value_t v, size_t n) {
    int64_t i = value_integer(r, v, "a bound of a search");
    if (i < 0) i = i < -(int64_t)n ? 0 : i + (int64_t)n;
    return (uint64_t)i < n ? (size_t)i : n;
}

void method_range(render_t *r, const call_args_t *args, size_t n, size_t *from, size_t *to) {
    *from = args->n > 1 && args->v[1].type != V_NONE ? range_bound(r, args->v[1], n) : 0;
    *to = args->n > 2 && args->v[2].type != V_NONE ? range_bound(r, args->v[2], n) : n;
}

/* Whether the start that was asked for lies behind the text, where not even "" is found. */
static bool starts_behind(const call_args_t *args, size_t chars) {
    if (args->n < 2 || !value_is_integer(args->v[1])) return false;
    int64_t i = args->v[1].type == V_BOOL ? args->v[1].b : args->v[1].i;
    return i > 0 && (uint64_t)i > chars;
}

/* The bytes in which is searched; false: there are none, not even nothing. */
static bool search_range(render_t *r, const function_t *fn, const call_args_t *args, size_t *from, size_t *to) {
    const string_t *s = fn->self.s;
    size_t chars = count_chars(r, s);
    method_range(r, args, chars, from, to);
    bool any = *from <= *to && !starts_behind(args, chars);
    *from = string_byte(s, *from);
    *to = string_byte(s, *to);
    return any;
}

typedef size_t (*search_fn)(render_t *r, const string_t *s, const string_t *needle, size_t from, size_t to);

static value_t search_text(render_t *r, const function_t *fn, const call_args_t *args, search_fn search,
                           bool required) {
    args_check(r, args, 1, 3, NULL, fn->name);
    const string_t *s = fn->self.s, *needle = given_text(r, fn, args->v[0]);
    size_t from, to, at = NOT_FOUND;
    if (search_range(r, fn, args, &from, &to)) at = search(r, s, needle, from, to);
    if (at == NOT_FOUND) {
        if (required) jinja_fail(r, "%s: '%.60s' is not in the text", fn->name, needle->p);
        return value_int(-1);
    }
    string_t before = {.p = s->p, .len = at, .ascii = s->ascii};
    return value_int((int64_t)count_chars(r, &before));
}

METHOD(text_find_method) { return search_text(r, fn, args, text_find, false); }
METHOD(text_rfind_method) { return search_text(r, fn, args, text_rfind, false); }
METHOD(text_index) { return search_text(r, fn, args, text_find, true); }
METHOD(text_rindex) { return search_text(r, fn, args, text_rfind, true); }

METHOD(text_count_method) {
    args_check(r, args, 1, 3, NULL, fn->name);
    size_t from, to;
    const string_t *needle = given_text(r, fn, args->v[0]);
    bool any = search_range(r, fn, args, &from, &to);
    return value_int(any ? (int64_t)text_count(r, fn->self.s, needle, from, to) : 0);
}

static bool has_end(render_t *r, const string_t *s, const string_t *part, size_t from, size_t to, bool at_end) {
    jinja_steps(r, part->len / 64);
    if (part->len > to - from) return false;
    return memcmp(s->p + (at_end ? to - part->len : from), part->p, part->len) == 0;
}

static value_t check_end(render_t *r, const function_t *fn, const call_args_t *args, bool at_end) {
    args_check(r, args, 1, 3, NULL, fn->name);
    size_t from, to;
    bool any = search_range(r, fn, args, &from, &to), found = false;
    if (args->v[0].type != V_TUPLE) {
        const string_t *part = given_text(r, fn, args->v[0]);
        return value_bool(any && has_end(r, fn->self.s, part, from, to, at_end));
    }
    const list_t *parts = args->v[0].list;
    for (size_t i = 0; i < parts->n && !found; i++) {
        const string_t *part = given_text(r, fn, parts->v[i]);
        found = any && has_end(r, fn->self.s, part, from, to, at_end);
    }
    return value_bool(found);
}

METHOD(text_startswith) { return check_end(r, fn, args, false); }
METHOD(text_endswith) { return check_end(r, fn, args, true); }

/* ---- changes -------------------------------------------------------------------------------------------- */

METHOD(text_replace_method) {
    args_check(r, args, 2, 3, NULL, fn->name);
    int64_t count = args->n > 2 ? value_integer(r, args->v[2], "the count of replace") : -1;
    const string_t *old = given_text(r, fn, args->v[0]), *with = written(r, fn, args->v[1]);
    return like_self(fn, text_replace(r, fn->self.s, old, with, count));
}

METHOD(text_join_method) {
    args_check(r, args, 1, 1, NULL, fn->name);
    const list_t *elements = value_elements(r, args->v[0]);
    list_t *strings = value_list(r, V_LIST, elements->n).list;
    for (size_t i = 0; i < elements->n; i++) {
        value_t v = elements->v[i];
        if (!fn->self.markup && v.type != V_STRING) {
            jinja_fail(r, "join: element %zu is a %s; expected a str", i, value_type_name(v));
        }
        strings->v[i] = fn->self.markup ? text_escape(r, v) : v;
    }
    return like_self(fn, text_join(r, fn->self.s, strings));
}

static value_t pad_to(render_t *r, const function_t *fn, const call_args_t *args, char align) {
    args_check(r, args, 1, 2, NULL, fn->name);
    string_t space = {.p = " ", .len = 1, .ascii = true};
    const string_t *fill = args->n > 1 ? written(r, fn, args->v[1]) : &space;
    if (count_chars(r, fill) != 1) jinja_fail(r, "%s: what fills up is not one character", fn->name);
    return like_self(fn, text_pad(r, fn->self.s, value_integer(r, args->v[0], "a width"), fill, align));
}

METHOD(text_center) { return pad_to(r, fn, args, '^'); }
METHOD(text_ljust) { return pad_to(r, fn, args, '<'); }
METHOD(text_rjust) { return pad_to(r, fn, args, '>'); }

METHOD(text_zfill) {
    args_check(r, args, 1, 1, NULL, fn->name);
    const string_t *s = fn->self.s;
    string_t zero = {.p = "0", .len = 1, .ascii = true};
    int64_t width = value_integer(r, args->v[0], "a width");
    size_t sign = s->len > 0 && (s->p[0] == '+' || s->p[0] == '-') ? 1 : 0;
    value_t padded = text_pad(r, string_slice(r, s, sign, s->len).s, width > 0 ? width - (int64_t)sign : width, &zero,
                              '>');
    builder_t text = {0};
    build_string(r, &text, s, 0, sign);
    build_string(r, &text, padded.s, 0, padded.s->len);
    return like_self(fn, build_end(r, &text));
}

METHOD(text_expandtabs) {
    static const char *const names[] = {"tabsize", NULL};
    args_check(r, args, 0, 1, names, fn->name);
    int64_t size = arg_integer(r, args, 0, "tabsize", 8, fn->name), column = 0;
    if (size > 1000) jinja_fail(r, "expandtabs: tabs of %lld columns", (long long)size);
    const string_t *s = fn->self.s;
    builder_t text = {0};
    for (size_t i = 0; i < s->len; i++) {
        char c = s->p[i];
        int64_t spaces = c == '\t' && size > 0 ? size - column % size : 0;
        for (int64_t k = 0; k < spaces; k++) build_bytes(r, &text, " ", 1, string_origin(s, i));
        if (c != '\t') build_string(r, &text, s, i, i + 1);
        column = c == '\n' || c == '\r' ? 0 : column + spaces + (c != '\t' && ((unsigned char)c & 0xc0) != 0x80);
    }
    return like_self(fn, build_end(r, &text));
}

METHOD(text_format_method) { return text_format(r, fn->self, args); }

/* ---- the table ------------------------------------------------------------------------------------------ */

#define KIND(name) \
    METHOD(text_method_##name) { \
        no_arguments(r, fn, args); \
        jinja_steps(r, fn->self.s->len / 4); \
        return value_bool(text_##name(fn->self.s)); \
    }
KIND(is_alnum)
KIND(is_alpha)
KIND(is_ascii)
KIND(is_decimal)
KIND(is_digit)
KIND(is_lower)
KIND(is_numeric)
KIND(is_printable)
KIND(is_space)
KIND(is_title)
KIND(is_upper)

const method_row_t text_methods[] = {
    {"capitalize", text_capitalize},
    {"casefold", text_casefold},
    {"center", text_center},
    {"count", text_count_method},
    {"endswith", text_endswith},
    {"expandtabs", text_expandtabs},
    {"find", text_find_method},
    {"format", text_format_method},
    {"index", text_index},
    {"isalnum", text_method_is_alnum},
    {"isalpha", text_method_is_alpha},
    {"isascii", text_method_is_ascii},
    {"isdecimal", text_method_is_decimal},
    {"isdigit", text_method_is_digit},
    {"islower", text_method_is_lower},
    {"isnumeric", text_method_is_numeric},
    {"isprintable", text_method_is_printable},
    {"isspace", text_method_is_space},
    {"istitle", text_method_is_title},
    {"isupper", text_method_is_upper},
    {"join", text_join_method},
    {"ljust", text_ljust},
    {"lower", text_lower},
    {"lstrip", text_lstrip},
    {"partition", text_partition},
    {"removeprefix", text_removeprefix},
    {"removesuffix", text_removesuffix},
    {"replace", text_replace_method},
    {"rfind", text_rfind_method},
    {"rindex", text_rindex},
    {"rjust", text_rjust},
    {"rpartition", text_rpartition},
    {"rsplit", text_rsplit},
    {"rstrip", text_rstrip},
    {"split", text_split},
    {"splitlines", text_splitlines},
    {"startswith", text_startswith},
    {"strip", text_strip_method},
    {"swapcase", text_swapcase},
    {"title", text_title},
    {"upper", text_upper},
    {"zfill", text_zfill},
    {NULL, NULL},
};
const char *const text_others[] = {"encode", "format_map", "isidentifier", "maketrans", "translate", NULL};
