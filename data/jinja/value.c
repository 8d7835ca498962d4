/* Values and strings are made here; what Python does with them is in value_ops.c and its neighbours. */
#include "data/jinja/library.h"

#include <string.h>

value_t value_undefined(const char *name) { return (value_t){.type = V_UNDEFINED, .name = name}; }
value_t value_none(void) { return (value_t){.type = V_NONE}; }
value_t value_bool(bool b) { return (value_t){.type = V_BOOL, .b = b}; }
value_t value_int(int64_t i) { return (value_t){.type = V_INT, .i = i}; }
value_t value_float(double f) { return (value_t){.type = V_FLOAT, .f = f}; }

/* ---- strings -------------------------------------------------------------------------------------------- */

static bool is_ascii(const char *s, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if ((unsigned char)s[i] >= 0x80) return false;
    }
    return true;
}

static value_t string_value(render_t *r, string_t s) {
    string_t *made = jinja_alloc(r, sizeof *made);
    s.ascii = is_ascii(s.p, s.len);
    *made = s;
    return (value_t){.type = V_STRING, .s = made};
}

value_t value_text(render_t *r, const char *s, size_t n, jinja_origin_t origin) {
    char *p = jinja_alloc(r, n + 1);
    if (n > 0) memcpy(p, s, n);
    return string_value(r, (string_t){.p = p, .len = n, .origin = origin});
}

jinja_origin_t string_origin(const string_t *s, size_t byte) { return s->origins ? s->origins[byte] : s->origin; }

value_t string_slice(render_t *r, const string_t *s, size_t from, size_t to) {
    if (from == 0 && to == s->len) return (value_t){.type = V_STRING, .s = s};
    value_t v = value_text(r, s->p + from, to - from, s->origin);
    if (s->origins && to > from) {
        jinja_origin_t *origins = jinja_alloc(r, (to - from) * sizeof *origins);
        memcpy(origins, s->origins + from, (to - from) * sizeof *origins);
        string_t *made = jinja_alloc(r, sizeof *made);
        *made = *v.s;
        made->origins = origins;
        v.s = made;
    }
    return v;
}

static bool begins_character(char c) { return ((unsigned char)c & 0xc0) != 0x80; }

size_t string_chars(const string_t *s) {
    if (s->ascii) return s->len;
    size_t n = 0;
    for (size_t i = 0; i < s->len; i++) n += begins_character(s->p[i]);
    return n;
}

size_t string_byte(const string_t *s, size_t character) {
    if (s->ascii) return character < s->len ? character : s->len;
    size_t n = 0;
    for (size_t i = 0; i < s->len; i++) {
        if (begins_character(s->p[i]) && n++ == character) return i;
    }
    return s->len;
}

/* ---- strings under construction ------------------------------------------------------------------------- */

static void build_reserve(render_t *r, builder_t *b, size_t n) {
    if (n < b->cap - b->len) return; /* one byte more for the NUL */
    size_t cap = b->cap * 2 > b->len + n + 1 ? b->cap * 2 : b->len + n + 1;
    char *p = jinja_alloc(r, cap);
    if (b->len > 0) memcpy(p, b->p, b->len);
    if (b->origins) {
        jinja_origin_t *origins = jinja_alloc(r, cap * sizeof *origins);
        memcpy(origins, b->origins, b->len * sizeof *origins);
        b->origins = origins;
    }
    b->p = p;
    b->cap = cap;
}

/* From here on each byte has an origin of its own. */
static void build_mix(render_t *r, builder_t *b) {
    if (b->origins) return;
    b->origins = jinja_alloc(r, b->cap * sizeof *b->origins);
    for (size_t i = 0; i < b->len; i++) b->origins[i] = b->origin;
}

void build_bytes(render_t *r, builder_t *b, const char *s, size_t n, jinja_origin_t origin) {
    if (n == 0) return;
    build_reserve(r, b, n);
    if (b->len == 0 && !b->origins) b->origin = origin;
    if (b->origin != origin) build_mix(r, b);
    memcpy(b->p + b->len, s, n);
    if (b->origins) {
        for (size_t i = 0; i < n; i++) b->origins[b->len + i] = origin;
    }
    b->len += n;
}

