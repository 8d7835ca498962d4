#define _DEFAULT_SOURCE /* struct winsize */
#include "base/terminal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

bool terminal_is(int fd) {
    const char *term = getenv("TERM");
    return isatty(fd) && !(term && strcmp(term, "dumb") == 0);
}

bool terminal_has_colour(int fd) {
    const char *no_colour = getenv("NO_COLOR");
    return terminal_is(fd) && !(no_colour && *no_colour);
}

size_t terminal_width(int fd) {
    struct winsize w;
    return ioctl(fd, TIOCGWINSZ, &w) == 0 && w.ws_col > 0 ? w.ws_col : 80;
}
