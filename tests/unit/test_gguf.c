/* GGUF: values as gguf-py reads them; a file that lies about itself is refused with the place. */
#include "testing.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/mem.h"
#include "gguf_bytes.h"
#include "model/formats/kernels/gguf_kernels.h"
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
    safetensors_close(st);
    gguf_close(g);
}

/* Every type, by every instruction set that this processor has, to the last bit. */
static void test_types(void **state) {
    (void)state;
    err_t err = {0};
    gguf_t *g = open_ok(test_path("golden/gguf/types.gguf"));
    safetensors_t *st;
    assert_ok(safetensors_open(test_path("golden/gguf/types.safetensors"), &st, &err), err);
    size_t readable = 0;
    for (uint32_t type = 0; type < GGUF_TYPES; type++) {
        if (!gguf_type_readable(type)) continue;
        const gguf_tensor_t *t = gguf_find(g, gguf_type_name(type));
        const st_tensor_t *want = safetensors_find(st, gguf_type_name(type));
        assert_int_equal(t->type, type);
        compare(t, want, 0);
        float got[3 * 512];
        assert_int_equal(want->bytes, sizeof got);
        for (int i = 0; gguf_kernels_nth(i); i++) {
            memset(got, 0xff, sizeof got);
            gguf_kernels_nth(i)->decode[type](t->data, 3 * 512 / gguf_block_len(type), got);
            assert_memory_equal(got, want->data, sizeof got);
        }
        readable++;
    }
    assert_int_equal(readable, gguf_tensor_count(g));
    safetensors_close(st);
    gguf_close(g);
}

/* Infinity and NaN are no matter of blocks, but what F16 holds has to be seen as what it is. */
static void test_f16(void **state) {
    (void)state;
    static uint16_t in[1 << 16];
    static float out[1 << 16];
    for (size_t i = 0; i < 1 << 16; i++) in[i] = (uint16_t)i;
    for (int k = 0; gguf_kernels_nth(k); k++) {
        gguf_kernels_nth(k)->decode[GGML_F16]((const uint8_t *)in, (1 << 16) - 3, out); /* no multiple of a vector */
        for (size_t i = 0; i < (1 << 16) - 3; i++) {
            uint32_t got = f32_to_bits(out[i]), want = f32_to_bits(f16_to_f32(in[i]));
            if ((want & 0x7fffffff) > 0x7f800000) got |= 0x400000, want |= 0x400000; /* quiet or signalling */
            assert_int_equal(got, want);
        }
    }
}

static void test_bf16(void **state) {
    (void)state;
    enum { N = 71 }; /* vectors and what is left */
    static const uint32_t not_finite[] = {0x7f7f8000, 0xff7fffff, 0x7f800000, 0x7fc00000, 0xff800001};
    float x[N];
    bf16_t got[N];
    for (int k = 0; gguf_kernels_nth(k); k++) {
        for (uint32_t i = 0; i < N; i++) x[i] = f32_from_bits(i * 0x06d8f123); /* all exponents, ties among them */
        x[0] = f32_from_bits(0x3f808000);
        x[1] = f32_from_bits(0x3f818000);
        x[70] = f32_from_bits(0xff7f7fff); /* the last that does not round to infinity */
        for (uint32_t i = 0; i < N; i++) x[i] = isfinite(x[i]) ? x[i] : 0;
        assert_true(gguf_kernels_nth(k)->round_bf16(x, N, got));
        for (uint32_t i = 0; i < N; i++) assert_int_equal(got[i], bf16_from_f32(x[i]));
        for (size_t i = 0; i < N; i++) {
            float good = x[i];
            x[i] = f32_from_bits(not_finite[i % 5]);
            assert_false(gguf_kernels_nth(k)->round_bf16(x, N, got));
            x[i] = good;
        }
    }
    /* More than is rounded at a time, no multiple of it. */
    gguf_t *g = open_ok(test_path("golden/gguf/kquants.gguf"));
    const gguf_tensor_t *t = gguf_find(g, "blk.0.attn_output.weight");
    float *want = xmalloc(256 * 64 * sizeof *want);
    bf16_t *rounded = xmalloc(256 * 64 * sizeof *rounded);
    gguf_dequant(t, 32, 5000 / 32 * 32, want);
    assert_true(gguf_dequant_bf16(t, 32, 5000 / 32 * 32, rounded));
    for (size_t i = 0; i < 5000 / 32 * 32; i++) assert_int_equal(rounded[i], bf16_from_f32(want[i]));
    free(want);
    free(rounded);
    gguf_close(g);
}

