/* GGUF: values as gguf-py reads them; a file that lies about itself is refused with the place. */
#include "testing.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "model/formats/gguf.h"
#include "model/formats/safetensors.h"

static gguf_t *open_ok(const char *path) {
    err_t err = {0};
    gguf_t *g = NULL;
    assert_ok(gguf_open(path, &g, &err), err);
    return g;
}

/* Rows of an expected tensor against a GGUF's, whose Q rows are permuted: `permuted` gives the head's size. */
static void compare(const gguf_tensor_t *t, const st_tensor_t *want, size_t head_dim) {
    assert_int_equal(t->rows, want->shape[0]);
    assert_int_equal(t->cols, want->shape[1]);
    float *got = xmalloc(want->bytes), *w = xmalloc(want->bytes);
    memcpy(w, want->data, want->bytes);
    gguf_dequant(t, 0, t->rows * t->cols, got);
    for (size_t r = 0; r < t->rows; r++) {
        size_t in_head = head_dim ? r % head_dim : 0;
        size_t from = head_dim ? r - in_head + in_head % (head_dim / 2) * 2 + in_head / (head_dim / 2) : r;
        assert_memory_equal(got + from * t->cols, w + r * t->cols, t->cols * sizeof(float));
    }
    /* A range in the middle gives the same. */
    gguf_dequant(t, t->cols, 2 * t->cols, w);
    assert_memory_equal(w, got + t->cols, 2 * t->cols * sizeof(float));
    free(got);
    free(w);
}

static void test_values(void **state) {
    (void)state;
    static const char *const types[] = {"F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1"};
    err_t err = {0};
    gguf_t *g = open_ok(test_path("golden/gguf/mixed.gguf"));
    safetensors_t *st;
    assert_ok(safetensors_open(test_path("golden/gguf/expected.safetensors"), &st, &err), err);
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        char *q = xasprintf("blk.%zu.attn_q.weight", i), *down = xasprintf("blk.%zu.ffn_down.weight", i);
        char *q_want = xasprintf("model.layers.%zu.self_attn.q_proj.weight", i);
        char *down_want = xasprintf("model.layers.%zu.mlp.down_proj.weight", i);
        assert_string_equal(gguf_type_name(gguf_find(g, q)->type), types[i]);
        compare(gguf_find(g, q), safetensors_find(st, q_want), 32);
        compare(gguf_find(g, down), safetensors_find(st, down_want), 0);
        free(q);
        free(down);
        free(q_want);
        free(down_want);
    }
    compare(gguf_find(g, "token_embd.weight"), safetensors_find(st, "model.embed_tokens.weight"), 0);
    assert_null(gguf_find(g, "absent"));
    assert_string_equal(gguf_type_name(17), "type 17");
    assert_string_equal(gguf_type_name(UINT32_MAX), "type 4294967295");
    safetensors_close(st);
    gguf_close(g);
}

static void test_metadata(void **state) {
    (void)state;
    gguf_t *g = open_ok(test_path("golden/gguf/mixed.gguf"));
    uint64_t u;
    int64_t i;
    double d;
    bool b;
    gguf_str_t s;
    assert_true(gguf_get_str(g, "general.architecture", &s) && s.len == 5 && !memcmp(s.p, "llama", 5));
    assert_true(gguf_get_uint(g, "llama.block_count", &u) && u == 6);
    assert_true(gguf_get_float(g, "llama.rope.freq_base", &d) && d == 50000.0);
    assert_true(gguf_get_float(g, "llama.block_count", &d) && d == 6.0);
    assert_false(gguf_get_uint(g, "llama.rope.freq_base", &u));
    assert_false(gguf_get_uint(g, "general.architecture", &u));
    assert_false(gguf_get_bool(g, "llama.block_count", &b));
    assert_false(gguf_get_str(g, "llama.block_count", &s));
    assert_true(gguf_has(g, "llama.block_count"));
    assert_false(gguf_has(g, "llama.block_coun"));
    assert_int_equal(gguf_array_len(g, "tokenizer.ggml.tokens"), 48);
    assert_int_equal(gguf_array_len(g, "llama.block_count"), -1);
    assert_int_equal(gguf_array_len(g, "absent"), -1);
    assert_true(gguf_array_str(g, "tokenizer.ggml.tokens", 47, &s) && s.len == 8 && !memcmp(s.p, "token 47", 8));
    assert_false(gguf_array_str(g, "tokenizer.ggml.tokens", 48, &s));
    assert_false(gguf_array_int(g, "tokenizer.ggml.tokens", 0, &i));
    assert_true(gguf_array_float(g, "tokenizer.ggml.scores", 3, &d) && d == -1.5);
    gguf_close(g);
}

