#include "data/tokenizer/pairmap.h"

#include <stdlib.h>

#include "base/mem.h"

/* Fibonacci hashing over a mix of both halves: keys are small ids, whose low bits alone would cluster. */
static size_t slot_of(const pairmap_t *m, uint64_t key) {
    uint64_t h = (key ^ key >> 29) * 0x9e3779b97f4a7c15u;
    size_t i = (size_t)(h ^ h >> 32) & (m->cap - 1);
    while (m->slots[i].value != PAIRMAP_NONE && m->slots[i].key != key) i = (i + 1) & (m->cap - 1);
    return i;
}

static void grow(pairmap_t *m) {
    pairmap_t bigger = {.cap = m->cap ? 2 * m->cap : 64, .used = m->used};
    bigger.slots = xcalloc(bigger.cap, sizeof *bigger.slots);
    for (size_t i = 0; i < bigger.cap; i++) bigger.slots[i].value = PAIRMAP_NONE;
    for (size_t i = 0; i < m->cap; i++) {
        if (m->slots[i].value != PAIRMAP_NONE) bigger.slots[slot_of(&bigger, m->slots[i].key)] = m->slots[i];
    }
    free(m->slots);
    *m = bigger;
}

uint32_t pairmap_put(pairmap_t *m, uint64_t key, uint32_t value) {
    if (2 * m->used >= m->cap) grow(m);
    size_t i = slot_of(m, key);
    if (m->slots[i].value != PAIRMAP_NONE) return m->slots[i].value;
    m->slots[i] = (pairmap_slot_t){key, value};
    m->used++;
    return PAIRMAP_NONE;
}

uint32_t pairmap_get(const pairmap_t *m, uint64_t key) {
    return m->cap ? m->slots[slot_of(m, key)].value : PAIRMAP_NONE;
}

void pairmap_free(pairmap_t *m) {
    free(m->slots);
    *m = (pairmap_t){0};
}
