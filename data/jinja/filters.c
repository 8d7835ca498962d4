/* The table of filters. */
#include "data/jinja/filters.h"

#include <string.h>

static value_t filter_default(render_t *r, value_t v, const call_args_t *args) {
    static const char *const names[] = {"default_value", "boolean", NULL};
    args_check(r, args, 0, 2, names, "default");
    bool replaced = v.type == V_UNDEFINED || (arg_truth(args, 1, "boolean", false) && !value_truth(v));
    return replaced ? arg_or(args, 0, "default_value", value_text(r, "", 0, 0)) : v;
}

static value_t filter_attr(render_t *r, value_t v, const call_args_t *args) {
    static const char *const names[] = {"name", NULL};
    args_check(r, args, 0, 1, names, "attr");
    const string_t *name = arg_string(r, args, 0, "name", "attr");
    return value_python_attribute(r, v, name->p);
}

#define ROW(name) \
    { #name, filter_##name }
static const struct {
    const char *name;
    filter_fn fn;
} filters[] = {
    ROW(abs),
    ROW(attr),
    ROW(batch),
    ROW(capitalize),
    ROW(center),
    {"count", filter_length},
    {"d", filter_default},
    ROW(default),
    ROW(dictsort),
    {"e", filter_escape},
    ROW(escape),
    ROW(first),
    ROW(float),
    ROW(forceescape),
    ROW(format),
    ROW(groupby),
    ROW(indent),
    ROW(int),
    ROW(items),
    ROW(join),
    ROW(last),
    ROW(length),
    ROW(list),
    ROW(lower),
    ROW(map),
    ROW(max),
    ROW(min),
    ROW(reject),
    ROW(rejectattr),
    ROW(replace),
    ROW(reverse),
    ROW(round),
    ROW(safe),
    ROW(select),
    ROW(selectattr),
    ROW(slice),
    ROW(sort),
    ROW(string),
    ROW(sum),
    ROW(title),
    ROW(tojson),
    ROW(trim),
    ROW(truncate),
    ROW(unique),
    ROW(upper),
    ROW(urlencode),
    ROW(wordcount),
};

filter_fn jinja_filter(const char *name) {
    for (size_t i = 0; i < sizeof filters / sizeof *filters; i++) {
        if (strcmp(filters[i].name, name) == 0) return filters[i].fn;
    }
    return NULL;
}

bool jinja_lacks_filter(const char *name) {
    static const char *const left_out[] = {"filesizeformat", "pprint",   "random", "striptags",
                                           "urlize",         "wordwrap", "xmlattr"};
    for (size_t i = 0; i < sizeof left_out / sizeof *left_out; i++) {
        if (strcmp(left_out[i], name) == 0) return true;
    }
    return false;
}