void build_string(render_t *r, builder_t *b, const string_t *s, size_t from, size_t to) {
    if (!s->origins) {
        build_bytes(r, b, s->p + from, to - from, s->origin);
        return;
    }
    while (from < to) {
        size_t end = from + 1;
        while (end < to && s->origins[end] == s->origins[from]) end++;
        build_bytes(r, b, s->p + from, end - from, s->origins[from]);
        from = end;
    }
}

value_t build_end(render_t *r, builder_t *b) {
    build_reserve(r, b, 0);
    b->p[b->len] = '\0';
    return string_value(r, (string_t){.p = b->p, .len = b->len, .origin = b->origin, .origins = b->origins});
}

/* What can be added to, at its end: `s` as it is, if nothing was added to it, or a copy. */
static builder_t *grow(render_t *r, const string_t *s) {
    if (s->grown && s->grown->len == s->len) return s->grown;
    builder_t *b = jinja_alloc(r, sizeof *b);
    build_string(r, b, s, 0, s->len);
    return b;
}

value_t string_add(render_t *r, const string_t *a, const string_t *b) {
    builder_t short_one = {0}, *text = &short_one;
    bool grows = a->len >= TEXT_GROWS;
    if (grows) text = grow(r, a);
    else build_string(r, text, a, 0, a->len);
    build_string(r, text, b, 0, b->len);
    build_reserve(r, text, 0);
    text->p[text->len] = '\0';
    string_t *made = jinja_alloc(r, sizeof *made);
    *made = (string_t){.p = text->p,
                       .len = text->len,
                       .ascii = a->ascii && is_ascii(b->p, b->len),
                       .origin = text->origin,
                       .origins = text->origins,
                       .grown = grows ? text : NULL};
    return (value_t){.type = V_STRING, .s = made};
}

/* ---- lists and dicts ------------------------------------------------------------------------------------ */

value_t value_list(render_t *r, value_type_t type, size_t n) {
    list_t *list = jinja_alloc(r, sizeof *list);
    if (n > JINJA_MAX_MEMORY / sizeof *list->v) jinja_fail(r, "a list of %zu elements is too long", n);
    list->v = jinja_alloc(r, n * sizeof *list->v);
    list->n = n;
    return (value_t){.type = type, .list = list};
}

value_t value_dict(render_t *r, size_t cap) {
    dict_t *d = jinja_alloc(r, sizeof *d);
    d->element = -1;
    if (cap > 0) d->v = jinja_alloc(r, cap * sizeof *d->v);
    d->cap = cap;
    return (value_t){.type = V_DICT, .dict = d};
}

static void dict_append(render_t *r, dict_t *d, value_t key, value_t value) {
    if (d->n == d->cap) {
        size_t cap = d->cap ? 2 * d->cap : 8;
        dict_item_t *v = jinja_alloc(r, cap * sizeof *v);
        if (d->n > 0) memcpy(v, d->v, d->n * sizeof *v);
        d->v = v;
        d->cap = cap;
    }
    d->v[d->n++] = (dict_item_t){key, value};
}

/* Keys nest as deep as this, so comparing them needs no bound of its own. */
enum { KEY_DEPTH = 16 };

static void check_key(render_t *r, value_t key, int depth) {
    bool set = key.type == V_VIEW && (key.list->kind == LIST_KEYS || key.list->kind == LIST_ITEMS);
    if (key.type == V_LIST || key.type == V_DICT || set) jinja_fail(r, "a %s cannot be a key", value_type_name(key));
    if (key.type != V_TUPLE) return;
    if (depth == KEY_DEPTH) jinja_fail(r, "a key is nested too deep");
    for (size_t i = 0; i < key.list->n; i++) check_key(r, key.list->v[i], depth + 1);
}

static bool keys_equal(value_t a, value_t b) {
    if (value_is_number(a) && value_is_number(b)) return numbers_equal(a, b);
    if (a.type != b.type) return false;
    switch (a.type) {
    case V_STRING: return a.s == b.s || (a.s->len == b.s->len && memcmp(a.s->p, b.s->p, a.s->len) == 0);
    case V_TUPLE:
        if (a.list->n != b.list->n) return false;
        for (size_t i = 0; i < a.list->n; i++) {
            if (!keys_equal(a.list->v[i], b.list->v[i])) return false;
        }
        return true;
    case V_NAMESPACE: return a.dict == b.dict;
    case V_FUNCTION: return a.fn == b.fn;
    case V_VIEW:
    case V_GENERATOR: return a.list == b.list;
    default: return true; /* undefined, None */
    }
}

