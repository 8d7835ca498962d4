/* Splitting a command line by a table of options, from which help, completion and manual are made too. */
#ifndef TRAINER_COMMANDS_OPTIONS_H
#define TRAINER_COMMANDS_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

/* What a value is, and what the field is that it goes to. */
typedef enum {
    ARG_FLAG,   /* none: it is given or not               -> bool */
    ARG_TEXT,   /* anything                               -> const char * */
    ARG_CONFIG, /* a config, *.yaml or *.yml              -> const char * */
    ARG_FILE,   /* a file                                 -> const char * */
    ARG_DIR,    /* a directory                            -> const char * */
    ARG_PATH,   /* either                                 -> const char * */
    ARG_CHOICE, /* one of `words`                         -> const char * */
    ARG_WORDS,  /* some of `words`, with commas between   -> unsigned, a bit for each */
    ARG_WHOLE,  /* a whole number in [min, max]           -> uint64_t */
    ARG_REAL,   /* a number in [min, max]                 -> double */
    ARG_KEY,    /* as key `key` of a config, "lora.r"; whoever sets that checks it -> const char * */
} arg_kind_t;

/* One option: "--name VALUE" or "--name=VALUE"; a flag has no value. */
typedef struct {
    const char *name; /* without the dashes */
    arg_kind_t kind;
    size_t offset;     /* of the field in the command's own struct; without `usual` it stays when nothing is given */
    const char *value; /* what the value is called: "DIR"; NULL of a flag */
    const char *usual; /* the value when none is given; NULL: none */
    const char *const *words; /* NULL-terminated */
    double min, max;
    const char *key;
    const char *help; /* "%s": where the words are named, its own or the key's; the usual value is added in brackets */
} option_t;

/* An argument that is no option. */
typedef struct {
    const char *name; /* "MODEL" */
    arg_kind_t kind;  /* none with a field of another type than text */
    size_t most;      /* how many there may be; 0: one */
    bool optional;
    const char *const *words;
    const char *help; /* as an option's */
} positional_t;

enum { ARGS_MOST = 256 };

/* What is on a command line beside options. */
typedef struct {
    const char *pos[ARGS_MOST];
    size_t n;
    bool helped; /* --help or -h, which every command takes */
} args_t;

/* Splits argv into options, which go to the fields of `given`, and others, of which there may be max_pos. "--" ends the
 * options. ERR_USAGE on an unknown option (with a suggestion), a missing or a wrong value, too many others. */
int options_parse(int argc, char **argv, const option_t *opts, size_t n_opts, void *given, args_t *args, size_t max_pos,
                  err_t *err);

/* The value of option `name` as a whole number from min to max (less than 2^63): digits alone. ERR_USAGE otherwise. */
int option_whole(const char *name, const char *text, uint64_t min, uint64_t max, uint64_t *out, err_t *err);

#endif
