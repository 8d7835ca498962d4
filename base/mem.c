#include "base/mem.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/error.h"

void *mem_checked(void *p, size_t n) {
    if (p) return p;
    if (n) fprintf(stderr, "out of host memory (%zu bytes asked for)\n", n);
    else fputs("out of host memory\n", stderr);
    exit(1);
}

/* Bytes of `count` elements; as many as nobody has where that is no size. */
static size_t bytes_of(size_t count, size_t size) {
    size_t n;
    return size_mul(count, size, &n) ? n : SIZE_MAX;
}

void *xmalloc(size_t n) { return mem_checked(malloc(n ? n : 1), n); }

void *xcalloc(size_t count, size_t size) {
    if (count && size) return mem_checked(calloc(count, size), bytes_of(count, size));
    return mem_checked(calloc(1, 1), 1);
}

void *xrealloc(void *p, size_t n) { return mem_checked(realloc(p, n ? n : 1), n); }

void *xmalloc_array(size_t count, size_t size) { return xmalloc(bytes_of(count, size)); }

void *xrealloc_array(void *p, size_t count, size_t size) { return xrealloc(p, bytes_of(count, size)); }

char *xstrndup(const char *s, size_t n) {
    char *d = xmalloc(n + 1);
    memcpy(d, s, n);
    d[n] = 0;
    return d;
}

char *xstrdup(const char *s) { return xstrndup(s, strlen(s)); }

char *xvasprintf(const char *fmt, va_list ap, size_t *len) {
    va_list again;
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    if (n < 0) mem_checked(NULL, 0); /* nothing else fails here */
    char *s = xmalloc((size_t)n + 1);
    vsnprintf(s, (size_t)n + 1, fmt, again);
    va_end(again);
    *len = (size_t)n;
    return s;
}

char *xasprintf(const char *fmt, ...) {
    va_list ap;
    size_t n;
    va_start(ap, fmt);
    char *s = xvasprintf(fmt, ap, &n);
    va_end(ap);
    return s;
}

void strbuf_add(strbuf_t *b, const char *s, size_t n) {
    CHECK(n < SIZE_MAX / 4 - b->len);
    if (b->len + n + 1 > b->cap) {
        b->cap = 2 * (b->len + n + 1);
        b->p = xrealloc(b->p, b->cap);
    }
    memcpy(b->p + b->len, s, n);
    b->len += n;
    b->p[b->len] = 0;
}

void strbuf_adds(strbuf_t *b, const char *s) { strbuf_add(b, s, strlen(s)); }

void strbuf_addf(strbuf_t *b, const char *fmt, ...) {
    va_list ap;
    size_t n;
    va_start(ap, fmt);
    char *s = xvasprintf(fmt, ap, &n);
    va_end(ap);
    strbuf_add(b, s, n);
    free(s);
}
