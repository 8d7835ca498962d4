/* Jinja templates, as far as chat templates use the language: Jinja2 3.1 with the settings that Transformers gives it
 * (trim_blocks, lstrip_blocks, sandbox, loop controls, {% generation %}). What a template writes says where each
 * character came from, so that a chat template can be asked what in its text is whose.
 *
 * A template is parsed once and rendered by any number of threads at a time. Depth, steps, output and memory of a render
 * are bounded, so a hostile template ends in an error. Every error is ERR_USAGE, "NAME:LINE:COLUMN: what is wrong"
 * (without the column where a text cannot be a template: not UTF-8, a NUL in it, too long). */
#ifndef DATA_JINJA_JINJA_H
#define DATA_JINJA_JINJA_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "base/mem.h"

typedef struct jinja jinja_t;

/* Bytes of a template at most. */
#define JINJA_MOST_BYTES ((size_t)1 << 20)

/* `name` is for messages; both texts are copied. */
int jinja_parse(const char *name, const char *text, size_t len, jinja_t **t, err_t *err);
void jinja_free(jinja_t *t); /* NULL is fine */
/* Whether the template has a {% generation %} block. */
bool jinja_marks_generation(const jinja_t *t);
/* Whether the template reads a variable of that name anywhere. */
bool jinja_reads(const jinja_t *t, const char *name);

/* Where a character comes from. 0: the template's own text, or a value that is not traced. Else it was in element
 * `item` of the traced list (from 0), there under the key that is the `key`-th of that element's object (from 0, in
 * jansson's order of iteration; 254 stands for all from there on), at any depth: a text, or a number as it is written.
 * What a filter makes of a text (trimmed, escaped, as JSON) has the origin of the characters it was made from. */
typedef uint32_t jinja_origin_t;
#define JINJA_MAX_ITEMS ((size_t)1 << 22)
#define JINJA_GENERATION ((jinja_origin_t)1 << 31) /* set besides: written in a {% generation %} block */
static inline jinja_origin_t jinja_origin(size_t item, size_t key) {
    return (jinja_origin_t)((item + 1) << 8 | (key < 254 ? key : 254));
}
static inline bool jinja_traced(jinja_origin_t o) { return (o & ~JINJA_GENERATION) != 0; }
static inline size_t jinja_item(jinja_origin_t o) { return ((o & ~JINJA_GENERATION) >> 8) - 1; } /* if traced */
static inline size_t jinja_key(jinja_origin_t o) { return o & 255; }

/* A variable of a render. A NULL value is left out: the template finds the name undefined. */
typedef struct {
    const char *name;
    const json_t *value; /* borrowed */
    bool traced;         /* a list of objects (the messages) whose values carry their origin; one variable at most */
    size_t items;        /* of a traced list: only the first so many are there; SIZE_MAX: all */
} jinja_var_t;

typedef struct {
    const jinja_var_t *vars;
    size_t n_vars;
    const char *date; /* YYYY-MM-DD, what strftime_now() knows (at midnight); NULL: the template finds it undefined */
} jinja_input_t;

/* A stretch of the output: characters of one origin, written in one iteration. */
typedef struct {
    size_t end; /* it begins where the one before ends */
    jinja_origin_t origin;
    /* Of the traced list: the element whose iteration of a loop wrote the stretch (the innermost such loop; a macro
     * called in it, and text that was made before and is written in it, belong to it); -1: none. */
    int32_t writer;
} jinja_run_t;

/* Zero-initialise; may be used again for the next render; jinja_output_free() at the end. */
typedef struct {
    strbuf_t text;
    jinja_run_t *runs;
    size_t n_runs, cap_runs;
} jinja_output_t;
void jinja_output_free(jinja_output_t *out);

int jinja_render(const jinja_t *t, const jinja_input_t *in, jinja_output_t *out, err_t *err);

#endif
