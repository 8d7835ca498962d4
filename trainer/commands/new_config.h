/* A config that a command writes: it is there whole, and such that it loads, or not at all. */
#ifndef TRAINER_COMMANDS_NEW_CONFIG_H
#define TRAINER_COMMANDS_NEW_CONFIG_H

#include "trainer/config/config.h"

/* ERR_USAGE where a file of this name would be lost. */
int new_config_check(const char *file, bool replace, err_t *err);
/* The name of another one to write first, for file_replace(). The caller frees. */
char *new_config_temporary(const char *file);
/* Writes the text there and loads it. A place in it says nothing to who has not seen it: an error of what it says begins
 * with the key. */
int new_config_write(const char *temporary, const char *text, char *const *overrides, size_t n_overrides,
                     config_use_t use, config_t *config, err_t *err);

#endif
