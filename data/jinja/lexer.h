/* A template's text as tokens, with Jinja's rules for white space applied. Internal to data/jinja/. */
#ifndef DATA_JINJA_LEXER_H
#define DATA_JINJA_LEXER_H

#include "data/jinja/value.h"

typedef enum {
    T_END,
    T_DATA,
    T_OUTPUT_BEGIN,
    T_OUTPUT_END,
    T_BLOCK_BEGIN,
    T_BLOCK_END,
    T_NAME,
    T_STRING,
    T_INT,
    T_FLOAT,
    T_OP
} token_type_t;

typedef struct {
    token_type_t type;
    char op; /* T_OP: the character, or one of OP_* */
    jinja_place_t place;
    value_t value; /* T_DATA, T_NAME, T_STRING: a string; T_INT, T_FLOAT */
} token_t;

typedef struct {
    token_t *v;
    size_t n, cap;
} tokens_t;

/* In r's arena; the last one is T_END. */
tokens_t jinja_tokens(render_t *r, const char *text, size_t len);

/* What literals.c reads at s[at ...], of n bytes: a string behind its opening quote, a number; `end` is behind it.
 * r->place is the token's. */
value_t literal_string(render_t *r, const char *s, size_t n, size_t at, size_t *end);
value_t literal_number(render_t *r, const char *s, size_t n, size_t at, size_t *end);

#endif
