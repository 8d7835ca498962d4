/* Filters on the elements of something. */
#include "data/jinja/filters.h"

#include <string.h>

static value_t no_element(const char *why) { return (value_t){.type = V_UNDEFINED, .hint = true, .name = why}; }

/* ---- map, select ---------------------------------------------------------------------------------------- */

/* The arguments behind the first `skip`, which are for the filter or test that is named. */
static call_args_t rest_of(const call_args_t *args, size_t skip) {
    call_args_t rest = *args;
    rest.v += skip;
    rest.n -= skip;
    return rest;
}

static const char *named(render_t *r, value_t name, const char *what) {
    if (name.type == V_UNDEFINED) undefined_fail(r, name);
    if (name.type != V_STRING) jinja_fail(r, "the name of a %s is a %s", what, value_type_name(name));
    return name.s->p;
}

static list_t *map_attribute(render_t *r, value_t v, const call_args_t *args) {
    static const char *const names[] = {"attribute", "default", NULL};
    args_check(r, args, 0, 0, names, "map");
    path_t path = path_of(r, arg_or(args, 0, "attribute", value_none()));
    path.missing = arg_or(args, 0, "default", value_none());
    path.has_missing = path.missing.type != V_NONE;
    const list_t *elements = value_elements(r, v);
    list_t *mapped = value_list(r, V_LIST, elements->n).list;
    for (size_t i = 0; i < elements->n; i++) mapped->v[i] = path_get(r, &path, elements->v[i]);
    return mapped;
}

static bool is_named(const call_args_t *args, const char *name) {
    for (size_t i = 0; i < args->n_named; i++) {
        if (strcmp(args->names[i], name) == 0) return true;
    }
    return false;
}

static list_t *map_elements(render_t *r, value_t v, const call_args_t *args) {
    if (!value_truth(v)) return value_list(r, V_LIST, 0).list;
    if (args->n == 0 && is_named(args, "attribute")) return map_attribute(r, v, args);
    if (args->n == 0) jinja_fail(r, "map: the name of a filter is missing");
    const list_t *elements = value_elements(r, v);
    list_t *mapped = value_list(r, V_LIST, elements->n).list;
    if (elements->n == 0) return mapped;
    const char *name = named(r, args->v[0], "filter");
    filter_fn filter = jinja_filter(name);
    if (!filter) jinja_fail(r, "map: there is no filter '%s'", name);
    call_args_t rest = rest_of(args, 1);
    for (size_t i = 0; i < elements->n; i++) mapped->v[i] = filter(r, elements->v[i], &rest);
    return mapped;
}

value_t filter_map(render_t *r, value_t v, const call_args_t *args) {
    return value_generator(r, map_elements, v, args);
}

/* The elements (by their attribute, if it is asked for) of which a test, or their truth, is `wanted`. */
static list_t *chosen(render_t *r, value_t v, const call_args_t *args, bool attribute, bool wanted) {
    if (!value_truth(v)) return value_list(r, V_LIST, 0).list;
    size_t skip = attribute ? 1 : 0;
    if (args->n < skip) jinja_fail(r, "the name of an attribute is missing");
    path_t path = attribute ? path_of(r, args->v[0]) : (path_t){0};
    const list_t *elements = value_elements(r, v);
    list_t *kept = value_list(r, V_LIST, elements->n).list;
    kept->n = 0;
    test_fn test = NULL;
    call_args_t rest = {0};
    if (args->n > skip && elements->n > 0) {
        const char *name = named(r, args->v[skip], "test");
        test = jinja_test(name);
        if (!test) jinja_fail(r, "there is no test '%s'", name);
        rest = rest_of(args, skip + 1);
    }
    for (size_t i = 0; i < elements->n; i++) {
        value_t key = path_get(r, &path, elements->v[i]);
        jinja_steps(r, 1);
        if ((test ? test(r, key, &rest) : value_truth(key)) == wanted) kept->v[kept->n++] = elements->v[i];
    }
    return kept;
}

