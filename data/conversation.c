#include "data/conversation.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void conversation_free(conversation_t *c) {
    json_decref(c->messages);
    free(c->marks);
    json_decref(c->tools);
    json_decref(c->documents);
    json_decref(c->kwargs);
    *c = (conversation_t){0};
}

void row_notes_add(row_notes_t *sum, const row_notes_t *more) {
    if (!sum->unknown_keys) memcpy(sum->unknown_key, more->unknown_key, sizeof sum->unknown_key);
    sum->unknown_keys += more->unknown_keys;
    sum->no_reasoning += more->no_reasoning;
    sum->open_ends += more->open_ends;
    sum->empty_turns += more->empty_turns;
    sum->headers += more->headers;
    sum->spelled_tokens += more->spelled_tokens;
}
