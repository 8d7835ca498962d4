/* Values of a template while it renders: Python's, as far as templates can tell. Internal to data/jinja/.
 *
 * Everything lives in the render's arena and is freed with it. Lists, tuples, dicts and strings never change once they
 * are made (the sandbox refuses what would), so they are shared freely; only a namespace's attributes change.
 *
 * Errors do not return: jinja_fail() ends the render by longjmp to jinja_render(), with the place that is being
 * evaluated. So nothing in here may hold memory that is not the arena's across a call. */
#ifndef DATA_JINJA_VALUE_H
#define DATA_JINJA_VALUE_H

#include <setjmp.h>
#include <stddef.h>

#include "data/jinja/jinja.h"

/* ---- the render ----------------------------------------------------------------------------------------- */

typedef struct arena_block arena_block_t;

/* What a render may take; far above what any chat template needs. */
enum { JINJA_MAX_DEPTH = 200, JINJA_MAX_STEPS = 20000000 };
#define JINJA_MAX_OUTPUT ((size_t)64 << 20)
#define JINJA_MAX_MEMORY ((size_t)512 << 20)

typedef struct {
    uint32_t line, column; /* from 1; columns in characters */
} jinja_place_t;

typedef struct render {
    const jinja_t *t;
    const char *name; /* of the template */
    arena_block_t *arena;
    size_t memory; /* taken so far */
    size_t steps, depth;
    jinja_place_t place; /* of the expression or statement at hand */
    const char *date;    /* for strftime_now; NULL: there is none */
    jmp_buf failed;
    err_t *err;
} render_t;

