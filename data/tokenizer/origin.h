/* Where the bytes of a text that was made from another came from. */
#ifndef DATA_TOKENIZER_ORIGIN_H
#define DATA_TOKENIZER_ORIGIN_H

#include <stddef.h>

typedef struct {
    const size_t *at; /* by byte; NULL: byte i comes from base + i */
    size_t base;
} origin_t;

static inline size_t origin_of(origin_t o, size_t i) { return o.at ? o.at[i] : o.base + i; }
/* Of the text without its first n bytes. */
static inline origin_t origin_skip(origin_t o, size_t n) {
    return o.at ? (origin_t){.at = o.at + n} : (origin_t){.base = o.base + n};
}

#endif
