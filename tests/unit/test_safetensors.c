/* safetensors: the writer gives the reference writer's bytes; the reader believes nothing. */
#include "testing.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "model/formats/safetensors.h"

static void write_raw(const char *path, const char *header, size_t claimed, const void *data, size_t n) {
    strbuf_t b = {0};
    for (int i = 0; i < 8; i++) strbuf_add(&b, (char[]){(char)(claimed >> 8 * i)}, 1);
    strbuf_adds(&b, header);
    strbuf_add(&b, data, n);
    err_t err = {0};
    assert_ok(file_write(path, b.p, b.len, &err), err);
    free(b.p);
}

/* Reads a file and writes its tensors again, declared in the order of `step` (a permutation's stride). */
static void rewrite(const safetensors_t *st, size_t step, const char *path) {
    err_t err = {0};
    st_writer_t *w = st_writer_new();
    size_t n = st->n_tensors;
    for (size_t i = 0; i < n; i++) {
        const st_tensor_t *t = &st->tensors[i * step % n];
        st_writer_declare(w, t->name, t->dtype, t->n_dims, t->shape);
    }
    assert_ok(st_writer_begin(w, path, &err), err);
    for (size_t i = 0; i < n; i++) {
        const st_tensor_t *t = &st->tensors[st_writer_order(w, i) * step % n];
        size_t half = t->bytes / 2; /* in pieces */
        assert_ok(st_writer_data(w, t->data, half, &err), err);
        assert_ok(st_writer_data(w, t->data + half, t->bytes - half, &err), err);
    }
    assert_ok(st_writer_finish(w, &err), err);
}

static void assert_same_bytes(const char *a, const char *b) {
    err_t err = {0};
    char *x, *y;
    size_t n, m;
    assert_ok(file_read(a, &x, &n, &err), err);
    assert_ok(file_read(b, &y, &m, &err), err);
    assert_int_equal(n, m);
    assert_memory_equal(x, y, n);
    free(x);
    free(y);
}

static void test_layout(void **state) {
    (void)state;
    /* expected.safetensors is left out: it was saved without metadata. */
    static const char *const files[] = {"golden/layout.safetensors", "golden/tiny/llama-mha/model.safetensors",
                                        "golden/tiny/llama-mha/adapter/adapter_model.safetensors",
                                        "golden/tiny/llama-mha/bnb4/model.safetensors",
                                        "golden/tiny/llama-gqa-tied-odd/bnb4/model.safetensors"};
    err_t err = {0};
    char *copy = path_join(test_tmpdir(), "copy.safetensors");
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        safetensors_t *st;
        assert_ok(safetensors_open(test_path(files[i]), &st, &err), err);
        for (size_t step = 1; step < 12; step += 10) { /* 11 has no factor in common with the counts */
            assert_true(st->n_tensors % 11 != 0);
            rewrite(st, step, copy);
            assert_same_bytes(copy, test_path(files[i]));
        }
        safetensors_close(st);
    }
    free(copy);
}

static void test_values(void **state) {
    (void)state;
    enum { TYPES = DT_BOOL + 1 }; /* those that numpy has too */
    static const char *const names[TYPES] = {
        [DT_F32] = "float32", [DT_F16] = "float16", [DT_BF16] = "bfloat16", [DT_F64] = "float64", [DT_U8] = "uint8",
        [DT_I8] = "int8",     [DT_I16] = "int16",   [DT_I32] = "int32",     [DT_I64] = "int64",   [DT_BOOL] = "bool"};
    err_t err = {0};
    safetensors_t *st;
    assert_ok(safetensors_open(test_path("golden/layout.safetensors"), &st, &err), err);
    assert_int_equal(st->n_tensors, 2 * TYPES + 3);
    for (int d = 0; d < TYPES; d++) {
        char *name = xasprintf("a_%s", names[d]);
        const st_tensor_t *t = safetensors_find(st, name);
        free(name);
        assert_non_null(t);
        assert_int_equal(t->dtype, d);
        assert_int_equal(t->n_dims, 2);
        assert_int_equal(t->shape[0], 3);
        assert_int_equal(t->shape[1], 2);
        assert_int_equal(t->bytes, 6 * dtype_size((dtype_t)d));
        for (size_t i = 0; i < t->bytes; i++) assert_int_equal(t->data[i], d == DT_BOOL ? i % 2 : i);
    }
    assert_int_equal(safetensors_find(st, "scalar")->n_dims, 0);
    assert_int_equal(safetensors_find(st, "scalar")->bytes, 4);
    assert_int_equal(safetensors_find(st, "empty")->bytes, 0);
    assert_non_null(safetensors_find(st, "quote\"slash\\\xc3\xa9\n"));
    assert_null(safetensors_find(st, "absent"));
    safetensors_close(st);
}

