/* What the parts of the parser share. Internal to data/jinja/. */
#ifndef DATA_JINJA_PARSER_H
#define DATA_JINJA_PARSER_H

#include "data/jinja/ast.h"
#include "data/jinja/lexer.h"

/* Names that a macro's body may read without being given them; for each of the macros around: what came first. */
enum { SPECIAL_CALLER, SPECIAL_VARARGS, SPECIAL_KWARGS, N_SPECIAL };
extern const char *const special_names[N_SPECIAL];
typedef struct enclosing {
    struct enclosing *outer;
    bool seen[N_SPECIAL], read[N_SPECIAL];
} enclosing_t;

typedef struct {
    render_t r; /* memory and errors */
    jinja_t *t;
    const token_t *tok; /* at hand; the last is T_END */
    size_t depth;
    size_t loops; /* around here, that `break` may leave */
    size_t fors;  /* around here, macros or not between */
    enclosing_t *macros;
    uint32_t *ids; /* open addressing: index + 1 in t->names; 0: free */
    size_t n_ids, cap_names;
} parser_t;

/* Fails at the token at hand. */
_Noreturn void parse_failed(parser_t *p, const char *expected);
void enter_nested(parser_t *p);
static inline void leave_nested(parser_t *p) { p->depth--; }

static inline bool at_op(const parser_t *p, char op) { return p->tok->type == T_OP && p->tok->op == op; }
bool at_word(const parser_t *p, const char *word);
bool token_is_word(const token_t *tok, const char *word);
bool skip_op(parser_t *p, char op);
bool skip_word(parser_t *p, const char *word);
void expect_op(parser_t *p, char op);
/* A name that is an identifier; its text. */
const char *expect_name(parser_t *p, const char *expected);

/* The variable of that name, which the template reads here, sets here, or takes as an argument. */
typedef enum { NAME_READ, NAME_SET, NAME_GIVEN } name_use_t;
name_t use_name(parser_t *p, const char *text, name_use_t use);
/* The same without saying that it is used. */
name_t find_name(parser_t *p, const char *text);

/* A growing array of pointers in the parser's memory. */
typedef struct {
    void **v;
    size_t n, cap;
} pointers_t;
void pointers_add(parser_t *p, pointers_t *a, void *v);

expr_t *parse_expression(parser_t *p);
/* One expression, or several with commas between them: a tuple. `with_if`: `a if b` is one. */
expr_t *parse_tuple(parser_t *p, bool with_if, const char *end_word);
/* `|name(...)|...` on `of`, or at once `name(...)|...` if `named`. */
expr_t *parse_filters(parser_t *p, expr_t *of, bool named);
/* `height`: of the highest operand. */
expr_t *new_expr(parser_t *p, expr_kind_t kind, jinja_place_t place, uint32_t height);

stmt_t *parse_template(parser_t *p);

#endif
