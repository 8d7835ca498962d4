/* What of a rendered conversation is trained, found without marks in the template: by where each character came from
 * and by what the template writes for the messages before a turn and up to it. The rules are in trace.c. */
#ifndef DATA_CHAT_TRACE_H
#define DATA_CHAT_TRACE_H

#include "data/chat/chat.h"
#include "data/jinja/jinja.h"

typedef struct {
    size_t from, to; /* bytes of the text; a token that begins in here is trained */
} span_t;

typedef struct {
    jinja_output_t whole;              /* the conversation */
    ids_t ids;                         /* its tokens ... */
    places_t starts;                   /* ... and where each begins */
    span_t *spans;                     /* ascending, disjoint */
    jinja_output_t prompt, bare, part; /* scratch */
    size_t n_spans, cap_spans;
} trace_t;

/* Zero-initialise *trace; trace_free() at the end. */
int chat_trace(const chat_template_t *t, const conversation_t *c, train_on_t train_on, trace_t *trace,
               row_notes_t *notes, err_t *err);
void trace_free(trace_t *trace);

#endif
