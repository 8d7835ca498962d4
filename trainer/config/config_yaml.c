#include "trainer/config/config_yaml.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

#include "base/mem.h"
#include "trainer/config/config_json.h"

#define MAX_DEPTH ((size_t)64)

typedef struct {
    yaml_parser_t parser;
    const char *file, *text;
    const char *what; /* "section.key" of an override, for messages; NULL in a file */
    size_t len;
    err_t *err;
} reader_t;

int place_error(const place_t *at, err_t *err, const char *fmt, ...) {
    char msg[sizeof err->msg];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(msg, sizeof msg, fmt, ap);
    va_end(ap);
    err_set(err, ERR_USAGE, "%s", msg);
    if (at->line) return err_prefix(err, "%s:%zu:%zu", at->file, at->line, at->column);
    return err_prefix(err, "%s", at->file);
}

static place_t place_of(const reader_t *r, const yaml_mark_t *mark) {
    /* An override is one short value: its line and column would only puzzle. */
    if (r->what) return (place_t){.file = r->file};
    return (place_t){.file = r->file, .line = mark->line + 1, .column = mark->column + 1};
}

/* For errors about the YAML itself: before any key is known, but an override is known all along. */
static int syntax_error(const reader_t *r, const place_t *at, const char *what, const char *detail) {
    const char *colon = r->what ? ": " : "";
    return place_error(at, r->err, "%s%s%s%s", r->what ? r->what : "", colon, what, detail);
}

/* libyaml reports bytes that are no UTF-8 with an offset only. */
static place_t place_of_offset(const reader_t *r, size_t offset) {
    yaml_mark_t mark = {0};
    for (size_t i = 0; i < offset && i < r->len; i++) {
        bool newline = r->text[i] == '\n';
        mark.line += newline;
        mark.column = newline ? 0 : mark.column + 1;
    }
    return place_of(r, &mark);
}

/* Whether a tab is among the white space that line `line` (from 0) begins with. */
static bool tab_indents(const reader_t *r, size_t line) {
    const char *s = r->text;
    for (; line > 0 && (s = memchr(s, '\n', r->len - (size_t)(s - r->text))); line--) s++;
    if (!s) return false;
    size_t n = strspn(s, " \t"); /* the text ends in a NUL */
    return memchr(s, '\t', n) != NULL;
}

static int parser_error(const reader_t *r) {
    const yaml_parser_t *p = &r->parser;
    if (p->error == YAML_MEMORY_ERROR) return err_set(r->err, ERR_FAILED, "%s: out of host memory", r->file);
    bool reader = p->error == YAML_READER_ERROR;
    place_t at = reader ? place_of_offset(r, p->problem_offset) : place_of(r, &p->problem_mark);
    const char *problem = p->problem ? p->problem : "unknown problem";
    if (!reader && tab_indents(r, p->problem_mark.line)) problem = "a tab in front; expected spaces";
    return syntax_error(r, &at, "not valid YAML: ", problem);
}

static int refuse_extras(const reader_t *r, const yaml_event_t *e) {
    const yaml_char_t *anchor = NULL, *tag = NULL;
    if (e->type == YAML_SCALAR_EVENT) {
        anchor = e->data.scalar.anchor;
        tag = e->data.scalar.tag;
    } else if (e->type == YAML_SEQUENCE_START_EVENT) {
        anchor = e->data.sequence_start.anchor;
        tag = e->data.sequence_start.tag;
    } else if (e->type == YAML_MAPPING_START_EVENT) {
        anchor = e->data.mapping_start.anchor;
        tag = e->data.mapping_start.tag;
    }
    place_t at = place_of(r, &e->start_mark);
    if (e->type == YAML_ALIAS_EVENT || anchor)
        return syntax_error(r, &at, "anchors (&) and aliases (*) are not supported; expected plain values", "");
    if (tag) return syntax_error(r, &at, "tags (!) are not supported; expected plain values", "");
    return 0;
}

