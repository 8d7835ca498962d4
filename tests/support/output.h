/* Standard output of a test, sent elsewhere for a while. */
#ifndef TESTS_OUTPUT_H
#define TESTS_OUTPUT_H

#include <stddef.h>

/* Standard output is put aside; what is written goes to `fd` until output_back(). */
void output_to(int fd);
void output_back(void);

typedef struct {
    int master, slave;
} pty_t;

/* Standard output is a terminal of so many columns from here on. */
pty_t pty_open(unsigned short columns);
/* What it got so far, NUL-terminated; standard output is as before. */
void pty_read(pty_t *t, char *got, size_t size);

#endif
