/* Damaged data: rows of every format with a byte, or a whole value, that is another one; compressed files with damaged
 * bytes. Every file must be read or refused with a message; a crash, a hang, or (under AddressSanitizer) a read out of
 * bounds fails the test. Always the same mutations. */
#include "dataset_rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"

enum { ROUNDS = 400 };

static uint64_t seed;

/* xorshift64*; a fixed seed, so that a failure comes again. */
static size_t below(size_t n) {
    seed ^= seed >> 12;
    seed ^= seed << 25;
    seed ^= seed >> 27;
    return (size_t)(seed * 2685821657736338717u >> 11) % n;
}

static const char *const rows[] = {
    "{\"messages\": [{\"role\": \"system\", \"content\": \"S\"}, {\"role\": \"user\", \"content\": [{\"type\": "
    "\"text\", "
    "\"text\": \"Q\"}]}, {\"role\": \"assistant\", \"content\": \"\", \"weight\": 1, \"reasoning\": \"R\", "
    "\"tool_calls\": "
    "[{\"id\": \"c\", \"type\": \"function\", \"function\": {\"name\": \"f\", \"arguments\": \"{\\\"x\\\": [1, "
    "2.5]}\"}}]}, "
    "{\"role\": \"tool\", \"content\": \"7\", \"tool_call_id\": \"c\"}, {\"role\": \"assistant\", \"content\": \"A\", "
    "\"train\": false}, {\"role\": \"user\", \"content\": \"Q\"}, {\"role\": \"assistant\", \"content\": \"A\"}], "
    "\"tools\": "
    "[{\"type\": \"function\", \"function\": {\"name\": \"f\", \"parameters\": {}}}], \"chat_template_kwargs\": "
    "{\"a\": 1}}",
    "{\"system\": \"S\", \"conversations\": [{\"from\": \"human\", \"value\": \"Q\"}, {\"from\": \"function_call\", "
    "\"value\": "
    "\"{\\\"name\\\": \\\"f\\\", \\\"arguments\\\": {}}\"}, {\"from\": \"observation\", \"value\": \"7\"}, {\"from\": "
    "\"gpt\", "
    "\"value\": \"A\"}], \"tools\": \"[{\\\"name\\\": \\\"f\\\"}]\"}",
    "{\"instruction\": \"I\", \"input\": \"X\", \"output\": \"A\", \"system\": \"S\", \"history\": [[\"q\", \"a\"]]}",
    "{\"prompt\": [{\"role\": \"user\", \"content\": \"Q\"}], \"completion\": [{\"role\": \"assistant\", \"content\": "
    "\"A\"}]}",
    "{\"prompt\": \"<|im_start|>1+1=\", \"completion\": \" 2\", \"id\": 123456789012345678901234567890, \"s\": [NaN, "
    "\"\\ud800\"]}",
    "{\"text\": \"Some text \\u00e9 \\ud83d\\ude00, and more of it.\"}",
    "{\"input_ids\": [1, 2, 3, 4, 5], \"labels\": [-100, 2, -100, 4, 5], \"attention_mask\": [0, 1, 1, 1, 0], "
    "\"completion_mask\": [0, 0, 1, 1, 1]}",
};
enum { KINDS = sizeof rows / sizeof *rows };

static char *dir, *path;

static void load(const char *name, const char *data, size_t n) {
    dataset_t ds;
    err_t err = {0};
    free(path);
    path = path_join(dir, name);
    remove(path); /* no waiting for the disk, thousands of times: not by file_write(), nor for what is overwritten */
    FILE *f = fopen(path, "wb");
    assert_true(f && fwrite(data, 1, n, f) == n && fclose(f) == 0);
    dataset_spec_t spec = spec_of(NULL, 0, bpe, chatml);
    spec.files = (const char *const[]){path};
    spec.n_files = 1;
    spec.train_on = (train_on_t)below(3);
    int rc = dataset_load(&spec, &ds, &err);
    if (rc == 0) dataset_free(&ds);
    else if (rc != ERR_USAGE || !err.msg[0]) fail_msg("status %d: %s", rc, err.msg);
}

