/* UTF-8 as Unicode defines it: no overlong forms, no surrogates, nothing above U+10FFFF. */
#ifndef DATA_TOKENIZER_UTF8_H
#define DATA_TOKENIZER_UTF8_H

#include <stddef.h>
#include <stdint.h>

/* Length in bytes of the character at `s` (of which `len` > 0 bytes are there) and the character itself;
 * 0 when no valid one starts there. */
size_t utf8_next(const char *s, size_t len, uint32_t *c);
/* Number of leading bytes that are valid: `len` when all are, else the offset of the first that is not. */
size_t utf8_valid(const char *s, size_t len);
/* Writes the character to `out` and returns its length, 1 to 4. */
size_t utf8_put(uint32_t c, char out[4]);

#endif
