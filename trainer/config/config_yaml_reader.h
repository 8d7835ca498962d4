/* libyaml's events with their places, less what a config has no use for: anchors, tags and several documents are refused.
 * Under config_yaml.c and yaml_tree.c only. */
#ifndef TRAINER_CONFIG_CONFIG_YAML_READER_H
#define TRAINER_CONFIG_CONFIG_YAML_READER_H

#include <yaml.h>

#include "trainer/config/config_yaml.h"

#define YAML_MAX_DEPTH ((size_t)64)

/* Set what is borrowed, then yaml_reader_open(). */
typedef struct {
    yaml_parser_t parser;
    const char *file, *text; /* the text ends in a NUL, which `len` does not count */
    const char *what;        /* "section.key" of an override, for messages; NULL in a file */
    size_t len;
    err_t *err;
} yaml_reader_t;

void yaml_reader_open(yaml_reader_t *r);
/* Those below return 0, or the code of r->err. */
void yaml_reader_close(yaml_reader_t *r);

place_t yaml_place_of(const yaml_reader_t *r, const yaml_mark_t *mark);
/* For errors about the YAML itself: before any key is known, but an override is known all along. */
int yaml_syntax_error(const yaml_reader_t *r, const place_t *at, const char *what, const char *detail);
/* The next event, which the caller deletes; an error leaves none. */
int yaml_next_event(yaml_reader_t *r, yaml_event_t *e);
/* The text of a scalar, the caller's. */
int yaml_scalar_text(const yaml_reader_t *r, const yaml_event_t *e, char **text);
/* The events around a document's root, up to and with its start: true in *empty when there is none. */
int yaml_read_root(yaml_reader_t *r, yaml_event_t *root, bool *empty);
/* After the root: nothing may follow but the end. */
int yaml_read_end(yaml_reader_t *r);

#endif
