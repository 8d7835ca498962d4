/* Damaged model files: thousands of small mutations, always the same ones. Every one must be read or refused with a
 * message; a crash, a hang, or (under AddressSanitizer) a read out of bounds fails the test. */
#include "testing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "gguf_bytes.h"
#include "model/source.h"

#define ROUNDS 600

static uint64_t seed;

/* xorshift64*; a fixed seed, so that a failure comes again. */
static uint64_t next_random(void) {
    seed ^= seed >> 12;
    seed ^= seed << 25;
    seed ^= seed >> 27;
    return seed * 2685821657736338717u;
}

static size_t below(size_t n) { return (size_t)(next_random() % n); }

/* Numbers that parsers trip over. */
static const uint64_t nasty[] = {0,
                                 1,
                                 8,
                                 127,
                                 255,
                                 0x7fffffff,
                                 0xffffffff,
                                 (uint64_t)1 << 32,
                                 (uint64_t)1 << 61,
                                 INT64_MAX,
                                 (uint64_t)1 << 63,
                                 UINT64_MAX,
                                 UINT64_MAX - 31};

static void copy_piece(char *data, size_t to, size_t from, size_t n, size_t head) {
    size_t room = head - (to > from ? to : from);
    memmove(data + to, data + from, n < room ? n : room);
}

/* One to four changes among the first `head` bytes; sometimes the end is cut off. */
static void mutate(char *data, size_t *n, size_t head) {
    for (size_t i = 1 + below(4); i-- > 0;) {
        size_t at = below(head);
        uint64_t v = nasty[below(sizeof nasty / sizeof *nasty)];
        switch (below(5)) {
        case 0: data[at] ^= (char)(1 << below(8)); break;
        case 1: data[at] = (char)next_random(); break;
        case 2: memcpy(data + at, &v, at + 8 <= head ? 8 : head - at); break;
        case 3: data[at] = "0123456789-,[]{}\":eE "[below(21)]; break;
        default: copy_piece(data, at, below(head), 1 + below(8), head); break;
        }
    }
    if (below(10) == 0) *n = below(*n + 1);
}

