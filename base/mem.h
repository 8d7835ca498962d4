/* Host memory for small and medium objects: allocation that cannot return NULL (the process ends with
 * status 1 and one line when the machine has none left), and a growable array. Device memory and the
 * buffers of a training step do not come from here: see model/backend/pool.h. */
#ifndef BASE_MEM_H
#define BASE_MEM_H

#include <stdarg.h>
#include <stddef.h>

void *xmalloc(size_t n);
void *xcalloc(size_t count, size_t size);
void *xrealloc(void *p, size_t n);
/* Of `count` elements; what no size can say is more than there is. */
void *xmalloc_array(size_t count, size_t size);
void *xrealloc_array(void *p, size_t count, size_t size);
/* What a library has allocated, which is NULL only for want of memory (of n bytes; 0: who knows). */
void *mem_checked(void *p, size_t n);
char *xstrdup(const char *s);
char *xstrndup(const char *s, size_t n);
/* printf into a new string, which the caller frees. */
char *xasprintf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* The same; *len is its length. */
char *xvasprintf(const char *fmt, va_list ap, size_t *len) __attribute__((format(printf, 1, 0)));

/* Makes room for at least one more element in the array `*(ptr)` of capacity `*(cap)` holding `len`. */
#define VEC_GROW(ptr, len, cap) \
    do { \
        if ((len) >= (cap)) { \
            (cap) = (cap) ? 2 * (cap) : 16; \
            (ptr) = xrealloc_array((ptr), (cap), sizeof *(ptr)); \
        } \
    } while (0)

/* A growable byte string, always NUL-terminated once something was appended. Zero-initialise; free .p. */
typedef struct {
    char *p;
    size_t len, cap;
} strbuf_t;
void strbuf_add(strbuf_t *b, const char *s, size_t n);
void strbuf_adds(strbuf_t *b, const char *s);
void strbuf_addf(strbuf_t *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
