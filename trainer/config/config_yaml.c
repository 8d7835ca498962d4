#include "trainer/config/config_yaml.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "trainer/config/config_json.h"
#include "trainer/config/config_yaml_reader.h"

/* Reads on to the end of the collection whose start event was just read. The time that libyaml takes is quadratic in the
 * depth of brackets: no deeper ones are read than where their values count. */
static int skip_collection(yaml_reader_t *r) {
    for (size_t depth = 1; depth > 0;) {
        yaml_event_t e;
        if (yaml_next_event(r, &e)) return r->err->code;
        place_t at = yaml_place_of(r, &e.start_mark);
        if (e.type == YAML_SEQUENCE_START_EVENT || e.type == YAML_MAPPING_START_EVENT) depth++;
        if (e.type == YAML_SEQUENCE_END_EVENT || e.type == YAML_MAPPING_END_EVENT) depth--;
        yaml_event_delete(&e);
        if (depth > YAML_MAX_DEPTH) return yaml_syntax_error(r, &at, "nested too deep; expected at most 64 levels", "");
    }
    return 0;
}

static bool is_plain(const yaml_event_t *e) { return e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE; }

/* Appends to entry->items what event `e` starts; a nested collection is read to its end and only noted. */
static int read_item(yaml_reader_t *r, const yaml_event_t *e, yaml_entry_t *entry) {
    yaml_item_t item = {.at = yaml_place_of(r, &e->start_mark)};
    if (e->type == YAML_SCALAR_EVENT) {
        item.quoted = !is_plain(e);
        if (yaml_scalar_text(r, e, &item.text)) return r->err->code;
    } else {
        item.kind = e->type == YAML_MAPPING_START_EVENT ? YAML_ITEM_MAPPING : YAML_ITEM_LIST;
        item.text = xstrdup("");
        if (skip_collection(r)) {
            free(item.text);
            return r->err->code;
        }
    }
    entry->items = xrealloc_array(entry->items, entry->n_items + 1, sizeof *entry->items);
    entry->items[entry->n_items++] = item;
    return 0;
}

/* ---- mappings as values ---- */

static int value_error(const yaml_reader_t *r, const yaml_entry_t *entry, const yaml_event_t *e, const char *problem) {
    place_t at = yaml_place_of(r, &e->start_mark);
    return place_error(&at, r->err, "%s.%s: %s", entry->section, entry->key, problem);
}

static int read_tree(yaml_reader_t *r, const yaml_event_t *e, const yaml_entry_t *entry, size_t depth, json_t **out);

static int read_tree_scalar(yaml_reader_t *r, const yaml_event_t *e, const yaml_entry_t *entry, json_t **out) {
    char *text;
    const char *expected = "text in UTF-8";
    if (yaml_scalar_text(r, e, &text)) return r->err->code;
    *out = yaml_scalar_value(text, !is_plain(e), &expected);
    if (!*out) {
        char problem[160];
        snprintf(problem, sizeof problem, "got \"%.60s\"; expected %s", text, expected);
        value_error(r, entry, e, problem);
    }
    free(text);
    return *out ? 0 : r->err->code;
}

static int read_tree_list(yaml_reader_t *r, const yaml_entry_t *entry, size_t depth, json_t *list) {
    for (;;) {
        yaml_event_t e;
        if (yaml_next_event(r, &e)) return r->err->code;
        bool end = e.type == YAML_SEQUENCE_END_EVENT;
        json_t *item = NULL;
        int rc = end ? 0 : read_tree(r, &e, entry, depth, &item);
        if (item) json_array_append_new(list, item);
        yaml_event_delete(&e);
        if (rc || end) return rc;
    }
}

/* The member of a mapping whose key event `e` is. */
static int read_tree_member(yaml_reader_t *r, const yaml_event_t *e, const yaml_entry_t *entry, size_t depth,
                            json_t *mapping) {
    char *name;
    if (e->type != YAML_SCALAR_EVENT) return value_error(r, entry, e, "a key that is no name; expected a name");
    if (yaml_scalar_text(r, e, &name)) return r->err->code;
    yaml_event_t value;
    json_t *v = NULL;
    if (json_object_get(mapping, name)) {
        char problem[128];
        snprintf(problem, sizeof problem, "the key \"%.60s\" is there twice; expected once", name);
        value_error(r, entry, e, problem);
    } else if (yaml_next_event(r, &value) == 0) {
        if (read_tree(r, &value, entry, depth, &v) == 0) json_object_set_new(mapping, name, v);
        yaml_event_delete(&value);
    }
    free(name);
    return v ? 0 : r->err->code;
}

