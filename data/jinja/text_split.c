/* Methods that cut a text into parts. */
#include "data/jinja/methods.h"

/* The parts found so far, as bytes of the text. */
typedef struct {
    render_t *r;
    const function_t *fn;
    list_t *list; /* has room for all */
    bool backwards;
} parts_t;

static void add_part(parts_t *parts, size_t from, size_t to) {
    value_t part = string_slice(parts->r, parts->fn->self.s, from, to);
    part.markup = parts->fn->self.markup;
    parts->list->v[parts->list->n++] = part;
}

static value_t parts_end(parts_t *parts) {
    list_t *list = parts->list;
    for (size_t i = 0; parts->backwards && i < list->n / 2; i++) {
        value_t swapped = list->v[i];
        list->v[i] = list->v[list->n - 1 - i];
        list->v[list->n - 1 - i] = swapped;
    }
    return (value_t){.type = V_LIST, .list = list};
}

static void split_at(parts_t *parts, const string_t *separator, int64_t times) {
    const string_t *s = parts->fn->self.s;
    size_t from = 0, at;
    for (; times != 0 && (at = text_find(parts->r, s, separator, from, s->len)) != NOT_FOUND; times--) {
        add_part(parts, from, at);
        from = at + separator->len;
    }
    add_part(parts, from, s->len);
}

static void rsplit_at(parts_t *parts, const string_t *separator, int64_t times) {
    const string_t *s = parts->fn->self.s;
    size_t to = s->len, at;
    for (; times != 0 && (at = text_rfind(parts->r, s, separator, 0, to)) != NOT_FOUND; times--) {
        add_part(parts, at + separator->len, to);
        to = at;
    }
    add_part(parts, 0, to);
}

static size_t skip(const string_t *s, size_t at, bool space) {
    size_t n;
    while (at < s->len && char_space(text_char(s->p, s->len, at, &n)) == space) at += n;
    return at;
}

static size_t skip_back(const string_t *s, size_t to, bool space) {
    while (to > 0) {
        size_t at = to - 1, n;
        while (at > 0 && ((unsigned char)s->p[at] & 0xc0) == 0x80) at--;
        if (char_space(text_char(s->p, s->len, at, &n)) != space) break;
        to = at;
    }
    return to;
}

static void split_at_space(parts_t *parts, int64_t times) {
    const string_t *s = parts->fn->self.s;
    for (size_t at = skip(s, 0, true); at < s->len; times--) {
        size_t end = times == 0 ? s->len : skip(s, at, false);
        add_part(parts, at, end);
        at = skip(s, end, true);
    }
}

static void rsplit_at_space(parts_t *parts, int64_t times) {
    const string_t *s = parts->fn->self.s;
    for (size_t to = skip_back(s, s->len, true); to > 0; times--) {
        size_t from = times == 0 ? 0 : skip_back(s, to, false);
        add_part(parts, from, to);
        to = skip_back(s, from, true);
    }
}

static size_t most_parts(render_t *r, const string_t *s, const string_t *separator) {
    if (separator) return text_count(r, s, separator, 0, s->len) + 1;
    size_t parts = 0;
    for (size_t at = skip(s, 0, true); at < s->len; at = skip(s, skip(s, at, false), true)) parts++;
    return parts;
}

static value_t split(render_t *r, const function_t *fn, const call_args_t *args, bool backwards) {
    static const char *const names[] = {"sep", "maxsplit", NULL};
    args_check(r, args, 0, 2, names, fn->name);
    const string_t *separator = NULL;
    if (arg_or(args, 0, "sep", value_none()).type != V_NONE) separator = arg_string(r, args, 0, "sep", fn->name);
    int64_t times = arg_integer(r, args, 1, "maxsplit", -1, fn->name);
    if (separator && separator->len == 0) jinja_fail(r, "%s: the separator is empty", fn->name);
    jinja_steps(r, fn->self.s->len / 16);
    parts_t parts = {r, fn, value_list(r, V_LIST, most_parts(r, fn->self.s, separator)).list, backwards};
    parts.list->n = 0;
    if (separator) {
        (backwards ? rsplit_at : split_at)(&parts, separator, times);
    } else {
        (backwards ? rsplit_at_space : split_at_space)(&parts, times);
    }
    return parts_end(&parts);
}

value_t text_split(render_t *r, const function_t *fn, const call_args_t *args) { return split(r, fn, args, false); }
value_t text_rsplit(render_t *r, const function_t *fn, const call_args_t *args) { return split(r, fn, args, true); }

value_t text_splitlines(render_t *r, const function_t *fn, const call_args_t *args) {
    static const char *const names[] = {"keepends", NULL};
    args_check(r, args, 0, 1, names, fn->name);
    list_t *lines = text_lines(r, fn->self.s, arg_truth(args, 0, "keepends", false));
    for (size_t i = 0; i < lines->n; i++) lines->v[i].markup = fn->self.markup;
    return (value_t){.type = V_LIST, .list = lines};
}

static value_t partition(render_t *r, const function_t *fn, const call_args_t *args, bool backwards) {
    args_check(r, args, 1, 1, NULL, fn->name);
    const string_t *s = fn->self.s, *separator = arg_string(r, args, 0, "sep", fn->name);
    if (separator->len == 0) jinja_fail(r, "%s: the separator is empty", fn->name);
    size_t at = (backwards ? text_rfind : text_find)(r, s, separator, 0, s->len), cut[4] = {0, s->len, s->len, s->len};
    if (at != NOT_FOUND) {
        cut[1] = at;
        cut[2] = at + separator->len;
    } else if (backwards) {
        cut[1] = cut[2] = 0;
    }
    value_t parts = value_list(r, V_TUPLE, 3);
    for (int i = 0; i < 3; i++) {
        parts.list->v[i] = string_slice(r, s, cut[i], cut[i + 1]);
        parts.list->v[i].markup = fn->self.markup;
    }
    if (at != NOT_FOUND) parts.list->v[1].markup |= args->v[0].markup; /* Python gives the argument itself */
    return parts;
}

value_t text_partition(render_t *r, const function_t *fn, const call_args_t *args) {
    return partition(r, fn, args, false);
}
value_t text_rpartition(render_t *r, const function_t *fn, const call_args_t *args) {
    return partition(r, fn, args, true);
}
