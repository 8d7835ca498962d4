/* Any YAML as a tree that knows where everything stands: for files that are not ours (trainer/import). Anchors, tags,
 * several documents and a key that is there twice are refused. */
#ifndef TRAINER_CONFIG_YAML_TREE_H
#define TRAINER_CONFIG_YAML_TREE_H

#include "trainer/config/config_yaml.h"

typedef struct yaml_tree {
    yaml_item_kind_t kind;
    char *key; /* of a mapping's member, else NULL */
    place_t key_at, at;
    char *text;              /* SCALAR */
    bool quoted;             /* SCALAR: a string whatever it looks like */
    struct yaml_tree *items; /* LIST, MAPPING: n of them */
    size_t n, cap;
} yaml_tree_t;

/* The text of a whole file, whose root must be a mapping; on an error nothing is left to free. `file` is borrowed. */
int yaml_tree_parse(const char *file, const char *text, size_t len, yaml_tree_t *root, err_t *err);
void yaml_tree_free(yaml_tree_t *root);

/* A member of a mapping; NULL: none, or it is null. */
const yaml_tree_t *yaml_tree_member(const yaml_tree_t *mapping, const char *key);
bool yaml_tree_is_null(const yaml_tree_t *n);

#endif
