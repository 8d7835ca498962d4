/* An import in the making. Part of the import only. */
#ifndef TRAINER_IMPORT_STATE_H
#define TRAINER_IMPORT_STATE_H

#include "trainer/import/dialect.h"

struct import {
    const char *file;     /* borrowed */
    char *file_dir, *dir; /* of the file and of the config to be; dir NULL: the working directory */
    const dialect_t *dialect;
    yaml_tree_t root;
    config_t checked; /* values as the schema took them */
    struct {
        char *text, *why; /* text NULL: not written */
    } * values;           /* by row of the schema */
    struct {
        place_t at;
        char *line;
    } * notes; /* in the order of the file */
    size_t n_notes, cap_notes;
    strbuf_t idle; /* keys that change nothing, "a, b, c" */
    size_t n_missing;
    err_t *err;
};

#endif
