#include "trainer/report/chart.h"

#include <math.h>
#include <stdlib.h>

#include "trainer/report/html.h"

enum { WIDTH = 480, HEIGHT = 230, LEFT = 60, RIGHT = 10, TOP = 20, BOTTOM = 24, TICKS = 5, STRIPS = 80 };
#define SMOOTH_SHARE 30 /* of a curve: how far a value reaches into the smoothed one */

/* What is drawn where: steps across, values upwards, these over a unit of theirs. */
typedef struct {
    double first, last, low, high;
    double tick; /* low and high are multiples of it */
    double unit;
    const char *unit_name;
} frame_t;

void chart_colour(strbuf_t *b, int run) { strbuf_addf(b, "var(--c%d)", run % CHART_COLOURS); }

static double x_of(const frame_t *f, double step) {
    double span = f->last - f->first;
    return LEFT + (span > 0 ? (step - f->first) / span : 0.5) * (WIDTH - LEFT - RIGHT);
}

static double y_of(const frame_t *f, double value) {
    return TOP + (f->high - value / f->unit) / (f->high - f->low) * (HEIGHT - TOP - BOTTOM);
}

/* ---- the frame ----------------------------------------------------------------------------------------------- */

/* 1, 2 or 5 times a power of ten: the least of which not more than `most` reach over the span. */
static double tick_of(double span, int most) {
    double power = pow(10, floor(log10(span / most)));
    static const double steps[] = {1, 2, 5, 10};
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++)
        if (steps[i] * power * most >= span) return steps[i] * power;
    return 10 * power;
}

