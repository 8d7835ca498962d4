/* JSON as Python's json module reads it: it takes numbers of any size, NaN and Infinity, and halves of surrogate pairs,
 * of which jansson takes none. Columns of a dataset that nobody uses may hold them, so a row in which the parser fails is
 * read again with each of them replaced by a text that says what stood there; where such a value is used, it is an error. */
#ifndef DATA_ODD_JSON_H
#define DATA_ODD_JSON_H

#include <jansson.h>
#include <stdbool.h>

#include "base/error.h"
#include "base/mem.h"

/* The bytes of the JSON value at the start of [s, s+n), by its brackets and quotes alone; n: it does not end in there,
 * or only with it. */
size_t json_extent(const char *s, size_t n);
/* Appends [s, s+n) to *out with what is odd replaced. False: nothing is. */
bool odd_json_replace(const char *s, size_t n, strbuf_t *out);
/* Whether a value is a text put in place of an odd one. */
bool odd_json_is(const json_t *v);
/* ERR_USAGE that shows the first odd value or key in `v`, at any depth; 0: there is none. */
int odd_json_refuse(const json_t *v, err_t *err);

#endif
