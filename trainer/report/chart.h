/* A chart of curves over the steps of a run, as SVG in a figure. */
#ifndef TRAINER_REPORT_CHART_H
#define TRAINER_REPORT_CHART_H

#include <stdbool.h>

#include "base/mem.h"
#include "trainer/report/series.h"

enum { CHART_COLOURS = 6 };

typedef struct {
    const series_t *series; /* may be empty */
    int run;                /* its colour, and from the seventh on its dashes */
} curve_t;

typedef enum { CHART_NUMBER, CHART_BYTES } chart_unit_t;

typedef struct {
    const char *title, *unit; /* unit "": none; of CHART_BYTES it is chosen */
    chart_unit_t kind;
    bool smooth;    /* the mean of values near each other in the colour, the values faint behind it */
    bool from_zero; /* the axis begins there */
} chart_t;

/* Nothing when no curve has a value. */
void chart_add(strbuf_t *b, const chart_t *chart, const curve_t *curves, size_t n);
/* "var(--c0)" */
void chart_colour(strbuf_t *b, int run);

#endif
