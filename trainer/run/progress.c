#include "trainer/run/progress.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/terminal.h"
#include "trainer/ranks/ranks.h"

#define REDRAW_SECONDS 0.1
#define LOSS_MEMORY 0.9 /* how much of its weight a loss keeps with each step that follows */
#define BAR_MIN 10
#define BAR_MAX 40
#define LINE_MAX_BYTES 512
#define CLEAR_LINE "\r\033[K"

static struct {
    bool on, terminal, colour, drawn;
    size_t total, start_step;
    double started, last_drawn;
    metrics_step_t last;
    double loss_sum, loss_weight;                     /* of the last steps: see smoothed_loss() */
    size_t evaluate_every, evaluated, evaluated_step; /* 0: never; how many here, and after which step the last */
    double evaluating;                                /* seconds of these */
    double evaluation_steps;                          /* how many steps one is expected to take as long as */
} bar;

void format_duration(double seconds, char out[16]) {
    static const struct {
        double unit;
        const char *big, *small;
        double small_unit;
    } forms[] = {{86400, "d", "h", 3600}, {3600, "h", "m", 60}, {60, "m", "s", 1}};
    if (!isfinite(seconds) || seconds < 0 || seconds > 9999 * 86400.0) {
        strcpy(out, "?");
        return;
    }
    double s = floor(seconds + 0.5);
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        if (s < forms[i].unit) continue;
        int big = (int)(s / forms[i].unit), small = (int)(fmod(s, forms[i].unit) / forms[i].small_unit);
        snprintf(out, 16, "%d%s%02d%s", big, forms[i].big, small, forms[i].small);
        return;
    }
    snprintf(out, 16, "%ds", (int)s);
}

void format_bytes(size_t bytes, char out[16]) {
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    double v = (double)bytes;
    size_t i = 0;
    /* 999.5 and more would be rounded to four digits. */
    for (; v >= 999.5 && i + 1 < sizeof units / sizeof *units; i++) v /= 1024;
    snprintf(out, 16, i == 0 || v >= 99.95 ? "%.0f %s" : "%.1f %s", v, units[i]);
}

/* Evaluations that belong to the steps up to `step`. */
static size_t evaluations_until(size_t step) {
    size_t every = bar.evaluate_every;
    return every ? step / every + (step == bar.total && step % every != 0) : 0;
}

/* Steps and evaluations are reckoned each by their own mean, or a run with a long evaluation at its end would be almost
 * done until then. */
static void remaining_time(size_t step, char out[16]) {
    double done = (double)(step - bar.start_step), left = step < bar.total ? (double)(bar.total - step) : 0;
    bool evaluated = bar.evaluated && bar.evaluated_step == step;
    size_t evaluations = evaluations_until(bar.total) - evaluations_until(evaluated || !step ? step : step - 1);
    double a_step = fmax(clock_seconds() - bar.started - bar.evaluating, 0) / done;
    double one = bar.evaluated ? bar.evaluating / (double)bar.evaluated : bar.evaluation_steps * a_step;
    format_duration(done > 0 ? left * a_step + (double)evaluations * one : INFINITY, out);
}

static void clear_bar(void) {
    if (!bar.drawn) return;
    fputs(CLEAR_LINE, stdout);
    fflush(stdout);
    bar.drawn = false;
}

/* Appends `text` when that leaves at least `reserve` of `width` columns free. */
static bool append(char *line, size_t *len, size_t width, size_t reserve, const char *text) {
    size_t n = strlen(text);
    if (*len + n + reserve > width || *len + n + 1 > LINE_MAX_BYTES) return false;
    memcpy(line + *len, text, n + 1);
    *len += n;
    return true;
}

/* "  [=====>     ]", `cells` wide inside. */
static void print_bar(size_t cells) {
    size_t full = bar.total ? cells * bar.last.step / bar.total : 0;
    if (full > cells) full = cells;
    fputs(bar.colour ? "  [\033[32m" : "  [", stdout);
    for (size_t i = 0; i < cells; i++) fputc(i < full ? '=' : i == full ? '>' : ' ', stdout);
    fputs(bar.colour ? "\033[0m]" : "]", stdout);
}

/* A NaN has no sign that a reader needs. */
static double shown(double v) { return isnan(v) ? NAN : v; }

/* The mean of the losses so far, where one of k steps ago counts LOSS_MEMORY^k: of the first step it is the loss. A
 * step without a finite loss counts for nothing. */
static void remember_loss(double loss) {
    if (!isfinite(loss)) return;
    bar.loss_sum = LOSS_MEMORY * bar.loss_sum + loss;
    bar.loss_weight = LOSS_MEMORY * bar.loss_weight + 1;
}

static double smoothed_loss(void) { return bar.loss_weight > 0 ? bar.loss_sum / bar.loss_weight : NAN; }

