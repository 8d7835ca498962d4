/* Messages to the user. Everything a command answers goes to standard output; errors and warnings go to
 * standard error. A warning never stops anything. While a progress bar is drawn (trainer/run/progress.h) both
 * clear its line first, which is why output goes through here. */
#ifndef BASE_LOG_H
#define BASE_LOG_H

/* A line on standard output. */
void log_info(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* "warning: ..." on standard error. */
void log_warn(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* A line on standard error, without a prefix: it starts with the place, "file:line:column: ...". */
void log_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* From now on only log_error() prints: another process says the rest (trainer/ranks/ranks.h). */
void log_errors_only(void);

/* Set by the progress bar: called before a line is printed, to take the bar off the terminal. */
extern void (*log_before_line)(void);

#endif
