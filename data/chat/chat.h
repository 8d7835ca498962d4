/* Chat templates: a conversation to tokens and labels. Templates are rendered by our own code in pieces, so
 * that which token is trained is known by construction, not found afterwards. */
#ifndef DATA_CHAT_CHAT_H
#define DATA_CHAT_CHAT_H

#include <jansson.h>

#include "data/tokenizer/tokenizer.h"

/* The Alpaca prompt's first paragraph, without and with an input (Taori et al. 2023). */
#define ALPACA_PREAMBLE \
    "Below is an instruction that describes a task. Write a response that appropriately completes the request."
#define ALPACA_PREAMBLE_INPUT \
    "Below is an instruction that describes a task, paired with an input that provides further context. " \
    "Write a response that appropriately completes the request."

typedef enum {
    CHAT_CHATML,
    CHAT_LLAMA2,
    CHAT_LLAMA3,
    CHAT_MISTRAL,
    CHAT_ZEPHYR,
    CHAT_ALPACA,
    CHAT_NONE,
    CHAT_AUTO
} chat_format_t;
const char *chat_format_name(chat_format_t f);

/* One published way to write a format (chat_table.c): Qwen's ChatML differs from SmolLM2's in its tool turns. */
typedef struct chat_variant chat_variant_t;

typedef struct {
    chat_format_t format;
    const chat_variant_t *variant; /* static; NULL for CHAT_NONE */
    char *default_system; /* what the model's own template says when a conversation has no system message; NULL */
    int32_t bos;          /* id put first, -1: none */
    unsigned trim;        /* bit of each role: its text loses the white space around it */
} chat_template_t;

/* wanted CHAT_AUTO: recognised from the model's own template; ERR_USAGE with the choices if there is none or
 * it is not recognised. A named format is checked against the tokenizer: its markers must be single tokens
 * where the format needs that. If the model's own template is of the named format, its default system prompt and
 * its variant of the format are taken from there. CHAT_NONE resolves to a template that renders nothing: rows
 * are then plain text. */
int chat_template_resolve(const tokenizer_t *tok, chat_format_t wanted, chat_template_t *t, err_t *err);
void chat_template_free(chat_template_t *t);

typedef enum { ROLE_SYSTEM, ROLE_USER, ROLE_ASSISTANT, ROLE_TOOL, ROLE_CALL } chat_role_t;
/* ROLE_TOOL: what a tool answered (sharegpt "observation", messages "tool"); ROLE_CALL: the assistant's call of
 * a tool (sharegpt "function_call"), trained like an assistant turn. */
typedef struct {
    chat_role_t role;
    const char *text;
    size_t len;
    const char *extra; /* the template's own words after the text (a list of tools): markers in it count; NULL */
} chat_turn_t;

/* Appends ids and, beside them, labels: the id itself for the text of an assistant turn and its end-of-turn
 * token, -100 for all else (a newline after the end-of-turn token is not trained). train_all: every token but
 * the first BOS is a label. generation: ends with the opening of an assistant turn, for prompting. Text in turns
 * is plain text: special tokens written in it are not recognised.
 *
 * The text between two special tokens is tokenized as a whole, as it would be in the rendered string, and bytes
 * say where training starts: a token that has bytes of the prompt too is not trained. What the model itself
 * writes is trained even where the template adds it: the space before Llama 2's </s>, the <tool_call> around a
 * call. What the template forces is not: an empty <think> block.
 * ERR_USAGE when the template cannot express the conversation (Llama 2 and tools, say). */
int chat_render(const tokenizer_t *tok, const chat_template_t *t, const chat_turn_t *turns, size_t n_turns,
                bool train_all, bool generation, ids_t *ids, ids_t *labels, err_t *err);

/* The list of tools of a conversation in the template's words (Qwen's, which others lack), for `extra` of the
 * system turn. tools: a JSON array of functions, or a string that holds one. The caller frees *text; NULL when
 * there are none. */
int chat_tools_text(const chat_template_t *t, const json_t *tools, char **text, err_t *err);

/* The ids that end an assistant turn under this template (for generation). At most 4. */
size_t chat_stop_ids(const tokenizer_t *tok, const chat_template_t *t, int32_t out[4]);

#endif
