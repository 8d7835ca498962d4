#include "trainer/commands/inspect_lengths.h"

#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"

size_t lengths_width(size_t longest) {
    static const size_t steps[] = {1, 2, 5};
    for (size_t power = 1;; power *= 10)
        for (size_t i = 0; i < sizeof steps / sizeof *steps; i++)
            if (steps[i] * power * LENGTHS_LINES >= longest) return steps[i] * power;
}

/* Which line a sample of so many tokens, at least one, counts in. */
static size_t line_of(size_t len, size_t width) { return (len - 1) / width; }

void lengths_print(const dataset_t *ds, size_t columns) {
    enum { BAR_MOST = 200 };
    size_t counts[LENGTHS_LINES] = {0}, most = 0, width = lengths_width(ds->longest);
    char bar[BAR_MOST + 1];
    for (size_t i = 0; i < ds->n_samples; i++) {
        size_t *n = &counts[line_of(ds->samples[i].len, width)];
        if (++*n > most) most = *n;
    }
    if (columns > BAR_MOST) columns = BAR_MOST;
    log_info("lengths     tokens             samples");
    for (size_t i = 0; i <= line_of(ds->longest, width); i++) {
        /* Whoever is there at all is seen. */
        size_t cells = most ? (counts[i] * columns + most - 1) / most : 0;
        memset(bar, '#', cells);
        bar[cells] = 0;
        char range[48];
        snprintf(range, sizeof range, "%zu to %zu", i * width + 1, (i + 1) * width);
        log_info("            %-16s %9zu%s%s", range, counts[i], cells ? "  " : "", bar);
    }
}
