/* Attributes, items, slices and elements. */
#include "data/jinja/library.h"

#include <stdio.h>
#include <string.h>

/* ---- elements ------------------------------------------------------------------------------------------- */

value_t value_pair(render_t *r, value_t a, value_t b) {
    value_t pair = value_list(r, V_TUPLE, 2);
    pair.list->v[0] = a;
    pair.list->v[1] = b;
    return pair;
}

value_t list_part(render_t *r, value_type_t type, const list_t *list, size_t from, size_t to) {
    value_t part = value_list(r, type, to - from);
    if (to > from) memcpy(part.list->v, list->v + from, (to - from) * sizeof *part.list->v);
    return part;
}

value_t dict_view(render_t *r, const dict_t *d, list_kind_t kind) {
    value_t view = value_list(r, V_VIEW, d->n);
    view.list->kind = kind;
    for (size_t i = 0; i < d->n; i++) {
        const dict_item_t *item = &d->v[i];
        view.list->v[i] = kind == LIST_KEYS     ? item->key
                          : kind == LIST_VALUES ? item->value
                                                : value_pair(r, item->key, item->value);
    }
    return view;
}

/* ---- generators ----------------------------------------------------------------------------------------- */

struct deferred {
    make_elements_fn make;
    value_t v;
    call_args_t args;
};

value_t value_generator(render_t *r, make_elements_fn make, value_t v, const call_args_t *args) {
    list_t *list = jinja_alloc(r, sizeof *list);
    list->deferred = jinja_alloc(r, sizeof *list->deferred);
    *list->deferred = (struct deferred){make, v, *args};
    return (value_t){.type = V_GENERATOR, .list = list};
}

value_t generator_of(render_t *r, const list_t *elements) {
    list_t *list = jinja_alloc(r, sizeof *list);
    *list = (list_t){.v = elements->v, .n = elements->n};
    return (value_t){.type = V_GENERATOR, .list = list};
}

void generator_fill(render_t *r, list_t *generator) {
    const struct deferred *deferred = generator->deferred;
    if (!deferred) return;
    generator->deferred = NULL;
    value_enter(r);
    const list_t *elements = deferred->make(r, deferred->v, &deferred->args);
    value_leave(r);
    generator->v = elements->v;
    generator->n = elements->n;
}

/* ---- what can be gone through --------------------------------------------------------------------------- */

/* Those of markup are no markup. */
static list_t *characters(render_t *r, value_t v) {
    const string_t *s = v.s;
    value_t list = value_list(r, V_LIST, count_chars(r, s));
    size_t from = 0;
    for (size_t i = 0; i < list.list->n; i++) {
        size_t n;
        text_char(s->p, s->len, from, &n);
        list.list->v[i] = string_slice(r, s, from, from + n);
        from += n;
    }
    return list.list;
}

list_t *value_elements(render_t *r, value_t v) {
    list_t *list = NULL;
    switch (v.type) {
    case V_LIST:
    case V_TUPLE:
    case V_VIEW: list = v.list; break;
    case V_GENERATOR:
        generator_fill(r, v.list);
        list = list_part(r, V_LIST, v.list, v.list->at, v.list->n).list;
        v.list->at = v.list->n;
        break;
    case V_DICT: list = dict_view(r, v.dict, LIST_KEYS).list; break;
    case V_STRING: list = characters(r, v); break;
    case V_UNDEFINED: list = value_list(r, V_LIST, 0).list; break;
    default: jinja_fail(r, "a %s has no elements to go through", value_type_name(v));
    }
    jinja_steps(r, list->n / 4);
    return list;
}

size_t count_chars(render_t *r, const string_t *s) {
    if (!s->ascii) jinja_steps(r, s->len / 64);
    return string_chars(s);
}

bool value_has_length(render_t *r, value_t v, size_t *n) {
    switch (v.type) {
    case V_LIST:
    case V_TUPLE:
    case V_VIEW: *n = v.list->n; return true;
    case V_DICT: *n = v.dict->n; return true;
    case V_STRING: *n = count_chars(r, v.s); return true;
    case V_UNDEFINED: *n = 0; return true;
    case V_FUNCTION:
        if (v.fn->length) *n = v.fn->length(r, v.fn);
        return v.fn->length != NULL;
    default: return false;
    }
}

/* ---- attributes ----------------------------------------------------------------------------------------- */

