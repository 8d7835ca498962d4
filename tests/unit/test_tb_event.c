/* TensorBoard's event files: checksums against published values, records against bytes that were laid out by hand. */
#include "tests/support/testing.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "trainer/run/tb_event.h"
#include "trainer/run/tensorboard.h"

/* RFC 3720, B.4. */
static void checksums(void **state) {
    (void)state;
    uint8_t zeros[32] = {0}, ones[32];
    memset(ones, 0xff, sizeof ones);
    assert_int_equal(tb_crc32c(zeros, 32), 0x8a9136aau);
    assert_int_equal(tb_crc32c(ones, 32), 0x62a8ab43u);
    assert_int_equal(tb_crc32c("123456789", 9), 0xe3069283u);
    assert_int_equal(tb_masked_crc("123456789", 9), (0xe3069283u >> 15 | 0xe3069283u << 17) + 0xa282ead8u);
}

static uint32_t fixed32(const char *p) {
    const uint8_t *u = (const uint8_t *)p;
    return u[0] | (uint32_t)u[1] << 8 | (uint32_t)u[2] << 16 | (uint32_t)u[3] << 24;
}

/* The record at `at` has this message, and nothing follows it. */
static void assert_record(const strbuf_t *b, const char *message, size_t n) {
    assert_int_equal(b->len, 8 + 4 + n + 4);
    assert_int_equal(fixed32(b->p), n);
    assert_int_equal(fixed32(b->p + 4), 0);
    assert_int_equal(fixed32(b->p + 8), tb_masked_crc(b->p, 8));
    assert_memory_equal(b->p + 12, message, n);
    assert_int_equal(fixed32(b->p + 12 + n), tb_masked_crc(message, n));
}

static void records(void **state) {
    (void)state;
    static const char version[] = "\x09\0\0\0\0\0\0\xf0\x3f\x1a\x0d"
                                  "brain.Event:2";
    static const char restart[] = "\x09\0\0\0\0\0\0\xf0\x3f\x10\xac\x02\x3a\x02\x08\x01";
    static const char scalars[] = "\x09\0\0\0\0\0\0\xf0\x3f\x10\x03\x2a\x14"
                                  "\x0a\x08\x0a\x01"
                                  "a\x15\0\0\0\x3f\x0a\x08\x0a\x01"
                                  "b\x15\0\0\0\xc0";
    const tb_scalar_t values[] = {{"a", 0.5}, {"b", -2}};
    strbuf_t b = {0};
    tb_add_version(&b, 1.0);
    assert_record(&b, version, sizeof version - 1);
    b.len = 0;
    tb_add_restart(&b, 1.0, 300);
    assert_record(&b, restart, sizeof restart - 1);
    b.len = 0;
    tb_add_scalars(&b, 1.0, 3, values, 2);
    assert_record(&b, scalars, sizeof scalars - 1);
    free(b.p);
}

/* A start without a row leaves nothing; two within a second are read in their order. */
static void files_of_starts(void **state) {
    (void)state;
    err_t err = {0};
    char *out = path_join(test_tmpdir(), "run"), *dir = path_join(out, "tensorboard");
    dir_list_t files;
    tensorboard_close(tensorboard_open(out, 0));
    assert_false(path_exists(dir));
    for (size_t step = 1; step <= 12; step++) {
        tensorboard_t *t = tensorboard_open(out, step - 1);
        assert_ok(tensorboard_eval(t, step, 1, 2.718, &err), err);
        assert_ok(tensorboard_sync(t, &err), err);
        tensorboard_close(t);
    }
    assert_ok(dir_list(dir, &files, &err), err);
    assert_int_equal(files.n, 12);
    for (size_t i = 0; i < files.n; i++) {
        char *path = path_join(dir, files.name[i]), *data;
        size_t len;
        assert_ok(file_read(path, &data, &len, &err), err);
        /* Behind the version's record, 24 + 16 bytes, that of the restart: time, key of the step, the step. */
        assert_int_equal(data[40 + 12 + 9], 0x10);
        assert_int_equal(data[40 + 12 + 10], i + 1);
        free(data);
        free(path);
    }
    dir_list_free(&files);
    free(dir);
    free(out);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(checksums), cmocka_unit_test(records),
                                       cmocka_unit_test(files_of_starts)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
