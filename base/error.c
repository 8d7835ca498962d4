#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int err_set(err_t *err, int code, const char *fmt, ...) {
    va_list ap;
    err->code = code;
    va_start(ap, fmt);
    vsnprintf(err->msg, sizeof err->msg, fmt, ap);
    va_end(ap);
    return code;
}

int err_prefix(err_t *err, const char *fmt, ...) {
    char old[sizeof err->msg], head[sizeof err->msg];
    va_list ap;
    memcpy(old, err->msg, sizeof old);
    va_start(ap, fmt);
    vsnprintf(head, sizeof head, fmt, ap);
    va_end(ap);
    size_t n = strlen(head);
    if (n > sizeof err->msg - 3) n = sizeof err->msg - 3;
    memcpy(err->msg, head, n);
    snprintf(err->msg + n, sizeof err->msg - n, ": %s", old);
    return err->code;
}

_Noreturn void check_failed(const char *file, int line, const char *cond) {
    fprintf(stderr, "%s:%d: internal error: %s does not hold\n", file, line, cond);
    abort();
}
