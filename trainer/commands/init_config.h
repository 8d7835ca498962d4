/* What `qlora-train init` looks at, and the config that it makes of it. */
#ifndef TRAINER_COMMANDS_INIT_CONFIG_H
#define TRAINER_COMMANDS_INIT_CONFIG_H

#include "data/dataset.h"

/* A model and its training data as they were found; zero-initialise, init_sight_free(). */
typedef struct {
    size_t positions; /* of the model */
    tokenizer_t *tok; /* NULL: none was found, which rows of tokens do without */
    bool has_template;
    data_format_t format;
    bool uses_template; /* rows are conversations */
    size_t rows;        /* counted no further than INIT_ROWS_LOOKED_AT */
} init_sight_t;

#define INIT_ROWS_LOOKED_AT ((size_t)100000)

/* Each replaces what it saw before. ERR_USAGE where no run could begin with it. */
int init_see_model(const char *path, init_sight_t *s, err_t *err);
int init_see_data(const char *path, init_sight_t *s, err_t *err);
void init_sight_free(init_sight_t *s);

typedef struct {
    const char *model, *train, *eval, *output_dir; /* eval NULL: none */
    char *const *overrides;                        /* section.key=value */
    size_t n_overrides;
} init_choice_t;

/* Writes the config, which loads as one of a training. `replace`: also where there is such a file. After an error nothing
 * is left of it. */
int init_write(const char *file, const init_choice_t *choice, const init_sight_t *s, bool replace, err_t *err);

#endif
