/* Splitting a command line. */
#ifndef TRAINER_COMMANDS_OPTIONS_H
#define TRAINER_COMMANDS_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

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

/* The value of option `name` as a whole number from min to max (less than 2^63): digits alone. ERR_USAGE otherwise. */
int option_whole(const char *name, const char *text, uint64_t min, uint64_t max, uint64_t *out, err_t *err);

#endif
