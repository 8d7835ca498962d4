/* Text of a template on its way to tokens: segments between special tokens, with a mark on each byte that says
 * whether it is trained. Internal to chat.c and the dataset formats. */
#ifndef DATA_CHAT_CHAT_TEXT_H
#define DATA_CHAT_CHAT_TEXT_H

#include "base/mem.h"
#include "data/tokenizer/tokenizer.h"

/* Which tokens are trained when they have bytes of both kinds. */
typedef enum { STRADDLE_UNTRAINED, STRADDLE_TRAINED } straddle_t;

typedef struct {
    const tokenizer_t *tok;
    ids_t *ids, *labels;
    bool train_all;
    straddle_t straddle;
    bool specials;       /* special tokens in the segment's text are recognised (text of files, not of turns) */
    bool inside;         /* the text so far had a token: what comes is not its beginning */
    strbuf_t text, mark; /* the open segment, and for each of its bytes 1 (trained) or 0 */
    bool spaced;         /* the segment starts with a space that the template wrote */
} text_out_t;

/* Zero-initialise text_out_t and set the first seven members; text_free at the end, after text_flush. */
void text_plain(text_out_t *o, const char *s, size_t n, bool trained);
/* Words of a template: special tokens and the marks for BOS and EOS of chat_table.h in it become ids. */
int text_literal(text_out_t *o, const char *s, bool trained, err_t *err);
/* Ends the segment and appends one id. */
int text_token(text_out_t *o, int32_t id, bool trained, err_t *err);
int text_flush(text_out_t *o, err_t *err);
void text_free(text_out_t *o);

/* [s, s+n) without the white space around it, as Python's str.strip() sees it; `left`, `right`: which sides. */
void text_strip(const char **s, size_t *n, bool left, bool right);

#endif
