/* Compressed files (gzip, Zstandard), unpacked as they are read. */
#ifndef DATA_UNPACK_H
#define DATA_UNPACK_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

typedef struct unpack unpack_t;

/* The suffix of a file that is compressed (".gz", ".zst"), at the end of `path`; NULL: it is not. */
const char *unpack_suffix(const char *path);
int unpack_open(const char *path, unpack_t **u, err_t *err);
/* Fills `out` with the next bytes; fewer than `room` only at the end. ERR_USAGE where the file is cut off or damaged. */
int unpack_read(unpack_t *u, char *out, size_t room, size_t *n, err_t *err);
void unpack_close(unpack_t *u); /* NULL is fine */

#endif
