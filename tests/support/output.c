#define _XOPEN_SOURCE 700
#define _DEFAULT_SOURCE
#include "tests/support/output.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "tests/support/testing.h"

static int saved_stdout;

void output_to(int fd) {
    fflush(stdout);
    saved_stdout = dup(STDOUT_FILENO);
    assert_true(saved_stdout >= 0 && dup2(fd, STDOUT_FILENO) == STDOUT_FILENO);
}

void output_back(void) {
    fflush(stdout);
    assert_int_equal(dup2(saved_stdout, STDOUT_FILENO), STDOUT_FILENO);
    close(saved_stdout);
}

pty_t pty_open(unsigned short columns) {
    int master = posix_openpt(O_RDWR | O_NOCTTY);
    assert_true(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0);
    int slave = open(ptsname(master), O_RDWR | O_NOCTTY);
    assert_true(slave >= 0);
    struct winsize w = {.ws_row = 24, .ws_col = columns};
    struct termios t;
    assert_int_equal(ioctl(slave, TIOCSWINSZ, &w), 0);
    assert_int_equal(tcgetattr(slave, &t), 0);
    t.c_oflag &= ~(tcflag_t)OPOST;
    assert_int_equal(tcsetattr(slave, TCSANOW, &t), 0);
    output_to(slave);
    return (pty_t){master, slave};
}

void pty_read(pty_t *t, char *got, size_t size) {
    size_t n = 0;
    output_back();
    fcntl(t->master, F_SETFL, O_NONBLOCK);
    for (ssize_t r; n < size - 1 && (r = read(t->master, got + n, size - 1 - n)) > 0;) n += (size_t)r;
    got[n] = 0;
    close(t->slave);
    close(t->master);
}
