#include "trainer/report/lines.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

/* Whether the line is whole; of one that is longer than `line` the rest is passed over. */
static bool whole_line(FILE *f, const char *line) {
    if (strchr(line, '\n')) return true;
    for (int c; (c = getc(f)) != EOF && c != '\n';) continue;
    return false;
}

int each_line(const char *path, size_t longest, line_fn *take, void *ctx, size_t *unread, err_t *err) {
    FILE *f = fopen(path, "rbe");
    if (!f) return err_set(err, errno == ENOENT ? ERR_USAGE : ERR_FAILED, "%s: %s", path, strerror(errno));
    char *line = xmalloc(longest);
    while (fgets(line, (int)longest, f)) {
        json_t *row = whole_line(f, line) ? json_loads(line, 0, NULL) : NULL;
        if (json_is_object(row)) take(ctx, row);
        else ++*unread;
        json_decref(row);
    }
    bool failed = ferror(f);
    fclose(f);
    free(line);
    return failed ? err_set(err, ERR_FAILED, "%s: cannot be read: %s", path, strerror(errno)) : 0;
}
