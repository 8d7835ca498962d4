/* The table of all commands. */
#include <string.h>

#include "trainer/commands/command.h"

const command_t *const commands[] = {
    &command_train,    &command_plan,    &command_eval,     &command_generate, &command_export,
    &command_quantize, &command_inspect, &command_tokenize, &command_report,   &command_quant_report,
    &command_bench,    &command_init,    &command_import,   &command_print,
};
const size_t n_commands = sizeof commands / sizeof *commands;

const command_t *command_find(const char *name) {
    for (size_t i = 0; i < n_commands; i++)
        if (strcmp(commands[i]->name, name) == 0) return commands[i];
    return NULL;
}

const program_option_t program_help = {"help", 'h', "explain the program, or the command that is named after it"};
const program_option_t program_version = {"version", 'V', "print version, kernels and commit"};

const exit_status_t exit_statuses[] = {
    {0, "done"},
    {1, "failed"},
    {2, "bad usage, config or data"},
    {75, "stopped by a signal after a good checkpoint (run again to continue)"},
};
const size_t n_exit_statuses = sizeof exit_statuses / sizeof *exit_statuses;