/* A file of llama.cpp's, with a mix of types. */
static void test_kquants(void **state) {
    (void)state;
    err_t err = {0};
    gguf_t *g = open_ok(test_path("golden/gguf/kquants.gguf"));
    json_t *root;
    assert_ok(json_file(test_path("golden/gguf/kquants.json"), &root, &err), err);
    assert_int_equal(gguf_tensor_count(g), json_object_size(root));
    for (size_t i = 0; i < gguf_tensor_count(g); i++) {
        const gguf_tensor_t *t = gguf_tensor_at(g, i);
        size_t n = t->rows * t->cols;
        char *name = xstrndup(t->name.p, t->name.len), checksum[17];
        const json_t *want = json_object_get(root, name);
        float *x = xmalloc(n * sizeof *x);
        uint64_t sum = 0;
        gguf_dequant(t, 0, n, x);
        for (size_t k = 0; k < n; k++) sum += (k + 1) * (uint64_t)f32_to_bits(x[k]);
        snprintf(checksum, sizeof checksum, "%016" PRIx64, sum);
        assert_string_equal(gguf_type_name(t->type), json_string_value(json_object_get(want, "type")));
        assert_string_equal(checksum, json_string_value(json_object_get(want, "checksum")));
        free(x);
        free(name);
    }
    json_decref(root);
    gguf_close(g);
}

