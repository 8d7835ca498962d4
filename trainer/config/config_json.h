/* Arbitrary values in a config (KEY_JSON): a plain scalar as YAML 1.2's core schema reads it, and JSON values as YAML
 * text. Part of the config only. */
#ifndef TRAINER_CONFIG_CONFIG_JSON_H
#define TRAINER_CONFIG_CONFIG_JSON_H

#include <jansson.h>
#include <stdbool.h>

#include "base/mem.h"

/* Of plain (unquoted) scalars. */
bool yaml_is_null(const char *text);
bool yaml_is_bool(const char *text, bool *v);
/* The length of a number at the start of `s`, 0 if there is none: digits, with `real` also a fraction and an
 * exponent. No hexadecimal, no octal (YAML 1.1 reads 010 as 8, so it is refused), no inf, no nan. */
size_t yaml_number_length(const char *s, bool real);

/* null, true or false, a whole number (also 0x1f and 0o17), a real number, or a string, which it is in any case when
 * quoted. On failure NULL, and *expected says what would do. */
json_t *yaml_scalar_value(const char *text, bool quoted, const char **expected);

/* Appends a value on one line, in the flow style of YAML that JSON has too: read again, the same value. Mappings keep
 * their order, which counts where the first of several patterns wins. NULL: {}. */
void yaml_add_value(strbuf_t *b, const json_t *v);
/* A string in double quotes. */
void yaml_add_quoted(strbuf_t *b, const char *s);
/* The shortest text that reads back as the same double. */
void yaml_add_real(strbuf_t *b, double v);

#endif
