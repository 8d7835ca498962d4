/* Names in messages: finding what a mistyped one was meant to be, and listing what is expected. */
#ifndef BASE_NAMES_H
#define BASE_NAMES_H

#include <stddef.h>

/* The closest of `names` to `word` by edit distance, NULL when none is near: for "did you mean". */
const char *closest_name(const char *word, const char *const *names, size_t n);
/* "a, b or c". The caller frees. */
char *name_list(const char *const *names, size_t n);

#endif
