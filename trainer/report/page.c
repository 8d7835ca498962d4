#include "trainer/report/page.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "trainer/report/chart.h"
#include "trainer/report/html.h"
#include "trainer/run/progress.h"

static const chart_t charts[COLUMNS] = {
    [COLUMN_LOSS] = {"Loss", "", CHART_NUMBER, true, false},
    [COLUMN_EVAL_LOSS] = {"Evaluation loss", "", CHART_NUMBER, false, false},
    [COLUMN_GRAD_NORM] = {"Gradient norm", "before clipping", CHART_NUMBER, false, true},
    [COLUMN_LEARNING_RATE] = {"Learning rate", "", CHART_NUMBER, false, true},
    [COLUMN_TOKENS_PER_SECOND] = {"Throughput", "tokens a second", CHART_NUMBER, false, true},
    [COLUMN_PEAK_BYTES] = {"Device memory of a step", "", CHART_BYTES, false, true},
    [COLUMN_PAGED_BYTES] = {"Paged in a step", "", CHART_BYTES, false, true},
};

/* ---- the runs, side by side ------------------------------------------------------------------------------------ */

static void add_run_name(strbuf_t *b, const run_record_t *r, size_t i, size_t n) {
    if (n > 1) {
        strbuf_adds(b, "<span class=\"key\" style=\"background:");
        chart_colour(b, (int)i);
        strbuf_adds(b, "\"></span>");
    }
    html_text(b, r->name);
}

static void add_figure(strbuf_t *b, const series_t *s, double value) {
    if (s->n) strbuf_addf(b, "<td class=\"n\">%.4f</td>", value);
    else strbuf_adds(b, "<td class=\"n\">–</td>");
}

/* Rows of metrics.jsonl have the tokens of their own step, and not every step need be logged. */
static void add_tokens(strbuf_t *b, const run_record_t *r) {
    size_t steps = r->steps > r->begun_after ? r->steps - r->begun_after : 0;
    bool all = r->n_tokens >= steps;
    double tokens = all ? r->tokens : r->tokens / (double)(r->n_tokens ? r->n_tokens : 1) * (double)steps;
    strbuf_addf(b, "<td class=\"n\">%s%.0f</td>", all ? "" : "about ", tokens);
}

static void add_results(strbuf_t *b, const run_record_t *runs, size_t n) {
    strbuf_adds(b, "<div class=\"scroll\"><table>\n<tr><th>run<th class=\"n\">steps<th class=\"n\">loss, last<th "
                   "class=\"n\">evaluation, last<th class=\"n\">evaluation, best<th class=\"n\">at step<th "
                   "class=\"n\">tokens<th class=\"n\">time<th class=\"n\">starts\n");
    for (size_t i = 0; i < n; i++) {
        const run_record_t *r = &runs[i];
        const series_t *loss = &r->column[COLUMN_LOSS], *eval = &r->column[COLUMN_EVAL_LOSS];
        char time[16];
        format_duration(r->seconds, time);
        strbuf_adds(b, "<tr><td>");
        add_run_name(b, r, i, n);
        strbuf_addf(b, "</td><td class=\"n\">%zu</td>", r->steps);
        add_figure(b, loss, loss->latest);
        add_figure(b, eval, eval->latest);
        add_figure(b, eval, r->best_loss);
        if (eval->n) strbuf_addf(b, "<td class=\"n\">%zu</td>", r->best_step);
        else strbuf_adds(b, "<td class=\"n\">–</td>");
        add_tokens(b, r);
        strbuf_addf(b, "<td class=\"n\">%s</td><td class=\"n\">%zu</td>\n", time, json_array_size(r->starts));
    }
    strbuf_adds(b, "</table></div>\n");
}

/* What a reader would take for whole and is not. */
static void add_doubts(strbuf_t *b, const run_record_t *r) {
    size_t bad = r->column[COLUMN_LOSS].not_finite;
    if (!r->unread && !bad) return;
    strbuf_adds(b, "<p class=\"soft\">");
    html_text(b, r->name);
    strbuf_adds(b, ":");
    if (bad) strbuf_addf(b, " %zu logged steps without a finite loss;", bad);
    if (r->unread) strbuf_addf(b, " %zu lines of its logs cannot be read;", r->unread);
    strbuf_adds(b, " they are in no curve.</p>\n");
}

