/* Lists of names, and names in messages: finding what a mistyped one was meant to be, and listing what is expected. */
#ifndef BASE_NAMES_H
#define BASE_NAMES_H

#include <stdbool.h>
#include <stddef.h>

/* The closest of `names` to `word` by edit distance, NULL when none is near: for "did you mean". */
const char *closest_name(const char *word, const char *const *names, size_t n);
/* Of names that NULL ends: whether it is one of them, and how many there are. */
bool name_is_among(const char *name, const char *const *names);
size_t name_count(const char *const *names);
/* "a, b or c". The caller frees. */
char *name_list(const char *const *names, size_t n);

#endif
