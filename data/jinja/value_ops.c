/* Truth, equality, order and membership, as Python has them. */
#include "data/jinja/library.h"

#include <math.h>
#include <string.h>

void undefined_fail(render_t *r, value_t v) {
    if (v.hint) jinja_fail(r, "%s", v.name);
    if (!v.name) jinja_fail(r, "an undefined value is used");
    jinja_fail(r, "'%s' is undefined", v.name);
}

void value_enter(render_t *r) {
    if (++r->depth > JINJA_MAX_DEPTH) jinja_fail(r, "a value is nested too deep");
}

bool value_is_integer(value_t v) { return v.type == V_INT || v.type == V_BOOL; }
bool value_is_number(value_t v) { return value_is_integer(v) || v.type == V_FLOAT; }

double value_double(value_t v) { return v.type == V_FLOAT ? v.f : (double)integer_of(v); }

int64_t value_integer(render_t *r, value_t v, const char *what) {
    if (v.type == V_UNDEFINED) undefined_fail(r, v);
    if (!value_is_integer(v)) jinja_fail(r, "%s is a %s; expected an int", what, value_type_name(v));
    return integer_of(v);
}

const char *value_type_name(value_t v) {
    switch (v.type) {
    case V_UNDEFINED: return "Undefined";
    case V_NONE: return "NoneType";
    case V_BOOL: return "bool";
    case V_INT: return "int";
    case V_FLOAT: return "float";
    case V_STRING: return v.markup ? "Markup" : "str";
    case V_LIST: return "list";
    case V_TUPLE: return "tuple";
    case V_DICT: return "dict";
    case V_VIEW:
        return v.list->kind == LIST_RANGE    ? "range"
               : v.list->kind == LIST_KEYS   ? "dict_keys"
               : v.list->kind == LIST_VALUES ? "dict_values"
                                             : "dict_items";
    case V_GENERATOR: return "generator";
    case V_NAMESPACE: return "Namespace";
    case V_FUNCTION: return "function";
    }
    return "object";
}

bool value_truth(value_t v) {
    switch (v.type) {
    case V_UNDEFINED:
    case V_NONE: return false;
    case V_BOOL: return v.b;
    case V_INT: return v.i != 0;
    case V_FLOAT: return v.f != 0;
    case V_STRING: return v.s->len > 0;
    case V_LIST:
    case V_TUPLE:
    case V_VIEW: return v.list->n > 0;
    case V_DICT: return v.dict->n > 0;
    case V_GENERATOR:
    case V_NAMESPACE:
    case V_FUNCTION: return true;
    }
    return true;
}

bool value_same(value_t a, value_t b) {
    if (a.type != b.type) return false;
    switch (a.type) {
    case V_NONE: return true;
    case V_BOOL: return a.b == b.b;
    case V_INT: return a.i == b.i && a.i >= -5 && a.i <= 256; /* which Python keeps one of each */
    case V_FLOAT: return false;
    case V_STRING: return a.s == b.s;
    case V_LIST:
    case V_TUPLE:
    case V_VIEW:
    case V_GENERATOR: return a.list == b.list;
    case V_DICT:
    case V_NAMESPACE: return a.dict == b.dict;
    case V_FUNCTION: return a.fn == b.fn;
    case V_UNDEFINED: return false;
    }
    return false;
}

static bool all_hashable(render_t *r, const list_t *list) {
    for (size_t i = 0; i < list->n; i++) {
        if (!value_hashable(r, list->v[i])) return false;
    }
    return true;
}

bool value_hashable(render_t *r, value_t v) {
    if (v.type == V_LIST || v.type == V_DICT) return false;
    if (v.type == V_VIEW) return v.list->kind == LIST_RANGE || v.list->kind == LIST_VALUES;
    if (v.type != V_TUPLE) return true;
    value_enter(r);
    bool hashable = all_hashable(r, v.list);
    value_leave(r);
    return hashable;
}

void check_hashable(render_t *r, value_t v) {
    if (!value_hashable(r, v)) jinja_fail(r, "a %s cannot be looked up (unhashable)", value_type_name(v));
}

/* ---- equality ------------------------------------------------------------------------------------------- */

static int compare_doubles(double a, double b) { return a < b ? -1 : a > b ? 1 : 0; }
static int compare_integers(int64_t a, int64_t b) { return a < b ? -1 : a > b ? 1 : 0; }

/* Exactly: an int has more digits than a double. f is not NaN. */
static int compare_integer_double(int64_t i, double f) {
    if (f >= 0x1p63) return -1;
    if (f < -0x1p63) return 1;
    int64_t whole = (int64_t)f;
    if (i != whole) return compare_integers(i, whole);
    return compare_doubles(0, f - (double)whole);
}

static int compare_numbers(value_t a, value_t b) {
    if (a.type == V_FLOAT && b.type == V_FLOAT) return compare_doubles(a.f, b.f);
    if (a.type == V_FLOAT) return -compare_integer_double(integer_of(b), a.f);
    if (b.type == V_FLOAT) return compare_integer_double(integer_of(a), b.f);
    return compare_integers(integer_of(a), integer_of(b));
}

static bool is_nan(value_t v) { return v.type == V_FLOAT && isnan(v.f); }

bool numbers_equal(value_t a, value_t b) { return !is_nan(a) && !is_nan(b) && compare_numbers(a, b) == 0; }

static bool lists_equal(render_t *r, const list_t *a, const list_t *b) {
    if (a == b) return true;
    if (a->n != b->n) return false;
    for (size_t i = 0; i < a->n; i++) {
        if (!value_equal(r, a->v[i], b->v[i])) return false;
    }
    return true;
}