static void test_type_names(void **state) {
    (void)state;
    assert_string_equal(gguf_type_name(GGML_IQ4_XS), "IQ4_XS");
    assert_string_equal(gguf_type_name(17), "IQ2_XS");
    assert_string_equal(gguf_type_name(4), "Q4_2");
    assert_string_equal(gguf_type_name(GGUF_TYPES), "type 42");
    assert_string_equal(gguf_type_name(UINT32_MAX), "type 4294967295");
    for (uint32_t type = 0; type < GGUF_TYPES; type++) assert_non_null(gguf_type_name(type));
    assert_true(gguf_type_readable(GGML_Q2_K));
    assert_false(gguf_type_readable(17) || gguf_type_readable(4) || gguf_type_readable(GGUF_TYPES));
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

static const char *built_path(void) {
    static char *path;
    if (!path) path = path_join(test_tmpdir(), "built.gguf");
    return path;
}

/* Writes what was built and opens it: the message must hold `message`, or (NULL) the file must be fine. */
static void expect(strbuf_t *b, const char *message) {
    const char *path = built_path();
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

/* Tensors of types that are not read do no harm until somebody needs them. */
static void test_unreadable(void **state) {
    (void)state;
    static const struct {
        uint32_t type;
        const char *message; /* of its refusal; NULL: it is read */
    } cases[] = {{GGML_F32, NULL},
                 {16,
                  "tensor \"2\" is stored as IQ2_XXS, which is not supported; expected one of F32, F16, Q4_0, Q4_1, "
                  "Q5_0, Q5_1, Q8_0, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ4_NL, IQ4_XS, BF16"},
                 {31, "tensor \"3\" is stored as Q4_0_4_4, which is not supported"},
                 {99, "tensor \"4\" is stored as type 99, which is not supported"}};
    enum { N = sizeof cases / sizeof *cases };
    strbuf_t b = {0};
    err_t err = {0};
    bytes_head(&b, 3, N, 0);
    for (uint32_t i = 0; i < N; i++)
        bytes_tensor(&b, (char[]){(char)('1' + i), 0}, 256, 1, cases[i].type, i ? 1024 + 128 * (i - 1) : 0);
    bytes_pad(&b, 32);
    bytes_zeros(&b, 1024 + 4 * 128);
    assert_ok(file_write(built_path(), b.p, b.len, &err), err);
    free(b.p);
    gguf_t *g = open_ok(built_path());
    for (uint32_t i = 0; i < N; i++) {
        const gguf_tensor_t *t = gguf_tensor_at(g, i);
        assert_int_equal(t->type, cases[i].type);
        assert_int_equal(t->cols, 256);
        assert_true((t->data != NULL) == (t->bytes != 0) && (t->data != NULL) == (gguf_block_len(t->type) != 0));
        err = (err_t){0};
        if (!cases[i].message) assert_ok(gguf_check_readable(t, &err), err);
        else assert_error(gguf_check_readable(t, &err), err, ERR_USAGE, cases[i].message);
        assert_int_equal(gguf_type_readable(t->type), !cases[i].message);
    }
    gguf_close(g);
}

/* An array of `n` at a key; its elements follow. */
static void array(strbuf_t *b, const char *key, uint32_t item, uint64_t n) {
    bytes_str(b, key);
    bytes_u32(b, 9);
    bytes_u32(b, item);
    bytes_u64(b, n);
}

static void test_arrays(void **state) {
    (void)state;
    strbuf_t b = {0};
    err_t err = {0};
    bytes_head(&b, 3, 0, 4);
    array(&b, "flags", 7, 3);
    strbuf_add(&b, "\1\0\1", 3);
    array(&b, "counts", 5, 2);
    bytes_u32(&b, 8);
    bytes_u32(&b, 2);
    array(&b, "signed", 5, 2);
    bytes_u32(&b, 8);
    bytes_u32(&b, UINT32_MAX);
    bytes_kv_u32(&b, "count", 5);
    assert_ok(file_write(built_path(), b.p, b.len, &err), err);
    free(b.p);
    gguf_t *g = open_ok(built_path());
    bool flag;
    uint64_t n[3];
    assert_true(gguf_array_bool(g, "flags", 0, &flag) && flag);
    assert_true(gguf_array_bool(g, "flags", 1, &flag) && !flag);
    assert_false(gguf_array_bool(g, "flags", 3, &flag) || gguf_array_bool(g, "counts", 0, &flag));
    assert_true(gguf_get_uints(g, "counts", 2, n) && n[0] == 8 && n[1] == 2);
    assert_true(gguf_get_uints(g, "count", 3, n) && n[0] == 5 && n[2] == 5);
    assert_false(gguf_get_uints(g, "counts", 3, n) || gguf_get_uints(g, "counts", 1, n));
    assert_false(gguf_get_uints(g, "signed", 2, n) || gguf_get_uints(g, "flags", 3, n));
    assert_false(gguf_get_uints(g, "absent", 2, n));
    gguf_close(g);
}

static void test_hostile_head(void **state) {
    (void)state;
    strbuf_t b = {0};
    strbuf_adds(&b, "GGML1234567890123456789012345678");
    expect(&b, "byte 0: not a GGUF file");
    strbuf_adds(&b, "GG");
    expect(&b, "byte 0: the magic reaches past the end of the file (2 bytes)");
    bytes_head(&b, 1, 0, 0);
    expect(&b, "byte 4: GGUF version 1 is not supported");
    bytes_head(&b, 0x03000000, 0, 0); /* big endian */
    expect(&b, "GGUF version 50331648 is not supported");
    bytes_head(&b, 2, 0, 0);
    expect(&b, NULL);
    bytes_head(&b, 3, UINT64_MAX, 0);
    expect(&b, "byte 8: 18446744073709551615 as the number of tensors cannot be");
    bytes_head(&b, 3, 0, 1u << 30);
    expect(&b, "byte 16: 1073741824 as the number of metadata values cannot be");
}

static void test_hostile_metadata(void **state) {
    (void)state;
    strbuf_t b = {0};
    bytes_head(&b, 3, 0, 1);
    bytes_u64(&b, UINT64_MAX);
    bytes_zeros(&b, 8);
    expect(&b, "byte 24: a metadata key of 18446744073709551615 bytes");
    bytes_head(&b, 3, 0, 1);
    bytes_u64(&b, 60);
    bytes_zeros(&b, 8);
    expect(&b, "byte 32: a metadata key reaches past the end");
    bytes_head(&b, 3, 0, 1);
    bytes_str(&b, "k");
    bytes_u32(&b, 13);
    bytes_zeros(&b, 8);
    expect(&b, "byte 33: value type 13 is not one of the format");
    bytes_head(&b, 3, 0, 1);
    bytes_str(&b, "k");
    bytes_u32(&b, 8);
    bytes_u64(&b, (uint64_t)1 << 63);
    expect(&b, "byte 45: a string reaches past the end");
    bytes_head(&b, 3, 0, 1);
    bytes_str(&b, "k");
    bytes_u32(&b, 10);
    bytes_u32(&b, 0);
    expect(&b, "byte 37: a value reaches past the end");
    static const uint32_t bad_items[] = {9, 13}; /* nested; none of the format */
    for (size_t i = 0; i < 2; i++) {
        bytes_head(&b, 3, 0, 1);
        bytes_str(&b, "k");
        bytes_u32(&b, 9);
        bytes_u32(&b, bad_items[i]);
        bytes_u64(&b, 0);
        expect(&b, "are not supported");
    }
    bytes_head(&b, 3, 0, 1);
    bytes_str(&b, "k");
    bytes_u32(&b, 9);
    bytes_u32(&b, 10);
    bytes_u64(&b, (uint64_t)1 << 61); /* times 8 bytes wraps to zero */
    expect(&b, "as the length of an array cannot be");
    bytes_head(&b, 3, 0, 1);
    bytes_str(&b, "k");
    bytes_u32(&b, 9);
    bytes_u32(&b, 8);
    bytes_u64(&b, 2);
    bytes_str(&b, "x");
    bytes_u64(&b, 4);
    expect(&b, "a string of an array reaches past the end");
    bytes_head(&b, 3, 0, 2);
    for (int i = 0; i < 2; i++) {
        bytes_str(&b, "k");
        bytes_u32(&b, 4);
        bytes_u32(&b, 1);
    }
    expect(&b, "metadata key \"k\" is there twice");
}

static void alignment(strbuf_t *b, uint32_t type, uint32_t value) {
    bytes_str(b, "general.alignment");
    bytes_u32(b, type);
    bytes_u32(b, value);
}

static void test_alignment(void **state) {
    (void)state;
    strbuf_t b = {0};
    for (uint32_t bad = 0; bad < 49; bad += 24) {
        bytes_head(&b, 3, 0, 1);
        alignment(&b, 4, bad);
        expect(&b, "general.alignment: expected a power of two");
    }
    bytes_head(&b, 3, 0, 1);
    alignment(&b, 6, 0x42000000); /* 32.0f */
    expect(&b, "general.alignment: expected a power of two");
    bytes_head(&b, 3, 1, 1);
    alignment(&b, 4, 8);
    bytes_tensor(&b, "t", 2, 1, GGML_F32, 0);
    bytes_pad(&b, 8);
    bytes_zeros(&b, 8);
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
        {256, 1, GGML_Q5_K, 0, NULL},
        {512, 1, GGML_Q5_K, 0, "tensor \"t\": 352 bytes at byte 0 of the data reach past the end"},
        {128, 2, GGML_Q2_K, 0, "tensor \"t\": rows of 128 values cannot be Q2_K, which comes in blocks of 256"},
        {256, 1, 21, 192, "tensor \"t\": 110 bytes at byte 192 of the data reach past the end"},
        {1 << 20, 1 << 20, UINT32_MAX, 0, NULL}, /* of unknown size */
        {(uint64_t)1 << 40, 1 << 30, UINT32_MAX, 0, "tensor \"t\": dimension 1 of 1073741824 cannot be"},
        {64, 1, UINT32_MAX, 4096, "tensor \"t\": 0 bytes at byte 4096 of the data reach past the end"},
    };
    strbuf_t b = {0};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bytes_head(&b, 3, 1, 0);
        bytes_tensor(&b, "t", cases[i].cols, cases[i].rows, cases[i].type, cases[i].offset);
        bytes_pad(&b, 32);
        bytes_zeros(&b, 256);
        expect(&b, cases[i].message);
    }
    static const uint32_t bad_dims[] = {0, 5};
    for (size_t i = 0; i < 2; i++) {
        bytes_head(&b, 3, 1, 0);
        bytes_str(&b, "t");
        bytes_u32(&b, bad_dims[i]);
        bytes_zeros(&b, 64);
        expect(&b, "dimensions; expected 1 to 4");
    }
    bytes_head(&b, 3, 2, 0);
    bytes_tensor(&b, "t", 16, 1, GGML_F32, 0);
    bytes_tensor(&b, "u", 16, 1, GGML_F32, 32);
    bytes_pad(&b, 32);
    bytes_zeros(&b, 256);
    expect(&b, "tensors \"t\" and \"u\" overlap at byte");
    bytes_head(&b, 3, 2, 0);
    bytes_tensor(&b, "t", 8, 1, GGML_F32, 0);
    bytes_tensor(&b, "t", 8, 1, GGML_F32, 32);
    bytes_pad(&b, 32);
    bytes_zeros(&b, 256);
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
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_types),
        cmocka_unit_test(test_f16),
        cmocka_unit_test(test_bf16),
        cmocka_unit_test(test_kquants),
        cmocka_unit_test(test_type_names),
        cmocka_unit_test(test_metadata),
        cmocka_unit_test(test_unreadable),
        cmocka_unit_test(test_arrays),
        cmocka_unit_test(test_hostile_head),
        cmocka_unit_test(test_hostile_metadata),
        cmocka_unit_test(test_alignment),
        cmocka_unit_test(test_hostile_tensors),
        cmocka_unit_test(test_truncated),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
