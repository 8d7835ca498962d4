/* Inside of a chat template, and rendering: for the files of this folder only. */
#ifndef DATA_CHAT_TEMPLATE_H
#define DATA_CHAT_TEMPLATE_H

#include "data/chat/chat.h"
#include "data/jinja/jinja.h"

struct chat_template {
    const tokenizer_t *tok;
    jinja_t *jinja, *with_tools; /* with_tools: for rows with tools; NULL: the same */
    char *origin;
    char *foreign;  /* the text, if it is not the model's own */
    json_t *values; /* special tokens by name, and data.chat_template_kwargs over them */
    char *date;     /* NULL: unknown */
};

/* Templates differ in the form in which they want messages; a conversation is tried in these, the first that works. */
typedef enum {
    FORM_AS_IS,
    FORM_STRING_ARGUMENTS = 1, /* the arguments of calls as text of JSON */
    FORM_PARTS = 2,            /* contents as lists of one part of text */
    FORM_EMPTY = 4,            /* beside calls, where there is no content, an empty one */
    FORM_NONE = 8,             /* or a content of None, as OpenAI's API gives it */
    FORM_COUNT = 16
} form_t;

/* The messages in that form, a new list with the same messages at the same places. NULL: nothing there is to be put into
 * another form than those with fewer bits. */
json_t *chat_messages(const json_t *messages, form_t form);

/* Renders the first n of the messages (of chat_messages()); `prompt` is add_generation_prompt. */
int chat_render(const chat_template_t *t, const conversation_t *c, const json_t *messages, size_t n, bool prompt,
                jinja_output_t *out, err_t *err);

/* ERR_USAGE for names among the kwargs that are the program's to give. */
int chat_check_kwargs(const json_t *kwargs, err_t *err);

#endif
