/* Messages: what data say is shown on a terminal, never acted out, and is left as it is in files and pipes. */
#include "tests/support/testing.h"

#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "tests/support/output.h"

/* A title is set, the line above is overwritten, one is hidden; a bell, a CRLF, U+009B (CSI in one character). */
static const char hostile[] = "a\033]0;title\a b\033[1A\033[2K c\b\r\n\td \302\233 2J \033[ e \033[38;5 f\033";

static void shown_on_a_terminal(void **state) {
    (void)state;
    char got[1024];
    pty_t t = pty_open(80);
    log_info("%s", hostile);
    pty_read(&t, got, sizeof got);
    assert_string_equal(got,
                        "a\\x1b]0;title\\x07 b\\x1b[1A\\x1b[2K c\\x08\\x0d\n\td \\x9b 2J \\x1b[ e \\x1b[38;5 f\\x1b\n");
}

static void text_and_colour_pass(void **state) {
    (void)state;
    static const char text[] = "\033[32mgr\303\274n\033[0m \342\202\254 \360\237\231\202 \302\240 \302\n";
    char got[1024];
    pty_t t = pty_open(80);
    log_info("%s", text);
    pty_read(&t, got, sizeof got);
    assert_memory_equal(got, text, strlen(text));
}

static void unchanged_in_a_pipe(void **state) {
    (void)state;
    int pipes[2];
    char got[1024];
    assert_int_equal(pipe(pipes), 0);
    output_to(pipes[1]);
    log_info("%s", hostile);
    output_back();
    assert_int_equal(read(pipes[0], got, sizeof got), sizeof hostile);
    assert_memory_equal(got, hostile, strlen(hostile));
    close(pipes[0]);
    close(pipes[1]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shown_on_a_terminal),
        cmocka_unit_test(text_and_colour_pass),
        cmocka_unit_test(unchanged_in_a_pipe),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