static bool dicts_equal(render_t *r, const dict_t *a, const dict_t *b) {
    if (a == b) return true;
    if (a->n != b->n) return false;
    for (size_t i = 0; i < a->n; i++) {
        value_t other;
        jinja_steps(r, 1 + b->n / 16);
        if (!dict_get(b, a->v[i].key, &other) || !value_equal(r, a->v[i].value, other)) return false;
    }
    return true;
}

/* dict_keys and dict_items are sets. */
static bool views_equal(render_t *r, const list_t *a, const list_t *b) {
    if (a == b) return true;
    bool sets = (a->kind == LIST_KEYS || a->kind == LIST_ITEMS) && (b->kind == LIST_KEYS || b->kind == LIST_ITEMS);
    if (!sets) return a->kind == LIST_RANGE && b->kind == LIST_RANGE && lists_equal(r, a, b);
    if (a->n != b->n) return false;
    for (size_t i = 0; i < a->n; i++) {
        bool found = false;
        for (size_t j = 0; j < b->n && !found; j++) found = value_equal(r, a->v[i], b->v[j]);
        if (!found) return false;
    }
    return true;
}

static bool strings_equal(const string_t *a, const string_t *b) {
    return a == b || (a->len == b->len && memcmp(a->p, b->p, a->len) == 0);
}

static bool same_type_equal(render_t *r, value_t a, value_t b) {
    switch (a.type) {
    case V_UNDEFINED:
    case V_NONE: return true;
    case V_STRING: return strings_equal(a.s, b.s);
    case V_LIST:
    case V_TUPLE: return lists_equal(r, a.list, b.list);
    case V_VIEW: return views_equal(r, a.list, b.list);
    case V_DICT: return dicts_equal(r, a.dict, b.dict);
    default: return value_same(a, b);
    }
}

bool value_equal(render_t *r, value_t a, value_t b) {
    jinja_steps(r, 1);
    if (value_is_number(a) && value_is_number(b)) return numbers_equal(a, b);
    if (a.type != b.type) return false;
    if (a.type == V_STRING) jinja_steps(r, a.s->len / 64);
    value_enter(r);
    bool equal = same_type_equal(r, a, b);
    value_leave(r);
    return equal;
}

/* ---- order ---------------------------------------------------------------------------------------------- */

static int compare_strings(render_t *r, const string_t *a, const string_t *b) {
    size_t n = a->len < b->len ? a->len : b->len;
    jinja_steps(r, n / 64);
    int order = n > 0 ? memcmp(a->p, b->p, n) : 0; /* UTF-8 sorts as its code points do */
    return order ? order : compare_integers((int64_t)a->len, (int64_t)b->len);
}

static int compare_lists(render_t *r, const list_t *a, const list_t *b) {
    for (size_t i = 0; i < a->n && i < b->n; i++) {
        if (!value_equal(r, a->v[i], b->v[i])) return value_compare(r, a->v[i], b->v[i]);
    }
    return compare_integers((int64_t)a->n, (int64_t)b->n);
}

int value_compare(render_t *r, value_t a, value_t b) {
    if (a.type == V_UNDEFINED) undefined_fail(r, a);
    if (b.type == V_UNDEFINED) undefined_fail(r, b);
    if (value_is_number(a) && value_is_number(b)) {
        if (is_nan(a) || is_nan(b)) jinja_fail(r, "NaN is neither smaller nor larger than a number");
        return compare_numbers(a, b);
    }
    if (a.type == V_STRING && b.type == V_STRING) return compare_strings(r, a.s, b.s);
    if (a.type == V_VIEW && b.type == V_VIEW && a.list->kind != LIST_RANGE && b.list->kind != LIST_RANGE) {
        jinja_fail(r, "which of two sets is in the other is not supported");
    }
    if ((a.type != V_LIST && a.type != V_TUPLE) || a.type != b.type) {
        jinja_fail(r, "a %s and a %s cannot be compared by size", value_type_name(a), value_type_name(b));
    }
    value_enter(r);
    int order = compare_lists(r, a.list, b.list);
    value_leave(r);
    return order;
}

/* ---- membership ----------------------------------------------------------------------------------------- */

static bool text_contains(render_t *r, value_t container, value_t item) {
    if (item.type != V_STRING) {
        jinja_fail(r, "'in' looks for a %s in a text; expected a text", value_type_name(item));
    }
    return text_find(r, container.s, item.s, 0, container.s->len) != NOT_FOUND;
}

/* A generator is used up as far as the search goes. */
static bool generator_contains(render_t *r, list_t *list, value_t item) {
    generator_fill(r, list);
    while (list->at < list->n) {
        if (value_equal(r, list->v[list->at++], item)) return true;
    }
    return false;
}

bool value_contains(render_t *r, value_t container, value_t item) {
    if (container.type == V_STRING) return text_contains(r, container, item);
    if (container.type == V_GENERATOR) return generator_contains(r, container.list, item);
    if (container.type == V_DICT || (container.type == V_VIEW && container.list->kind == LIST_KEYS)) {
        check_hashable(r, item);
    }
    if (container.type == V_DICT) {
        value_t value;
        jinja_steps(r, container.dict->n / 16);
        return dict_get(container.dict, item, &value);
    }
    const list_t *list = value_elements(r, container);
    for (size_t i = 0; i < list->n; i++) {
        if (value_equal(r, list->v[i], item)) return true;
    }
    return false;
}