static int read_tree_mapping(yaml_reader_t *r, const yaml_entry_t *entry, size_t depth, json_t *mapping) {
    for (;;) {
        yaml_event_t e;
        if (yaml_next_event(r, &e)) return r->err->code;
        bool end = e.type == YAML_MAPPING_END_EVENT;
        int rc = end ? 0 : read_tree_member(r, &e, entry, depth, mapping);
        yaml_event_delete(&e);
        if (rc || end) return rc;
    }
}

/* The value that event `e` starts, whatever it is; the caller's. */
static int read_tree(yaml_reader_t *r, const yaml_event_t *e, const yaml_entry_t *entry, size_t depth, json_t **out) {
    *out = NULL;
    if (e->type == YAML_SCALAR_EVENT) return read_tree_scalar(r, e, entry, out);
    if (depth == YAML_MAX_DEPTH) return value_error(r, entry, e, "nested too deep; expected at most 64 levels");
    bool mapping = e->type == YAML_MAPPING_START_EVENT;
    json_t *v = mapping ? json_object() : json_array();
    int rc = mapping ? read_tree_mapping(r, entry, depth + 1, v) : read_tree_list(r, entry, depth + 1, v);
    if (rc) json_decref(v);
    else *out = v;
    return rc;
}

/* The value that event `e` starts: a scalar, a list of items, or a mapping. */
static int read_value(yaml_reader_t *r, const yaml_event_t *e, yaml_entry_t *entry) {
    entry->value_at = yaml_place_of(r, &e->start_mark);
    if (e->type == YAML_SCALAR_EVENT) return read_item(r, e, entry);
    if (e->type == YAML_MAPPING_START_EVENT) {
        entry->kind = YAML_ITEM_MAPPING;
        return read_tree(r, e, entry, 0, &entry->mapping);
    }
    entry->kind = YAML_ITEM_LIST;
    for (;;) {
        yaml_event_t item;
        if (yaml_next_event(r, &item)) return r->err->code;
        bool end = item.type == YAML_SEQUENCE_END_EVENT;
        int rc = end ? 0 : read_item(r, &item, entry);
        yaml_event_delete(&item);
        if (rc || end) return rc;
    }
}

static yaml_entry_t *add_entry(yaml_doc_t *doc, const char *section, place_t section_at) {
    VEC_GROW(doc->entries, doc->n, doc->cap);
    yaml_entry_t *entry = &doc->entries[doc->n++];
    *entry = (yaml_entry_t){.section = xstrdup(section), .section_at = section_at};
    return entry;
}

/* A key of a mapping, or *name = NULL at its end. */
static int read_name(yaml_reader_t *r, char **name, place_t *at) {
    yaml_event_t e;
    *name = NULL;
    if (yaml_next_event(r, &e)) return r->err->code;
    int rc = 0;
    *at = yaml_place_of(r, &e.start_mark);
    if (e.type == YAML_SCALAR_EVENT) rc = yaml_scalar_text(r, &e, name);
    else if (e.type != YAML_MAPPING_END_EVENT)
        rc = yaml_syntax_error(r, at, "a key that is no name; expected a name", "");
    yaml_event_delete(&e);
    return rc;
}

/* One `key: value` of a section; *more false at the section's end. */
static int read_key(yaml_reader_t *r, yaml_doc_t *doc, const char *section, place_t section_at, bool *more) {
    char *name;
    place_t at;
    if (read_name(r, &name, &at)) return r->err->code;
    *more = name != NULL;
    if (!name) return 0;
    yaml_entry_t *entry = add_entry(doc, section, section_at);
    entry->key = name;
    entry->key_at = at;
    yaml_event_t e;
    if (yaml_next_event(r, &e)) return r->err->code;
    int rc = read_value(r, &e, entry);
    yaml_event_delete(&e);
    return rc;
}

