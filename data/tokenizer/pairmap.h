/* A hash map from 64-bit keys to 32-bit values, for lookups that cost a few nanoseconds: merges of two token
 * ids, edges of a trie. Grows as it is filled; nothing is ever removed. Zero-initialise. */
#ifndef DATA_TOKENIZER_PAIRMAP_H
#define DATA_TOKENIZER_PAIRMAP_H

#include <stddef.h>
#include <stdint.h>

#define PAIRMAP_NONE UINT32_MAX

typedef struct {
    uint64_t key;
    uint32_t value; /* PAIRMAP_NONE: a free slot */
} pairmap_slot_t;

typedef struct {
    pairmap_slot_t *slots;
    size_t cap, used; /* cap: a power of two */
} pairmap_t;

static inline uint64_t pair_key(uint32_t a, uint32_t b) { return (uint64_t)a << 32 | b; }

/* The value of `key`; when there was none, `value` (not PAIRMAP_NONE) is stored and PAIRMAP_NONE returned. */
uint32_t pairmap_put(pairmap_t *m, uint64_t key, uint32_t value);
uint32_t pairmap_get(const pairmap_t *m, uint64_t key); /* PAIRMAP_NONE: no such key */
void pairmap_free(pairmap_t *m);

#endif
