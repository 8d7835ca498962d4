/* Completion for shells, made from the tables of the commands and of the config's keys: scripts that start nothing while
 * somebody types. */
#ifndef TRAINER_COMMANDS_COMPLETION_H
#define TRAINER_COMMANDS_COMPLETION_H

#include "base/mem.h"
#include "trainer/commands/command.h"
#include "trainer/config/config_schema.h"

void completion_bash(strbuf_t *b);
void completion_zsh(strbuf_t *b);
void completion_fish(strbuf_t *b);

/* ---- for the three -------------------------------------------------------------------------------------- */

/* What a shell offers for a value. */
typedef struct {
    char *words;       /* with spaces between, quoted where a shell needs it; "": none */
    const char *paths; /* "config", "file", "dir", "path" (a file or a directory) or "": none */
    bool several;      /* some of the words, with commas between */
} offer_t;

offer_t offer_of_option(const option_t *option);
offer_t offer_of_positional(const positional_t *positional);
offer_t offer_of_key(const config_key_t *key);
void offer_free(offer_t *offer);

/* The first number of a positional argument, from 1 on, in whose place section.key=value may stand. */
size_t completion_first_override(const command_t *command);
/* The first of the clauses that explain an option. The caller frees. */
char *completion_help(const option_t *option);
/* 'text', as the three shells read it. */
void completion_add_quoted(strbuf_t *b, const char *text);

#endif
