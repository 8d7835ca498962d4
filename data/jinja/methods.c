/* Methods of dicts, lists and tuples, and where those of texts are looked up. */
#include "data/jinja/methods.h"

#include <string.h>

#define METHOD(name) static value_t name(render_t *r, const function_t *fn, const call_args_t *args)

/* ---- dicts ---------------------------------------------------------------------------------------------- */

static value_t view_of(render_t *r, const function_t *fn, const call_args_t *args, list_kind_t kind) {
    args_check(r, args, 0, 0, NULL, fn->name);
    return dict_view(r, fn->self.dict, kind);
}

METHOD(dict_keys) { return view_of(r, fn, args, LIST_KEYS); }
METHOD(dict_values) { return view_of(r, fn, args, LIST_VALUES); }
METHOD(dict_items) { return view_of(r, fn, args, LIST_ITEMS); }

METHOD(dict_get_method) {
    args_check(r, args, 1, 2, NULL, fn->name);
    value_t found;
    check_hashable(r, args->v[0]);
    jinja_steps(r, fn->self.dict->n / 16);
    if (dict_get(fn->self.dict, args->v[0], &found)) return found;
    return args->n > 1 ? args->v[1] : value_none();
}

METHOD(dict_copy) {
    args_check(r, args, 0, 0, NULL, fn->name);
    const dict_t *d = fn->self.dict;
    value_t copy = value_dict(r, d->n);
    if (d->n > 0) memcpy(copy.dict->v, d->v, d->n * sizeof *d->v);
    copy.dict->n = d->n;
    copy.dict->element = d->element;
    return copy;
}

/* ---- lists and tuples ----------------------------------------------------------------------------------- */

METHOD(list_count) {
    args_check(r, args, 1, 1, NULL, fn->name);
    const list_t *list = fn->self.list;
    int64_t count = 0;
    for (size_t i = 0; i < list->n; i++) count += value_equal(r, list->v[i], args->v[0]);
    return value_int(count);
}

METHOD(list_index) {
    args_check(r, args, 1, 3, NULL, fn->name);
    const list_t *list = fn->self.list;
    size_t from, to;
    method_range(r, args, list->n, &from, &to);
    for (size_t i = from; i < to; i++) {
        if (value_equal(r, list->v[i], args->v[0])) return value_int((int64_t)i);
    }
    jinja_fail(r, "index: the %s does not have the value", value_type_name(fn->self));
}

METHOD(list_copy) {
    args_check(r, args, 0, 0, NULL, fn->name);
    return list_part(r, V_LIST, fn->self.list, 0, fn->self.list->n);
}

METHOD(float_is_integer) {
    args_check(r, args, 0, 0, NULL, fn->name);
    double f = fn->self.f;
    return value_bool(f - f == 0 && value_equal(r, value_binary(r, '%', fn->self, value_int(1)), value_int(0)));
}

/* ---- the lookup ----------------------------------------------------------------------------------------- */

static const method_row_t dict_methods[] = {{"keys", dict_keys},      {"values", dict_values}, {"items", dict_items},
                                            {"get", dict_get_method}, {"copy", dict_copy},     {NULL, NULL}};
static const method_row_t list_methods[] = {
    {"count", list_count}, {"index", list_index}, {"copy", list_copy}, {NULL, NULL}};
static const method_row_t tuple_methods[] = {{"count", list_count}, {"index", list_index}, {NULL, NULL}};
static const method_row_t float_methods[] = {{"is_integer", float_is_integer}, {NULL, NULL}};

/* What Python has besides and a template is told of, rather than that it is undefined. */
static const char *const dict_others[] = {"fromkeys", NULL};
static const char *const number_others[] = {
    "as_integer_ratio", "bit_count", "bit_length", "conjugate", "denominator", "from_bytes", "fromhex", "hex", "imag",
    "numerator",        "real",      "to_bytes",   NULL};
static const char *const range_others[] = {"count", "index", "start", "stop", "step", NULL};
static const char *const view_others[] = {"isdisjoint", "mapping", NULL};

static void refuse_others(render_t *r, value_t obj, const char *const *others, const char *name) {
    for (; others && *others; others++) {
        if (strcmp(*others, name) == 0) jinja_fail(r, "'%s' of a %s is not supported", name, value_type_name(obj));
    }
}

value_t jinja_method(render_t *r, value_t obj, const char *name) {
    const method_row_t *rows = NULL;
    const char *const *others = NULL;
    switch (obj.type) {
    case V_STRING:
        rows = text_methods;
        others = text_others;
        break;
    case V_DICT:
        rows = dict_methods;
        others = dict_others;
        break;
    case V_LIST: rows = list_methods; break;
    case V_TUPLE: rows = tuple_methods; break;
    case V_FLOAT:
        rows = float_methods;
        others = number_others;
        break;
    case V_INT:
    case V_BOOL: others = number_others; break;
    case V_VIEW: others = obj.list->kind == LIST_RANGE ? range_others : view_others; break;
    default: break;
    }
    for (; rows && rows->name; rows++) {
        if (strcmp(rows->name, name) != 0) continue;
        function_t *fn = jinja_alloc(r, sizeof *fn);
        *fn = (function_t){.name = rows->name, .call = rows->call, .self = obj};
        return (value_t){.type = V_FUNCTION, .fn = fn};
    }
    refuse_others(r, obj, others, name);
    return value_undefined(name);
}
