/* OpenBLAS as it is loaded: by what the processor can run, whatever model it is. */
#include "testing.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cpu/blas.h"
#include "model/backend/backend.h"

static void test_core_type(void **state) {
    (void)state;
    const cpu_features_t none = {0}, avx2 = {.avx2 = true}, zen = {.avx2 = true, .amd = true};
    const cpu_features_t avx512 = {.avx2 = true, .avx512 = true, .saves_avx512 = true};
    const cpu_features_t zen4 = {.avx2 = true, .avx512 = true, .saves_avx512 = true, .amd = true};
    assert_null(blas_core_type(&none));
    assert_string_equal(blas_core_type(&avx2), "Haswell");
    assert_string_equal(blas_core_type(&zen), "Zen");
    assert_string_equal(blas_core_type(&avx512), "SkylakeX");
    assert_string_equal(blas_core_type(&zen4), "SkylakeX");
}

/* OpenBLAS is loaded once in a process: each way of loading it in one of its own. */
static int in_child(int (*f)(void)) {
    int status;
    pid_t pid = fork();
    if (pid == 0) _exit(f());
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static int users_choice(void) {
    err_t err;
    setenv("OPENBLAS_CORETYPE", "Nehalem", 1);
    if (blas_load(&err) != 0) return 1;
    return strcasecmp(blas_core_name(), "Nehalem") != 0 || strcmp(getenv("OPENBLAS_CORETYPE"), "Nehalem") != 0;
}

static void test_users_choice(void **state) {
    (void)state;
    const cpu_features_t has = cpu_features();
    if (!has.avx2) skip(); /* a processor without these kernels, or a library of one kind of them */
    assert_int_equal(in_child(users_choice), 0);
}

/* Kernels for AVX-512, or for AVX2. */
static bool is_core_of(const char *name, bool avx512) {
    static const char *const of_avx512[] = {"SkylakeX", "Cooperlake", "SapphireRapids"};
    static const char *const of_avx2[] = {"Haswell", "Zen"};
    for (size_t i = 0; i < sizeof of_avx512 / sizeof *of_avx512; i++)
        if (strcasecmp(name, of_avx512[i]) == 0) return true;
    for (size_t i = 0; !avx512 && i < sizeof of_avx2 / sizeof *of_avx2; i++)
        if (strcasecmp(name, of_avx2[i]) == 0) return true;
    return false;
}

static void test_backend(void **state) {
    (void)state;
    const cpu_features_t has = cpu_features();
    backend_t *be;
    err_t err = {0};
    unsetenv("OPENBLAS_CORETYPE");
    assert_ok(backend_open_cpu(DT_F32, 1, false, &be, &err), err);
    print_message("%s\n", blas_description());
    if (has.avx2) assert_true(is_core_of(blas_core_name(), cpu_runs_avx512(&has)));
    assert_memory_equal(blas_description(), "OpenBLAS 0.", 11);
    assert_string_equal(strstr(blas_description(), ", ") + 2, blas_core_name());
    assert_null(getenv("OPENBLAS_CORETYPE")); /* what this process starts chooses for itself */
    be->close(be);
}

/* [1 2; 3 4] and its transpose, in the middle of wider matrices. */
static void test_sgemm(void **state) {
    (void)state;
    const float a[] = {1, 2, 9, 3, 4, 9}, b[] = {1, 3, 9, 9, 2, 4, 9, 9};
    float c[] = {1, 1, 7, 1, 1, 7};
    err_t err = {0};
    assert_ok(blas_load(&err), err);
    blas_sgemm(false, true, 2, 2, 2, 2, a, 3, b, 4, 1, c, 3); /* b transposed is a */
    const float want[] = {2 * 7 + 1, 2 * 10 + 1, 7, 2 * 15 + 1, 2 * 22 + 1, 7};
    assert_memory_equal(c, want, sizeof c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_core_type),
        cmocka_unit_test(test_users_choice),
        cmocka_unit_test(test_backend),
        cmocka_unit_test(test_sgemm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
