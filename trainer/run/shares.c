#include "trainer/run/shares.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/mem.h"
#include "trainer/ranks/ranks.h"

void shares_open(shares_t *s, size_t most) { *s = (shares_t){.cap = most, .loss = xcalloc(most + 1, sizeof *s->loss)}; }

void shares_close(shares_t *s) {
    free(s->loss);
    *s = (shares_t){0};
}

void shares_begin(shares_t *s, size_t n) {
    CHECK(n <= s->cap);
    s->n = n;
    memset(s->loss, 0, (n + 1) * sizeof *s->loss);
}

size_t shares_first(void) { return (size_t)ranks_rank(); }

size_t shares_next(size_t i) { return i + (size_t)ranks_size(); }

bool shares_sum(shares_t *s, bool gave_up, double *sum) {
    s->loss[s->n] = gave_up;
    /* Of each batch all ranks but one have a zero, so that nothing is rounded here. */
    ranks_sum(s->loss, s->n + 1);
    *sum = 0;
    for (size_t i = 0; i < s->n; i++) *sum += s->loss[i];
    return s->loss[s->n] == 0;
}
