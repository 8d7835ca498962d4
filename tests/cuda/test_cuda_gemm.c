/* What the backend says about products that cuBLAS has no exact way to add up. */
#include "testing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "host/control.h"
#include "model/backend/backend.h"

enum { N = 64 };

/* What is written to standard error while C [rows, N] = A B, of which C has that type; the caller's. */
static char *said_of(backend_t *be, size_t rows, dtype_t type, bf16_t *x, void *c) {
    char *text = calloc(1, 4096);
    FILE *f = tmpfile();
    int saved = dup(STDERR_FILENO);
    assert_true(text && f && saved >= 0 && dup2(fileno(f), STDERR_FILENO) >= 0);
    be->gemm(be, false, false, rows, N, N, 1, (matrix_t){x, DT_BF16, N}, (matrix_t){x, DT_BF16, N}, 0,
             (matrix_t){c, type, N});
    be->sync(be);
    fflush(stderr);
    assert_true(dup2(saved, STDERR_FILENO) >= 0);
    rewind(f);
    assert_true(fread(text, 1, 4095, f) < 4095);
    fclose(f);
    close(saved);
    return text;
}

static void assert_says(backend_t *be, size_t rows, dtype_t type, bf16_t *x, void *c, const char *words) {
    char *text = said_of(be, rows, type, x, c);
    if (words ? !strstr(text, words) : *text != 0) fail_msg("it says: %s", text);
    free(text);
}

static void test_rounded_sums(void **state) {
    (void)state;
    backend_t *be;
    err_t err = {0};
    assert_ok(backend_open_cuda(DT_BF16, HOST_ALONE, &be, &err), err);
    bf16_t *x = be->alloc(be, N * N * sizeof *x, MEM_DEVICE);
    float *c = be->alloc(be, N * N * sizeof *c, MEM_DEVICE);
    be->zero(be, x, N * N * sizeof *x);
    assert_says(be, N, DT_BF16, x, c, NULL);
    cuda_host_exact_sums(false);
    assert_says(be, N, DT_BF16, x, c, NULL);    /* chosen before */
    assert_says(be, N / 2, DT_F32, x, c, NULL); /* rounded to the type of C, which is exact */
    assert_says(be, N / 2, DT_BF16, x, c,
                "warning: cuBLAS has no algorithm that adds the parts of a product of 32 x 64 x 64 in fp32; parts are "
                "rounded to BF16 there (said once)");
    assert_says(be, N / 4, DT_BF16, x, c, NULL);
    cuda_host_exact_sums(true);
    be->free(be, x, MEM_DEVICE);
    be->free(be, c, MEM_DEVICE);
    be->close(be);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rounded_sums)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
