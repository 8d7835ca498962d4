#include "program.h"

#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "testing.h"

extern char **environ;

static char *slurp(const char *path) {
    char *text;
    size_t len;
    err_t err = {0};
    assert_ok(file_read(path, &text, &len, &err), err);
    return text;
}

/* What keeps a processor from its best products is told of the machine, whatever the command. */
static char *without_advice(char *err) {
    static const char advice[] = "warning: this processor has ";
    char *at = err, *end;
    while (*at) {
        end = at + strcspn(at, "\n");
        end += *end == '\n';
        if (strncmp(at, advice, sizeof advice - 1) == 0) memmove(at, end, strlen(end) + 1);
        else at = end;
    }
    return err;
}

static ran_t run(const char *program, const char *out_path, const char *const *args) {
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
    posix_spawn_file_actions_addopen(&files, STDOUT_FILENO, out_path ? out_path : out, O_WRONLY | O_CREAT | O_TRUNC,
                                     0600);
    posix_spawn_file_actions_addopen(&files, STDERR_FILENO, err, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    pid_t pid;
    int status;
    assert_int_equal(posix_spawn(&pid, program, &files, NULL, argv, environ), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    posix_spawn_file_actions_destroy(&files);
    ran_t r = {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), out_path ? xstrdup("") : slurp(out),
               without_advice(slurp(err))};
    free(out);
    free(err);
    return r;
}

ran_t program_run(const char *const *args) { return run(TEST_PROGRAM, NULL, args); }

ran_t program_run_other(const char *program, const char *const *args) { return run(program, NULL, args); }

ran_t program_run_to(const char *out_path, const char *const *args) { return run(TEST_PROGRAM, out_path, args); }

void program_expect(int status, const char *text, const char *const *args) {
    ran_t r = program_run(args);
    if (r.status != status || !strstr(status ? r.err : r.out, text))
        fail_msg("%s %s: status %d, expected %d and \"%s\"; got: %s%s", args[0], args[1], r.status, status, text, r.out,
                 r.err);
    ran_free(&r);
}

void ran_free(ran_t *r) {
    free(r->out);
    free(r->err);
    *r = (ran_t){0};
}
