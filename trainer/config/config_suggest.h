/* What an unknown key of a config was meant to be. */
#ifndef TRAINER_CONFIG_CONFIG_SUGGEST_H
#define TRAINER_CONFIG_CONFIG_SUGGEST_H

#include <stdbool.h>

/* What `name` most likely stands for, as "section.key" in `out`: the same key of another section, one that others call
 * so, one that is alike in this section or, failing that, in another. `section` may be NULL. */
bool config_suggest_key(const char *section, const char *name, char out[128]);

#endif
