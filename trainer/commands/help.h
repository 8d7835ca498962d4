/* What --help prints, made from the tables of the commands. */
#ifndef TRAINER_COMMANDS_HELP_H
#define TRAINER_COMMANDS_HELP_H

#include "base/mem.h"
#include "trainer/commands/command.h"
#include "trainer/config/config_schema.h"

void help_program(strbuf_t *b);
void help_command(strbuf_t *b, const command_t *command);

/* The sentence of an option, or of an argument that is none, with its words and the usual value. The caller frees. */
char *help_of_option(const option_t *option);
char *help_of_positional(const positional_t *positional);

/* The config key that an option of kind ARG_KEY sets; NULL: it sets none. */
const config_key_t *option_key(const option_t *option);

#endif
