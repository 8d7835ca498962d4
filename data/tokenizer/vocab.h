/* A vocabulary: every token's id, its text as the model's files write it, and the bytes that it stands for in
 * running text (byte-level BPE writes a space as "Ġ", SentencePiece as "▁"). The same for all tokenizers. */
#ifndef DATA_TOKENIZER_VOCAB_H
#define DATA_TOKENIZER_VOCAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/mem.h"

#define SPACE_MARK "\xe2\x96\x81" /* U+2581, how pieces of SentencePiece write a space */

/* Far above any real vocabulary (262,144 at the time of writing): keeps a hostile id from costing memory. */
#define VOCAB_MAX_ID ((1 << 22) - 1)

typedef struct {
    size_t text, bytes;           /* offsets in the pool */
    uint32_t text_len, bytes_len; /* text_len 0: no token has this id */
    bool special;                 /* a control token: not a part of running text */
} vocab_token_t;

typedef struct {
    strbuf_t pool;
    vocab_token_t *tokens; /* by id */
    size_t n, cap;         /* n: one more than the largest id */
    int32_t *index;        /* open addressing by text; -1: free */
    size_t index_cap, used;
} vocab_t; /* zero-initialise */

/* Adds a token whose bytes are its text. ERR_USAGE, prefixed by `where`: an empty text or one that is not
 * UTF-8, an id out of range, an id or a text that is already there. */
int vocab_add(vocab_t *v, int64_t id, const char *text, size_t len, const char *where, err_t *err);
void vocab_set_bytes(vocab_t *v, int32_t id, const char *bytes, size_t len);
/* Sets the bytes of a piece of SentencePiece: its text with spaces for their marks. */
void vocab_unmark_spaces(vocab_t *v, int32_t id);
int32_t vocab_find(const vocab_t *v, const char *text, size_t len); /* -1: no such token */
bool vocab_has(const vocab_t *v, int64_t id);
const char *vocab_text(const vocab_t *v, int32_t id, size_t *len); /* NUL-terminated; valid until the next add */
const char *vocab_bytes(const vocab_t *v, int32_t id, size_t *len);
void vocab_free(vocab_t *v);

/* A token for a message: quoted, cut when long, control characters escaped. Writes to `out`, returns it. */
typedef char quoted_t[96];
const char *token_quote(quoted_t out, const char *text, size_t len);

#endif
