/* What the tests of chat templates share: models, templates, and conversations out of JSON. */
#ifndef SUPPORT_CHAT_RIG_H
#define SUPPORT_CHAT_RIG_H

#include "testing.h"

#include "data/chat/chat.h"

/* A model directory with SmolLM2's tokenizer, or Llama 2's of SentencePiece, `files` (name -> JSON; NULL: BOS
 * <|endoftext|>, EOS <|im_end|>) and a chat template (NULL: none), opened. */
tokenizer_t *rig_model(bool spm, const json_t *files, const char *template);
chat_template_t *rig_template(const tokenizer_t *tok, const char *choice);

/* {"messages", "tools", "kwargs", "marks"}: marks are numbers of train_mark_t. Freed by the second. */
conversation_t rig_conversation(const json_t *row);
void rig_conversation_free(conversation_t *c);

/* The text of a conversation (JSON, single quotes for double ones), what is trained between [[ and ]]; or the error's
 * message. Kept until the program ends. */
const char *rig_render(const chat_template_t *t, const char *row, train_on_t train_on, row_notes_t *notes);

#endif