static int setup(void **state) {
    seed = 88172645463325252u;
    dir = (char *)(uintptr_t)test_tmpdir();
    return dataset_setup(state);
}

static int teardown(void **state) {
    free(path);
    return dataset_teardown(state);
}

static void mutate(char *data, size_t n) {
    for (size_t i = 1 + below(3); i-- > 0;) {
        size_t at = below(n);
        switch (below(3)) {
        case 0: data[at] ^= (char)(1 << below(8)); break;
        case 1: data[at] = "0123456789-,[]{}\":eE \\"[below(22)]; break;
        default: data[at] = data[below(n)]; break;
        }
    }
}

static void other_bytes(void **state) {
    (void)state;
    for (size_t k = 0; k < KINDS; k++) {
        for (size_t i = 0; i < ROUNDS; i++) {
            char *copy = xstrdup(rows[k]);
            size_t n = strlen(copy);
            mutate(copy, n);
            load("a.jsonl", copy, n);
            free(copy);
        }
    }
}

/* Values anywhere in a row. */
static void collect(json_t *v, json_t **parents, const char **keys, size_t *indices, size_t *n) {
    const char *key;
    json_t *inner;
    size_t i;
    json_object_foreach(v, key, inner) {
        parents[*n] = v, keys[*n] = key, ++*n;
        collect(inner, parents, keys, indices, n);
    }
    json_array_foreach(v, i, inner) {
        parents[*n] = v, keys[*n] = NULL, indices[*n] = i, ++*n;
        collect(inner, parents, keys, indices, n);
    }
}

static void other_values(void **state) {
    (void)state;
    static const char *const values[] = {"null",    "true",          "0",      "1",          "-1", "0.5", "\"\"",
                                         "\"x\"",   "\"assistant\"", "\"{}\"", "[]",         "{}", "[1]", "[[]]",
                                         "[\"x\"]", "{\"a\": 1}",    "[{}]",   "\"\\u0000\""};
    enum { VALUES = sizeof values / sizeof *values, MOST = 200 };
    for (size_t k = 0; k < KINDS; k++) {
        for (size_t i = 0; i < ROUNDS; i++) {
            json_t *row = json_loads(rows[k], JSON_ALLOW_NUL, NULL), *parents[MOST];
            const char *keys[MOST];
            size_t indices[MOST], n = 0;
            if (!row) break; /* the one that is odd already */
            collect(row, parents, keys, indices, &n);
            assert_true(n > 0 && n < MOST);
            size_t at = below(n);
            json_t *v = json_loads(values[below(VALUES)], JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
            assert_non_null(v);
            if (keys[at]) json_object_set_new(parents[at], keys[at], v);
            else json_array_set_new(parents[at], indices[at], v);
            char *text = json_dumps(row, 0);
            load("a.jsonl", text, strlen(text));
            free(text);
            json_decref(row);
        }
    }
}

static void compressed(void **state) {
    (void)state;
    strbuf_t plain = {0};
    for (size_t i = 0; i < 40; i++) strbuf_addf(&plain, "%s\n", rows[5]);
    size_t cap = compressBound((uLong)plain.len) + 512;
    char *packed[2] = {xmalloc(cap), xmalloc(cap)}, *copy = xmalloc(cap);
    z_stream z = {.next_in = (unsigned char *)plain.p,
                  .avail_in = (uInt)plain.len,
                  .next_out = (unsigned char *)packed[0],
                  .avail_out = (uInt)cap};
    assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    size_t len[2] = {cap - z.avail_out, ZSTD_compress(packed[1], cap, plain.p, plain.len, 3)};
    deflateEnd(&z);
    for (int k = 0; k < 2; k++) {
        for (size_t i = 0; i < ROUNDS; i++) {
            memcpy(copy, packed[k], len[k]);
            mutate(copy, len[k]);
            load(k ? "a.jsonl.zst" : "a.jsonl.gz", copy, below(4) ? len[k] : below(len[k]));
        }
        free(packed[k]);
    }
    free(copy);
    free(plain.p);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(other_bytes), cmocka_unit_test(other_values),
                                       cmocka_unit_test(compressed)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
