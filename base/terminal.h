/* What standard output, or another descriptor, is for the eyes of a user. */
#ifndef BASE_TERMINAL_H
#define BASE_TERMINAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* A terminal on which lines can be redrawn: not a file, a pipe, or TERM=dumb. */
bool terminal_is(int fd);
/* Such a terminal, unless the user wants no colour (NO_COLOR set and not empty: no-color.org). */
bool terminal_has_colour(int fd);
/* Columns; 80 where nobody says. */
size_t terminal_width(int fd);
/* Writes text to `f`. On a terminal what would act rather than show is written as \x1b: control characters other than line
 * ends and tabs, of which only sequences of colour (ESC [ ... m) are let through. So no row, name or model can move the
 * cursor, set titles, or overwrite what was said. */
void terminal_write(FILE *f, const char *text, size_t n);

#endif
