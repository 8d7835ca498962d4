/* What every template finds besides its variables. */
#include "data/jinja/library.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define GLOBAL(name) static value_t name(render_t *r, const function_t *fn, const call_args_t *args)

static value_t function_value(render_t *r, const char *name,
                              value_t (*call)(render_t *, const function_t *, const call_args_t *), void *data) {
    function_t *fn = jinja_alloc(r, sizeof *fn);
    *fn = (function_t){.name = name, .call = call, .data = data};
    return (value_t){.type = V_FUNCTION, .fn = fn};
}

/* ---- range ---------------------------------------------------------------------------------------------- */

enum { MAX_RANGE = 100000 }; /* of Jinja's sandbox */

static value_t range_view(render_t *r, int64_t start, int64_t stop, int64_t step) {
    uint64_t span = step > 0 ? (start < stop ? (uint64_t)stop - (uint64_t)start : 0)
                             : (start > stop ? (uint64_t)start - (uint64_t)stop : 0);
    uint64_t stride = step > 0 ? (uint64_t)step : 0 - (uint64_t)step;
    uint64_t n = span / stride + (span % stride != 0);
    if (n > MAX_RANGE)
        jinja_fail(r, "range: %llu elements; the sandbox has at most %d", (unsigned long long)n, MAX_RANGE);
    value_t range = value_list(r, V_VIEW, (size_t)n);
    *range.list = (list_t){
        .v = range.list->v, .n = (size_t)n, .kind = LIST_RANGE, .start = start, .stop = stop, .step = step};
    for (size_t i = 0; i < n; i++) range.list->v[i] = value_int((int64_t)((uint64_t)start + i * (uint64_t)step));
    return range;
}

GLOBAL(global_range) {
    args_check(r, args, 1, 3, NULL, fn->name);
    int64_t v[3] = {0, 0, 1};
    for (size_t i = 0; i < args->n; i++) v[args->n == 1 ? 1 : i] = value_integer(r, args->v[i], "an argument of range");
    if (v[2] == 0) jinja_fail(r, "range: the step is 0");
    return range_view(r, v[0], v[1], v[2]);
}

/* ---- dict, namespace ------------------------------------------------------------------------------------ */

static void take_items(render_t *r, dict_t *d, value_t from) {
    if (from.type == V_UNDEFINED) undefined_fail(r, from);
    if (from.type == V_DICT) {
        for (size_t i = 0; i < from.dict->n; i++) dict_set(r, d, from.dict->v[i].key, from.dict->v[i].value);
        return;
    }
    const list_t *pairs = value_elements(r, from);
    for (size_t i = 0; i < pairs->n; i++) {
        const list_t *pair = value_elements(r, pairs->v[i]);
        if (pair->n != 2) jinja_fail(r, "dict: element %zu is no pair of a key and a value", i);
        dict_set(r, d, pair->v[0], pair->v[1]);
    }
}

static value_t dict_of_arguments(render_t *r, const function_t *fn, const call_args_t *args) {
    value_t dict = value_dict(r, args->n_named);
    if (args->n > 1) jinja_fail(r, "%s: %zu arguments; expected at most one and names", fn->name, args->n);
    if (args->n == 1) take_items(r, dict.dict, args->v[0]);
    for (size_t i = 0; i < args->n_named; i++) {
        const char *name = args->names[i];
        dict_set(r, dict.dict, value_text(r, name, strlen(name), 0), args->v[args->n + i]);
    }
    return dict;
}

GLOBAL(global_dict) { return dict_of_arguments(r, fn, args); }

GLOBAL(global_namespace) {
    value_t namespace = dict_of_arguments(r, fn, args);
    for (size_t i = 0; i < namespace.dict->n; i++) {
        value_t key = namespace.dict->v[i].key;
        if (key.type == V_STRING && key.s->p[0] == '_')
            jinja_fail(r, "namespace: the name '%s' begins with '_'", key.s->p);
    }
    namespace.type = V_NAMESPACE;
    return namespace;
}

/* ---- joiner, cycler ------------------------------------------------------------------------------------- */

typedef struct {
    value_t separator;
    bool used;
} joiner_t;

GLOBAL(joiner_next) {
    args_check(r, args, 0, 0, NULL, fn->name);
    joiner_t *joiner = fn->data;
    value_t text = joiner->used ? joiner->separator : value_text(r, "", 0, 0);
    joiner->used = true;
    return text;
}

GLOBAL(global_joiner) {
    static const char *const names[] = {"sep", NULL};
    args_check(r, args, 0, 1, names, fn->name);
    joiner_t *joiner = jinja_alloc(r, sizeof *joiner);
    joiner->separator = arg_or(args, 0, "sep", value_text(r, ", ", 2, 0));
    return function_value(r, "joiner", joiner_next, joiner);
}

typedef struct {
    list_t *items;
    size_t at;
    dict_t *attributes;
} cycler_t;

static void cycler_go(render_t *r, cycler_t *cycler, size_t at) {
    cycler->at = at;
    dict_set(r, cycler->attributes, value_text(r, "current", 7, 0), cycler->items->v[at]);
}

