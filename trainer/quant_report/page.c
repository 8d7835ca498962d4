/* The report as a page: a table, and what a table shows badly as drawings. */
#include <math.h>
#include <stdlib.h>

#include "base/mem.h"
#include "trainer/quant_report/quant_report.h"
#include "trainer/report/html.h"

static const char *const colours[QUANT_KINDS] = {"", "#0f8b8d", "#7b4fb5", "#c0392b", "#d68910", "#2e7dd1", "#3c9d40"};

static void add_error_cells(strbuf_t *b, const quant_error_t *e) {
    strbuf_addf(b, "<td>%.3e</td><td>%.3e</td>", quant_rmse(e), (double)e->worst);
    if (quant_is_exact(e)) strbuf_adds(b, "<td>exact</td>");
    else strbuf_addf(b, "<td>%.2f</td>", quant_snr(e));
}

static void add_table(strbuf_t *b, const quant_report_t *r) {
    strbuf_adds(b, "<div class=\"scroll\"><table class=\"numbers\">\n<tr><th>type<th>bits a parameter<th>RMSE<th>worst "
                   "error<th>SNR, dB<th>codes off normal");
    strbuf_adds(b, r->label_tokens ? "<th>perplexity\n" : "\n");
    for (int i = 0; i < QUANT_KINDS; i++) {
        const quant_result_t *of = &r->of[i];
        strbuf_addf(b, "<tr><td>%s</td><td>%.4f</td>", quant_kinds[i].name,
                    8.0 * (double)of->bytes / (double)r->values);
        add_error_cells(b, &of->whole);
        if (quant_code_count(quant_kinds[i].type)) strbuf_addf(b, "<td>%.2f%%</td>", 100 * quant_off_normal(r, i));
        else strbuf_adds(b, "<td></td>");
        if (r->label_tokens) strbuf_addf(b, "<td>%.4f</td>", exp(of->loss));
        strbuf_adds(b, "\n");
    }
    strbuf_adds(b, "</table></div>\n");
}

/* ---- signal to noise by layer --------------------------------------------------------------------------------- */

enum { WIDTH = 900, HEIGHT = 300, LEFT = 44, BOTTOM = 30, RIGHT = 190 };

typedef struct {
    double low, high; /* dB, multiples of 10 */
} span_t;

static span_t span_of(const quant_report_t *r) {
    span_t s = {INFINITY, -INFINITY};
    for (int i = 0; i < QUANT_KINDS; i++) {
        for (size_t l = 0; l < r->layers; l++) {
            const quant_error_t *e = &r->of[i].layer[l];
            if (e->n == 0 || quant_is_exact(e)) continue;
            s.low = fmin(s.low, 10 * floor(quant_snr(e) / 10));
            s.high = fmax(s.high, 10 * ceil(quant_snr(e) / 10));
        }
    }
    return s;
}

static double y_of(span_t s, double db) { return 10 + (HEIGHT - BOTTOM - 10) * (s.high - db) / (s.high - s.low); }

static double x_of(const quant_report_t *r, size_t layer) {
    return LEFT + (double)layer * (WIDTH - LEFT - RIGHT) / (double)(r->layers > 1 ? r->layers - 1 : 1);
}

static void add_curve(strbuf_t *b, const quant_report_t *r, int kind, span_t s) {
    const quant_error_t *layer = r->of[kind].layer;
    strbuf_addf(b, "<polyline class=\"curve\" stroke=\"%s\" points=\"", colours[kind]);
    for (size_t l = 0; l < r->layers; l++)
        if (!quant_is_exact(&layer[l])) strbuf_addf(b, "%.1f,%.1f ", x_of(r, l), y_of(s, quant_snr(&layer[l])));
    strbuf_addf(b, "\"><title>%s</title></polyline>\n", quant_kinds[kind].name);
    double y = 20 + 18 * kind;
    strbuf_addf(
        b, "<rect x=\"%d\" y=\"%.0f\" width=\"14\" height=\"4\" fill=\"%s\"/><text x=\"%d\" y=\"%.0f\">%s</text>\n",
        WIDTH - RIGHT + 12, y - 6, colours[kind], WIDTH - RIGHT + 32, y, quant_kinds[kind].name);
}