/* What every object of Python has: found, and refused by the sandbox, before an item of that name is looked for. */
static bool is_python_attribute(value_t obj, const char *name) {
    static const char *const of_all[] = {
        "__class__",   "__delattr__", "__dir__",           "__doc__",         "__eq__",
        "__format__",  "__ge__",      "__getattribute__",  "__getstate__",    "__gt__",
        "__hash__",    "__init__",    "__init_subclass__", "__le__",          "__lt__",
        "__ne__",      "__new__",     "__reduce__",        "__reduce_ex__",   "__repr__",
        "__setattr__", "__sizeof__",  "__str__",           "__subclasshook__"};
    static const char *const of_containers[] = {"__contains__", "__getitem__", "__iter__", "__len__"};
    for (size_t i = 0; i < sizeof of_all / sizeof *of_all; i++) {
        if (strcmp(name, of_all[i]) == 0) return true;
    }
    bool container = obj.type == V_STRING || obj.type == V_LIST || obj.type == V_TUPLE || obj.type == V_DICT;
    for (size_t i = 0; container && i < sizeof of_containers / sizeof *of_containers; i++) {
        if (strcmp(name, of_containers[i]) == 0) return true;
    }
    return false;
}

/* What the sandbox gives for an attribute that it does not let a template have: undefined, with a reason. */
static value_t refused_attribute(render_t *r, value_t obj, const char *name) {
    const char *type = value_type_name(obj);
    const char *form = "the sandbox of templates refuses '%s' of a %s";
    size_t n = strlen(form) + strlen(name) + strlen(type) + 1;
    char *message = jinja_alloc(r, n);
    snprintf(message, n, form, name, type);
    return (value_t){.type = V_UNDEFINED, .hint = true, .name = message};
}

static bool is_mutator(value_t obj, const char *name) {
    static const char *const of_list[] = {"append", "clear",  "pop",    "reverse", "insert",
                                          "sort",   "extend", "remove", NULL};
    static const char *const of_dict[] = {"clear", "pop", "popitem", "setdefault", "update", NULL};
    if (obj.type != V_LIST && obj.type != V_DICT) return false;
    for (const char *const *known = obj.type == V_LIST ? of_list : of_dict; *known; known++) {
        if (strcmp(name, *known) == 0) return true;
    }
    return false;
}

/* An attribute in the sense of Python, not an item. */
static bool find_attribute(render_t *r, value_t obj, const char *name, value_t *value) {
    if (obj.type == V_NAMESPACE) {
        bool found = dict_get_text(obj.dict, name, value);
        if (found && name[0] == '_') *value = refused_attribute(r, obj, name);
        return found;
    }
    if (obj.type == V_TUPLE && obj.list->kind == LIST_GROUP) {
        bool grouper = strcmp(name, "grouper") == 0;
        if (grouper || strcmp(name, "list") == 0) {
            *value = obj.list->v[grouper ? 0 : 1];
            return true;
        }
    }
    if (is_mutator(obj, name) || is_python_attribute(obj, name)) {
        *value = refused_attribute(r, obj, name);
        return true;
    }
    *value = jinja_method(r, obj, name);
    return value->type != V_UNDEFINED;
}

/* Undefined, for an attribute or item that an object has not. */
static value_t missing(render_t *r, value_t obj, const char *name) {
    const char *type = value_type_name(obj);
    size_t n = strlen(name) + strlen(type) + 40;
    char *message = jinja_alloc(r, n);
    snprintf(message, n, "a %s has no '%s'", type, name);
    return (value_t){.type = V_UNDEFINED, .hint = true, .name = message};
}

value_t value_attribute(render_t *r, value_t obj, const char *name) {
    value_t value;
    if (obj.type == V_DICT) jinja_steps(r, obj.dict->n / 16);
    if (obj.type == V_UNDEFINED && is_python_attribute(obj, name)) return refused_attribute(r, obj, name);
    if (obj.type == V_UNDEFINED) undefined_fail(r, obj);
    if (find_attribute(r, obj, name, &value)) return value;
    if (obj.type == V_DICT && dict_get_text(obj.dict, name, &value)) return value;
    return missing(r, obj, name);
}

value_t value_python_attribute(render_t *r, value_t obj, const char *name) {
    value_t value;
    if (obj.type == V_UNDEFINED && !is_python_attribute(obj, name)) undefined_fail(r, obj);
    return find_attribute(r, obj, name, &value) ? value : missing(r, obj, name);
}

/* ---- items ---------------------------------------------------------------------------------------------- */

static bool is_indexed(value_t v) {
    return v.type == V_LIST || v.type == V_TUPLE || (v.type == V_VIEW && v.list->kind == LIST_RANGE);
}

/* Position of element `index`, counted from the end if negative; false: there is none. */
static bool position(int64_t index, size_t n, size_t *at) {
    if (index < 0) index += (int64_t)n;
    *at = (size_t)index;
    return index >= 0 && (uint64_t)index < n;
}

