#include "data/dataset_chat.h"

#include <string.h>

#include "data/conversation_formats.h"
#include "data/odd_json.h"

/* Values that could not be read as they are must not get into a template. */
static int refuse_odd(const conversation_t *c, err_t *err) {
    for (size_t i = 0; i < json_array_size(c->messages); i++)
        if (odd_json_refuse(json_array_get(c->messages, i), err)) return err_prefix(err, "messages[%zu]", i);
    if (odd_json_refuse(c->tools, err)) return err_prefix(err, "tools");
    if (odd_json_refuse(c->documents, err)) return err_prefix(err, "documents");
    return odd_json_refuse(c->kwargs, err) ? err_prefix(err, "chat_template_kwargs") : 0;
}

/* Ends the conversation. */
static int encode(row_writer_t *w, const chat_template_t *chat, const file_row_t *row, conversation_t *c, int rc,
                  err_t *err) {
    if (rc == 0 && row->odd) rc = refuse_odd(c, err);
    if (rc == 0 && json_array_size(c->messages) > 0)
        rc = chat_encode(chat, c, w->spec->train_on, w->wants_text ? &w->text : NULL, &w->ids, &w->labels, &w->notes,
                         err);
    conversation_free(c);
    return rc;
}

static int convert_list(row_writer_t *w, const file_row_t *row, const char *list_key, err_t *err) {
    conversation_t c = {0};
    int rc = conversation_from_messages(row->json, list_key, &c, &w->notes, err);
    return encode(w, w->spec->chat, row, &c, rc, err);
}

int convert_messages(row_writer_t *w, const file_row_t *row, err_t *err) {
    return convert_list(w, row, "messages", err);
}

int convert_sharegpt(row_writer_t *w, const file_row_t *row, err_t *err) {
    return convert_list(w, row, "conversations", err);
}

int convert_alpaca(row_writer_t *w, const file_row_t *row, err_t *err) {
    conversation_t c = {0};
    const chat_template_t *chat = w->spec->chat ? w->spec->chat : w->alpaca;
    bool prompt = strcmp(chat_template_origin(chat), "alpaca") == 0;
    int rc = conversation_from_alpaca(row->json, prompt, &c, err);
    return encode(w, chat, row, &c, rc, err);
}

int convert_prompt_messages(row_writer_t *w, const file_row_t *row, err_t *err) {
    conversation_t c = {0};
    bool train_prompt = w->spec->train_on == TRAIN_ON_ALL;
    if (!w->spec->chat)
        return err_set(err, ERR_USAGE,
                       "prompt and completion are messages, which need a chat template; expected data.chat_template "
                       "other than none");
    int rc = conversation_from_prompt(row->json, train_prompt, &c, &w->notes, err);
    return encode(w, w->spec->chat, row, &c, rc, err);
}
