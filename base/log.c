#include "base/log.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/terminal.h"

void (*log_before_line)(void);

static bool errors_only;

void log_errors_only(void) { errors_only = true; }

static void line(FILE *f, const char *head, const char *fmt, va_list ap) {
    if (log_before_line) log_before_line();
    size_t len;
    char *text = xvasprintf(fmt, ap, &len);
    fputs(head, f);
    terminal_write(f, text, len);
    fputc('\n', f);
    free(text);
    fflush(f);
}

void log_info(const char *fmt, ...) {
    va_list ap;
    if (errors_only) return;
    va_start(ap, fmt);
    line(stdout, "", fmt, ap);
    va_end(ap);
}

void log_warn(const char *fmt, ...) {
    va_list ap;
    if (errors_only) return;
    va_start(ap, fmt);
    line(stderr, "warning: ", fmt, ap);
    va_end(ap);
}

void log_error(const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    line(stderr, "", fmt, ap);
    va_end(ap);
}
