/* Growing lists of token ids, and of places in a text. */
#ifndef DATA_TOKENIZER_IDS_H
#define DATA_TOKENIZER_IDS_H

#include <stddef.h>
#include <stdint.h>

#include "base/mem.h"

typedef struct {
    int32_t *ids;
    size_t len, cap;
} ids_t; /* zero-initialise; free .ids */
static inline void ids_add(ids_t *v, int32_t id) {
    VEC_GROW(v->ids, v->len, v->cap);
    v->ids[v->len++] = id;
}
/* Those from `first` on; NULL where none was ever added: nothing may be added to that, not even 0. */
static inline const int32_t *ids_from(const ids_t *v, size_t first) { return v->ids ? v->ids + first : NULL; }

typedef struct {
    size_t *at;
    size_t len, cap;
} places_t; /* zero-initialise; free .at */
static inline void places_add(places_t *v, size_t at) {
    VEC_GROW(v->at, v->len, v->cap);
    v->at[v->len++] = at;
}

#endif
