/* Errors.
 *
 * Three tiers: what a user can cause is reported through an err_t (exit status 1 or 2, one line that says
 * where, what was expected); parsers of files do the same; what only a bug can cause is a CHECK, which is
 * on in every build.
 *
 * Convention: a function that can fail takes `err_t *err` last and returns 0, or err->code after err_set().
 * The innermost function writes the message; callers pass the code on, or add context with err_prefix(). */
#ifndef BASE_ERROR_H
#define BASE_ERROR_H

enum {
    ERR_FAILED = 1,   /* the machine failed: disk full, out of memory, I/O error. Exit status 1. */
    ERR_USAGE = 2,    /* the input is at fault: command line, config, model files, data. Exit status 2. */
    EXIT_STOPPED = 75 /* not an error: stopped by a signal after a good checkpoint; run again to continue. */
};

typedef struct {
    int code; /* 0: no error yet */
    char msg[1024];
} err_t;

/* Records an error and returns `code`. The message has no trailing newline. */
int err_set(err_t *err, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* Puts "text: " before the message already in `err`; returns err->code. */
int err_prefix(err_t *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Aborts with file, line and the condition: for conditions that only a bug can break. */
#define CHECK(cond) ((cond) ? (void)0 : check_failed(__FILE__, __LINE__, #cond))
void check_failed(const char *file, int line, const char *cond) __attribute__((noreturn));

#endif
