/* A template as it was parsed. Internal to data/jinja/. All of it lives in the template's arena and never changes once
 * jinja_parse() is through, so that any number of renders can read it at a time.
 *
 * Variables are slots of frames, found when the template is parsed (scopes.c): the template, the body of a loop, a
 * macro and so on have a frame each, and a name says how many frames outwards its slot is. */
#ifndef DATA_JINJA_AST_H
#define DATA_JINJA_AST_H

#include "data/jinja/value.h"

typedef struct expr expr_t;
typedef struct stmt stmt_t;

/* A variable where it is read or set. */
typedef struct {
    const char *text;
    uint32_t id;    /* in jinja_t.names */
    uint32_t depth; /* frames outwards */
    uint32_t slot;
} name_t;

/* What a slot holds when its frame is entered. */
typedef enum {
    SLOT_GIVEN,   /* set by who enters: an argument, a loop's target */
    SLOT_CONTEXT, /* the variable of the render, or the global, of that name */
    SLOT_OUTER,   /* a copy of an outer frame's slot */
    SLOT_NOTHING  /* undefined until it is set */
} slot_kind_t;
typedef struct {
    slot_kind_t kind;
    name_t name; /* SLOT_OUTER: where to copy from, seen from this frame */
} slot_t;
typedef struct {
    slot_t *v;
    size_t n, cap;
} frame_t;

typedef struct {
    expr_t **v; /* positional, then named */
    size_t n;
    const char **names;
    size_t n_named;
    expr_t *list, *dict; /* of *list and **dict; may be NULL */
} args_t;

typedef enum {
    E_CONST,
    E_NAME,
    E_LIST,
    E_TUPLE,
    E_DICT, /* items: key, value, key, ... */
    E_ATTRIBUTE,
    E_ITEM,
    E_SLICE,
    E_CALL,
    E_FILTER,
    E_TEST,
    E_NOT,
    E_NEGATIVE,
    E_POSITIVE,
    E_BINARY,
    E_AND,
    E_OR,
    E_COMPARE,
    E_IF,
    E_CAPTURED /* what the body of a filter block or of a set block wrote */
} expr_kind_t;

/* The operators that are not one character. */
enum {
    OP_EQ = 'e',
    OP_NE = 'n',
    OP_LE = 'l',
    OP_GE = 'g',
    OP_FLOORDIV = 'f',
    OP_POW = 'p',
    OP_IN = 'i',
    OP_NOT_IN = 'o'
};

struct expr {
    expr_kind_t kind;
    uint32_t height; /* of the tree below */
    jinja_place_t place;
    union {
        value_t constant;
        name_t name;
        struct {
            expr_t **v;
            size_t n;
            const char *ops; /* E_COMPARE: n - 1 of them */
        } items;             /* E_LIST, E_TUPLE, E_DICT, E_COMPARE */
        struct {
            expr_t *of;
            const char *name;
        } attribute;
        struct {
            expr_t *a, *b, *c,
                *d;  /* E_SLICE: of what, start, stop, step (NULL: none); E_IF: then, if, else (or NULL) */
            char op; /* E_BINARY, as value_binary() has it */
        } of;
        struct {
            expr_t *of;
            args_t args;
            const char *name; /* of the filter or test */
            union {           /* NULL: there is none of that name, and it stands where that may be (scopes.c) */
                filter_fn filter;
                test_fn test;
            };
        } call; /* E_CALL, E_FILTER, E_TEST */
    };
};

typedef enum { TARGET_NAME, TARGET_ATTRIBUTE, TARGET_TUPLE } target_kind_t;
typedef struct target {
    target_kind_t kind;
    jinja_place_t place;
    name_t name;      /* TARGET_ATTRIBUTE: of the namespace */
    value_t key;      /* TARGET_ATTRIBUTE */
    struct target *v; /* TARGET_TUPLE */
    size_t n;
} target_t;

/* A macro; the body of a call block; and that of a generation block, which has a frame like one. */
typedef struct {
    const char *name; /* NULL: no macro */
    name_t *params;
    expr_t **defaults; /* NULL: there is none */
    size_t n;
    bool takes_caller, takes_varargs, takes_kwargs; /* the body reads them, and they are no parameters */
    name_t caller, varargs, kwargs;
    stmt_t *body;
    frame_t frame;
} macro_t;

typedef struct {
    expr_t *test;
    stmt_t *body;
} branch_t;

typedef struct {
    target_t target, filter_target; /* the same, in the frame of the body and in that of the filter */
    expr_t *iterable, *filter;      /* filter: NULL if there is none */
    stmt_t *body, *otherwise;
    bool recursive;
    name_t loop;
    frame_t frame, filter_frame, else_frame;
} for_t;

typedef enum {
    S_TEXT,
    S_OUTPUT,
    S_IF,
    S_FOR,
    S_SET,
    S_SET_BLOCK,
    S_MACRO,
    S_CALL,
    S_FILTER,
    S_WITH,
    S_BREAK,
    S_CONTINUE,
    S_GENERATION
} stmt_kind_t;

struct stmt {
    stmt_kind_t kind;
    jinja_place_t place;
    stmt_t *next;
    union {
        const string_t *text;
        expr_t *output;
        struct {
            branch_t *v;
            size_t n;
            stmt_t *otherwise;
        } branches; /* S_IF */
        for_t *loop;
        struct {
            target_t target;
            expr_t *value; /* S_SET_BLOCK, S_FILTER: the filters, or E_CAPTURED alone */
            stmt_t *body;
            frame_t frame;
        } set; /* S_SET, S_SET_BLOCK, S_FILTER */
        struct {
            name_t name; /* S_MACRO */
            macro_t *macro;
            expr_t *call; /* S_CALL */
        } macro;          /* S_MACRO, S_CALL, S_GENERATION */
        struct {
            target_t *targets;
            expr_t **values;
            size_t n;
            stmt_t *body;
            frame_t frame;
        } with;
    };
};

struct jinja {
    char *name;
    arena_block_t *arena;
    stmt_t *body;
    frame_t frame;
    const char **names;           /* of all variables */
    bool *is_read, *from_context; /* one a name */
    size_t n_names;
    bool marks_generation;
};

/* Finds the slot of every name (scopes.c). `r` is for memory and errors. */
void jinja_find_slots(render_t *r, jinja_t *t);

#endif