static int read_section(yaml_reader_t *r, yaml_doc_t *doc, const char *section, place_t at) {
    yaml_event_t e;
    if (yaml_next_event(r, &e)) return r->err->code;
    int rc = 0;
    if (e.type == YAML_MAPPING_START_EVENT) {
        bool more = true;
        size_t before = doc->n;
        while (rc == 0 && more) rc = read_key(r, doc, section, at, &more);
        /* An empty section still is one: it can be misspelt, or stand there twice. */
        if (rc == 0 && doc->n == before) add_entry(doc, section, at)->kind = YAML_ITEM_MAPPING;
    } else {
        rc = read_value(r, &e, add_entry(doc, section, at));
    }
    yaml_event_delete(&e);
    return rc;
}

static int read_sections(yaml_reader_t *r, yaml_doc_t *doc, const yaml_event_t *root, bool empty) {
    place_t at = yaml_place_of(r, &root->start_mark);
    bool nothing = root->type == YAML_SCALAR_EVENT && is_plain(root) && root->data.scalar.length == 0;
    if (empty || nothing)
        return place_error(&(place_t){r->file, 1, 1}, r->err,
                           "the config is empty; expected sections (model, data, ...)");
    if (root->type != YAML_MAPPING_START_EVENT)
        return place_error(&at, r->err, "not a mapping; expected sections (model, data, ...)");
    for (;;) {
        char *section;
        if (read_name(r, &section, &at)) return r->err->code;
        if (!section) return 0;
        int rc = read_section(r, doc, section, at);
        free(section);
        if (rc) return rc;
    }
}

int yaml_doc_parse(const char *file, const char *text, size_t len, yaml_doc_t *doc, err_t *err) {
    yaml_reader_t r = {.file = file, .text = text, .len = len, .err = err};
    yaml_event_t root;
    bool empty;
    *doc = (yaml_doc_t){0};
    yaml_reader_open(&r);
    int rc = yaml_read_root(&r, &root, &empty);
    if (rc == 0) {
        rc = read_sections(&r, doc, &root, empty);
        yaml_event_delete(&root);
    }
    if (rc == 0) rc = yaml_read_end(&r);
    yaml_reader_close(&r);
    if (rc) yaml_doc_free(doc);
    return rc;
}

static int read_override(yaml_reader_t *r, yaml_entry_t *entry) {
    yaml_event_t root;
    bool empty;
    if (yaml_read_root(r, &root, &empty)) return r->err->code;
    int rc = 0;
    if (empty) { /* "section.key=": the same as a key without a value in a file */
        entry->items = xcalloc(1, sizeof *entry->items);
        entry->items[entry->n_items++] = (yaml_item_t){.text = xstrdup(""), .at = entry->value_at};
    } else {
        rc = read_value(r, &root, entry);
        if (rc == 0) rc = yaml_read_end(r);
    }
    yaml_event_delete(&root);
    return rc;
}

int yaml_doc_parse_override(const char *section, const char *key, const char *value, yaml_doc_t *doc, err_t *err) {
    char *what = xasprintf("%s.%s", section, key);
    yaml_reader_t r = {.file = "command line", .text = value, .what = what, .len = strlen(value), .err = err};
    *doc = (yaml_doc_t){0};
    place_t at = {.file = r.file};
    yaml_entry_t *entry = add_entry(doc, section, at);
    entry->key = xstrdup(key);
    entry->key_at = entry->value_at = at;
    yaml_reader_open(&r);
    int rc = read_override(&r, entry);
    yaml_reader_close(&r);
    free(what);
    if (rc) yaml_doc_free(doc);
    return rc;
}

void yaml_doc_free(yaml_doc_t *doc) {
    for (size_t i = 0; i < doc->n; i++) {
        yaml_entry_t *e = &doc->entries[i];
        for (size_t k = 0; k < e->n_items; k++) free(e->items[k].text);
        free(e->items);
        json_decref(e->mapping);
        free(e->section);
        free(e->key);
    }
    free(doc->entries);
    *doc = (yaml_doc_t){0};
}