static void add_curves(strbuf_t *b, const quant_report_t *r) {
    span_t s = span_of(r);
    strbuf_adds(b, "<h2>Signal to noise by layer, dB</h2>\n");
    if (!(s.low < s.high)) {
        strbuf_adds(b, "<p>No type makes an error.</p>\n");
        return;
    }
    strbuf_addf(b, "<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"signal to noise by layer\">\n", WIDTH, HEIGHT);
    for (int i = 0; i <= (int)((s.high - s.low) / 10); i++) {
        double db = s.low + 10 * i;
        strbuf_addf(b, "<path class=\"axis\" d=\"M%d %.1fH%d\"/><text x=\"8\" y=\"%.1f\">%.0f</text>\n", LEFT,
                    y_of(s, db), WIDTH - RIGHT, y_of(s, db) + 4, db);
    }
    for (size_t l = 0; l < r->layers; l += (r->layers + 9) / 10)
        strbuf_addf(b, "<text x=\"%.1f\" y=\"%d\">%zu</text>\n", x_of(r, l), HEIGHT - 8, l);
    for (int i = 0; i < QUANT_KINDS; i++)
        if (!quant_is_exact(&r->of[i].whole)) add_curve(b, r, i, s);
    strbuf_adds(b, "</svg>\n");
}

/* ---- use of codes --------------------------------------------------------------------------------------------- */

static void add_histogram(strbuf_t *b, const quant_report_t *r, int kind) {
    const quant_result_t *of = &r->of[kind];
    size_t n = quant_code_count(quant_kinds[kind].type);
    double top = 0, width = (double)WIDTH / (double)n, high = 140;
    for (size_t c = 0; c < n; c++) top = fmax(top, fmax((double)of->codes[c] / (double)r->values, of->normal[c]));
    strbuf_addf(b, "<h3>%s</h3>\n<svg viewBox=\"0 0 %d 160\" role=\"img\" aria-label=\"use of codes\">\n",
                quant_kinds[kind].name, WIDTH);
    for (size_t c = 0; c < n; c++) {
        double share = (double)of->codes[c] / (double)r->values, h = high * share / top;
        strbuf_addf(
            b,
            "<rect class=\"bar\" x=\"%.2f\" y=\"%.2f\" width=\"%.2f\" height=\"%.2f\"><title>%zu: %.4f%%, normal "
            "%.4f%%</title></rect>\n",
            (double)c * width, 150 - h, 0.9 * width, h, c, 100 * share, 100 * of->normal[c]);
    }
    strbuf_adds(b, "<path class=\"normal\" d=\"");
    for (size_t c = 0; c < n; c++)
        strbuf_addf(b, "%s%.2f %.2f", c ? "L" : "M", ((double)c + 0.45) * width, 150 - high * of->normal[c] / top);
    strbuf_adds(b, "\"/>\n</svg>\n");
}

/* Constants in two levels have the codes of constants in one. */
static void add_histograms(strbuf_t *b, const quant_report_t *r) {
    strbuf_adds(
        b, "<h2>Use of the codes</h2>\n<p>Bars: shares of the codes, in the order of their values. Line: of normally "
           "distributed values, in blocks of 64 as well.</p>\n");
    for (int i = 0; i < QUANT_KINDS; i++)
        if (quant_code_count(quant_kinds[i].type) && !quant_kinds[i].double_quant) add_histogram(b, r, i);
}

int quant_page_write(const quant_report_t *r, const char *path, err_t *err) {
    strbuf_t b = {0};
    html_begin(&b, "Data types compared");
    strbuf_adds(&b, "<h1>Data types compared</h1>\n<p>");
    html_text(&b, r->model);
    strbuf_addf(&b, ": the %zu parameters of its linear layers in %zu layers", r->values, r->layers);
    if (r->label_tokens) {
        strbuf_adds(&b, "; perplexity on ");
        html_text(&b, r->text);
        strbuf_addf(&b, ", %zu tokens", r->label_tokens);
    }
    strbuf_adds(&b, ".</p>\n");
    add_table(&b, r);
    add_curves(&b, r);
    add_histograms(&b, r);
    int rc = html_write(&b, path, err);
    free(b.p);
    return rc;
}
