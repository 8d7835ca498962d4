#include "trainer/config/config_json_schema.h"

#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "trainer/config/config_json.h"
#include "trainer/config/config_schema.h"

static void put(json_t *object, const char *name, json_t *value) { json_object_set_new(object, name, value); }

/* {"type": name} */
static json_t *of_type(const char *name) {
    json_t *s = json_object();
    put(s, "type", json_string(name));
    return s;
}

/* Either of two schemas, which become part of the result. */
static json_t *either(json_t *a, json_t *b) {
    json_t *s = json_object(), *list = json_array();
    json_array_append_new(list, a);
    json_array_append_new(list, b);
    put(s, "anyOf", list);
    return s;
}

/* The words as YAML reads them: true, false and null are no strings. */
static json_t *one_of_words(const char *const *words) {
    json_t *s = json_object(), *list = json_array();
    for (size_t i = 0; words[i]; i++) {
        const char *expected;
        json_array_append_new(list, yaml_scalar_value(words[i], false, &expected));
    }
    put(s, "enum", list);
    return s;
}

static json_t *whole(const config_key_t *k) {
    json_t *s = of_type("integer");
    put(s, "minimum", json_integer((json_int_t)k->min));
    put(s, "maximum", json_integer((json_int_t)k->max));
    return s;
}

/* A bound without a fraction is written as the whole number that it is. */
static json_t *bound(double v) { return v == floor(v) ? json_integer((json_int_t)v) : json_real(v); }

static json_t *real(const config_key_t *k) {
    json_t *s = of_type("number");
    put(s, k->open & OPEN_MIN ? "exclusiveMinimum" : "minimum", bound(k->min));
    put(s, k->open & OPEN_MAX ? "exclusiveMaximum" : "maximum", bound(k->max));
    return s;
}

static json_t *text(void) {
    json_t *s = of_type("string");
    put(s, "minLength", json_integer(1));
    return s;
}

static json_t *matching(const char *pattern) {
    json_t *s = of_type("string");
    put(s, "pattern", json_string(pattern));
    return s;
}

static json_t *list_of(json_t *item, bool may_be_empty) {
    json_t *s = of_type("array");
    put(s, "items", item);
    if (!may_be_empty) put(s, "minItems", json_integer(1));
    return s;
}

/* A list of which this word is always one. */
static json_t *with_first(json_t *list, const char *word) {
    json_t *first = json_object();
    put(first, "const", json_string(word));
    put(list, "contains", first);
    return list;
}

static json_t *minus_one(void) {
    json_t *s = json_object();
    put(s, "const", json_integer(-1));
    return s;
}

static json_t *size_in_bytes(const config_key_t *k) {
    return either(whole(k), matching("^[+]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][-+]?[0-9]+)? *(B|KiB|MiB|GiB|TiB)$"));
}

static json_t *value_schema(const config_key_t *k) {
    static const char *const word_auto[] = {"auto", NULL};
    switch (k->kind) {
    case KEY_WHOLE:
    case KEY_SEED: return whole(k);
    case KEY_STEPS: return either(minus_one(), whole(k));
    case KEY_REAL: return real(k);
    case KEY_BOOL: return of_type("boolean");
    case KEY_CHOICE:
    case KEY_FLAG:
    case KEY_WORD: return one_of_words(k->words);
    case KEY_PATH: return text();
    case KEY_WORD_PATH:
    case KEY_NONE_PATH: return either(one_of_words(k->words), text());
    case KEY_TEMPLATE: return either(one_of_words(config_template_words()), text());
    case KEY_DATE: return either(of_type("null"), matching("^[0-9]{4}-[0-9]{2}-[0-9]{2}$"));
    case KEY_FILES: return either(text(), list_of(text(), false));
    case KEY_NAMES: return either(text(), list_of(text(), !k->words[0]));
    case KEY_INDICES: return either(one_of_words(k->words), either(whole(k), list_of(whole(k), false)));
    case KEY_ALSO: return with_first(list_of(one_of_words(k->words), false), k->words[0]);
    case KEY_JSON: return of_type("object");
    case KEY_AUTO_BYTES: return either(one_of_words(word_auto), size_in_bytes(k));
    case KEY_AUTO_WHOLE: break;
    }
    return either(one_of_words(word_auto), whole(k));
}

/* Of a key that has one. Only lists and mappings are no scalars; their defaults are empty, but for KEY_ALSO's. */
static json_t *default_value(const config_key_t *k) {
    const char *expected;
    if (k->kind == KEY_ALSO) return json_pack("[s]", k->words[0]);
    if (strcmp(k->default_text, "[]") == 0) return json_array();
    if (strcmp(k->default_text, "{}") == 0) return json_object();
    return yaml_scalar_value(k->default_text, false, &expected);
}

static json_t *key_schema(const config_key_t *k) {
    json_t *s = value_schema(k);
    put(s, "description", json_string(k->help));
    if (k->default_text) put(s, "default", default_value(k));
    return s;
}

/* A section may stand there without a key. */
static json_t *section_schema(const char *section) {
    json_t *s = json_object(), *keys = json_object();
    put(s, "type", json_pack("[ss]", "object", "null"));
    for (size_t i = 0; i < config_n_keys; i++)
        if (strcmp(config_keys[i].section, section) == 0) put(keys, config_keys[i].name, key_schema(&config_keys[i]));
    put(s, "properties", keys);
    put(s, "additionalProperties", json_false());
    return s;
}

json_t *config_json_schema(void) {
    json_t *s = of_type("object"), *sections = json_object();
    put(s, "$schema", json_string("http://json-schema.org/draft-07/schema#"));
    put(s, "title", json_string("A run of qlora-train"));
    for (size_t i = 0; i < config_n_sections; i++)
        put(sections, config_sections[i], section_schema(config_sections[i]));
    put(s, "properties", sections);
    put(s, "additionalProperties", json_false());
    return s;
}
