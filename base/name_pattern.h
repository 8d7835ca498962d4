/* Regular expressions over module names ("model.layers.3.self_attn.q_proj"), run by PCRE2. What PEFT gives to Python's
 * `re` means the same here but for corners that no module name reaches. */
#ifndef BASE_NAME_PATTERN_H
#define BASE_NAME_PATTERN_H

#include <stdbool.h>

#include "base/error.h"

typedef struct pcre2_real_code_8 name_pattern_t;

/* What of a name has to match: all of it (re.fullmatch), or all of it from its beginning or some dot on, which is how
 * PEFT looks up a key of rank_pattern: re.match(r"(.*\.)?(KEY)$", name). */
typedef enum { PATTERN_WHOLE, PATTERN_FROM_DOT } pattern_reach_t;

/* ERR_USAGE, with the reason, where the text is no regular expression. */
int name_pattern_open(const char *text, pattern_reach_t reach, name_pattern_t **p, err_t *err);
void name_pattern_close(name_pattern_t *p); /* NULL is fine */
/* ERR_USAGE where the expression takes too long to match. */
int name_pattern_matches(const name_pattern_t *p, const char *name, bool *matches, err_t *err);

#endif
