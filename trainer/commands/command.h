/* The subcommands. Each gets the arguments after its name and returns the exit status, having printed its
 * error, if any. main.c only picks one. */
#ifndef TRAINER_COMMANDS_COMMAND_H
#define TRAINER_COMMANDS_COMMAND_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "trainer/commands/options.h"
#include "trainer/config/config.h"

int command_train(int argc, char **argv);
int command_plan(int argc, char **argv);
int command_eval(int argc, char **argv);
int command_generate(int argc, char **argv);
int command_export(int argc, char **argv);
int command_quantize(int argc, char **argv);
int command_inspect(int argc, char **argv);
int command_tokenize(int argc, char **argv);
int command_bench(int argc, char **argv);
int command_init(int argc, char **argv);
int command_import(int argc, char **argv);
int command_print(int argc, char **argv);
int command_report(int argc, char **argv);
int command_quant_report(int argc, char **argv);

/* The command line of a command that reads a config: "CONFIG.yaml [section.key=value ...]" and its options, to which
 * --help is added; *helped: that was asked for and the text is printed, nothing else is to be done. */
int command_config(int argc, char **argv, const char *name, const char *help, const option_t *opts, size_t n_opts,
                   config_use_t use, config_t *config, bool *helped, err_t *err);

#endif
