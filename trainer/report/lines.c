#include "trainer/report/lines.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

/* False at the end of the file. A line without its end, of *len bytes, may have any byte in it, as of blocks that a crash
 * left empty; *whole: it has an end, and fits. */
static bool read_line(FILE *f, char *line, size_t longest, size_t *len, bool *whole) {
    size_t n = 0;
    int c;
    for (; (c = getc(f)) != EOF && c != '\n'; n++)
        if (n < longest) line[n] = (char)c;
    *len = n;
    *whole = c == '\n' && n < longest;
    return c == '\n' || n > 0;
}

int each_line(const char *path, size_t longest, line_fn *take, void *ctx, size_t *unread, err_t *err) {
    FILE *f = fopen(path, "rbe");
    if (!f) return err_set(err, errno == ENOENT ? ERR_USAGE : ERR_FAILED, "%s: %s", path, strerror(errno));
    char *line = xmalloc(longest);
    bool whole;
    for (size_t len; read_line(f, line, longest, &len, &whole);) {
        json_t *row = whole ? json_loadb(line, len, 0, NULL) : NULL;
        if (json_is_object(row)) take(ctx, row);
        else ++*unread;
        json_decref(row);
    }
    bool failed = ferror(f);
    fclose(f);
    free(line);
    return failed ? err_set(err, ERR_FAILED, "%s: cannot be read: %s", path, strerror(errno)) : 0;
}
