/* Added tokens: texts that become one id wherever they stand, before the text around them is cut into words.
 * Of those that start first the longest wins. White space that one takes along is no part of the next (the
 * `tokenizers` library would give it twice when it is an added token too). */
#ifndef DATA_TOKENIZER_ADDED_H
#define DATA_TOKENIZER_ADDED_H

#include "data/tokenizer/pairmap.h"
#include "data/tokenizer/vocab.h"

typedef struct {
    int32_t id;
    bool special;    /* a control token */
    bool lstrip;     /* takes the white space before it along */
    bool rstrip;     /* and after it */
    bool normalized; /* looked for in the normalised text, after all others */
} added_token_t;

typedef struct {
    added_token_t *v;
    size_t n, cap;
    pairmap_t edges;    /* (node, byte) -> node of the trie of all texts, root 0 */
    uint32_t *token_at; /* by node: index in v, PAIRMAP_NONE: no text ends here */
    size_t nodes, nodes_cap;
} added_t; /* zero-initialise */

/* The token's text is that of the vocabulary. */
void added_add(added_t *a, const vocab_t *vocab, added_token_t token);
void added_free(added_t *a);

/* Finds the next token (normalized or not, as asked) in text[*at, len). True: *token is it, and the span
 * [*start, *end) is what it takes, white space included, beginning at *at or later. */
bool added_find(const added_t *a, bool normalized, const char *text, size_t len, size_t at, const added_token_t **token,
                size_t *start, size_t *end);

#endif