static void write_plain(const char *path, const char *data, size_t n) {
    FILE *f = fopen(path, "wb"); /* not file_write: its fsync would take most of the time */
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

/* Reads everything that a model source offers. */
static int read_all(const char *path, err_t *err) {
    model_source_t *src = NULL;
    if (model_source_open(path, &src, err)) return err->code;
    for (size_t i = 0; i < model_source_count(src); i++) {
        const source_tensor_t *t = model_source_at(src, i);
        qweight_t w;
        size_t n = t->rows * t->cols;
        float *x = xmalloc(n * sizeof *x);
        int rc = t->quantized ? source_quantized(src, t, &w, err) : source_read(src, t, 0, n, DT_F32, x, err);
        if (rc == 0 && t->quantized) quant_decode(&w, 0, n, x);
        free(x);
        if (rc) break;
    }
    model_source_close(src);
    return err->code;
}

/* Decodes every tensor of a GGUF, whatever model it is of. */
static int read_gguf(const char *path, err_t *err) {
    gguf_t *g = NULL;
    if (gguf_open(path, &g, err)) return err->code;
    for (size_t i = 0; i < gguf_tensor_count(g); i++) {
        const gguf_tensor_t *t = gguf_tensor_at(g, i);
        err_t unreadable = {0};
        if (gguf_check_readable(t, &unreadable)) continue;
        float *x = xmalloc(t->rows * t->cols * sizeof *x);
        gguf_dequant(t, 0, t->rows * t->cols, x);
        free(x);
    }
    gguf_close(g);
    return 0;
}

/* `file` is mutated at `to`, and `model` read by `read`; `head` 0: all of the file. */
static void fuzz(const char *file, size_t head, const char *to, const char *model, int (*read)(const char *, err_t *)) {
    err_t err = {0};
    char *data;
    size_t n, refused = 0;
    seed = 88172645463325252u;
    assert_ok(file_read(file, &data, &n, &err), err);
    char *work = xmalloc(n);
    write_plain(to, data, n);
    assert_ok(read(model, &err), err);
    for (int round = 0; round < ROUNDS; round++) {
        size_t m = n;
        memcpy(work, data, n);
        mutate(work, &m, head && head < n ? head : n);
        write_plain(to, work, m);
        err = (err_t){0};
        if (read(model, &err) == 0) continue;
        refused++;
        assert_int_equal(err.code, ERR_USAGE);
        assert_true(strstr(err.msg, model) == err.msg); /* says which file */
    }
    /* Both ways out are taken, or this tests nothing. */
    assert_in_range(refused, ROUNDS / 10, ROUNDS - 1);
    free(work);
    free(data);
}

static size_t header_size(const char *path) {
    err_t err = {0};
    char *data;
    size_t n;
    assert_ok(file_read(path, &data, &n, &err), err);
    size_t head = 8 + (size_t)(uint8_t)data[0] + ((size_t)(uint8_t)data[1] << 8);
    free(data);
    return head;
}

/* Mutates one file of a copy of a model directory. */
static void fuzz_directory(const char *model, const char *name, bool header_only) {
    static const char *const files[] = {"config.json", "model.safetensors"};
    err_t err = {0};
    const char *dir = test_tmpdir();
    char *golden = xasprintf("%s/%s", model, name), *to = path_join(dir, name);
    for (size_t i = 0; i < 2; i++) {
        char *from = xasprintf("%s/%s", model, files[i]), *copy = path_join(dir, files[i]);
        assert_ok(file_copy(test_path(from), copy, &err), err);
        free(from);
        free(copy);
    }
    fuzz(test_path(golden), header_only ? header_size(test_path(golden)) : 0, to, dir, read_all);
    free(golden);
    free(to);
}

static void test_config(void **state) {
    (void)state;
    fuzz_directory("golden/tiny/llama-gqa-tied-odd", "config.json", false);
}

static void test_safetensors(void **state) {
    (void)state;
    fuzz_directory("golden/tiny/llama-gqa-tied-odd", "model.safetensors", true);
}

static void test_bnb(void **state) {
    (void)state;
    fuzz_directory("golden/tiny/llama-gqa-tied-odd/bnb4", "model.safetensors", true);
    fuzz_directory("golden/tiny/llama-gqa-tied-odd/bnb4", "model.safetensors", false);
}

static void test_gguf(void **state) {
    (void)state;
    char *to = path_join(test_tmpdir(), "fuzzed.gguf");
    fuzz(test_path("golden/gguf/mixed.gguf"), 6000, to, to, read_all);
    free(to);
}

static void test_gguf_types(void **state) {
    (void)state;
    char *to = path_join(test_tmpdir(), "fuzzed.gguf");
    fuzz(test_path("golden/gguf/types.gguf"), 1000, to, to, read_gguf);
    fuzz(test_path("golden/gguf/kquants.gguf"), 0, to, to, read_gguf);
    free(to);
}

/* A part of a model in two files: one tensor that is read and one that is not. */
static void write_part(const char *path, uint32_t no) {
    strbuf_t b = {0};
    bytes_head(&b, 3, 2, 3);
    bytes_kv_u32(&b, "split.no", no);
    bytes_kv_u32(&b, "split.count", 2);
    bytes_kv_u32(&b, "split.tensors.count", 4);
    bytes_tensor(&b, no ? "a" : "b", 256, 2, GGML_Q4_K, 0);
    bytes_tensor(&b, no ? "c" : "d", 256, 2, 16, 288);
    bytes_pad(&b, 32);
    bytes_zeros(&b, 288 + 132);
    write_plain(path, b.p, b.len);
    free(b.p);
}

static void test_gguf_parts(void **state) {
    (void)state;
    const char *dir = test_tmpdir();
    char *first = path_join(dir, "m-00001-of-00002.gguf"), *second = path_join(dir, "m-00002-of-00002.gguf");
    char *good = path_join(dir, "good.gguf");
    write_part(first, 0);
    write_part(second, 1);
    write_part(good, 0);
    fuzz(good, 224, first, first, read_gguf);
    write_part(first, 0);
    write_part(good, 1);
    fuzz(good, 224, second, first, read_gguf);
    free(first);
    free(second);
    free(good);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_config), cmocka_unit_test(test_safetensors), cmocka_unit_test(test_bnb),
        cmocka_unit_test(test_gguf),   cmocka_unit_test(test_gguf_types),  cmocka_unit_test(test_gguf_parts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
