/* The parts of a conversation as the known formats write them, brought to the form of conversation.h: one message, and
 * lists of tools. Internal to the conversation. */
#ifndef DATA_CONVERSATION_PARTS_H
#define DATA_CONVERSATION_PARTS_H

#include "data/conversation.h"

/* A member that has images, audio or the like is an error. */
int refuse_media(const json_t *obj, err_t *err);

/* A message of any of the formats. *out is the caller's; *unknown is set to the first key that no template is known to
 * read (of the row, which must live), else left alone. */
int message_read(const json_t *message, json_t **out, train_mark_t *mark, const char **unknown, err_t *err);
json_t *message_make(const char *role, const char *text, size_t len);

/* {"tool_calls": [...]} with arguments as objects, from OpenAI's list, or from one call or a list of them ({"name",
 * "arguments"}). NULL and no error: an empty list. */
int calls_read(const json_t *calls, json_t **out, err_t *err);
/* The same from text that holds it as JSON, as ShareGPT's turns of function_call do. */
int calls_read_text(const json_t *text, json_t **out, err_t *err);

/* A list of tools, also as text that holds it as JSON; functions that stand there bare are put into {"type":
 * "function", "function": ...}, as OpenAI's API has them. NULL and no error: there are none. */
int tools_read(const json_t *tools, json_t **out, err_t *err);

#endif
