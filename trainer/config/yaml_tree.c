#include "trainer/config/yaml_tree.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "trainer/config/config_json.h"
#include "trainer/config/config_yaml_reader.h"

static int read_node(yaml_reader_t *r, const yaml_event_t *e, size_t depth, yaml_tree_t *n);

static yaml_tree_t *add(yaml_tree_t *n) {
    VEC_GROW(n->items, n->n, n->cap);
    yaml_tree_t *item = &n->items[n->n++];
    *item = (yaml_tree_t){0};
    return item;
}

/* The key that event `e` is; `names` are those of the mapping so far. */
static int read_key(yaml_reader_t *r, const yaml_event_t *e, yaml_tree_t *item, json_t *names) {
    item->key_at = yaml_place_of(r, &e->start_mark);
    if (e->type != YAML_SCALAR_EVENT)
        return yaml_syntax_error(r, &item->key_at, "a key that is no name; expected a name", "");
    if (yaml_scalar_text(r, e, &item->key)) return r->err->code;
    if (json_object_get(names, item->key))
        return place_error(&item->key_at, r->err, "%.100s: the key is there twice; expected once", item->key);
    json_object_set_new(names, item->key, json_true());
    return 0;
}

static int read_members(yaml_reader_t *r, size_t depth, yaml_tree_t *n, json_t *names) {
    for (;;) {
        yaml_event_t e;
        if (yaml_next_event(r, &e)) return r->err->code;
        bool end = e.type == YAML_MAPPING_END_EVENT;
        yaml_tree_t *item = end ? NULL : add(n);
        int rc = end ? 0 : read_key(r, &e, item, names);
        yaml_event_delete(&e);
        if (rc || end) return rc;
        if (yaml_next_event(r, &e)) return r->err->code;
        rc = read_node(r, &e, depth, item);
        yaml_event_delete(&e);
        if (rc) return rc;
    }
}

static int read_items(yaml_reader_t *r, size_t depth, yaml_tree_t *n) {
    for (;;) {
        yaml_event_t e;
        if (yaml_next_event(r, &e)) return r->err->code;
        bool end = e.type == YAML_SEQUENCE_END_EVENT;
        int rc = end ? 0 : read_node(r, &e, depth, add(n));
        yaml_event_delete(&e);
        if (rc || end) return rc;
    }
}

/* What event `e` starts, to its end. */
static int read_node(yaml_reader_t *r, const yaml_event_t *e, size_t depth, yaml_tree_t *n) {
    n->at = yaml_place_of(r, &e->start_mark);
    if (e->type == YAML_SCALAR_EVENT) {
        n->quoted = e->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
        return yaml_scalar_text(r, e, &n->text);
    }
    if (depth == YAML_MAX_DEPTH) return yaml_syntax_error(r, &n->at, "nested too deep; expected at most 64 levels", "");
    if (e->type == YAML_SEQUENCE_START_EVENT) {
        n->kind = YAML_ITEM_LIST;
        return read_items(r, depth + 1, n);
    }
    n->kind = YAML_ITEM_MAPPING;
    json_t *names = json_object();
    int rc = read_members(r, depth + 1, n, names);
    json_decref(names);
    return rc;
}

static int read_document(yaml_reader_t *r, yaml_tree_t *root) {
    yaml_event_t e;
    bool empty;
    if (yaml_read_root(r, &e, &empty)) return r->err->code;
    place_t at = yaml_place_of(r, &e.start_mark);
    bool nothing = e.type == YAML_SCALAR_EVENT && e.data.scalar.length == 0;
    int rc;
    if (empty || nothing) rc = place_error(&(place_t){r->file, 1, 1}, r->err, "the file is empty; expected keys");
    else if (e.type != YAML_MAPPING_START_EVENT) rc = place_error(&at, r->err, "not a mapping; expected keys");
    else rc = read_node(r, &e, 0, root);
    yaml_event_delete(&e);
    return rc ? rc : yaml_read_end(r);
}

int yaml_tree_parse(const char *file, const char *text, size_t len, yaml_tree_t *root, err_t *err) {
    yaml_reader_t r = {.file = file, .text = text, .len = len, .err = err};
    *root = (yaml_tree_t){0};
    yaml_reader_open(&r);
    int rc = read_document(&r, root);
    yaml_reader_close(&r);
    if (rc) yaml_tree_free(root);
    return rc;
}

void yaml_tree_free(yaml_tree_t *n) {
    for (size_t i = 0; i < n->n; i++) yaml_tree_free(&n->items[i]);
    free(n->items);
    free(n->key);
    free(n->text);
    *n = (yaml_tree_t){0};
}

bool yaml_tree_is_null(const yaml_tree_t *n) {
    return n->kind == YAML_ITEM_SCALAR && !n->quoted && yaml_is_null(n->text);
}

const yaml_tree_t *yaml_tree_member(const yaml_tree_t *mapping, const char *key) {
    for (size_t i = 0; mapping->kind == YAML_ITEM_MAPPING && i < mapping->n; i++)
        if (strcmp(mapping->items[i].key, key) == 0)
            return yaml_tree_is_null(&mapping->items[i]) ? NULL : &mapping->items[i];
    return NULL;
}
