/* Lines of a file that a run may be writing, each a JSON object. */
#ifndef TRAINER_REPORT_LINES_H
#define TRAINER_REPORT_LINES_H

#include <jansson.h>
#include <stddef.h>

#include "base/error.h"

/* `take` gets each object; what is none, is torn, or has `longest` bytes or more, is left out and counted. ERR_USAGE where
 * there is no such file. */
typedef void line_fn(void *ctx, json_t *row);
int each_line(const char *path, size_t longest, line_fn *take, void *ctx, size_t *unread, err_t *err);

#endif
