/* How long the samples of a dataset are, as `inspect` shows it. */
#ifndef TRAINER_COMMANDS_INSPECT_LENGTHS_H
#define TRAINER_COMMANDS_INSPECT_LENGTHS_H

#include "data/dataset.h"

/* At most so many lines; all are equally wide, a width that is 1, 2 or 5 times a power of ten. */
#define LENGTHS_LINES ((size_t)16)

/* The width of a line's range, so that LENGTHS_LINES of them reach `longest` tokens. */
size_t lengths_width(size_t longest);
/* A line for each range of lengths, "1 to 50   120  ########", to standard output, with the longest bar `columns` wide. */
void lengths_print(const dataset_t *ds, size_t columns);

#endif
