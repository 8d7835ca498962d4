/* Regular expressions as a tokenizer.json writes them, run by PCRE2: Unicode properties, \s as White_Space. */
#ifndef DATA_TOKENIZER_PATTERN_H
#define DATA_TOKENIZER_PATTERN_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

typedef struct pcre2_real_code_8 pattern_t;
typedef struct pattern_match pattern_match_t; /* what one thread needs to match */

/* `literal`: the text stands for itself. `where` prefixes the message for a text that is no pattern. */
int pattern_open(const char *text, size_t len, bool literal, const char *where, pattern_t **re, err_t *err);
/* From the "pattern" of a Split or Replace: {"Regex": text} or {"String": text}. */
int pattern_open_json(const json_t *pattern, const char *where, pattern_t **re, err_t *err);
void pattern_close(pattern_t *re); /* NULL is fine */

pattern_match_t *pattern_match_new(void);
void pattern_match_free(pattern_match_t *m);

/* The first match that is not empty in text[at, len), which is valid UTF-8; *found false: none. ERR_USAGE when the
 * pattern exceeds the matching limits, which those of real models never do. */
int pattern_find(const pattern_t *re, pattern_match_t *m, const char *text, size_t len, size_t at, bool *found,
                 size_t *start, size_t *end, err_t *err);

#endif
