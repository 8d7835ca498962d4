/* Chat templates: a conversation to tokens and labels. Templates are rendered by our own code in pieces, so
 * that which token is trained is known by construction, not found afterwards. */
#ifndef DATA_CHAT_H
#define DATA_CHAT_H

#include "data/tokenizer.h"

typedef enum { CHAT_CHATML, CHAT_LLAMA2, CHAT_LLAMA3, CHAT_MISTRAL, CHAT_ZEPHYR, CHAT_ALPACA, CHAT_NONE,
               CHAT_AUTO } chat_format_t;
const char *chat_format_name(chat_format_t f);
bool chat_format_from_name(const char *name, chat_format_t *f);

typedef struct {
    chat_format_t format;
    char *default_system; /* what the model's own template says when a conversation has no system message; NULL */
    int32_t bos;          /* id put first, -1: none */
} chat_template_t;

/* wanted CHAT_AUTO: recognised from the model's own template; ERR_USAGE with the choices if there is none or
 * it is not recognised. A named format is checked against the tokenizer: its markers must be single tokens
 * where the format needs that. */
int chat_template_resolve(const tokenizer_t *tok, chat_format_t wanted, chat_template_t *t, err_t *err);
void chat_template_free(chat_template_t *t);

typedef enum { ROLE_SYSTEM, ROLE_USER, ROLE_ASSISTANT, ROLE_TOOL, ROLE_CALL } chat_role_t;
/* ROLE_TOOL: what a tool answered (sharegpt "observation", messages "tool"); ROLE_CALL: the assistant's call of
 * a tool (sharegpt "function_call"), trained like an assistant turn. */
typedef struct {
    chat_role_t role;
    const char *text;
    size_t len;
} chat_turn_t;

/* Appends ids and, beside them, labels: the id itself for the text of an assistant turn and its end-of-turn
 * token, -100 for all else (a newline after the end-of-turn token is not trained). train_all: every token but
 * BOS is a label. generation: ends with the opening of an assistant turn, for prompting. Text in turns is
 * plain text: special tokens written in it are not recognised. */
int chat_render(const tokenizer_t *tok, const chat_template_t *t, const chat_turn_t *turns, size_t n_turns,
                bool train_all, bool generation, ids_t *ids, ids_t *labels, err_t *err);

/* The ids that end an assistant turn under this template (for generation). At most 4. */
size_t chat_stop_ids(const tokenizer_t *tok, const chat_template_t *t, int32_t out[4]);

#endif
