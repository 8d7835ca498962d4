#include "program.h"

#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "testing.h"

extern char **environ;

static char *slurp(const char *path) {
    char *text;
    size_t len;
    err_t err = {0};
    assert_ok(file_read(path, &text, &len, &err), err);
    return text;
}

ran_t program_run(const char *const *args) {
    return program_run_other(TEST_PROGRAM, args);
}

ran_t program_run_other(const char *program, const char *const *args) {
    static const char *dir;
    if (!dir) dir = test_tmpdir();
    char *out = path_join(dir, "out"), *err = path_join(dir, "err"), *argv[32] = {(char *)(uintptr_t)program};
    for (size_t i = 0; args[i]; i++) {
        assert_true(i + 2 < sizeof argv / sizeof *argv);
        argv[i + 1] = (char *)(uintptr_t)args[i];
    }
    posix_spawn_file_actions_t files;
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, out, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    posix_spawn_file_actions_addopen(&files, STDERR_FILENO, err, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    pid_t pid;
    int status;
    assert_int_equal(posix_spawn(&pid, program, &files, NULL, argv, environ), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    posix_spawn_file_actions_destroy(&files);
    ran_t r = {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), slurp(out), slurp(err)};
    free(out);
    free(err);
    return r;
}

void ran_free(ran_t *r) {
    free(r->out);
    free(r->err);
    *r = (ran_t){0};
}
