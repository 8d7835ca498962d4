#include "testing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"

/* Strings handed out until the program ends stay reachable here, so that LeakSanitizer is content. */
static char *kept[4096];
static size_t n_kept;
static char *tmpdirs[256];
static size_t n_tmpdirs;

const char *test_keep(char *s) {
    CHECK(n_kept < sizeof kept / sizeof *kept);
    return kept[n_kept++] = s;
}

const char *test_path(const char *relative) { return test_keep(path_join(TEST_DIR, relative)); }

static void remove_tmpdirs(void) {
    err_t err = {0};
    for (size_t i = 0; i < n_tmpdirs; i++) dir_remove(tmpdirs[i], &err);
}

const char *test_tmpdir(void) {
    const char *base = getenv("TMPDIR");
    char *d = path_join(base ? base : "/tmp", "qlora-test-XXXXXX");
    CHECK(mkdtemp(d) != NULL && n_tmpdirs < sizeof tmpdirs / sizeof *tmpdirs);
    if (n_tmpdirs == 0) atexit(remove_tmpdirs);
    tmpdirs[n_tmpdirs++] = d;
    return test_keep(d);
}

double nmse(const float *a, const float *b, size_t n) {
    double d = 0, s = 0;
    for (size_t i = 0; i < n; i++) {
        d += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
        s += (double)b[i] * b[i];
    }
    return s > 0 ? d / s : d;
}

void assert_error_(const char *file, int line, int got, const err_t *err, int status, const char *text) {
    if (got != status) {
        print_error("%s:%d: expected status %d, got %d (%s)\n", file, line, status, got, got ? err->msg : "no error");
        _fail(file, line);
    }
    if (!strstr(err->msg, text)) {
        print_error("%s:%d: expected a message with \"%s\", got: %s\n", file, line, text, err->msg);
        _fail(file, line);
    }
}
