/* Filters that put elements in order, or find the first of an order. */
#include "data/jinja/filters.h"

#include <string.h>

/* ---- attributes ----------------------------------------------------------------------------------------- */

path_t path_of(render_t *r, value_t attribute) {
    path_t path = {0};
    if (attribute.type == V_NONE) return path;
    if (attribute.type != V_STRING) {
        path.parts = value_list(r, V_LIST, path.n = 1).list->v;
        path.parts[0] = attribute;
        return path;
    }
    const string_t *s = attribute.s, dot = {.p = ".", .len = 1};
    path.n = text_count(r, s, &dot, 0, s->len) + 1;
    path.parts = value_list(r, V_LIST, path.n).list->v;
    size_t from = 0;
    for (size_t i = 0; i < path.n; i++) {
        size_t to = text_find(r, s, &dot, from, s->len);
        if (to == NOT_FOUND) to = s->len;
        path.parts[i] = string_slice(r, s, from, to);
        int64_t index;
        if (text_all_digits(path.parts[i].s) && integer_of_text(r, path.parts[i].s, 10, &index)) {
            path.parts[i] = value_int(index);
        }
        from = to + 1;
    }
    return path;
}

static value_t lower_text(render_t *r, value_t v) {
    if (v.type != V_STRING) return v;
    value_t lower = text_case(r, v.s, CASE_LOWER);
    lower.markup = v.markup;
    return lower;
}

value_t path_get(render_t *r, const path_t *path, value_t element) {
    for (size_t i = 0; i < path->n; i++) {
        element = value_item(r, element, path->parts[i]);
        if (path->has_missing && element.type == V_UNDEFINED) element = path->missing;
    }
    return path->lower ? lower_text(r, element) : element;
}

/* ---- order ---------------------------------------------------------------------------------------------- */

typedef struct {
    render_t *r;
    const value_t *keys;
    bool reverse;
} order_t;

static bool comes_before(const order_t *o, size_t a, size_t b) {
    value_t x = o->keys[o->reverse ? b : a], y = o->keys[o->reverse ? a : b];
    jinja_steps(o->r, 1);
    return value_compare(o->r, x, y) < 0;
}

/* [from, middle) and [middle, to) of `order` are in order; `spare` has room for as many. */
static void merge(const order_t *o, size_t *order, size_t *spare, size_t from, size_t middle, size_t to) {
    size_t left = from, right = middle, n = 0;
    while (left < middle && right < to) {
        spare[n++] = comes_before(o, order[right], order[left]) ? order[right++] : order[left++];
    }
    while (left < middle) spare[n++] = order[left++];
    memcpy(order + from, spare, n * sizeof *order);
}

size_t *value_order(render_t *r, const list_t *keys, bool reverse) {
    order_t o = {r, keys->v, reverse};
    size_t n = keys->n;
    size_t *order = jinja_alloc(r, (n + 1) * sizeof *order), *spare = jinja_alloc(r, (n + 1) * sizeof *spare);
    for (size_t i = 0; i < n; i++) order[i] = i;
    for (size_t run = 1; run < n; run *= 2) {
        for (size_t from = 0; from + run < n; from += 2 * run) {
            size_t to = from + 2 * run < n ? from + 2 * run : n;
            merge(&o, order, spare, from, from + run, to);
        }
    }
    return order;
}

static value_t in_order(render_t *r, const list_t *elements, const list_t *keys, bool reverse) {
    const size_t *order = value_order(r, keys, reverse);
    value_t sorted = value_list(r, V_LIST, elements->n);
    for (size_t i = 0; i < elements->n; i++) sorted.list->v[i] = elements->v[order[i]];
    return sorted;
}

/* The keys of elements by one path. */
static list_t *keys_by(render_t *r, const list_t *elements, const path_t *path) {
    list_t *keys = value_list(r, V_LIST, elements->n).list;
    for (size_t i = 0; i < elements->n; i++) keys->v[i] = path_get(r, path, elements->v[i]);
    return keys;
}

/* ---- sort, dictsort ------------------------------------------------------------------------------------- */

/* "a,b.c" as paths. */
static path_t *paths_of(render_t *r, value_t attribute, bool lower, size_t *n) {
    string_t comma = {.p = ",", .len = 1};
    bool several = attribute.type == V_STRING;
    *n = several ? text_count(r, attribute.s, &comma, 0, attribute.s->len) + 1 : 1;
    path_t *paths = jinja_alloc(r, *n * sizeof *paths);
    size_t from = 0;
    for (size_t i = 0; i < *n; i++) {
        value_t part = attribute;
        if (several) {
            size_t to = text_find(r, attribute.s, &comma, from, attribute.s->len);
            if (to == NOT_FOUND) to = attribute.s->len;
            part = string_slice(r, attribute.s, from, to);
            from = to + 1;
        }
        paths[i] = path_of(r, part);
        paths[i].lower = lower;
    }
    return paths;
}

