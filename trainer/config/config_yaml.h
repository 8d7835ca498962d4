/* A config's YAML as a flat list of entries with their places: what config.c needs, and nothing of YAML that
 * a config has no use for (anchors, tags and several documents are refused). Part of the config only. */
#ifndef TRAINER_CONFIG_CONFIG_YAML_H
#define TRAINER_CONFIG_CONFIG_YAML_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

/* A config is a page or two; what is larger was given by mistake, a model file say. */
#define CONFIG_MAX_BYTES ((size_t)1 << 18)

/* Where something stands. line 0: not in a file. Both count from 1, columns in characters. */
typedef struct {
    const char *file; /* borrowed; "command line" for an override */
    size_t line, column;
} place_t;

/* err_set(ERR_USAGE) with "file:line:column: " (or "command line: ") before the message. */
int place_error(const place_t *at, err_t *err, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

typedef enum { YAML_ITEM_SCALAR, YAML_ITEM_LIST, YAML_ITEM_MAPPING } yaml_item_kind_t;

/* A scalar, or (empty text) a list or mapping where a scalar should be. */
typedef struct {
    yaml_item_kind_t kind;
    char *text;  /* without NUL characters inside: those are refused */
    bool quoted; /* a string whatever it looks like; also block scalars */
    place_t at;
} yaml_item_t;

/* `section: {key: value}`; key is NULL when the section's value is not a mapping. */
typedef struct {
    char *section, *key;
    place_t section_at, key_at, value_at;
    yaml_item_kind_t kind;
    yaml_item_t *items; /* SCALAR: one; LIST: n_items, itself allowed to be empty; MAPPING: none */
    size_t n_items;
    json_t *mapping; /* MAPPING of a key: all of it (see yaml_scalar_value()), without a key that is there twice */
} yaml_entry_t;

typedef struct {
    yaml_entry_t *entries; /* in the order of the file; an empty section gives one with key NULL */
    size_t n, cap;
} yaml_doc_t;

/* The text of a whole file. On an error nothing is left to free. */
int yaml_doc_parse(const char *file, const char *text, size_t len, yaml_doc_t *doc, err_t *err);
/* The value of an override, which becomes the one entry of `doc`. */
int yaml_doc_parse_override(const char *section, const char *key, const char *value, yaml_doc_t *doc, err_t *err);
void yaml_doc_free(yaml_doc_t *doc);

#endif
