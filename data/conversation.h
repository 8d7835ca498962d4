/* Rows that are conversations, in the one form that chat templates take: a list of messages as Transformers passes them
 * on. What the known formats call differently has one name here; nothing of a row is dropped without a word. */
#ifndef DATA_CONVERSATION_H
#define DATA_CONVERSATION_H

#include <jansson.h>
#include <stdbool.h>

#include "base/error.h"

/* Whether a message is trained: what data.train_on says, or what the row itself says ("train", "weight"). */
typedef enum { TRAIN_BY_RULE, TRAIN_NO, TRAIN_YES } train_mark_t;

typedef struct {
    /* [n] objects with "role" (system, developer, user, assistant, tool, or the row's own word where it is none of the
     * known names) and "content", and every other key of the row's message that a template may read: tool_calls (a
     * list of {"type": "function", "function": {"name", "arguments"}}, arguments an object), tool_call_id, name,
     * reasoning_content ... Keys that are null are gone, those that say what is trained too. */
    json_t *messages;
    train_mark_t *marks; /* [n] */
    json_t *tools;       /* a list; NULL: none */
    json_t *documents;   /* a list; NULL: none */
    json_t *kwargs;      /* the row's own chat_template_kwargs, an object; NULL: none */
} conversation_t;

void conversation_free(conversation_t *c);

/* What was met in rows and is said once, with a count, when a dataset was read. All counts are of rows. */
typedef struct {
    size_t unknown_keys;   /* a message has a key that no template is known to read ... */
    char unknown_key[64];  /* ... the first of these */
    size_t no_reasoning;   /* the template writes none of a trained message's reasoning */
    size_t open_ends;      /* a trained turn has no token that ends it */
    size_t empty_turns;    /* of an empty answer only its end is trained */
    size_t headers;        /* the template has no generation prompt, so what it writes before an answer is trained */
    size_t spelled_tokens; /* a text of the row spells out a special token, which becomes that token */
} row_notes_t;
void row_notes_add(row_notes_t *sum, const row_notes_t *more);

#endif