static bool find_item(render_t *r, value_t obj, value_t key, value_t *value) {
    size_t at;
    if (obj.type == V_DICT) {
        jinja_steps(r, obj.dict->n / 16 + (key.type == V_STRING ? key.s->len / 64 : 0));
        return value_hashable(r, key) && dict_get(obj.dict, key, value);
    }
    if (!value_is_integer(key)) return false;
    int64_t index = integer_of(key);
    if (is_indexed(obj)) {
        if (!position(index, obj.list->n, &at)) return false;
        *value = obj.list->v[at];
        return true;
    }
    if (obj.type != V_STRING || !position(index, count_chars(r, obj.s), &at)) return false;
    size_t from = string_byte(obj.s, at), n;
    text_char(obj.s->p, obj.s->len, from, &n);
    *value = string_slice(r, obj.s, from, from + n);
    value->markup = obj.markup;
    return true;
}

value_t value_item(render_t *r, value_t obj, value_t key) {
    if (obj.type == V_UNDEFINED) undefined_fail(r, obj);
    value_t value;
    if (find_item(r, obj, key, &value)) return value;
    if (key.type != V_STRING) return missing(r, obj, value_is_number(key) ? value_repr(r, key).s->p : "such element");
    if (find_attribute(r, obj, key.s->p, &value)) return value;
    return missing(r, obj, key.s->p);
}

/* ---- slices --------------------------------------------------------------------------------------------- */

typedef struct {
    int64_t start, stop, step;
    size_t n;
} slice_t;

static int64_t slice_bound(render_t *r, value_t bound, int64_t n, bool backwards, int64_t fallback) {
    if (bound.type == V_NONE) return fallback;
    int64_t i = value_integer(r, bound, "a bound of a slice");
    if (i < 0) i = i < -n ? -1 : i + n;
    if (i < 0) return backwards ? -1 : 0;
    return i < n ? i : backwards ? n - 1 : n;
}

static slice_t slice_of(render_t *r, size_t length, value_t start, value_t stop, value_t step) {
    int64_t n = (int64_t)length, by = step.type == V_NONE ? 1 : value_integer(r, step, "the step of a slice");
    int64_t given = by;
    if (by == 0) jinja_fail(r, "the step of a slice is 0");
    int64_t from = slice_bound(r, start, n, by < 0, by < 0 ? n - 1 : 0);
    int64_t to = slice_bound(r, stop, n, by < 0, by < 0 ? -1 : n);
    if (by < -n - 1) by = -n - 1; /* one element either way */
    if (by > n + 1) by = n + 1;
    int64_t count = by > 0 ? (to - from + by - 1) / by : (from - to - by - 1) / -by;
    return (slice_t){from, to, given, count > 0 ? (size_t)count : 0};
}

static value_t sliced_text(render_t *r, value_t v, slice_t slice) {
    value_t result;
    if (slice.step == 1) {
        size_t from = string_byte(v.s, (size_t)slice.start);
        size_t to = string_byte(v.s, (size_t)slice.start + slice.n);
        result = string_slice(r, v.s, from, slice.n > 0 ? to : from);
    } else {
        const list_t *all = characters(r, v);
        builder_t text = {0};
        for (size_t i = 0; i < slice.n; i++) {
            const string_t *c = all->v[slice.start + (int64_t)i * slice.step].s;
            build_string(r, &text, c, 0, c->len);
        }
        result = build_end(r, &text);
    }
    result.markup = v.markup;
    return result;
}

static _Noreturn void fail_range(render_t *r) { jinja_fail(r, "the bounds of a range have more than 64 bits"); }

/* What element i would be, also in front of the first and behind the last. */
static int64_t range_at(render_t *r, const list_t *range, int64_t i) {
    int64_t v;
    if (__builtin_mul_overflow(i, range->step, &v) || __builtin_add_overflow(range->start, v, &v)) fail_range(r);
    return v;
}

value_t value_sliced(render_t *r, value_t obj, value_t start, value_t stop, value_t step) {
    if (obj.type == V_UNDEFINED) undefined_fail(r, obj);
    if (obj.type == V_STRING) return sliced_text(r, obj, slice_of(r, count_chars(r, obj.s), start, stop, step));
    if (!is_indexed(obj)) jinja_fail(r, "a %s cannot be sliced", value_type_name(obj));
    slice_t slice = slice_of(r, obj.list->n, start, stop, step);
    value_t part = value_list(r, obj.type, slice.n);
    for (size_t i = 0; i < slice.n; i++) part.list->v[i] = obj.list->v[slice.start + (int64_t)i * slice.step];
    if (obj.type == V_VIEW) {
        part.list->kind = LIST_RANGE;
        part.list->start = range_at(r, obj.list, slice.start);
        part.list->stop = range_at(r, obj.list, slice.stop);
        if (__builtin_mul_overflow(obj.list->step, slice.step, &part.list->step)) fail_range(r);
    }
    return part;
}
