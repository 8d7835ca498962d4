/* What of the messages is found where in a rendered text. */
#ifndef DATA_CHAT_WRITTEN_H
#define DATA_CHAT_WRITTEN_H

#include <stdbool.h>

#include "data/jinja/jinja.h"

/* A message's own text is every value of it but its role, names and ids. */
bool written_is_text(const json_t *messages, jinja_origin_t origin);

typedef struct {
    bool any;           /* some of the message's own text is there ... */
    size_t first, last; /* ... and reaches from here to there */
    /* Whether that text stands in the iteration of a loop that is the message's. Where there is none it is text that no
     * iteration wrote, or that of another's (false). */
    bool in_iteration;
    size_t iteration, iteration_end; /* all that the message's iterations wrote; equal: there are none */
    bool content, reasoning, calls;  /* which of the values are there, anywhere */
    const char *unwritten_call;      /* the name of a call that is not; NULL: all are */
} written_t;

/* One for each of the first n messages, a new array. */
written_t *written_find(const json_t *messages, size_t n, const jinja_output_t *out);

/* ERR_USAGE, with the message, if a content or a call of the first n is not there: `written` is what written_find() gave. */
int written_check(const json_t *messages, size_t n, const written_t *written, err_t *err);

/* The end of the last text of a message before `item` that ends at `limit` or earlier, and whose it is; if `only` is not
 * -1, of that one. False: there is none. */
bool written_before(const json_t *messages, const jinja_output_t *out, size_t item, size_t limit, long only,
                    size_t *end, size_t *whose);

/* The first message's other than `item` whose text is in [from, to); -1: there is none. */
long written_foreign(const json_t *messages, const jinja_output_t *out, size_t item, size_t from, size_t to);

/* The end of what the iteration that wrote the byte before `at` wrote on from there. */
size_t written_iteration_end(const jinja_output_t *out, size_t at);

/* Where the next text of another message begins, at `at` or later; the length of all if there is none. */
size_t written_next(const json_t *messages, const jinja_output_t *out, size_t item, size_t at);

/* Whether a value of a message (a text, or a list of parts) has anything but white space in it. */
bool written_says_something(const json_t *value);

#endif
