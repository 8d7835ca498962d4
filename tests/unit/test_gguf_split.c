/* A GGUF in several files: opened as one by the first; parts that do not fit together are refused. */
#include "testing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gguf_bytes.h"
#include "model/formats/gguf.h"

enum { MAX_PARTS = 3, NONE = -1 };

/* What the parts of a model say; NONE: the key is not there. */
typedef struct {
    int no[MAX_PARTS], count[MAX_PARTS], total[MAX_PARTS];
    const char *tensor[MAX_PARTS]; /* the one in each part */
    bool missing[MAX_PARTS];
} model_t;

static const model_t fine = {
    .no = {0, 1, 2}, .count = {3, 3, 3}, .total = {3, 3, 3}, .tensor = {"b.weight", "a.weight", "c.weight"}};

static void add_key(strbuf_t *b, const char *key, int v) {
    if (v != NONE) bytes_kv_u32(b, key, (uint32_t)v);
}

/* "m-00001-of-00003.gguf" in the test's directory. */
static const char *part_path(int number) {
    static char paths[MAX_PARTS][4096];
    static const char *dir;
    if (!dir) dir = test_tmpdir();
    char *p = paths[number - 1];
    snprintf(p, sizeof paths[0], "%s/m-%05d-of-%05d.gguf", dir, number, MAX_PARTS);
    return p;
}

static void write_file(const char *path, const model_t *m, int i) {
    strbuf_t b = {0};
    err_t err = {0};
    bytes_head(&b, 3, 1, (uint64_t)(m->no[i] != NONE) + (m->count[i] != NONE) + (m->total[i] != NONE) + 1);
    add_key(&b, "split.no", m->no[i]);
    add_key(&b, "split.count", m->count[i]);
    add_key(&b, "split.tensors.count", m->total[i]);
    add_key(&b, "part", 10 + i);
    bytes_tensor(&b, m->tensor[i], 8, 1, GGML_F32, 0);
    bytes_pad(&b, 32);
    for (uint32_t k = 0; k < 8; k++) bytes_u32(&b, f32_to_bits((float)i));
    assert_ok(file_write(path, b.p, b.len, &err), err);
    free(b.p);
}

static void write_model(const model_t *m) {
    for (int i = 0; i < MAX_PARTS; i++) {
        unlink(part_path(1 + i));
        if (!m->missing[i]) write_file(part_path(1 + i), m, i);
    }
}

static void test_opens_all(void **state) {
    (void)state;
    static const char *const names[] = {"a.weight", "b.weight", "c.weight"};
    static const float values[] = {1, 0, 2};
    err_t err = {0};
    gguf_t *g;
    uint64_t v;
    write_model(&fine);
    assert_ok(gguf_open(part_path(1), &g, &err), err);
    assert_string_equal(gguf_path(g), part_path(1));
    assert_int_equal(gguf_tensor_count(g), 3);
    for (size_t i = 0; i < 3; i++) {
        const gguf_tensor_t *t = gguf_tensor_at(g, i);
        float x[8];
        assert_ptr_equal(t, gguf_find(g, names[i]));
        assert_string_equal(t->path, part_path(1 + (int)values[i]));
        gguf_dequant(t, 0, 8, x);
        assert_true(x[0] == values[i] && x[7] == values[i]);
    }
    /* Metadata are the first's. */
    assert_true(gguf_get_uint(g, "part", &v) && v == 10);
    gguf_close(g);
}

static void test_one_file(void **state) {
    (void)state;
    err_t err = {0};
    gguf_t *g;
    char *path = path_join(test_tmpdir(), "whole.gguf");
    /* 0 is what merging parts leaves. */
    for (int count = 0; count < 2; count++) {
        model_t m = fine;
        m.count[0] = count;
        write_file(path, &m, 0);
        assert_ok(gguf_open(path, &g, &err), err);
        assert_int_equal(gguf_tensor_count(g), 1);
        gguf_close(g);
    }
    free(path);
}

/* The model, opened by part `number`, must be refused with all of these in the message. */
static void refused(const model_t *m, int number, const char *message, const char *more) {
    err_t err = {0};
    gguf_t *g = NULL;
    write_model(m);
    int rc = gguf_open(part_path(number), &g, &err);
    assert_error(rc, err, ERR_USAGE, message);
    if (more) assert_error(rc, err, ERR_USAGE, more);
    assert_error(rc, err, ERR_USAGE, part_path(number));
}

static void test_refused(void **state) {
    (void)state;
    model_t m = fine;
    refused(&m, 2, ": part 2 of a model in 3 files; expected the first, ", part_path(1));
    m.missing[2] = true;
    refused(&m, 1, ": part 3: ", "m-00003-of-00003.gguf: cannot open: No such file");
    m = fine, m.no[1] = 2;
    refused(&m, 1, "m-00002-of-00003.gguf: split.no is 2 and split.count 3; expected 1 and 3, as its name says", NULL);
    m = fine, m.count[2] = 4;
    refused(&m, 1, "m-00003-of-00003.gguf: split.no is 2 and split.count 4; expected 2 and 3", NULL);
    m = fine, m.count[1] = NONE;
    refused(&m, 1, "m-00002-of-00003.gguf: split.count: expected a whole number", NULL);
    m = fine, m.no[0] = NONE;
    refused(&m, 1, "split.no: expected a whole number", NULL);
    m = fine, m.no[0] = 3;
    refused(&m, 1, "split.no is 3 and split.count 3", NULL);
    m = fine, m.count[0] = 100000;
    refused(&m, 1, "split.count 100000; expected at most 99999 parts", NULL);
    m = fine, m.count[0] = 4;
    refused(&m, 1, "the first of 4 files; expected a name that ends in -00001-of-00004.gguf", NULL);
    m = fine, m.total[0] = m.total[1] = m.total[2] = 4;
    refused(&m, 1, "split.tensors.count is 4; the 3 parts have 3 tensors", NULL);
    m = fine, m.total[2] = 2;
    refused(&m, 1, ": part 3: ", "m-00003-of-00003.gguf: split.tensors.count is 2");
    m = fine, m.tensor[2] = "a.weight";
    refused(&m, 1, "tensor \"a.weight\" is there twice: in ", "m-00002-of-00003.gguf");
}

static void test_other_names(void **state) {
    (void)state;
    err_t err = {0};
    gguf_t *g = NULL;
    char *path = path_join(test_tmpdir(), "renamed.gguf");
    write_file(path, &fine, 0);
    assert_error(gguf_open(path, &g, &err), err, ERR_USAGE,
                 "the first of 3 files; expected a name that ends in -00001");
    write_file(path, &fine, 1);
    assert_error(gguf_open(path, &g, &err), err, ERR_USAGE, "expected the first, NAME-00001-of-00003.gguf");
    free(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_opens_all), cmocka_unit_test(test_one_file),
                                       cmocka_unit_test(test_refused), cmocka_unit_test(test_other_names)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