/* The next event, which the caller deletes; an error leaves none. */
static int next_event(reader_t *r, yaml_event_t *e) {
    if (!yaml_parser_parse(&r->parser, e)) return parser_error(r);
    if (refuse_extras(r, e) == 0) return 0;
    yaml_event_delete(e);
    return r->err->code;
}

/* Reads on to the end of the collection whose start event was just read. */
static int skip_collection(reader_t *r) {
    for (size_t depth = 1; depth > 0;) {
        yaml_event_t e;
        if (next_event(r, &e)) return r->err->code;
        if (e.type == YAML_SEQUENCE_START_EVENT || e.type == YAML_MAPPING_START_EVENT) depth++;
        if (e.type == YAML_SEQUENCE_END_EVENT || e.type == YAML_MAPPING_END_EVENT) depth--;
        yaml_event_delete(&e);
    }
    return 0;
}

static int scalar_text(const reader_t *r, const yaml_event_t *e, char **text) {
    const char *s = (const char *)e->data.scalar.value;
    if (memchr(s, 0, e->data.scalar.length)) {
        place_t at = place_of(r, &e->start_mark);
        return syntax_error(r, &at, "a NUL character in a value; expected text", "");
    }
    *text = xstrndup(s, e->data.scalar.length);
    return 0;
}

static bool is_plain(const yaml_event_t *e) { return e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE; }

