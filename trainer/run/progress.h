/* What the user sees of a training run, on standard output. On a terminal: one line, redrawn at most ten times a
 * second, with a bar and the mean of the last losses; elsewhere (a file, a pipe, a cluster's log): one plain line a logged step. There is one run,
 * so there is one progress. While it is on, base/log.h clears the bar before its lines. */
#ifndef TRAINER_RUN_PROGRESS_H
#define TRAINER_RUN_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>

#include "trainer/run/metrics.h"

/* start_step: steps done before (a resumed run). The time that is left is reckoned from the steps since. */
void progress_start(size_t total_steps, size_t start_step);
/* After a start: evaluations follow every so many steps and the last, and take as long as `steps` steps until one was
 * timed. 0: there are none. */
void progress_evaluations(size_t every, double steps);
/* The evaluation after `step` is done. */
void progress_evaluated(size_t step, double seconds);
/* logged: this step belongs in a plain log (every logging_steps); the bar shows every step. */
void progress_step(const metrics_step_t *s, bool logged);
/* A result that stays on the screen, on a line of its own. */
void progress_eval(size_t step, double loss, double perplexity);
/* What the run does other than stepping ("evaluating", "saving checkpoint-100"): shown in place of the bar until the
 * next step; not in a plain log. */
void progress_note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Leaves the last state of the bar on the screen and hands the terminal back. Harmless without a start. */
void progress_end(void);

/* "45s", "3m12s", "2h05m", "3d04h"; "?" for what is not finite. */
void format_duration(double seconds, char out[16]);
/* "512 B", "1.5 GiB": three or four digits. */
void format_bytes(size_t bytes, char out[16]);

#endif