GLOBAL(cycler_next) {
    args_check(r, args, 0, 0, NULL, fn->name);
    cycler_t *cycler = fn->data;
    value_t item = cycler->items->v[cycler->at];
    cycler_go(r, cycler, (cycler->at + 1) % cycler->items->n);
    return item;
}

GLOBAL(cycler_reset) {
    args_check(r, args, 0, 0, NULL, fn->name);
    cycler_go(r, fn->data, 0);
    return value_none();
}

GLOBAL(global_cycler) {
    args_check(r, args, 0, SIZE_MAX, NULL, fn->name);
    if (args->n == 0) jinja_fail(r, "cycler: at least one item has to be given");
    value_t object = value_dict(r, 3), items = value_list(r, V_LIST, args->n);
    object.type = V_NAMESPACE;
    memcpy(items.list->v, args->v, args->n * sizeof *args->v);
    cycler_t *cycler = jinja_alloc(r, sizeof *cycler);
    *cycler = (cycler_t){items.list, 0, object.dict};
    cycler_go(r, cycler, 0);
    dict_set(r, object.dict, value_text(r, "next", 4, 0), function_value(r, "next", cycler_next, cycler));
    dict_set(r, object.dict, value_text(r, "reset", 5, 0), function_value(r, "reset", cycler_reset, cycler));
    return object;
}

/* ---- raise_exception, strftime_now ---------------------------------------------------------------------- */

GLOBAL(global_raise_exception) {
    static const char *const names[] = {"message", NULL};
    args_check(r, args, 0, 1, names, fn->name);
    const string_t *message = value_str(r, arg_required(r, args, 0, "message", fn->name)).s;
    jinja_fail(r, "the template refuses: %.600s", message->p);
}

/* Midnight of the date, no matter where. */
static struct tm date_time(const char *date) {
    static const int before_month[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
    int year = 1970, month = 1, day = 1;
    sscanf(date, "%d-%d-%d", &year, &month, &day);
    CHECK(month >= 1 && month <= 12);
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    struct tm tm = {.tm_year = year - 1900, .tm_mon = month - 1, .tm_mday = day};
    tm.tm_yday = before_month[month - 1] + day - 1 + (leap && month > 2);
    int y = year - 1, days = 365 * y + y / 4 - y / 100 + y / 400 + tm.tm_yday; /* since Monday, the 1st of January, 1 */
    tm.tm_wday = (days + 1) % 7;
    return tm;
}

/* A directive of strftime with its flag and letter, e.g. "%-d"; what Python makes of a time without a zone. */
static size_t write_directive(char *text, size_t cap, const char *directive, const struct tm *tm) {
    char letter = directive[strlen(directive) - 1];
    if (letter == 'f') return (size_t)snprintf(text, cap, "000000");
    if (letter == 'z' || letter == 'Z') return 0;
    return strftime(text, cap, directive, tm);
}

GLOBAL(global_strftime_now) {
    static const char *const names[] = {"format", NULL};
    args_check(r, args, 0, 1, names, fn->name);
    const string_t *format = arg_string(r, args, 0, "format", fn->name);
    struct tm tm = date_time(r->date);
    builder_t text = {0};
    for (size_t at = 0; at < format->len;) {
        if (format->p[at] != '%') {
            build_string(r, &text, format, at, at + 1);
            at++;
            continue;
        }
        char directive[4] = {0}, written[128];
        memcpy(directive, format->p + at, format->len - at < 3 ? format->len - at : 3);
        size_t n = directive[1] && strchr("-_0^#", directive[1]) ? 2 : 1;
        char letter = directive[n];
        if (!letter || !strchr("aAbBcCdDeFfgGhHIjklmMnpPrRStTuUVwWxXyYzZ%", letter)) {
            jinja_fail(r, "strftime_now: '%s' is not supported", directive);
        }
        directive[n + 1] = '\0';
        build_bytes(r, &text, written, write_directive(written, sizeof written, directive, &tm), 0);
        at += n + 1;
    }
    return build_end(r, &text);
}

/* ---- the table ------------------------------------------------------------------------------------------ */

static const struct {
    const char *name;
    value_t (*call)(render_t *r, const function_t *fn, const call_args_t *args);
} globals[] = {
    {"cycler", global_cycler},       {"dict", global_dict},   {"joiner", global_joiner},
    {"namespace", global_namespace}, {"range", global_range}, {"raise_exception", global_raise_exception},
};

bool jinja_global(render_t *r, const char *name, value_t *v) {
    if (strcmp(name, "strftime_now") == 0 && r->date) {
        *v = function_value(r, "strftime_now", global_strftime_now, NULL);
        return true;
    }
    if (strcmp(name, "lipsum") == 0) jinja_fail(r, "lipsum, Jinja's maker of random text, is not supported");
    for (size_t i = 0; i < sizeof globals / sizeof *globals; i++) {
        if (strcmp(globals[i].name, name) != 0) continue;
        *v = function_value(r, globals[i].name, globals[i].call, NULL);
        return true;
    }
    return false;
}
