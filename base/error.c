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
    char old[sizeof err->msg];
    va_list ap;
    memcpy(old, err->msg, sizeof old);
    va_start(ap, fmt);
    vsnprintf(err->msg, sizeof err->msg, fmt, ap);
    va_end(ap);
    size_t n = strlen(err->msg), room = sizeof err->msg - n - 1;
    strncat(err->msg, ": ", room);
    strncat(err->msg, old, room > 2 ? room - 2 : 0);
    return err->code;
}

void check_failed(const char *file, int line, const char *cond) {
    fprintf(stderr, "%s:%d: internal error: %s does not hold\n", file, line, cond);
    abort();
}