#define SELECT(name, attribute, wanted) \
    static list_t *name##_elements(render_t *r, value_t v, const call_args_t *args) { \
        return chosen(r, v, args, attribute, wanted); \
    } \
    value_t filter_##name(render_t *r, value_t v, const call_args_t *args) { \
        return value_generator(r, name##_elements, v, args); \
    }
SELECT(select, false, true)
SELECT(reject, false, false)
SELECT(selectattr, true, true)
SELECT(rejectattr, true, false)

/* ---- batch, slice --------------------------------------------------------------------------------------- */

static list_t *batches(render_t *r, value_t v, const call_args_t *args) {
    value_t count = arg_required(r, args, 0, "linecount", "batch"), fill = arg_or(args, 1, "fill_with", value_none());
    int64_t size = value_integer(r, count, "the argument 'linecount' of batch");
    const list_t *elements = value_elements(r, v);
    list_t *lines = value_list(r, V_LIST, elements->n + 1).list;
    size_t n = 0, from = 0;
    if (size == 0 && elements->n > 0) lines->v[n++] = value_list(r, V_LIST, 0); /* as Jinja has it */
    while (from < elements->n) {
        size_t left = elements->n - from, take = size > 0 && (uint64_t)size < left ? (size_t)size : left;
        value_t line = list_part(r, V_LIST, elements, from, from + take);
        if (fill.type != V_NONE && size > 0 && take < (uint64_t)size) {
            value_t filled = value_list(r, V_LIST, (size_t)size);
            for (size_t i = 0; i < filled.list->n; i++) filled.list->v[i] = i < take ? line.list->v[i] : fill;
            line = filled;
        }
        lines->v[n++] = line;
        from += take;
    }
    lines->n = n;
    return lines;
}

value_t filter_batch(render_t *r, value_t v, const call_args_t *args) {
    static const char *const names[] = {"linecount", "fill_with", NULL};
    args_check(r, args, 0, 2, names, "batch");
    arg_required(r, args, 0, "linecount", "batch");
    return value_generator(r, batches, v, args);
}

static list_t *slices(render_t *r, value_t v, const call_args_t *args) {
    value_t count = arg_required(r, args, 0, "slices", "slice"), fill = arg_or(args, 1, "fill_with", value_none());
    const list_t *elements = value_elements(r, v);
    int64_t wanted = value_integer(r, count, "the argument 'slices' of slice");
    if (wanted == 0) jinja_fail(r, "slice: 0 slices");
    size_t n = wanted > 0 ? (size_t)wanted : 0, from = 0;
    list_t *lines = value_list(r, V_LIST, n).list;
    for (size_t i = 0; i < n; i++) {
        bool extra = i < elements->n % n;
        size_t take = elements->n / n + extra;
        bool filled = fill.type != V_NONE && !extra;
        lines->v[i] = value_list(r, V_LIST, take + filled);
        for (size_t k = 0; k < take; k++) lines->v[i].list->v[k] = elements->v[from + k];
        if (filled) lines->v[i].list->v[take] = fill;
        from += take;
    }
    return lines;
}

value_t filter_slice(render_t *r, value_t v, const call_args_t *args) {
    static const char *const names[] = {"slices", "fill_with", NULL};
    args_check(r, args, 0, 2, names, "slice");
    arg_required(r, args, 0, "slices", "slice");
    return value_generator(r, slices, v, args);
}

/* ---- ends, length, copies ------------------------------------------------------------------------------- */

value_t filter_first(render_t *r, value_t v, const call_args_t *args) {
    args_check(r, args, 0, 0, NULL, "first");
    if (v.type == V_GENERATOR) {
        generator_fill(r, v.list);
        return v.list->at < v.list->n ? v.list->v[v.list->at++] : no_element("there is no first element of nothing");
    }
    const list_t *elements = value_elements(r, v);
    return elements->n > 0 ? elements->v[0] : no_element("there is no first element of nothing");
}