static void add_charts(strbuf_t *b, const run_record_t *runs, size_t n) {
    curve_t *curves = xcalloc(n, sizeof *curves);
    size_t widest = 0;
    strbuf_adds(b, "<div class=\"grid\">\n");
    for (int c = 0; c < COLUMNS; c++) {
        double most = 0;
        for (size_t i = 0; i < n; i++) {
            const series_t *s = &runs[i].column[c];
            curves[i] = (curve_t){s, (int)i};
            if (s->n) most = fmax(most, series_high(s));
            if (s->width > widest) widest = s->width;
        }
        if (c == COLUMN_PAGED_BYTES && most == 0) continue; /* nothing was */
        chart_add(b, &charts[c], curves, n);
    }
    strbuf_adds(
        b, "</div>\n<p class=\"soft\">Over the steps of the run. Of the loss the strong line is a mean of the steps "
           "around, the nearer the heavier.");
    if (widest > 1)
        strbuf_addf(b,
                    " A point is the mean of up to %zu steps; the band behind it goes from the least to the greatest.",
                    widest);
    strbuf_adds(b, "</p>\n");
    free(curves);
}

/* ---- answers --------------------------------------------------------------------------------------------------- */

static void add_cell(strbuf_t *b, const char *text) {
    strbuf_adds(b, "<td>");
    html_text(b, text);
    strbuf_adds(b, "</td>");
}

static void add_samples_table(strbuf_t *b, const report_samples_t *s) {
    strbuf_adds(b, "<div class=\"scroll\"><table class=\"texts\">\n<tr><th>prompt");
    for (size_t c = 0; c < s->n_steps; c++) strbuf_addf(b, "<th>step %zu", s->steps[c]);
    strbuf_adds(b, "\n");
    for (size_t i = 0; i < s->n_rows; i++) {
        strbuf_adds(b, "<tr>");
        add_cell(b, s->rows[i].prompt);
        for (size_t c = 0; c < s->n_steps; c++) add_cell(b, s->rows[i].completion[c] ? s->rows[i].completion[c] : "–");
        strbuf_adds(b, "\n");
    }
    strbuf_adds(b, "</table></div>\n");
}

static void add_samples(strbuf_t *b, const run_record_t *r, bool named) {
    const report_samples_t *s = &r->samples;
    if (s->n_rows == 0) return;
    strbuf_adds(b, "<h2>Answers");
    if (named) {
        strbuf_adds(b, " of ");
        html_text(b, r->name);
    }
    strbuf_adds(b, "</h2>\n");
    if (s->evaluations > s->n_steps)
        strbuf_addf(b, "<p class=\"soft\">Those of %zu of %zu evaluations; samples.jsonl has all.</p>\n", s->n_steps,
                    s->evaluations);
    add_samples_table(b, s);
    if (s->left_out)
        strbuf_addf(b, "<p class=\"soft\">%zu answers to further prompts are not shown.</p>\n", s->left_out);
}

/* ---- configurations -------------------------------------------------------------------------------------------- */

static const setting_t *setting_at(const run_record_t *r, const setting_t *like) {
    for (size_t i = 0; i < r->n_settings; i++)
        if (!strcmp(r->settings[i].section, like->section) && !strcmp(r->settings[i].name, like->name))
            return &r->settings[i];
    return NULL;
}

/* Whether any two runs that have it differ in it. */
static bool differs(const run_record_t *runs, size_t n, const setting_t *like) {
    for (size_t i = 0; i < n; i++) {
        const setting_t *s = setting_at(&runs[i], like);
        if (s && strcmp(s->value, like->value) != 0) return true;
    }
    return false;
}

static void add_differences(strbuf_t *b, const run_record_t *runs, size_t n) {
    const run_record_t *first = runs;
    size_t found = 0;
    for (size_t i = 1; i < n && first->n_settings == 0; i++) first = &runs[i];
    strbuf_adds(b, "<h2>What differs</h2>\n<div class=\"scroll\"><table>\n<tr><th>key");
    for (size_t i = 0; i < n; i++) {
        strbuf_adds(b, "<th>");
        add_run_name(b, &runs[i], i, n);
    }
    strbuf_adds(b, "\n");
    for (size_t k = 0; k < first->n_settings; k++) {
        const setting_t *like = &first->settings[k];
        if (!strcmp(like->name, "output_dir") || !differs(runs, n, like)) continue;
        found++;
        strbuf_addf(b, "<tr><td><code>%s.%s</code></td>", like->section, like->name);
        for (size_t i = 0; i < n; i++) {
            const setting_t *s = setting_at(&runs[i], like);
            strbuf_adds(b, "<td><code>");
            html_text(b, s ? s->value : "?");
            strbuf_adds(b, "</code></td>");
        }
        strbuf_adds(b, "\n");
    }
    strbuf_adds(b, "</table></div>\n");
    if (!found) strbuf_adds(b, "<p>No key that is known of them.</p>\n");
}

