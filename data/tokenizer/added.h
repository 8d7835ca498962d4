/* Added tokens: texts that become one id wherever they stand, before the text around them is cut into words.
 * Of those that start first the longest wins. White space that one takes along is no part of the next (the
 * `tokenizers` library would give it twice when it is an added token too). */
#ifndef DATA_TOKENIZER_ADDED_H
#define DATA_TOKENIZER_ADDED_H

#include <stdbool.h>
#include <stddef.h>

#include "data/tokenizer/pairmap.h"

typedef struct {
    int32_t id;
    bool special;     /* a control token */
    bool lstrip;      /* takes the white space before it along */
    bool rstrip;      /* and after it */
    bool single_word; /* not where a letter or digit stands beside it */
    bool normalized;  /* looked for in the normalised text, after all others */
    bool always;      /* in plain text too: a user-defined piece of a SentencePiece model */
} added_token_t;

typedef struct {
    added_token_t *v; /* in the order they were added */
    size_t n, cap;
    pairmap_t edges;    /* (node, byte) -> node of two tries of texts: root 0, and 1 for those that are normalized */
    uint32_t *token_at; /* by node: index in v, PAIRMAP_NONE: no text ends here */
    size_t nodes, nodes_cap;
    uint8_t begins[256]; /* by byte: bit t set where a text of trie t begins with it */
    bool any_always;
} added_t; /* zero-initialise */

/* `text` is what is looked for: the token's own, or what normalising makes of it. */
void added_add(added_t *a, added_token_t token, const char *text, size_t len);
void added_free(added_t *a);

/* Finds the next token (normalized or not, as asked; with `plain` only those that are found always) in
 * text[at, len). True: *token is it, and the span [*start, *end) is what it takes, white space included, beginning
 * at `at` or later. */
bool added_find(const added_t *a, bool normalized, bool plain, const char *text, size_t len, size_t at,
                const added_token_t **token, size_t *start, size_t *end);

#endif