value_t filter_sort(render_t *r, value_t v, const call_args_t *args) {
    static const char *const names[] = {"reverse", "case_sensitive", "attribute", NULL};
    args_check(r, args, 0, 3, names, "sort");
    bool reverse = arg_truth(args, 0, "reverse", false);
    size_t n;
    const path_t *paths = paths_of(r, arg_or(args, 2, "attribute", value_none()),
                                   !arg_truth(args, 1, "case_sensitive", false), &n);
    const list_t *elements = value_elements(r, v);
    list_t *keys = value_list(r, V_LIST, elements->n).list;
    for (size_t i = 0; i < elements->n; i++) {
        keys->v[i] = value_list(r, V_LIST, n);
        for (size_t k = 0; k < n; k++) keys->v[i].list->v[k] = path_get(r, &paths[k], elements->v[i]);
    }
    return in_order(r, elements, keys, reverse);
}

value_t filter_dictsort(render_t *r, value_t v, const call_args_t *args) {
    static const char *const names[] = {"case_sensitive", "by", "reverse", NULL};
    args_check(r, args, 0, 3, names, "dictsort");
    value_t by = arg_or(args, 1, "by", value_text(r, "key", 3, 0));
    bool by_key = by.type == V_STRING && strcmp(by.s->p, "key") == 0;
    if (!by_key && !(by.type == V_STRING && strcmp(by.s->p, "value") == 0)) {
        jinja_fail(r, "dictsort: 'by' is neither \"key\" nor \"value\"");
    }
    if (v.type == V_UNDEFINED) undefined_fail(r, v);
    if (v.type != V_DICT) jinja_fail(r, "dictsort: a %s has no items; expected a dict", value_type_name(v));
    path_t self = {.lower = !arg_truth(args, 0, "case_sensitive", false)};
    const list_t *keys = keys_by(r, dict_view(r, v.dict, by_key ? LIST_KEYS : LIST_VALUES).list, &self);
    const list_t *items = dict_view(r, v.dict, LIST_ITEMS).list;
    return in_order(r, items, keys, arg_truth(args, 2, "reverse", false));
}

/* ---- unique, min, max, groupby -------------------------------------------------------------------------- */

static path_t element_path(render_t *r, const call_args_t *args) {
    path_t path = path_of(r, arg_or(args, 1, "attribute", value_none()));
    path.lower = !arg_truth(args, 0, "case_sensitive", false);
    return path;
}

static const char *const element_args[] = {"case_sensitive", "attribute", NULL};

static list_t *unique_elements(render_t *r, value_t v, const call_args_t *args) {
    path_t path = element_path(r, args);
    const list_t *elements = value_elements(r, v);
    list_t *kept = value_list(r, V_LIST, elements->n).list;
    dict_t *seen = value_dict(r, 0).dict;
    kept->n = 0;
    for (size_t i = 0; i < elements->n; i++) {
        value_t key = path_get(r, &path, elements->v[i]), other;
        check_hashable(r, key);
        jinja_steps(r, seen->n / 16);
        if (dict_get(seen, key, &other)) continue;
        dict_set(r, seen, key, value_none());
        kept->v[kept->n++] = elements->v[i];
    }
    return kept;
}

value_t filter_unique(render_t *r, value_t v, const call_args_t *args) {
    args_check(r, args, 0, 2, element_args, "unique");
    return value_generator(r, unique_elements, v, args);
}

static value_t extreme(render_t *r, value_t v, const call_args_t *args, int sign) {
    path_t path = element_path(r, args);
    const list_t *elements = value_elements(r, v);
    if (elements->n == 0) {
        return (value_t){.type = V_UNDEFINED, .hint = true, .name = "there is no smallest or largest of nothing"};
    }
    const list_t *keys = keys_by(r, elements, &path);
    size_t best = 0;
    for (size_t i = 1; i < keys->n; i++) {
        if (value_compare(r, keys->v[i], keys->v[best]) * sign > 0) best = i;
    }
    return elements->v[best];
}

value_t filter_min(render_t *r, value_t v, const call_args_t *args) {
    args_check(r, args, 0, 2, element_args, "min");
    return extreme(r, v, args, -1);
}

value_t filter_max(render_t *r, value_t v, const call_args_t *args) {
    args_check(r, args, 0, 2, element_args, "max");
    return extreme(r, v, args, 1);
}

value_t filter_groupby(render_t *r, value_t v, const call_args_t *args) {
    static const char *const names[] = {"attribute", "default", "case_sensitive", NULL};
    args_check(r, args, 0, 3, names, "groupby");
    path_t path = path_of(r, arg_required(r, args, 0, "attribute", "groupby"));
    path.missing = arg_or(args, 1, "default", value_none());
    path.has_missing = path.missing.type != V_NONE;
    path_t shown = path;
    path.lower = !arg_truth(args, 2, "case_sensitive", false);
    const list_t *elements = value_elements(r, v);
    const list_t *sorted = in_order(r, elements, keys_by(r, elements, &path), false).list;
    const list_t *keys = keys_by(r, sorted, &path);
    list_t *groups = value_list(r, V_LIST, sorted->n).list;
    size_t n = 0;
    for (size_t from = 0, to; from < sorted->n; from = to) {
        for (to = from + 1; to < sorted->n && value_equal(r, keys->v[from], keys->v[to]);) to++;
        value_t members = list_part(r, V_LIST, sorted, from, to);
        groups->v[n] = value_pair(r, path_get(r, &shown, sorted->v[from]), members);
        groups->v[n++].list->kind = LIST_GROUP;
    }
    groups->n = n;
    return (value_t){.type = V_LIST, .list = groups};
}
