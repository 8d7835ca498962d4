/* What the operators, filters, tests and methods share. Internal to data/jinja/. */
#ifndef DATA_JINJA_LIBRARY_H
#define DATA_JINJA_LIBRARY_H

#include "data/jinja/value.h"

/* ---- values --------------------------------------------------------------------------------------------- */

bool value_is_number(value_t v);                                                     /* int, float or bool */
bool value_is_integer(value_t v);                                                    /* int or bool */
static inline int64_t integer_of(value_t v) { return v.type == V_BOOL ? v.b : v.i; } /* of an int or bool */
bool numbers_equal(value_t a, value_t b);
int64_t value_integer(render_t *r, value_t v, const char *what); /* fails unless it is one; `what` is for the message */
double value_double(value_t number);
bool value_same(value_t a, value_t b); /* `is` */
bool value_hashable(render_t *r, value_t v);
void check_hashable(render_t *r, value_t v);
void value_enter(render_t *r); /* one level deeper in nested values; fails at the bound */
static inline void value_leave(render_t *r) { r->depth--; }
value_t value_pair(render_t *r, value_t a, value_t b); /* a tuple of two */
value_t list_part(render_t *r, value_type_t type, const list_t *list, size_t from, size_t to);
/* The elements of a dict view, in order. */
value_t dict_view(render_t *r, const dict_t *d, list_kind_t kind);
/* A generator whose elements are made when the first of them is asked for: what is wrong with one that nobody asks for is
 * no error. The value and arguments are kept. */
typedef list_t *(*make_elements_fn)(render_t *r, value_t v, const call_args_t *args);
value_t value_generator(render_t *r, make_elements_fn make, value_t v, const call_args_t *args);
value_t generator_of(render_t *r, const list_t *elements); /* made already */
void generator_fill(render_t *r, list_t *generator);
bool value_has_length(render_t *r, value_t v, size_t *n); /* len(): characters of a string */
/* float(s) and int(s, base); false where Python raises ValueError. */
bool float_of_text(render_t *r, const string_t *s, double *f);
bool integer_of_text(render_t *r, const string_t *s, int64_t base, int64_t *i);
/* Shortest text that is read as the same number, as Python writes it. */
enum { FLOAT_TEXT = 64 };
void float_text(double f, char text[FLOAT_TEXT]);

/* string_chars(), counted as work. */
size_t count_chars(render_t *r, const string_t *s);

/* ---- text ----------------------------------------------------------------------------------------------- */

#define NOT_FOUND SIZE_MAX
/* Byte at which `needle` begins in s at or behind `from` (the last one at or before `to`), or NOT_FOUND. */
size_t text_find(render_t *r, const string_t *s, const string_t *needle, size_t from, size_t to);
size_t text_rfind(render_t *r, const string_t *s, const string_t *needle, size_t from, size_t to);
bool text_all_digits(const string_t *s); /* 0 to 9, one at least */
size_t text_count(render_t *r, const string_t *s, const string_t *needle, size_t from, size_t to);
value_t text_replace(render_t *r, const string_t *s, const string_t *old, const string_t *with, int64_t count);
value_t text_join(render_t *r, const string_t *separator, const list_t *strings); /* all of them V_STRING */
value_t text_repeat(render_t *r, const string_t *s, int64_t times);
value_t text_escape(render_t *r, value_t v); /* markup: of a string its escaped form, markup as it is */
value_t value_markup(value_t string);        /* the string as markup */
value_t value_plain(value_t string);         /* and as none */
value_t text_percent(render_t *r, value_t format, value_t args);           /* format % args */
value_t text_format(render_t *r, value_t format, const call_args_t *args); /* format.format(args) */
value_t text_strip(render_t *r, const string_t *s, const string_t *chars,
                   int sides); /* 1: left, 2: right; NULL: space */
list_t *text_lines(render_t *r, const string_t *s, bool keep_ends);
/* At least `width` characters by filling up: '<' behind it, '>' before it, '^' both, as str.center() does. */
value_t text_pad(render_t *r, const string_t *s, int64_t width, const string_t *fill, char align);
/* As the filters see a value: a string as it is, markup too, anything else by str(). */
value_t value_soft(render_t *r, value_t v);

/* ---- characters, as Python knows them -------------------------------------------------------------------- */

typedef enum { CASE_UPPER, CASE_LOWER, CASE_TITLE, CASE_CAPITALIZE, CASE_SWAP, CASE_FOLD } case_t;
value_t text_case(render_t *r, const string_t *s, case_t to);
value_t text_jinja_title(render_t *r, const string_t *s); /* as Jinja's filter does, unlike str.title() */
/* The code point at byte i, and how many bytes it takes. */
int32_t text_char(const char *p, size_t len, size_t i, size_t *n);
bool char_space(int32_t c);
bool char_printable(int32_t c);
bool char_alpha(int32_t c);
bool char_decimal(int32_t c);
bool char_digit(int32_t c);
bool char_numeric(int32_t c);
int char_decimal_value(int32_t c); /* 0 to 9; -1: none */

/* What str.islower() and its like say of a text. */
bool text_is_alnum(const string_t *s);
bool text_is_alpha(const string_t *s);
bool text_is_ascii(const string_t *s);
bool text_is_decimal(const string_t *s);
bool text_is_digit(const string_t *s);
bool text_is_lower(const string_t *s);
bool text_is_numeric(const string_t *s);
bool text_is_printable(const string_t *s);
bool text_is_space(const string_t *s);
bool text_is_title(const string_t *s);
bool text_is_upper(const string_t *s);

/* ---- calls ---------------------------------------------------------------------------------------------- */

/* `what` is the filter, test, method or function, for messages. */
value_t arg_required(render_t *r, const call_args_t *args, size_t i, const char *name, const char *what);
const string_t *arg_string(render_t *r, const call_args_t *args, size_t i, const char *name, const char *what);
int64_t arg_integer(render_t *r, const call_args_t *args, size_t i, const char *name, int64_t fallback,
                    const char *what);
bool arg_truth(const call_args_t *args, size_t i, const char *name, bool fallback);

/* A filter that Jinja2 has and this engine does not. */
bool jinja_lacks_filter(const char *name);
/* obj.name without falling back to an item; undefined: there is none. */
value_t value_python_attribute(render_t *r, value_t obj, const char *name);

#endif
