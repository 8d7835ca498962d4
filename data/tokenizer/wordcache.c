#include "data/tokenizer/wordcache.h"

#include <stdlib.h>
#include <xxhash.h>

/* 2 MB a thread. Fewer are found again more often than in time they save: of English and code 95 % of the words are
 * found with a quarter as many, 98 % with these, and a word that is not costs some thirty times as much. */
enum { SLOTS = 32768 };

wordcache_slot_t *wordcache_slot(wordcache_t *c, const char *word, size_t len) {
    if (len == 0 || len > WORDCACHE_BYTES) return NULL;
    if (!c->slots) c->slots = xcalloc(SLOTS, sizeof *c->slots);
    return &c->slots[XXH3_64bits(word, len) & (SLOTS - 1)];
}

void wordcache_put(wordcache_slot_t *slot, const char *word, size_t len, const int32_t *ids, size_t n) {
    if (n > WORDCACHE_IDS) return;
    slot->len = (uint8_t)len;
    slot->n = (uint8_t)n;
    memcpy(slot->word, word, len);
    if (n) memcpy(slot->ids, ids, n * sizeof *ids);
}

void wordcache_free(wordcache_t *c) {
    free(c->slots);
    *c = (wordcache_t){0};
}