static void choose_unit(frame_t *f, const chart_t *chart) {
    static const char *const names[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
    f->unit = 1;
    f->unit_name = chart->unit;
    if (chart->kind != CHART_BYTES) return;
    size_t i = 0;
    for (; f->high / f->unit >= 1024 && i + 1 < sizeof names / sizeof *names; i++) f->unit *= 1024;
    f->unit_name = names[i];
}

/* false: there is nothing to draw. */
static bool frame_of(const chart_t *chart, const curve_t *curves, size_t n, frame_t *f) {
    *f = (frame_t){.first = INFINITY, .last = -INFINITY, .low = INFINITY, .high = -INFINITY};
    for (size_t i = 0; i < n; i++) {
        const series_t *s = curves[i].series;
        if (s->n == 0) continue;
        f->first = fmin(f->first, (double)s->buckets[0].first);
        f->last = fmax(f->last, (double)s->buckets[s->n - 1].last);
        f->low = fmin(f->low, series_low(s));
        f->high = fmax(f->high, series_high(s));
    }
    if (!(f->low <= f->high)) return false;
    choose_unit(f, chart);
    if (chart->from_zero) f->low = fmin(f->low, 0);
    double low = f->low / f->unit, high = f->high / f->unit, span = high - low;
    if (!(span > 0)) span = high != 0 ? fabs(high) : 1;
    f->tick = tick_of(span, TICKS);
    f->low = f->tick * floor(low / f->tick);
    f->high = f->tick * ceil(high / f->tick);
    if (!(f->high > f->low)) f->high = f->low + f->tick;
    return isfinite(f->high - f->low);
}

static void add_axes(strbuf_t *b, const frame_t *f) {
    double tick = f->tick, span = f->last - f->first;
    size_t ticks = (size_t)((f->high - f->low) / tick + 0.5);
    for (size_t i = 0; i <= ticks; i++) {
        double v = f->low + (double)i * tick, y = y_of(f, v * f->unit);
        strbuf_addf(
            b, "<path class=\"axis\" d=\"M%d %.1fH%d\"/><text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%.6g</text>\n",
            LEFT, y, WIDTH - RIGHT, LEFT - 6, y + 4, fabs(v) < tick / 1e6 ? 0.0 : v);
    }
    size_t step = span > 0 ? (size_t)fmax(1, tick_of(span, TICKS)) : 1, last = (size_t)f->last;
    for (size_t s = ((size_t)f->first + step - 1) / step * step; s <= last; s += step)
        strbuf_addf(b, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%zu</text>\n", x_of(f, (double)s), HEIGHT - 6,
                    s);
}

/* ---- curves -------------------------------------------------------------------------------------------------- */

static void add_style(strbuf_t *b, const curve_t *c) {
    strbuf_adds(b, "\" stroke=\"");
    chart_colour(b, c->run);
    strbuf_adds(b, c->run >= CHART_COLOURS ? "\" stroke-dasharray=\"5 3\"/>\n" : "\"/>\n");
}

/* Least to greatest of each bucket, where buckets hold more than a value. */
static void add_band(strbuf_t *b, const frame_t *f, const curve_t *c) {
    const series_t *s = c->series;
    strbuf_adds(b, "<path class=\"band\" fill=\"");
    chart_colour(b, c->run);
    strbuf_adds(b, "\" d=\"");
    for (size_t i = 0; i < s->n; i++)
        strbuf_addf(b, "%s%.1f %.1f", i ? "L" : "M", x_of(f, (double)s->buckets[i].first), y_of(f, s->buckets[i].high));
    for (size_t i = s->n; i-- > 0;)
        strbuf_addf(b, "L%.1f %.1f", x_of(f, (double)s->buckets[i].first), y_of(f, s->buckets[i].low));
    strbuf_adds(b, "Z\"/>\n");
}

/* Each value with those around it, where one of k places away counts memory^k: what a mean of the values before
 * it alone would show late stands in its place. */
static void smooth(const series_t *s, double *out) {
    double sum = 0, weight = 0, reach = fmax(1, (double)s->n / SMOOTH_SHARE), memory = reach / (reach + 1);
    double *weights = xcalloc(s->n, sizeof *weights);
    for (size_t i = 0; i < s->n; i++) {
        out[i] = sum = memory * sum + bucket_mean(&s->buckets[i]);
        weights[i] = weight = memory * weight + 1;
    }
    sum = weight = 0;
    for (size_t i = s->n; i-- > 0;) {
        out[i] = (out[i] + memory * sum) / (weights[i] + memory * weight);
        sum = memory * sum + bucket_mean(&s->buckets[i]);
        weight = memory * weight + 1;
    }
    free(weights);
}

static void add_line(strbuf_t *b, const frame_t *f, const curve_t *c, const char *kind, bool smoothed) {
    const series_t *s = c->series;
    double *values = xcalloc(s->n, sizeof *values);
    if (smoothed) smooth(s, values);
    else
        for (size_t i = 0; i < s->n; i++) values[i] = bucket_mean(&s->buckets[i]);
    strbuf_addf(b, "<path class=\"%s\" d=\"", kind);
    for (size_t i = 0; i < s->n; i++)
        strbuf_addf(b, "%s%.1f %.1f", i ? "L" : "M", x_of(f, (double)s->buckets[i].first), y_of(f, values[i]));
    if (s->n == 1) strbuf_adds(b, "h2");
    add_style(b, c);
    free(values);
}

static void add_curve(strbuf_t *b, const frame_t *f, const chart_t *chart, const curve_t *c) {
    if (c->series->n == 0) return;
    if (c->series->width > 1) add_band(b, f, c);
    if (chart->smooth) add_line(b, f, c, "faint", false);
    add_line(b, f, c, "curve", chart->smooth);
}

/* ---- values, for the pointer and for readers of screens ------------------------------------------------------- */

static void add_values(strbuf_t *b, const frame_t *f, const curve_t *curves, size_t n, size_t step) {
    const char *between = "";
    for (size_t i = 0; i < n; i++) {
        if (curves[i].series->n == 0) continue;
        const bucket_t *at = series_at(curves[i].series, step);
        strbuf_addf(b, "%s%.5g", between, bucket_mean(at) / f->unit);
        between = " · ";
    }
}

static void add_strips(strbuf_t *b, const frame_t *f, const curve_t *curves, size_t n) {
    double width = (double)(WIDTH - LEFT - RIGHT) / STRIPS, span = f->last - f->first;
    for (int i = 0; i < STRIPS; i++) {
        double x = LEFT + i * width, middle = x + width / 2;
        size_t step = (size_t)(f->first + span * (i + 0.5) / STRIPS + 0.5);
        strbuf_addf(b, "<g class=\"h\"><rect x=\"%.1f\" y=\"%d\" width=\"%.1f\" height=\"%d\"/>", x, TOP, width,
                    HEIGHT - TOP - BOTTOM);
        strbuf_addf(b,
                    "<line x1=\"%.1f\" x2=\"%.1f\" y1=\"%d\" y2=\"%d\"/><text x=\"%d\" y=\"12\" text-anchor=\"end\">",
                    middle, middle, TOP, HEIGHT - BOTTOM, WIDTH - RIGHT);
        strbuf_addf(b, "step %zu: ", step);
        add_values(b, f, curves, n, step);
        strbuf_adds(b, "</text></g>\n");
    }
}

void chart_add(strbuf_t *b, const chart_t *chart, const curve_t *curves, size_t n) {
    frame_t f;
    if (!frame_of(chart, curves, n, &f)) return;
    strbuf_adds(b, "<figure><figcaption>");
    html_text(b, chart->title);
    if (*f.unit_name) strbuf_addf(b, " <span>%s</span>", f.unit_name);
    strbuf_addf(b, "</figcaption>\n<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"", WIDTH, HEIGHT);
    html_text(b, chart->title);
    strbuf_addf(b, ", from step %.0f to %.0f\">\n", f.first, f.last);
    add_axes(b, &f);
    for (size_t i = 0; i < n; i++) add_curve(b, &f, chart, &curves[i]);
    add_strips(b, &f, curves, n);
    strbuf_adds(b, "</svg></figure>\n");
}
