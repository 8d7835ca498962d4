#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/host.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/names.h"
#include "base/version.h"
#include "commit.h"
#include "cpu/kernels/kernels.h"
#include "cpu/tiles_choice.h"
#include "model/backend/backend.h"
#include "trainer/commands/command.h"
#include "trainer/commands/help.h"
#include "trainer/ranks/ranks.h"
#include "trainer/run/backend_open.h"
#include "trainer/run/stop.h"

/* OpenMP's threads wait for each other by spinning, by default for milliseconds: as soon as another process wants
 * one of the cores, an op of 50 microseconds takes 8 milliseconds (docs/speed.md). Asleep at once they have to be
 * woken for each of the hundreds of ops of a step. In between, some 30 microseconds, lies what costs neither: long
 * enough for threads that end about together, too short for others to wait for. The OpenMP runtime reads its
 * environment before main(), so the program starts itself again once; where that cannot be done it goes on as it is. */
static void wait_asleep(char **argv) {
    if (getenv("OMP_WAIT_POLICY") || getenv("GOMP_SPINCOUNT")) return;
    setenv("OMP_WAIT_POLICY", "passive", 1);
    setenv("GOMP_SPINCOUNT", "1000", 1); /* of GCC's runtime; others take the policy */
    execv("/proc/self/exe", argv);
    char *path = host_program(); /* there is no /proc */
    if (path) execv(path, argv);
    free(path);
}

static int print_help(void) {
    strbuf_t text = {0};
    help_program(&text);
    fputs(text.p, stdout);
    free(text.p);
    return 0;
}

static int print_version(void) {
    char kernels[64];
    tiles_describe(kernels_best()->isa, tiles_choice()->bf16, kernels, sizeof kernels);
    printf("qlora-train %s (own kernels, %s; CUDA: %s; commit %s)\n", QLORA_VERSION, kernels,
           backend_has_cuda() ? "yes" : "no", version_commit());
    return 0;
}

/* A config by its name, there or not (the error then says that it is not), or by being a file. */
static bool is_config(const char *arg) {
    return arg[0] != '-' &&
           (path_has_suffix(arg, ".yaml") || path_has_suffix(arg, ".yml") || strchr(arg, '/') || path_exists(arg));
}

static bool is_training(int argc, char **argv) {
    if (argc < 2) return false;
    const command_t *command = command_find(argv[1]);
    return command ? command == &command_train : is_config(argv[1]);
}

static int unknown_command(const char *name) {
    const char *names[64];
    CHECK(n_commands <= sizeof names / sizeof *names);
    for (size_t i = 0; i < n_commands; i++) names[i] = commands[i]->name;
    const char *near = closest_name(name, names, n_commands);
    if (near) log_error("command line: unknown command \"%.200s\"; did you mean %s?", name, near);
    else log_error("command line: \"%.200s\" is neither a command nor a config file; see qlora-train --help", name);
    return ERR_USAGE;
}

/* Several processes would do, and write, the same thing several times: rank 0 says so. */
static int run_alone(const command_t *command, int argc, char **argv) {
    err_t err = {0};
    int n = ranks_open(&err) ? 1 : ranks_size();
    if (n > 1)
        err_set(&err, ERR_USAGE,
                "command line: %s runs as one process, but %d were started; only a training is shared out",
                command->name, n);
    if (err.code && ranks_first()) log_error("%s", err.msg);
    ranks_close();
    return err.code ? err.code : command->run(argc, argv);
}

/* "--help", "-h" or "help". */
static bool is_option(const char *arg, const program_option_t *o) {
    if (arg[0] == '-' && arg[1] == o->letter && !arg[2]) return true;
    return strcmp(arg, o->name) == 0 || (strncmp(arg, "--", 2) == 0 && strcmp(arg + 2, o->name) == 0);
}

static int dispatch(int argc, char **argv) {
    if (argc < 2) {
        log_error("command line: nothing to do; expected a config file or a command; see qlora-train --help");
        return ERR_USAGE;
    }
    if (is_option(argv[1], &program_version)) return print_version();
    if (is_option(argv[1], &program_help)) {
        if (argc == 2) return print_help();
        const command_t *about = command_find(argv[2]);
        return about ? about->run(1, (char *[]){"--help"}) : unknown_command(argv[2]);
    }
    const command_t *command = command_find(argv[1]);
    if (command && command != &command_train) return run_alone(command, argc - 2, argv + 2);
    if (command) return command->run(argc - 2, argv + 2);
    if (is_config(argv[1])) return command_train.run(argc - 1, argv + 1);
    return unknown_command(argv[1]);
}

/* Some starters close these; the next file that is opened would take the number, and lines for the user go into it. */
static void open_closed_streams(void) {
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) < 0) _exit(ERR_FAILED); /* and nobody to tell */
}

int main(int argc, char **argv) {
    static char line[4096];
    open_closed_streams();
    version_set_commit(QLORA_COMMIT);
    /* Several processes may share it: a line goes out as a whole, not in the pieces that it is made of. */
    setvbuf(stderr, line, _IOLBF, sizeof line);
    /* A file that grows beyond the limit of its size (ulimit -f) is an error of the write, as a full disk is, and is
     * cleaned up after; it does not end the program. */
    signal(SIGXFSZ, SIG_IGN);
    json_use_checked_memory();
    stop_hold();
    wait_asleep(argv);
    if (!is_training(argc, argv)) stop_release(); /* a training catches them when it has read its config */
    int status = dispatch(argc, argv);
    /* An answer that did not reach a full disk or a closed pipe is no success. */
    bool written = fflush(stdout) == 0 && !ferror(stdout);
    if (status != 0 || written) return status;
    log_error("standard output: cannot write");
    return ERR_FAILED;
}
