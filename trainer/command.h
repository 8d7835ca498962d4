/* The subcommands. Each gets the arguments after its name and returns the exit status, having printed its
 * error, if any. main.c only picks one. */
#ifndef TRAINER_COMMAND_H
#define TRAINER_COMMAND_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

int command_train(int argc, char **argv);
int command_plan(int argc, char **argv);
int command_eval(int argc, char **argv);
int command_generate(int argc, char **argv);
int command_export(int argc, char **argv);
int command_quantize(int argc, char **argv);
int command_inspect(int argc, char **argv);
int command_tokenize(int argc, char **argv);

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