static void add_config(strbuf_t *b, const run_record_t *r) {
    strbuf_adds(b, "<h2>Configuration</h2>\n");
    if (r->n_settings == 0) {
        strbuf_adds(b, "<p>Neither starts.jsonl nor a checkpoint has it.</p>\n");
        return;
    }
    strbuf_adds(b, "<p class=\"soft\">What is not the default is bold.</p>\n<div class=\"scroll\"><table>\n");
    for (size_t i = 0; i < r->n_settings; i++) {
        const setting_t *s = &r->settings[i];
        bool usual = s->usual && strcmp(s->value, s->usual) == 0;
        strbuf_addf(b, "<tr><td><code>%s.%s</code></td><td><code>%s", s->section, s->name, usual ? "" : "<b>");
        html_text(b, s->value);
        strbuf_adds(b, usual ? "</code></td>\n" : "</b></code></td>\n");
    }
    strbuf_adds(b, "</table></div>\n");
}

/* ---- starts ---------------------------------------------------------------------------------------------------- */

static const char *text_at(const json_t *object, const char *key) {
    const char *s = json_string_value(json_object_get(object, key));
    return s ? s : "";
}

static void add_starts(strbuf_t *b, const run_record_t *r) {
    size_t i;
    const json_t *start;
    if (json_array_size(r->starts) == 0) return;
    strbuf_adds(b, "<h2>Starts</h2>\n<div class=\"scroll\"><table class=\"lines\">\n<tr><th>time<th class=\"n\">from "
                   "step<th>host<th>device<th>program<th>commit\n");
    json_array_foreach(r->starts, i, start) {
        const json_t *machine = json_object_get(start, "machine"), *program = json_object_get(start, "program");
        strbuf_adds(b, "<tr>");
        add_cell(b, text_at(start, "time"));
        strbuf_addf(b, "<td class=\"n\">%.0f</td>", json_number_value(json_object_get(start, "step")));
        add_cell(b, text_at(machine, "host"));
        add_cell(b, text_at(machine, "device"));
        add_cell(b, text_at(program, "version"));
        add_cell(b, text_at(program, "commit"));
        strbuf_adds(b, "\n");
    }
    strbuf_adds(b, "</table></div>\n");
}

/* Everything in an object of the last start but the configuration: names and values, objects in objects as "a.b". */
static void add_members(strbuf_t *b, const json_t *object, const char *before) {
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)object, key, value) {
        char *name = xasprintf("%s%s%s", before, *before ? "." : "", key);
        char *text = json_is_string(value) ? NULL : json_dumps(value, JSON_ENCODE_ANY);
        if (json_is_object(value)) {
            add_members(b, value, name);
        } else {
            strbuf_adds(b, "<tr><td>");
            html_text(b, name);
            strbuf_adds(b, "</td>");
            add_cell(b, text ? text : json_string_value(value));
            strbuf_adds(b, "\n");
        }
        free(text);
        free(name);
    }
}

static void add_about(strbuf_t *b, const run_record_t *r) {
    static const struct {
        const char *key, *title;
    } parts[] = {{"model", "Model"}, {"data", "Data"}, {"memory", "Memory"}, {"machine", "Machine"}};
    const json_t *last = json_array_get(r->starts, json_array_size(r->starts) - 1);
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        const json_t *part = json_object_get(last, parts[i].key);
        if (!json_is_object(part)) continue;
        strbuf_addf(b, "<h2>%s</h2>\n<div class=\"scroll\"><table>\n", parts[i].title);
        add_members(b, part, "");
        strbuf_adds(b, "</table></div>\n");
    }
}

void report_page(strbuf_t *b, const run_record_t *runs, size_t n) {
    char *title = n == 1 ? xstrdup(runs[0].name) : xasprintf("%zu runs compared", n);
    html_begin(b, title);
    strbuf_adds(b, "<h1>");
    html_text(b, title);
    strbuf_adds(b, "</h1>\n");
    if (n == 1) {
        strbuf_adds(b, "<p class=\"soft\"><code>");
        html_text(b, runs[0].dir);
        strbuf_adds(b, "</code></p>\n");
    }
    add_results(b, runs, n);
    for (size_t i = 0; i < n; i++) add_doubts(b, &runs[i]);
    strbuf_adds(b, "<h2>Curves</h2>\n");
    add_charts(b, runs, n);
    for (size_t i = 0; i < n; i++) add_samples(b, &runs[i], n > 1);
    if (n > 1) {
        add_differences(b, runs, n);
    } else {
        add_starts(b, &runs[0]);
        add_about(b, &runs[0]);
        add_config(b, &runs[0]);
    }
    free(title);
}
