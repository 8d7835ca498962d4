/* What `%`, the filter format and str.format() share: a value written by a specification. Internal to data/jinja/. */
#ifndef DATA_JINJA_FORMAT_H
#define DATA_JINJA_FORMAT_H

#include "data/jinja/library.h"

typedef struct {
    const char *fill; /* one character */
    size_t fill_len;
    char align; /* '<', '>', '^', '=' (behind the sign); 0: as the type has it */
    char sign;  /* '+', ' ' or '-'; 0: none was given, which is '-' */
    bool alternate;
    char grouping;            /* ',' or '_' between thousands; 0: none */
    int64_t width, precision; /* precision -1: none */
    char type;                /* 0: none */
} format_spec_t;

/* Widths and precisions beyond this are refused. */
enum { FORMAT_MAX = 100000 };

/* The text of a string, cut to the precision and padded; `side` where spec->align is 0. */
void format_text(render_t *r, builder_t *b, const string_t *s, const format_spec_t *spec, char side);
/* An int (also of a bool) as d, b, o, x, X; a number as e, E, f, F, g, G, %, or with no type as str() has it. */
void format_integer(render_t *r, builder_t *b, value_t v, const format_spec_t *spec);
void format_float(render_t *r, builder_t *b, value_t v, const format_spec_t *spec);
/* What a code point is in UTF-8, as a string: for c. */
value_t format_character(render_t *r, value_t v);

#endif
