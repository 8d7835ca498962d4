#include "trainer/run/evals.h"

#include <math.h>

void evals_note(evals_t *e, size_t step, double loss) {
    bool better = isfinite(loss) && (e->best_step == 0 || loss < e->best);
    e->since = better || e->last == 0 ? 0 : e->since + 1;
    if (better) {
        e->best_step = step;
        e->best = loss;
    }
    if (!isfinite(loss) && e->bad++ == 0) e->first_bad = step;
    e->last = step;
}

bool evals_stop(const evals_t *e, size_t patience) { return patience && e->since >= patience; }