/* A member of a header. */
#define T(name, type, shape, a, b) \
    "\"" name "\":{\"dtype\":\"" type "\",\"shape\":" shape ",\"data_offsets\":[" #a "," #b "]}"

static void test_hostile(void **state) {
    (void)state;
    static const struct {
        const char *header;
        size_t n_data;
        const char *message;
    } cases[] = {
        {"{" T("a", "F32", "[2]", 0, 8) "}", 7, "tensor \"a\": data_offsets [0, 8] lie outside the 7 bytes"},
        {"{" T("a", "F32", "[2]", 0, 8) "}", 9, "1 bytes follow the last tensor"},
        {"{" T("a", "F32", "[2]", 8, 0) "}", 8, "tensor \"a\": data_offsets [8, 0] lie outside"},
        {"{" T("a", "F32", "[2]", -8, 0) "}", 8, "tensor \"a\": data_offsets: expected [begin, end]"},
        {"{" T("a", "F32", "[3]", 0, 8) "}", 8,
         "tensor \"a\": data_offsets span 8 bytes; its shape and element type need 12"},
        {"{" T("a", "U8", "[4]", 0, 4) "," T("b", "U8", "[4]", 2, 6) "}", 6,
         "tensor \"b\": its data begins at byte 2, inside"},
        {"{" T("a", "U8", "[2]", 0, 2) "," T("b", "U8", "[2]", 4, 6) "}", 6,
         "tensor \"b\": its data begins at byte 4, after a gap"},
        {"{" T("a", "U8", "[2]", 2, 4) "}", 4, "tensor \"a\": its data begins at byte 2, after a gap"},
        {"{" T("a", "F32", "[-2]", 0, 8) "}", 8, "tensor \"a\": shape: expected whole numbers"},
        {"{" T("a", "F32", "[2.0]", 0, 8) "}", 8, "tensor \"a\": shape: expected whole numbers"},
        {"{" T("a", "F32", "2", 0, 8) "}", 8, "tensor \"a\": shape: expected an array"},
        {"{" T("a", "F32", "[4611686018427387904,4]", 0, 8) "}", 8, "tensor \"a\": shape overflows"},
        {"{" T("a", "F32", "[4294967296,4294967296]", 0, 0) "}", 0, "tensor \"a\": shape overflows"},
        {"{" T("a", "F32", "[1,1,1,1,1,1,1,1,2]", 0, 8) "}", 8, "tensor \"a\": shape has 9 dimensions"},
        {"{" T("a", "F8_E4M3", "[8]", 0, 4) "}", 8, "tensor \"a\": data_offsets span 4 bytes"},
        {"{\"a\":{\"shape\":[2],\"data_offsets\":[0,8]}}", 8, "tensor \"a\": dtype is missing"},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2]}}", 8, "tensor \"a\": data_offsets: expected [begin, end]"},
        {"{\"a\":7}", 0, "tensor \"a\": expected an object"},
        {"{" T("a", "U8", "[2]", 0, 2) "," T("a", "U8", "[2]", 0, 2) "}", 2, "duplicate"},
        {"[1]", 0, "header: expected an object"},
        {"{\"a\":", 0, "header:1:"},
        {"", 0, "header:1:"},
    };
    char *path = path_join(test_tmpdir(), "hostile.safetensors");
    static const uint8_t zeros[16];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        err_t err = {0};
        safetensors_t *st;
        write_raw(path, cases[i].header, strlen(cases[i].header), zeros, cases[i].n_data);
        assert_error(safetensors_open(path, &st, &err), err, ERR_USAGE, cases[i].message);
        assert_error(err.code, err, ERR_USAGE, path);
    }
    free(path);
}

