/* The commands. Each is one struct in its own cmd_*.c: what it is called, what it takes and what it does. Parser, --help,
 * completion and manual are made of it. A new one: its cmd_NAME.c with a `const command_t command_NAME`, a line here, and
 * one in commands.c. */
#ifndef TRAINER_COMMANDS_COMMAND_H
#define TRAINER_COMMANDS_COMMAND_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "trainer/commands/options.h"
#include "trainer/config/config.h"

#define PROGRAM_MODELS "Llama, Qwen, Mistral, Gemma, Phi, ..."
#define PROGRAM_IS "fine-tunes language models (" PROGRAM_MODELS ") with QLoRA"

typedef struct {
    const char *name;
    const char *synopsis; /* what stands after the name; several forms are on a line each */
    const char *what;     /* in the list of commands: a phrase */
    const char *about;    /* what --help says of it: paragraphs, a line each; words in `` are typed as they are */
    const char *notes;    /* paragraphs after the options; NULL: none */
    const positional_t *positionals;
    size_t n_positionals;
    const option_t *options; /* all but --help, which every command takes */
    size_t n_options;
    bool overrides; /* after the positional arguments section.key=value may follow */
    /* Gets the arguments after the name and returns the exit status, having printed its error, if any. */
    int (*run)(int argc, char **argv);
} command_t;

/* For the tables of a command. */
#define COMMAND_POSITIONALS(table) .positionals = (table), .n_positionals = sizeof(table) / sizeof *(table)
#define COMMAND_OPTIONS(table) .options = (table), .n_options = sizeof(table) / sizeof *(table)

extern const command_t command_train, command_plan, command_eval, command_generate, command_export, command_quantize,
    command_inspect, command_tokenize, command_report, command_quant_report, command_bench, command_init,
    command_import, command_print;

/* All of them, as --help lists them. */
extern const command_t *const commands[];
extern const size_t n_commands;
/* The one of this name, or NULL. */
const command_t *command_find(const char *name);

/* What the program takes in place of a command: "--help", "-h" or "help". */
typedef struct {
    const char *name;
    char letter;
    const char *help;
} program_option_t;
extern const program_option_t program_help, program_version;

typedef struct {
    int status;
    const char *what;
} exit_status_t;
extern const exit_status_t exit_statuses[];
extern const size_t n_exit_statuses;

/* Splits a command's arguments: options go to the fields of `given`, a struct that is zero, or NULL where it has none.
 * args->helped: --help was asked for and the text is printed, nothing else is to be done. */
int command_parse(const command_t *command, int argc, char **argv, void *given, args_t *args, err_t *err);

/* The same of a command that reads a config, its first argument; what follows overrides keys. */
int command_config(const command_t *command, int argc, char **argv, void *given, config_use_t use, config_t *config,
                   bool *helped, err_t *err);

#endif