value_t filter_last(render_t *r, value_t v, const call_args_t *args) {
    args_check(r, args, 0, 0, NULL, "last");
    if (v.type == V_GENERATOR) jinja_fail(r, "a generator has no last element; put `|list` before `|last`");
    const list_t *elements = value_elements(r, v);
    if (elements->n > 0 && v.markup) return value_markup(elements->v[elements->n - 1]); /* by its index, in Python */
    return elements->n > 0 ? elements->v[elements->n - 1] : no_element("there is no last element of nothing");
}

value_t filter_length(render_t *r, value_t v, const call_args_t *args) {
    args_check(r, args, 0, 0, NULL, "length");
    size_t n;
    if (v.type == V_GENERATOR) jinja_fail(r, "a generator has no length; put `|list` before `|length`");
    if (!value_has_length(r, v, &n)) jinja_fail(r, "a %s has no length", value_type_name(v));
    return value_int((int64_t)n);
}

value_t filter_list(render_t *r, value_t v, const call_args_t *args) {
    args_check(r, args, 0, 0, NULL, "list");
    const list_t *elements = value_elements(r, v);
    return list_part(r, V_LIST, elements, 0, elements->n);
}

static list_t *item_pairs(render_t *r, value_t v, const call_args_t *args) {
    (void)args;
    if (v.type == V_UNDEFINED) return value_list(r, V_LIST, 0).list;
    if (v.type != V_DICT) jinja_fail(r, "items: a %s has no items; expected a dict", value_type_name(v));
    return dict_view(r, v.dict, LIST_ITEMS).list;
}

value_t filter_items(render_t *r, value_t v, const call_args_t *args) {
    args_check(r, args, 0, 0, NULL, "items");
    return value_generator(r, item_pairs, v, args);
}

value_t filter_reverse(render_t *r, value_t v, const call_args_t *args) {
    args_check(r, args, 0, 0, NULL, "reverse");
    if (v.type == V_STRING) return value_sliced(r, v, value_none(), value_none(), value_int(-1));
    const list_t *elements = value_elements(r, v);
    value_t reversed = value_list(r, V_LIST, elements->n);
    for (size_t i = 0; i < elements->n; i++) reversed.list->v[i] = elements->v[elements->n - 1 - i];
    return v.type == V_GENERATOR ? reversed : generator_of(r, reversed.list);
}

/* ---- sum, join ------------------------------------------------------------------------------------------ */

value_t filter_sum(render_t *r, value_t v, const call_args_t *args) {
    static const char *const names[] = {"attribute", "start", NULL};
    args_check(r, args, 0, 2, names, "sum");
    path_t path = path_of(r, arg_or(args, 0, "attribute", value_none()));
    value_t sum = arg_or(args, 1, "start", value_int(0));
    const list_t *elements = value_elements(r, v);
    if (sum.type == V_STRING) jinja_fail(r, "sum: texts are not summed up; use join");
    for (size_t i = 0; i < elements->n; i++) sum = value_binary(r, '+', sum, path_get(r, &path, elements->v[i]));
    return sum;
}

value_t filter_join(render_t *r, value_t v, const call_args_t *args) {
    static const char *const names[] = {"d", "attribute", NULL};
    args_check(r, args, 0, 2, names, "join");
    value_t separator = value_str(r, arg_or(args, 0, "d", value_text(r, "", 0, 0)));
    path_t path = path_of(r, arg_or(args, 1, "attribute", value_none()));
    const list_t *elements = value_elements(r, v);
    list_t *strings = value_list(r, V_LIST, elements->n).list;
    for (size_t i = 0; i < elements->n; i++) strings->v[i] = value_str(r, path_get(r, &path, elements->v[i]));
    return text_join(r, separator.s, strings);
}
