/* Tables of methods. Internal to data/jinja/. */
#ifndef DATA_JINJA_METHODS_H
#define DATA_JINJA_METHODS_H

#include "data/jinja/library.h"

typedef struct {
    const char *name; /* NULL behind the last */
    value_t (*call)(render_t *r, const function_t *fn, const call_args_t *args);
} method_row_t;

extern const method_row_t text_methods[]; /* text_methods.c */
extern const char *const text_others[];   /* what Python's str has besides */

#define TEXT_METHOD(name) value_t name(render_t *r, const function_t *fn, const call_args_t *args)
/* text_split.c */
TEXT_METHOD(text_split);
TEXT_METHOD(text_rsplit);
TEXT_METHOD(text_splitlines);
TEXT_METHOD(text_partition);
TEXT_METHOD(text_rpartition);

/* Arguments 1 and 2 as the start and stop of a search among n, as a slice would take them. */
void method_range(render_t *r, const call_args_t *args, size_t n, size_t *from, size_t *to);

#endif
