#include "base/error.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Bytes that a UTF-8 sequence begins with and has, 0: `s` is no whole one. */
static size_t sequence(const char *s) {
    unsigned char c = (unsigned char)*s;
    size_t n = c < 0x80 ? 1 : c >= 0xc2 && c < 0xe0 ? 2 : c >= 0xe0 && c < 0xf0 ? 3 : c >= 0xf0 && c < 0xf5 ? 4 : 0;
    for (size_t i = 1; i < n; i++)
        if (((unsigned char)s[i] & 0xc0) != 0x80) return 0;
    return n;
}

/* A character that would tell a terminal something, in one byte or in two (U+0080 to U+009F): names of files and in them
 * are shown as they are. */
static bool is_control(const char *s, size_t n) {
    unsigned char a = (unsigned char)s[0], b = n == 2 ? (unsigned char)s[1] : 0xff;
    return n == 1 ? (a < 0x20 && a != '\n' && a != '\t') || a == 0x7f : n == 2 && a == 0xc2 && b < 0xa0;
}

/* What a precision or the message's end cut in two, and what was no UTF-8 or no text before, becomes a question mark
 * each. */
static void mend_characters(char *s) {
    char *out = s;
    while (*s) {
        size_t n = sequence(s);
        if (n && is_control(s, n)) {
            *out++ = '?';
            s += n;
            continue;
        }
        if (n == 0) *out++ = '?';
        for (size_t i = 0; i < n; i++) *out++ = s[i];
        s += n ? n : 1;
        while (n == 0 && ((unsigned char)*s & 0xc0) == 0x80) s++;
    }
    *out = '\0';
}

int err_set(err_t *err, int code, const char *fmt, ...) {
    va_list ap;
    err->code = code;
    va_start(ap, fmt);
    vsnprintf(err->msg, sizeof err->msg, fmt, ap);
    va_end(ap);
    mend_characters(err->msg);
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
    mend_characters(err->msg);
    return err->code;
}

void check_failed(const char *file, int line, const char *cond) {
    fprintf(stderr, "%s:%d: internal error: %s does not hold\n", file, line, cond);
    abort();
}
