/* What the C tests share: cmocka in the order it wants its headers, temporary directories, comparisons. */
#ifndef TESTS_TESTING_H
#define TESTS_TESTING_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka last: it needs the four above. */
#include <cmocka.h>

#include "base/error.h"

/* A path under tests/, e.g. test_path("golden/quant.safetensors"). Valid until the program ends. */
/* Freed with the program. */
const char *test_keep(char *s);
const char *test_path(const char *relative);

/* A fresh directory, removed with all that is in it when the program ends. Valid until then. */
const char *test_tmpdir(void);

/* Σ(a−b)² / Σb² in double. */
double nmse(const float *a, const float *b, size_t n);

/* Fails with err->msg when `expr` (a call that takes &err) returns non-zero. */
#define assert_ok(expr, err) \
    do { \
        if ((expr) != 0) fail_msg("%s: %s", #expr, (err).msg); \
    } while (0)

/* The call must fail with `status`, and its message must contain `text`. */
#define assert_error(expr, err, status, text) assert_error_(__FILE__, __LINE__, (expr), &(err), status, text)
void assert_error_(const char *file, int line, int got, const err_t *err, int status, const char *text);

#endif
