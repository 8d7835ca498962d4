/* Splitting a command line, and finding what a mistyped word was meant to be. */
#ifndef TRAINER_COMMANDS_OPTIONS_H
#define TRAINER_COMMANDS_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

/* One option of a command line: "--name VALUE" or "--name=VALUE"; a flag has no value. */
typedef struct {
    const char *name;   /* without the dashes */
    const char **value; /* set to the value; NULL for a flag */
    bool *flag;         /* set when a flag is given; NULL otherwise */
} option_t;

/* Splits argv into options and positional arguments (in `pos`, at most max_pos; the number in *n_pos).
 * "--" ends the options; "-h" is "--help", where there is one. ERR_USAGE on an unknown
 * option (with a suggestion), a missing value, too many positionals. */
int options_parse(int argc, char **argv, const option_t *opts, size_t n_opts, const char **pos, size_t max_pos,
                  size_t *n_pos, err_t *err);

/* The closest of `names` to `word` by edit distance, NULL when none is near: for "did you mean". */
const char *closest_name(const char *word, const char *const *names, size_t n);

#endif