/* The fields in the order of their worth: what does not fit is left out, and the bar takes what is free. */
static void draw(void) {
    enum { FIELDS = 6 };
    char head[64], eta[16], peak[16], moved[16], fields[FIELDS][48], tail[LINE_MAX_BYTES] = "";
    const metrics_step_t *s = &bar.last;
    size_t width = terminal_width(STDOUT_FILENO) - 1, len = 0; /* the last column would wrap on some terminals */
    int n = snprintf(head, sizeof head, "step %zu/%zu", s->step, bar.total);
    if (n < 0 || (size_t)n > width) return;
    remaining_time(s->step, eta);
    format_bytes(s->peak_device_bytes, peak);
    format_bytes(s->paged_bytes, moved);
    snprintf(fields[0], sizeof fields[0], "  loss %.4f", smoothed_loss());
    snprintf(fields[1], sizeof fields[1], "  eta %s", eta);
    snprintf(fields[2], sizeof fields[2], "  %.0f tok/s", s->tokens_per_second);
    snprintf(fields[3], sizeof fields[3], "  lr %.2e", s->learning_rate);
    snprintf(fields[4], sizeof fields[4], "  peak %s", peak);
    snprintf(fields[5], sizeof fields[5], "  paged %s", moved);
    size_t i = 0, known = s->paged_bytes ? FIELDS : FIELDS - 1;
    width -= (size_t)n;
    while (i < known && append(tail, &len, width, i ? BAR_MIN + 4 : 0, fields[i])) i++;
    size_t free_columns = width - len, cells = free_columns < BAR_MIN + 4 ? 0 : free_columns - 4;
    fputs(CLEAR_LINE, stdout);
    fputs(head, stdout);
    if (cells) print_bar(cells < BAR_MAX ? cells : BAR_MAX);
    fputs(tail, stdout);
    fflush(stdout);
    bar.drawn = true;
    bar.last_drawn = clock_seconds();
}

void progress_start(size_t total_steps, size_t start_step) {
    memset(&bar, 0, sizeof bar);
    bar.on = true;
    bar.total = total_steps;
    bar.start_step = start_step;
    /* mpirun gives each process a terminal and writes what it says there to wherever its own output goes. */
    bar.terminal = terminal_is(STDOUT_FILENO) && ranks_size() == 1;
    bar.colour = bar.terminal && terminal_has_colour(STDOUT_FILENO);
    bar.started = clock_seconds();
    if (bar.terminal) log_before_line = clear_bar;
}

void progress_evaluations(size_t every, double steps) {
    bar.evaluate_every = every;
    bar.evaluation_steps = steps;
}

void progress_evaluated(size_t step, double seconds) {
    bar.evaluated++;
    bar.evaluated_step = step;
    bar.evaluating += seconds;
}

static void plain_line(const metrics_step_t *s) {
    char eta[16], moved[16], paged[64] = "";
    remaining_time(s->step, eta);
    format_bytes(s->paged_bytes, moved);
    if (s->paged_bytes) snprintf(paged, sizeof paged, "  paged %s (waited %.3f s)", moved, s->paging_stall_seconds);
    log_info("step %zu/%zu  epoch %.2f  loss %.4f  grad_norm %.3f  lr %.2e  %.0f tok/s%s  eta %s", s->step, bar.total,
             s->epoch, shown(s->loss), shown(s->grad_norm), s->learning_rate, s->tokens_per_second, paged, eta);
}

void progress_step(const metrics_step_t *s, bool logged) {
    bar.last = *s;
    remember_loss(s->loss);
    if (!bar.terminal) {
        if (logged) plain_line(s);
    } else if (s->step >= bar.total || clock_seconds() - bar.last_drawn >= REDRAW_SECONDS) {
        draw();
    }
}

void progress_eval(size_t step, double loss, double perplexity) {
    log_info("step %zu/%zu  eval_loss %.4f  eval_perplexity %.4f", step, bar.total, shown(loss), shown(perplexity));
}

void progress_note(const char *fmt, ...) {
    if (!bar.terminal) return;
    char note[LINE_MAX_BYTES];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(note, sizeof note, fmt, ap);
    va_end(ap);
    printf(CLEAR_LINE "%.*s", (int)(terminal_width(STDOUT_FILENO) - 1), note);
    fflush(stdout);
    bar.drawn = true;
    bar.last_drawn = 0; /* the next step replaces it at once */
}

void progress_end(void) {
    if (bar.on && bar.terminal && bar.last.step) {
        draw();
        fputc('\n', stdout);
        fflush(stdout);
    } else if (bar.on) {
        clear_bar();
    }
    if (log_before_line == clear_bar) log_before_line = NULL;
    memset(&bar, 0, sizeof bar);
}