/* A small GGUF in memory, piece by piece. */
static void u32(strbuf_t *b, uint32_t v) {
    for (int i = 0; i < 4; i++) strbuf_add(b, (char[]){(char)(v >> 8 * i)}, 1);
}

static void u64(strbuf_t *b, uint64_t v) {
    u32(b, (uint32_t)v);
    u32(b, (uint32_t)(v >> 32));
}

static void str(strbuf_t *b, const char *s) {
    u64(b, strlen(s));
    strbuf_adds(b, s);
}

static void head(strbuf_t *b, uint32_t version, uint64_t tensors, uint64_t kvs) {
    strbuf_adds(b, "GGUF");
    u32(b, version);
    u64(b, tensors);
    u64(b, kvs);
}

static void tensor(strbuf_t *b, const char *name, uint64_t cols, uint64_t rows, uint32_t type, uint64_t offset) {
    str(b, name);
    u32(b, 2);
    u64(b, cols);
    u64(b, rows);
    u32(b, type);
    u64(b, offset);
}

static void pad(strbuf_t *b, size_t to) {
    while (b->len % to) strbuf_add(b, "", 1);
}

static void zeros(strbuf_t *b, size_t n) {
    while (n--) strbuf_add(b, "", 1);
}

/* Writes what was built and opens it: the message must hold `message`, or (NULL) the file must be fine. */
static void expect(strbuf_t *b, const char *message) {
    static const char *path;
    if (!path) path = path_join(test_tmpdir(), "built.gguf");
    err_t err = {0};
    gguf_t *g = NULL;
    assert_ok(file_write(path, b->p, b->len, &err), err);
    int rc = gguf_open(path, &g, &err);
    if (message) {
        assert_error(rc, err, ERR_USAGE, message);
        assert_error(rc, err, ERR_USAGE, path);
    } else assert_ok(rc, err);
    gguf_close(g);
    free(b->p);
    *b = (strbuf_t){0};
}

static void test_hostile_head(void **state) {
    (void)state;
    strbuf_t b = {0};
    strbuf_adds(&b, "GGML1234567890123456789012345678");
    expect(&b, "byte 0: not a GGUF file");
    strbuf_adds(&b, "GG");
    expect(&b, "byte 0: the magic reaches past the end of the file (2 bytes)");
    head(&b, 1, 0, 0);
    expect(&b, "byte 4: GGUF version 1 is not supported");
    head(&b, 0x03000000, 0, 0); /* big endian */
    expect(&b, "GGUF version 50331648 is not supported");
    head(&b, 2, 0, 0);
    expect(&b, NULL);
    head(&b, 3, UINT64_MAX, 0);
    expect(&b, "byte 8: 18446744073709551615 as the number of tensors cannot be");
    head(&b, 3, 0, 1u << 30);
    expect(&b, "byte 16: 1073741824 as the number of metadata values cannot be");
}

static void test_hostile_metadata(void **state) {
    (void)state;
    strbuf_t b = {0};
    head(&b, 3, 0, 1);
    u64(&b, UINT64_MAX);
    zeros(&b, 8);
    expect(&b, "byte 24: a metadata key of 18446744073709551615 bytes");
    head(&b, 3, 0, 1);
    u64(&b, 60);
    zeros(&b, 8);
    expect(&b, "byte 32: a metadata key reaches past the end");
    head(&b, 3, 0, 1);
    str(&b, "k");
    u32(&b, 13);
    zeros(&b, 8);
    expect(&b, "byte 33: value type 13 is not one of the format");
    head(&b, 3, 0, 1);
    str(&b, "k");
    u32(&b, 8);
    u64(&b, (uint64_t)1 << 63);
    expect(&b, "byte 45: a string reaches past the end");
    head(&b, 3, 0, 1);
    str(&b, "k");
    u32(&b, 10);
    u32(&b, 0);
    expect(&b, "byte 37: a value reaches past the end");
    static const uint32_t bad_items[] = {9, 13}; /* nested; none of the format */
    for (size_t i = 0; i < 2; i++) {
        head(&b, 3, 0, 1);
        str(&b, "k");
        u32(&b, 9);
        u32(&b, bad_items[i]);
        u64(&b, 0);
        expect(&b, "are not supported");
    }
    head(&b, 3, 0, 1);
    str(&b, "k");
    u32(&b, 9);
    u32(&b, 10);
    u64(&b, (uint64_t)1 << 61); /* times 8 bytes wraps to zero */
    expect(&b, "as the length of an array cannot be");
    head(&b, 3, 0, 1);
    str(&b, "k");
    u32(&b, 9);
    u32(&b, 8);
    u64(&b, 2);
    str(&b, "x");
    u64(&b, 4);
    expect(&b, "a string of an array reaches past the end");
    head(&b, 3, 0, 2);
    for (int i = 0; i < 2; i++) {
        str(&b, "k");
        u32(&b, 4);
        u32(&b, 1);
    }
    expect(&b, "metadata key \"k\" is there twice");
}