/* Appends to entry->items what event `e` starts; a nested collection is read to its end and only noted. */
static int read_item(reader_t *r, const yaml_event_t *e, yaml_entry_t *entry) {
    yaml_item_t item = {.at = place_of(r, &e->start_mark)};
    if (e->type == YAML_SCALAR_EVENT) {
        item.quoted = !is_plain(e);
        if (scalar_text(r, e, &item.text)) return r->err->code;
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

static int value_error(const reader_t *r, const yaml_entry_t *entry, const yaml_event_t *e, const char *problem) {
    place_t at = place_of(r, &e->start_mark);
    return place_error(&at, r->err, "%s.%s: %s", entry->section, entry->key, problem);
}

static int read_tree(reader_t *r, const yaml_event_t *e, const yaml_entry_t *entry, size_t depth, json_t **out);

static int read_tree_scalar(reader_t *r, const yaml_event_t *e, const yaml_entry_t *entry, json_t **out) {
    char *text;
    const char *expected = "text in UTF-8";
    if (scalar_text(r, e, &text)) return r->err->code;
    *out = yaml_scalar_value(text, !is_plain(e), &expected);
    if (!*out) {
        char problem[160];
        snprintf(problem, sizeof problem, "got \"%.60s\"; expected %s", text, expected);
        value_error(r, entry, e, problem);
    }
    free(text);
    return *out ? 0 : r->err->code;
}

static int read_tree_list(reader_t *r, const yaml_entry_t *entry, size_t depth, json_t *list) {
    for (;;) {
        yaml_event_t e;
        if (next_event(r, &e)) return r->err->code;
        bool end = e.type == YAML_SEQUENCE_END_EVENT;
        json_t *item = NULL;
        int rc = end ? 0 : read_tree(r, &e, entry, depth, &item);
        if (item) json_array_append_new(list, item);
        yaml_event_delete(&e);
        if (rc || end) return rc;
    }
}

/* The member of a mapping whose key event `e` is. */
static int read_tree_member(reader_t *r, const yaml_event_t *e, const yaml_entry_t *entry, size_t depth,
                            json_t *mapping) {
    char *name;
    if (e->type != YAML_SCALAR_EVENT) return value_error(r, entry, e, "a key that is no name; expected a name");
    if (scalar_text(r, e, &name)) return r->err->code;
    yaml_event_t value;
    json_t *v = NULL;
    if (json_object_get(mapping, name)) {
        char problem[128];
        snprintf(problem, sizeof problem, "the key \"%.60s\" is there twice; expected once", name);
        value_error(r, entry, e, problem);
    } else if (next_event(r, &value) == 0) {
        if (read_tree(r, &value, entry, depth, &v) == 0) json_object_set_new(mapping, name, v);
        yaml_event_delete(&value);
    }
    free(name);
    return v ? 0 : r->err->code;
}

static int read_tree_mapping(reader_t *r, const yaml_entry_t *entry, size_t depth, json_t *mapping) {
    for (;;) {
        yaml_event_t e;
        if (next_event(r, &e)) return r->err->code;
        bool end = e.type == YAML_MAPPING_END_EVENT;
        int rc = end ? 0 : read_tree_member(r, &e, entry, depth, mapping);
        yaml_event_delete(&e);
        if (rc || end) return rc;
    }
}

/* The value that event `e` starts, whatever it is; the caller's. */
static int read_tree(reader_t *r, const yaml_event_t *e, const yaml_entry_t *entry, size_t depth, json_t **out) {
    *out = NULL;
    if (e->type == YAML_SCALAR_EVENT) return read_tree_scalar(r, e, entry, out);
    if (depth == MAX_DEPTH) return value_error(r, entry, e, "nested too deep; expected at most 64 levels");
    bool mapping = e->type == YAML_MAPPING_START_EVENT;
    json_t *v = mapping ? json_object() : json_array();
    int rc = mapping ? read_tree_mapping(r, entry, depth + 1, v) : read_tree_list(r, entry, depth + 1, v);
    if (rc) json_decref(v);
    else *out = v;
    return rc;
}

/* The value that event `e` starts: a scalar, a list of items, or a mapping. */
static int read_value(reader_t *r, const yaml_event_t *e, yaml_entry_t *entry) {
    entry->value_at = place_of(r, &e->start_mark);
    if (e->type == YAML_SCALAR_EVENT) return read_item(r, e, entry);
    if (e->type == YAML_MAPPING_START_EVENT) {
        entry->kind = YAML_ITEM_MAPPING;
        return read_tree(r, e, entry, 0, &entry->mapping);
    }
    entry->kind = YAML_ITEM_LIST;
    for (;;) {
        yaml_event_t item;
        if (next_event(r, &item)) return r->err->code;
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
static int read_name(reader_t *r, char **name, place_t *at) {
    yaml_event_t e;
    *name = NULL;
    if (next_event(r, &e)) return r->err->code;
    int rc = 0;
    *at = place_of(r, &e.start_mark);
    if (e.type == YAML_SCALAR_EVENT) rc = scalar_text(r, &e, name);
    else if (e.type != YAML_MAPPING_END_EVENT) rc = syntax_error(r, at, "a key that is no name; expected a name", "");
    yaml_event_delete(&e);
    return rc;
}

/* One `key: value` of a section; *more false at the section's end. */
static int read_key(reader_t *r, yaml_doc_t *doc, const char *section, place_t section_at, bool *more) {
    char *name;
    place_t at;
    if (read_name(r, &name, &at)) return r->err->code;
    *more = name != NULL;
    if (!name) return 0;
    yaml_entry_t *entry = add_entry(doc, section, section_at);
    entry->key = name;
    entry->key_at = at;
    yaml_event_t e;
    if (next_event(r, &e)) return r->err->code;
    int rc = read_value(r, &e, entry);
    yaml_event_delete(&e);
    return rc;
}

static int read_section(reader_t *r, yaml_doc_t *doc, const char *section, place_t at) {
    yaml_event_t e;
    if (next_event(r, &e)) return r->err->code;
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

/* The events around a document's root, up to and with its start: true in *empty when there is none. */
static int read_root(reader_t *r, yaml_event_t *root, bool *empty) {
    *empty = false;
    for (;;) {
        if (next_event(r, root)) return r->err->code;
        *empty = root->type == YAML_STREAM_END_EVENT;
        if (root->type != YAML_STREAM_START_EVENT && root->type != YAML_DOCUMENT_START_EVENT) return 0;
        yaml_event_delete(root);
    }
}

/* After the root: nothing may follow but the end. */
static int read_end(reader_t *r) {
    for (bool more = true; more;) {
        yaml_event_t e;
        if (next_event(r, &e)) return r->err->code;
        place_t at = place_of(r, &e.start_mark);
        more = e.type != YAML_STREAM_END_EVENT;
        bool another = e.type == YAML_DOCUMENT_START_EVENT;
        yaml_event_delete(&e);
        if (another) return syntax_error(r, &at, "a second document; expected one", "");
    }
    return 0;
}

static int read_sections(reader_t *r, yaml_doc_t *doc, const yaml_event_t *root, bool empty) {
    place_t at = place_of(r, &root->start_mark);
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

/* libyaml takes time quadratic in the depth of brackets. A config needs two; hostile input gets no further. Comments
 * are left out, as half-open intervals are written in them. */
static int check_depth(const reader_t *r) {
    size_t depth = 0;
    for (size_t i = 0; i < r->len; i++) {
        char c = r->text[i];
        if (c == '#' && (i == 0 || strchr(" \t\n", r->text[i - 1])))
            while (i + 1 < r->len && r->text[i + 1] != '\n') i++;
        else if (c == '[' || c == '{') depth++;
        else if ((c == ']' || c == '}') && depth > 0) depth--;
        if (depth > MAX_DEPTH) {
            place_t at = place_of_offset(r, i);
            return syntax_error(r, &at, "brackets nested too deep; expected sections, keys and values", "");
        }
    }
    return 0;
}

static void reader_open(reader_t *r) {
    if (!yaml_parser_initialize(&r->parser)) mem_checked(NULL, 0); /* the one reason */
    yaml_parser_set_encoding(&r->parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&r->parser, (const unsigned char *)r->text, r->len);
}

int yaml_doc_parse(const char *file, const char *text, size_t len, yaml_doc_t *doc, err_t *err) {
    reader_t r = {.file = file, .text = text, .len = len, .err = err};
    yaml_event_t root;
    bool empty;
    *doc = (yaml_doc_t){0};
    if (len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) { /* byte order mark */
        r.text += 3;
        r.len -= 3;
    }
    if (check_depth(&r)) return err->code;
    reader_open(&r);
    int rc = read_root(&r, &root, &empty);
    if (rc == 0) {
        rc = read_sections(&r, doc, &root, empty);
        yaml_event_delete(&root);
    }
    if (rc == 0) rc = read_end(&r);
    yaml_parser_delete(&r.parser);
    if (rc) yaml_doc_free(doc);
    return rc;
}

static int read_override(reader_t *r, yaml_entry_t *entry) {
    yaml_event_t root;
    bool empty;
    if (read_root(r, &root, &empty)) return r->err->code;
    int rc = 0;
    if (empty) { /* "section.key=": the same as a key without a value in a file */
        entry->items = xcalloc(1, sizeof *entry->items);
        entry->items[entry->n_items++] = (yaml_item_t){.text = xstrdup(""), .at = entry->value_at};
    } else {
        rc = read_value(r, &root, entry);
        if (rc == 0) rc = read_end(r);
    }
    yaml_event_delete(&root);
    return rc;
}

int yaml_doc_parse_override(const char *section, const char *key, const char *value, yaml_doc_t *doc, err_t *err) {
    char *what = xasprintf("%s.%s", section, key);
    reader_t r = {.file = "command line", .text = value, .what = what, .len = strlen(value), .err = err};
    *doc = (yaml_doc_t){0};
    place_t at = {.file = r.file};
    yaml_entry_t *entry = add_entry(doc, section, at);
    entry->key = xstrdup(key);
    entry->key_at = entry->value_at = at;
    int rc = check_depth(&r);
    if (rc == 0) {
        reader_open(&r);
        rc = read_override(&r, entry);
        yaml_parser_delete(&r.parser);
    }
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