/* Zeroed, aligned for any type; over the limit: jinja_fail(). */
void *jinja_alloc(render_t *r, size_t n);
/* Counts work that is not a statement or expression of its own (characters of a replace, elements of a range). */
void jinja_steps(render_t *r, size_t n);
_Noreturn void jinja_fail(render_t *r, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* ---- values --------------------------------------------------------------------------------------------- */

typedef enum {
    V_UNDEFINED, /* name: what was looked for, for messages; may be NULL */
    V_NONE,
    V_BOOL,
    V_INT, /* 64 bits: what does not fit is an error, unlike Python */
    V_FLOAT,
    V_STRING,
    V_LIST,
    V_TUPLE,
    V_DICT,
    V_VIEW,      /* a range, or what keys(), values(), items() of a dict give: elements and a length, yet no list */
    V_GENERATOR, /* what map, select, items of a filter ... give: goes once through its elements, has no length */
    V_NAMESPACE,
    V_FUNCTION
} value_type_t;

typedef struct value value_t;
typedef struct string string_t;
typedef struct list list_t;
typedef struct dict dict_t;
typedef struct function function_t;

struct value {
    value_type_t type;
    bool markup;           /* of a string: made by `safe` or `escape`; what is added to it is escaped */
    bool hint;             /* of an undefined value: `name` is a whole message, not a name */
    jinja_origin_t origin; /* of a scalar that is no string: what its written form will have */
    union {
        bool b;
        int64_t i;
        double f;
        const string_t *s;
        list_t *list; /* V_LIST, V_TUPLE, V_VIEW, V_GENERATOR */
        dict_t *dict; /* V_DICT, V_NAMESPACE */
        const function_t *fn;
        const char *name; /* V_UNDEFINED */
    };
};

/* Texts of so many bytes grow in place when something is added to them, so that one which is added to for every message
 * takes no memory of that many times its length. Of the shorter one, which goes on to be what it was, the longer one's
 * bytes stand behind the end: names and the like are compared up to a NUL, and are no longer than this. */
enum { TEXT_GROWS = 4096 };

/* UTF-8. Lengths and indices that a template sees are in characters, those here in bytes. */
struct string {
    const char *p; /* NUL-terminated besides, where that is before TEXT_GROWS bytes */
    size_t len;
    bool ascii;
    jinja_origin_t origin;         /* of all bytes, where */
    const jinja_origin_t *origins; /* this is NULL; else one a byte */
    struct builder *grown;         /* of a long one that was made by adding: where more can be added; else NULL */
};

typedef enum { LIST_PLAIN, LIST_RANGE, LIST_KEYS, LIST_VALUES, LIST_ITEMS, LIST_GROUP } list_kind_t;

struct list {
    value_t *v;
    size_t n;
    struct deferred *deferred; /* V_GENERATOR: how its elements are made, when the first is asked for; NULL: they are */
    size_t at;                 /* V_GENERATOR: elements taken already */
    list_kind_t kind;          /* of a V_VIEW: which; LIST_GROUP: a tuple of groupby, with .grouper and .list */
    int64_t start, stop, step; /* LIST_RANGE */
};

/* In order of insertion. Keys are scalars or tuples of them, as Python hashes them (1 == 1.0 == True). */
typedef struct {
    value_t key, value;
} dict_item_t;
struct dict {
    dict_item_t *v;
    size_t n, cap;
    int32_t element; /* of the traced list: which one it is; -1: none of them */
};

/* Arguments of a call, evaluated. */
typedef struct {
    const value_t *v; /* positional */
    size_t n;
    const char *const *names; /* of the n_named after them, in v[n ...] */
    size_t n_named;
} call_args_t;

/* A macro, a loop, a bound method, a global: something to call. `self` is what it is bound to. */
struct function {
    const char *name;
    value_t (*call)(render_t *r, const function_t *fn, const call_args_t *args);
    size_t (*length)(render_t *r, const function_t *fn); /* len() of what is more than a function, a loop; else NULL */
    value_t self;
    void *data; /* of who made it: the macro, the loop ... */
};

/* ---- making values (value.c) ---------------------------------------------------------------------------- */

value_t value_undefined(const char *name);
value_t value_none(void);
value_t value_bool(bool b);
value_t value_int(int64_t i);
value_t value_float(double f);
value_t value_text(render_t *r, const char *s, size_t n, jinja_origin_t origin); /* copies */
value_t value_list(render_t *r, value_type_t type, size_t n);                    /* n undefined elements to be set */
value_t value_dict(render_t *r, size_t cap);
void dict_set(render_t *r, dict_t *d, value_t key, value_t value); /* while it is being made, or of a namespace */
bool dict_get(const dict_t *d, value_t key, value_t *value);
bool dict_get_text(const dict_t *d, const char *key, value_t *value);
/* JSON as Python sees it. traced: `json` is the traced list, of which `items` elements are taken. */
value_t value_of_json(render_t *r, const json_t *json, bool traced, size_t items);

/* A string under construction, with the origin of each byte. Zero-initialise. */
typedef struct builder {
    char *p;
    jinja_origin_t *origins; /* NULL while all bytes have `origin` */
    jinja_origin_t origin;
    size_t len, cap;
} builder_t;
void build_bytes(render_t *r, builder_t *b, const char *s, size_t n, jinja_origin_t origin);
void build_string(render_t *r, builder_t *b, const string_t *s, size_t from, size_t to); /* bytes [from, to) of it */
value_t build_end(render_t *r, builder_t *b);
value_t string_add(render_t *r, const string_t *a, const string_t *b); /* a and behind it b; in place where it can be */

jinja_origin_t string_origin(const string_t *s, size_t byte);
value_t string_slice(render_t *r, const string_t *s, size_t from, size_t to); /* bytes */
size_t string_chars(const string_t *s);
size_t string_byte(const string_t *s, size_t character); /* where it begins; len for all behind the last */

/* ---- what Python does with values (value_ops.c) --------------------------------------------------------- */

_Noreturn void undefined_fail(render_t *r, value_t v); /* says what is undefined */
bool value_truth(value_t v);
bool value_equal(render_t *r, value_t a, value_t b);
int value_compare(render_t *r, value_t a, value_t b); /* <0, 0, >0; fails where Python raises TypeError */
bool value_contains(render_t *r, value_t container, value_t item);
value_t value_str(render_t *r, value_t v);  /* str(): what {{ }} writes; undefined: "" */
value_t value_repr(render_t *r, value_t v); /* repr() */
const char *value_type_name(value_t v);     /* Python's: "str", "dict", "NoneType" ... */
/* a op b for '+', '-', '*', '/', 'f' (floor division), '%', 'p' (power), '~' (concatenation of the str() forms). */
value_t value_binary(render_t *r, char op, value_t a, value_t b);
value_t value_negative(render_t *r, value_t v);

/* obj.name as Jinja looks it up: attribute (methods of str, dict, list; of a namespace, loop) before item; and obj[key]
 * the other way round, with negative indices. Nothing found: undefined. Of an undefined value: fails. */
value_t value_attribute(render_t *r, value_t obj, const char *name);
value_t value_item(render_t *r, value_t obj, value_t key);
value_t value_sliced(render_t *r, value_t obj, value_t start, value_t stop, value_t step); /* none: left out */

/* The elements of anything that can be iterated: a list's, a dict's keys, a string's characters, a generator's rest
 * (which is used up). Fails where Python raises; undefined has none. */
list_t *value_elements(render_t *r, value_t v);

/* ---- tables (filters.c, tests.c, methods.c, globals.c) -------------------------------------------------- */

typedef value_t (*filter_fn)(render_t *r, value_t v, const call_args_t *args);
/* NULL: there is no filter (test) of that name. Looked up when a template is parsed. */
filter_fn jinja_filter(const char *name);
typedef bool (*test_fn)(render_t *r, value_t v, const call_args_t *args);
test_fn jinja_test(const char *name);
/* A bound method of a str, dict, list; undefined if there is none. "append" and the like are found, and fail when they
 * are called, as the sandbox does. */
value_t jinja_method(render_t *r, value_t obj, const char *name);
/* range, dict, namespace, raise_exception, joiner, cycler, and strftime_now if r->date. False: no such name. */
bool jinja_global(render_t *r, const char *name, value_t *v);

/* Argument i of a call, or the one named so; otherwise `fallback`. */
value_t arg_or(const call_args_t *args, size_t i, const char *name, value_t fallback);
/* Fails unless there are from `min` to `max` positional arguments and only the names in `names` (NULL-terminated; NULL:
 * none). `what` is for the message. */
void args_check(render_t *r, const call_args_t *args, size_t min, size_t max, const char *const *names,
                const char *what);

/* Calls any value; fails if it cannot be called. */
value_t value_call(render_t *r, value_t fn, const call_args_t *args);

#endif
