/* The NCCL that is installed: it can be loaded and has the functions that are asked of it. No GPU is needed for that. */
#include "cuda/nccl.h"

extern "C" {
#include "testing.h"
}

static bool load(nccl_t *lib) {
    err_t err = {};
    if (nccl_load(lib, &err) == 0) return true;
    if (!strstr(err.msg, "cannot open shared object file")) fail_msg("%s", err.msg);
    print_message("skip: %s\n", err.msg);
    return false;
}

static void test_load(void **) {
    nccl_t lib = {};
    if (!load(&lib)) skip();
    assert_string_equal(lib.ncclGetErrorString(ncclSuccess), "no error");
}

/* What rank 0 does first; it opens a socket for the others. */
static void test_id(void **) {
    nccl_t lib = {};
    ncclUniqueId id[2] = {};
    if (!load(&lib)) skip();
    for (ncclUniqueId &i : id)
        if (ncclResult_t e = lib.ncclGetUniqueId(&i))
            fail_msg("%s (%s)", lib.ncclGetErrorString(e), lib.ncclGetLastError(NULL));
    assert_memory_not_equal(&id[0], &id[1], sizeof id[0]);
}

int main() {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_load), cmocka_unit_test(test_id)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
