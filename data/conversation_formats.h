/* Rows of the known formats as conversations. What a key of theirs means is in docs/config.md. */
#ifndef DATA_CONVERSATION_FORMATS_H
#define DATA_CONVERSATION_FORMATS_H

#include "data/conversation.h"

/* Each fills *c, zero-initialised by the caller, who frees it, also after an error. Errors are ERR_USAGE and begin with
 * the key. */

/* messages and sharegpt; list_key: the member that lists the messages. */
int conversation_from_messages(const json_t *row, const char *list_key, conversation_t *c, row_notes_t *notes,
                               err_t *err);
/* instruction, input, output, system, history. prompt: the template is Alpaca's own prompt, which has a heading for the
 * input and another preamble with one; else the input is a paragraph of its own. */
int conversation_from_alpaca(const json_t *row, bool prompt, conversation_t *c, err_t *err);
/* prompt and completion as lists of messages: those of the prompt are trained only if `train_prompt`. */
int conversation_from_prompt(const json_t *row, bool train_prompt, conversation_t *c, row_notes_t *notes, err_t *err);
bool prompt_is_conversation(const json_t *row);

#endif
