#define _DEFAULT_SOURCE /* struct winsize, fileno */
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

/* ---- control characters ---------------------------------------------------------------------------------- */

/* Bytes of the sequence of colour that begins here; 0: none does. */
static size_t colour_length(const char *s, size_t n) {
    size_t i = 2;
    if (n < 3 || s[0] != '\033' || s[1] != '[') return 0;
    while (i < n && (s[i] == ';' || (s[i] >= '0' && s[i] <= '9'))) i++;
    return i < n && s[i] == 'm' ? i + 1 : 0;
}

/* Bytes of the control character that begins here: one, or two for U+0080 to U+009F in UTF-8; 0: it is none. */
static size_t control_length(const char *s, size_t n) {
    unsigned char a = (unsigned char)s[0];
    if (a == 0xc2 && n > 1 && (unsigned char)s[1] >= 0x80 && (unsigned char)s[1] < 0xa0) return 2;
    return (a < 0x20 && a != '\n' && a != '\t') || a == 0x7f;
}

void terminal_write(FILE *f, const char *text, size_t n) {
    size_t written = 0;
    if (!isatty(fileno(f))) {
        fwrite(text, 1, n, f);
        return;
    }
    for (size_t i = 0; i < n;) {
        size_t colour = colour_length(text + i, n - i), control = control_length(text + i, n - i);
        if (colour || !control) {
            i += colour ? colour : 1;
            continue;
        }
        fwrite(text + written, 1, i - written, f);
        fprintf(f, "\\x%02x", (unsigned char)text[i + control - 1]);
        written = i += control;
    }
    fwrite(text + written, 1, n - written, f);
}