static void test_hostile_header(void **state) {
    (void)state;
    err_t err = {0};
    safetensors_t *st;
    char *path = path_join(test_tmpdir(), "header.safetensors");
    write_raw(path, "{}      ", 9, "", 0);
    assert_error(safetensors_open(path, &st, &err), err, ERR_USAGE, "header at byte 8 claims 9 bytes, the file has 8");
    write_raw(path, "{}", SIZE_MAX, "", 0);
    assert_error(safetensors_open(path, &st, &err), err, ERR_USAGE, "claims 18446744073709551615 bytes");
    assert_ok(file_write(path, "1234567", 7, &err), err);
    assert_error(safetensors_open(path, &st, &err), err, ERR_USAGE, "7 bytes are too few");
    assert_ok(file_write(path, "", 0, &err), err);
    assert_error(safetensors_open(path, &st, &err), err, ERR_USAGE, "the file is empty");
    assert_error(safetensors_open("/nowhere/x", &st, &err), err, ERR_USAGE, "/nowhere/x: cannot open");
    /* Padding, another order in the header than in the data, and metadata of any kind are all fine. */
    const char *fine = "{" T("b", "U8", "[2]", 4, 6) "," T("a", "F32", "[1]", 0, 4) ",\"__metadata__\":{}}  ";
    write_raw(path, fine, strlen(fine), "aaaabb", 6);
    err = (err_t){0};
    assert_ok(safetensors_open(path, &st, &err), err);
    assert_memory_equal(safetensors_find(st, "b")->data, "bb", 2);
    assert_memory_equal(safetensors_find(st, "a")->data, "aaaa", 4);
    safetensors_close(st);
    free(path);
}

static void test_truncated(void **state) {
    (void)state;
    err_t err = {0};
    char *data, *path = path_join(test_tmpdir(), "cut.safetensors");
    size_t n;
    assert_ok(file_read(test_path("golden/layout.safetensors"), &data, &n, &err), err);
    for (size_t cut = 0; cut < n; cut += 7) {
        safetensors_t *st;
        assert_ok(file_write(path, data, cut, &err), err);
        assert_error(safetensors_open(path, &st, &err), err, ERR_USAGE, path);
        err = (err_t){0};
    }
    free(data);
    free(path);
}

static void test_writer_failures(void **state) {
    (void)state;
    err_t err = {0};
    st_writer_t *w = st_writer_new();
    st_writer_declare(w, "a", DT_U8, 1, (size_t[]){3});
    assert_error(st_writer_begin(w, "/nowhere/a.safetensors", &err), err, ERR_FAILED, "/nowhere/a.safetensors: cannot");
    assert_error(st_writer_finish(w, &err), err, ERR_FAILED, "cannot create");

    char *path = path_join(test_tmpdir(), "aborted.safetensors");
    w = st_writer_new();
    st_writer_declare(w, "a", DT_U8, 1, (size_t[]){3});
    assert_int_equal(st_writer_total(w), 3);
    err = (err_t){0};
    assert_ok(st_writer_begin(w, path, &err), err);
    assert_ok(st_writer_data(w, "xx", 2, &err), err);
    st_writer_abort(w);
    assert_false(path_exists(path));
    free(path);

    if (!path_exists("/dev/full")) return;
    w = st_writer_new(); /* larger than any buffer, so that the write itself fails */
    st_writer_declare(w, "a", DT_U8, 1, (size_t[]){4 << 20});
    void *zeros = xcalloc(4 << 20, 1);
    char *full = path_join(test_tmpdir(), "full");
    assert_int_equal(symlink("/dev/full", full), 0);
    assert_ok(st_writer_begin(w, full, &err), err);
    assert_error(st_writer_data(w, zeros, 4 << 20, &err), err, ERR_FAILED, "cannot write: No space left");
    assert_error(st_writer_finish(w, &err), err, ERR_FAILED, "No space left");
    free(zeros);
    free(full);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layout),         cmocka_unit_test(test_values),    cmocka_unit_test(test_hostile),
        cmocka_unit_test(test_hostile_header), cmocka_unit_test(test_truncated), cmocka_unit_test(test_writer_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