static value_t *dict_find(const dict_t *d, value_t key) {
    for (size_t i = 0; i < d->n; i++) {
        if (keys_equal(d->v[i].key, key)) return &d->v[i].value;
    }
    return NULL;
}

void dict_set(render_t *r, dict_t *d, value_t key, value_t value) {
    check_key(r, key, 0);
    jinja_steps(r, d->n / 16 + (key.type == V_STRING ? key.s->len / 64 : 0));
    value_t *found = dict_find(d, key);
    if (found) {
        *found = value;
    } else {
        dict_append(r, d, key, value);
    }
}

bool dict_get(const dict_t *d, value_t key, value_t *value) {
    const value_t *found = dict_find(d, key);
    if (found) *value = *found;
    return found != NULL;
}

bool dict_get_text(const dict_t *d, const char *key, value_t *value) {
    string_t text = {.p = key, .len = strlen(key)};
    return dict_get(d, (value_t){.type = V_STRING, .s = &text}, value);
}

/* ---- JSON ----------------------------------------------------------------------------------------------- */

static value_t from_json(render_t *r, const json_t *json, jinja_origin_t origin);

static value_t list_from_json(render_t *r, const json_t *json, jinja_origin_t origin) {
    value_t list = value_list(r, V_LIST, json_array_size(json));
    for (size_t i = 0; i < list.list->n; i++) list.list->v[i] = from_json(r, json_array_get(json, i), origin);
    return list;
}

static value_t dict_from_json(render_t *r, const json_t *json, jinja_origin_t origin) {
    value_t dict = value_dict(r, json_object_size(json));
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)json, key, value) {
        dict_append(r, dict.dict, value_text(r, key, strlen(key), origin), from_json(r, value, origin));
    }
    return dict;
}

static value_t from_json(render_t *r, const json_t *json, jinja_origin_t origin) {
    value_t v = value_none();
    if (++r->depth > JINJA_MAX_DEPTH) jinja_fail(r, "a value is nested too deep");
    switch (json_typeof(json)) {
    case JSON_OBJECT: v = dict_from_json(r, json, origin); break;
    case JSON_ARRAY: v = list_from_json(r, json, origin); break;
    case JSON_STRING: v = value_text(r, json_string_value(json), json_string_length(json), origin); break;
    case JSON_INTEGER: v = value_int(json_integer_value(json)); break;
    case JSON_REAL: v = value_float(json_real_value(json)); break;
    case JSON_TRUE:
    case JSON_FALSE: v = value_bool(json_is_true(json)); break;
    case JSON_NULL: break;
    }
    r->depth--;
    v.origin = origin;
    return v;
}

/* Element `item` of the traced list: what stands under its key i has the origin (item, i). */
static value_t element_from_json(render_t *r, const json_t *json, size_t item) {
    if (!json_is_object(json)) return from_json(r, json, jinja_origin(item, 0));
    value_t dict = value_dict(r, json_object_size(json));
    dict.dict->element = (int32_t)item;
    const char *key;
    json_t *value;
    size_t i = 0;
    json_object_foreach((json_t *)json, key, value) {
        jinja_origin_t origin = jinja_origin(item, i++);
        dict_append(r, dict.dict, value_text(r, key, strlen(key), origin), from_json(r, value, origin));
    }
    return dict;
}

value_t value_of_json(render_t *r, const json_t *json, bool traced, size_t items) {
    if (!traced || !json_is_array(json)) return from_json(r, json, 0);
    size_t n = json_array_size(json) < items ? json_array_size(json) : items;
    if (n > JINJA_MAX_ITEMS) jinja_fail(r, "%zu elements are too many to be traced", n);
    value_t list = value_list(r, V_LIST, n);
    for (size_t k = 0; k < n; k++) list.list->v[k] = element_from_json(r, json_array_get(json, k), k);
    return list;
}
