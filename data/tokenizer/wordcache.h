/* What words were encoded to, so that the common ones, most of any text, cost one lookup. A word takes the place of the
 * one that was there before; long words, and those of many tokens, are not kept. Of one thread and one tokenizer. */
#ifndef DATA_TOKENIZER_WORDCACHE_H
#define DATA_TOKENIZER_WORDCACHE_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "data/tokenizer/ids.h"

enum { WORDCACHE_BYTES = 30, WORDCACHE_IDS = 8 };

typedef struct {    /* of one cache line */
    uint8_t len, n; /* len 0: free */
    char word[WORDCACHE_BYTES];
    int32_t ids[WORDCACHE_IDS];
} wordcache_slot_t;

typedef struct {
    wordcache_slot_t *slots;
} wordcache_t; /* zero-initialise */

/* The word's place: its ids, or those of another word that is to be replaced. NULL: a word that is not kept. */
wordcache_slot_t *wordcache_slot(wordcache_t *c, const char *word, size_t len);
static inline bool wordcache_holds(const wordcache_slot_t *slot, const char *word, size_t len) {
    return slot->len == len && memcmp(slot->word, word, len) == 0;
}
/* Of the word of wordcache_slot(); nothing when there are too many ids. */
void wordcache_put(wordcache_slot_t *slot, const char *word, size_t len, const int32_t *ids, size_t n);
void wordcache_free(wordcache_t *c);

#endif