static void alignment(strbuf_t *b, uint32_t type, uint32_t value) {
    str(b, "general.alignment");
    u32(b, type);
    u32(b, value);
}

static void test_alignment(void **state) {
    (void)state;
    strbuf_t b = {0};
    for (uint32_t bad = 0; bad < 49; bad += 24) {
        head(&b, 3, 0, 1);
        alignment(&b, 4, bad);
        expect(&b, "general.alignment: expected a power of two");
    }
    head(&b, 3, 0, 1);
    alignment(&b, 6, 0x42000000); /* 32.0f */
    expect(&b, "general.alignment: expected a power of two");
    head(&b, 3, 1, 1);
    alignment(&b, 4, 8);
    tensor(&b, "t", 2, 1, GGML_F32, 0);
    pad(&b, 8);
    zeros(&b, 8);
    expect(&b, NULL);
}

static void test_hostile_tensors(void **state) {
    (void)state;
    static const struct {
        uint64_t cols, rows;
        uint32_t type;
        uint64_t offset;
        const char *message;
    } cases[] = {
        {64, 1, GGML_F32, 0, NULL},
        {64, 1, GGML_F32, 32, "tensor \"t\": 256 bytes at byte 32 of the data reach past the end"},
        {64, 2, GGML_F32, 0, "tensor \"t\": dimension 1 of 2 cannot be"},
        {8, 1, GGML_F32, 256, "tensor \"t\": 32 bytes at byte 256 of the data reach past the end"},
        {8, 1, GGML_F32, (uint64_t)0 - 32, "tensor \"t\": 32 bytes at byte 18446744073709551584 of the data"},
        {8, 1, GGML_F32, 4, "tensor \"t\": offset 4 is no multiple of the alignment 32"},
        {0, 1, GGML_F32, 0, "tensor \"t\": dimension 0 of 0 cannot be"},
        {(uint64_t)1 << 62, 4, GGML_F32, 0, "tensor \"t\": dimension 0 of 4611686018427387904 cannot be"},
        {64, (uint64_t)1 << 60, GGML_Q4_0, 0, "tensor \"t\": dimension 1 of 1152921504606846976 cannot be"},
        {48, 1, GGML_Q4_0, 0, "tensor \"t\": rows of 48 values cannot be Q4_0, which comes in blocks of 32"},
        {64, 1, 10, 0, "tensor \"t\" is stored as type 10, which is not supported"},
        {64, 1, UINT32_MAX, 0, "tensor \"t\" is stored as type 4294967295"},
    };
    strbuf_t b = {0};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        head(&b, 3, 1, 0);
        tensor(&b, "t", cases[i].cols, cases[i].rows, cases[i].type, cases[i].offset);
        pad(&b, 32);
        zeros(&b, 256);
        expect(&b, cases[i].message);
    }
    static const uint32_t bad_dims[] = {0, 5};
    for (size_t i = 0; i < 2; i++) {
        head(&b, 3, 1, 0);
        str(&b, "t");
        u32(&b, bad_dims[i]);
        zeros(&b, 64);
        expect(&b, "dimensions; expected 1 to 4");
    }
    head(&b, 3, 2, 0);
    tensor(&b, "t", 16, 1, GGML_F32, 0);
    tensor(&b, "u", 16, 1, GGML_F32, 32);
    pad(&b, 32);
    zeros(&b, 256);
    expect(&b, "tensors \"t\" and \"u\" overlap at byte");
    head(&b, 3, 2, 0);
    tensor(&b, "t", 8, 1, GGML_F32, 0);
    tensor(&b, "t", 8, 1, GGML_F32, 32);
    pad(&b, 32);
    zeros(&b, 256);
    expect(&b, "tensor \"t\" is there twice");
}

static void test_truncated(void **state) {
    (void)state;
    err_t err = {0};
    char *data, *path = path_join(test_tmpdir(), "cut.gguf");
    size_t n;
    assert_ok(file_read(test_path("golden/gguf/mixed.gguf"), &data, &n, &err), err);
    for (size_t cut = 0; cut < n; cut += cut < 8000 ? 37 : 4999) {
        gguf_t *g;
        assert_ok(file_write(path, data, cut, &err), err);
        assert_error(gguf_open(path, &g, &err), err, ERR_USAGE, path);
        err = (err_t){0};
    }
    free(data);
    free(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),       cmocka_unit_test(test_metadata),
        cmocka_unit_test(test_hostile_head), cmocka_unit_test(test_hostile_metadata),
        cmocka_unit_test(test_alignment),    cmocka_unit_test(test_hostile_tensors),
        cmocka_unit_test(test_truncated),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
