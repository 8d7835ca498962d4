/* Chat templates: a conversation to text, ids and labels. The text is what the template's Jinja says, rendered by
 * data/jinja/; what of it is trained is traced (trace.h), not written into templates. */
#ifndef DATA_CHAT_CHAT_H
#define DATA_CHAT_CHAT_H

#include "data/conversation.h"
#include "data/tokenizer/tokenizer.h"

typedef struct chat_template chat_template_t;

/* data.train_on: the answers of a conversation, its last answer, or every token. */
typedef enum { TRAIN_ON_COMPLETION, TRAIN_ON_LAST, TRAIN_ON_ALL } train_on_t;

typedef struct {
    /* data.chat_template: "auto" (the model's own), one of the names of chat_template_names(), or the path of a file of
     * Jinja. */
    const char *choice;
    const json_t *kwargs; /* data.chat_template_kwargs: further variables of the template; NULL: none. Borrowed. */
    const char *date;     /* data.chat_template_date, YYYY-MM-DD: what strftime_now() says; NULL: undefined */
} chat_spec_t;

/* The names of the templates that the program ships (data/chat/templates/NAME*.jinja), NULL-terminated. */
const char *const *chat_template_names(void);

/* auto: the tokenizer's own; of several the one named "default", and "tool_use" for rows with tools. A name: the file of
 * that name, of several forms that which fits the vocabulary; ERR_USAGE if its markers are not in there. ERR_USAGE, with
 * line and column, for a template that cannot be parsed. */
int chat_template_open(const tokenizer_t *tok, const chat_spec_t *spec, chat_template_t **t, err_t *err);
void chat_template_close(chat_template_t *t); /* NULL is fine */
/* Where it comes from, for people: "the model's own (chat_template.jinja)", "chatml", "my.jinja". */
const char *chat_template_origin(const chat_template_t *t);
/* The Jinja text where it is not the model's own, to go along with what was trained; NULL: it is. */
const char *chat_template_foreign(const chat_template_t *t);

/* The text of a conversation, its ids, and beside them labels (the id where it is trained, else -100), all appended.
 * Special tokens in the text become their ids, as in Transformers: no BOS or EOS is put but what the template writes.
 * `text` may be NULL. ERR_USAGE, with the message ("messages[3]: ...") where there is one to blame: the template refuses
 * the conversation, does not write what would be trained, or nothing would be. A conversation without a message that is
 * to be trained gives no ids and no error. */
int chat_encode(const chat_template_t *t, const conversation_t *c, train_on_t train_on, strbuf_t *text, ids_t *ids,
                ids_t *labels, row_notes_t *notes, err_t *err);
/* What is put before an answer that is to be generated. */
int chat_prompt(const chat_template_t *t, const conversation_t *c, ids_t *ids, err_t *err);

/* The ids that end an assistant's turn under this template. At most `max`. */
size_t chat_stop_ids(const chat_template_t *t, int32_t *ids, size_t max);

#endif
