/* Tokenizer files and texts at fault: one clear error each, and nothing leaked (run under AddressSanitizer). */
#include "testing.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "data/tokenizer/spm_shim.h"
#include "data/tokenizer/tokenizer.h"
#include "gguf_text.h"

static void write_file(const char *dir, const char *name, const void *data, size_t len) {
    err_t err = {0};
    char *path = path_join(dir, name);
    assert_ok(file_write(path, data, len, &err), err);
    free(path);
}

/* Opening a directory with this tokenizer.json must fail with a message that has `text`. */
static void refuse_json(const char *json, const char *text) {
    const char *dir = test_tmpdir();
    tokenizer_t *t;
    err_t err = {0};
    write_file(dir, "tokenizer.json", json, strlen(json));
    assert_error(tokenizer_open(dir, &t, &err), err, ERR_USAGE, text);
    assert_non_null(strstr(err.msg, "tokenizer.json"));
    assert_null(strchr(err.msg, '\n'));
}

#define PRE ",\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false}"
#define BPE(vocab, merges) "{\"model\":{\"type\":\"BPE\",\"vocab\":" vocab ",\"merges\":" merges "}" PRE "}"
#define WITH(rest) "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[]}" rest "}"

static void test_json(void **state) {
    (void)state;
    static const struct {
        const char *json, *error;
    } cases[] = {
        {"{\"model\":", "not valid JSON"},
        {"\xff\xfe", "not valid JSON"},
        {"", "empty"},
        {"[]", "model is missing"},
        {"{\"model\":{\"type\":\"WordPiece\"}}", "\"WordPiece\" is not supported"},
        {"{\"model\":{\"type\":\"Unigram\"}}", "put the model's tokenizer.model beside it"},
        {"{\"model\":{\"type\":\"BPE\",\"byte_fallback\":true,\"vocab\":{\"a\":0},\"merges\":[]}}",
         "byte_fallback: the vocabulary has no token <0x00>"},
        {"{\"model\":{\"type\":\"BPE\",\"byte_fallback\":true}" PRE "}", "expected one of the two"},
        {BPE("{}", "[]"), "model.vocab"},
        {BPE("{\"a\":\"x\"}", "[]"), "the id of \"a\" is not a whole number"},
        {BPE("{\"a\":-1}", "[]"), "\"a\" has id -1"},
        {BPE("{\"a\":4000000000000}", "[]"), "has id 4000000000000"},
        {BPE("{\"a\":0,\"b\":0}", "[]"), "id 0 is given to both \"a\" and \"b\""},
        {BPE("{\"a\":0,\"a\":1}", "[]"), "duplicate"},
        {BPE("{\"\":0}", "[]"), "is empty"},
        {BPE("{\"a\":0}", "{}"), "model.merges"},
        {BPE("{\"a\":0}", "[7]"), "merge 0: expected"},
        {BPE("{\"a\":0}", "[\"ab\"]"), "two tokens with one space"},
        {BPE("{\"a\":0}", "[\"a b c\"]"), "two tokens with one space"},
        {BPE("{\"a\":0}", "[[\"a\"]]"), "merge 0: expected"},
        {BPE("{\"a\":0}", "[\"a b\"]"), "merge 0: the token \"b\" is not in the vocabulary"},
        {BPE("{\"a\":0,\"b\":1}", "[\"a b\"]"), "its result \"ab\" is not in the vocabulary"},
        {BPE("{\"a\":0,\"b\":1,\"ab\":2}", "[\"a b\",[\"a\",\"b\"]]"), "merge 1 repeats merge 0"},
        {"{\"model\":{\"vocab\":{\"a\":0},\"merges\":[],\"dropout\":0.1}}", "model.dropout"},
        {"{\"model\":{\"vocab\":{\"a\":0},\"merges\":[],\"unk_token\":\"x\"}" PRE "}", "unk_token \"x\""},
        {WITH(""), "byte_fallback is false and the pre_tokenizer has no ByteLevel"},
        {WITH(",\"pre_tokenizer\":{\"type\":\"BertPreTokenizer\"}"), "\"BertPreTokenizer\" is not supported"},
        {WITH(",\"pre_tokenizer\":{\"type\":\"Metaspace\",\"replacement\":\"_\"}"), "replacement \"_\""},
        {WITH(",\"pre_tokenizer\":{\"type\":\"Metaspace\",\"prepend_scheme\":\"last\"}"), "prepend_scheme \"last\""},
        {WITH(",\"pre_tokenizer\":{\"type\":\"ByteLevel\"}"), "add_prefix_space"},
        {WITH(",\"pre_tokenizer\":{\"type\":\"Digits\"}"), "has no ByteLevel"},
        {WITH(",\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(\"},\"behavior\":\"Isolated\"}"),
         "the pattern"},
        {WITH(",\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{},\"behavior\":\"Isolated\"}"),
         "pre_tokenizer: Split: pattern: expected"},
        {WITH(PRE ",\"normalizer\":{\"type\":\"Replace\",\"pattern\":\"a\",\"content\":\"\"}"),
         "normalizer: Replace: pattern: expected"},
        {WITH(PRE ",\"normalizer\":{\"type\":\"Prepend\"}"), "prepend"},
        {WITH(PRE ",\"normalizer\":{\"type\":\"Precompiled\"}"), "normalizer: type \"Precompiled\""},
        {WITH(",\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"a\"},\"behavior\":\"Removed\"}"),
         "\"Removed\" is not supported"},
        {WITH(PRE ",\"normalizer\":{\"type\":\"Lowercase\"}"), "normalizer: type \"Lowercase\""},
        {WITH(PRE ",\"added_tokens\":[{\"id\":0,\"content\":\"b\"}]"), "given to both"},
        {WITH(PRE ",\"added_tokens\":[{\"id\":7,\"content\":\"a\"}]"), "has two ids, 0 and 7"},
        {WITH(PRE ",\"added_tokens\":[{\"id\":9000000000,\"content\":\"b\"}]"), "\"b\" has id"},
        {WITH(PRE ",\"added_tokens\":[{\"id\":1}]"), "content"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) refuse_json(cases[i].json, cases[i].error);
}

static tokenizer_t *open_small(void) {
    static const char json[] = WITH(PRE ",\"added_tokens\":[{\"id\":9,\"content\":\"<x>\"}]");
    const char *dir = test_tmpdir();
    tokenizer_t *t;
    err_t err = {0};
    write_file(dir, "tokenizer.json", json, sizeof json - 1);
    assert_ok(tokenizer_open(dir, &t, &err), err);
    return t;
}

/* Ids outside the vocabulary, and in its gaps, are nothing; a byte without a token vanishes. */
static void test_gaps(void **state) {
    (void)state;
    tokenizer_t *t = open_small();
    static const int32_t outside[] = {-1, 5, 10, INT32_MAX, INT32_MIN};
    err_t err = {0};
    ids_t ids = {0};
    size_t len;
    assert_int_equal(tokenizer_vocab(t), 10);
    for (size_t i = 0; i < sizeof outside / sizeof *outside; i++) {
        tokenizer_piece(t, outside[i], true, &len);
        assert_int_equal(len, 0);
        assert_false(tokenizer_is_special(t, outside[i]));
    }
    assert_ok(tokenizer_encode(t, "ba<x>a", 6, true, &ids, &err), err);
    assert_int_equal(ids.len, 3);
    assert_int_equal(ids.ids[1], 9);
    assert_int_equal(tokenizer_find(t, ""), -1);
    free(ids.ids);
    tokenizer_close(t);
}

static void test_invalid_utf8(void **state) {
    (void)state;
    static const struct {
        const char *text, *error;
    } cases[] = {
        {"ab\xff", "byte offset 2"},       {"\xc3", "byte offset 0"},        {"\xc0\x80", "byte offset 0"},
        {"a\xed\xa0\x80", "offset 1"},     {"\xf4\x90\x80\x80", "offset 0"}, {"\xe2\x82", "offset 0"},
        {"\xc3\xa9\x80", "byte offset 2"}, {"\xf0\x80\x80\x80", "offset 0"},
    };
    tokenizer_t *t = open_small();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        err_t err = {0};
        ids_t ids = {0};
        const char *s = cases[i].text;
        assert_error(tokenizer_encode(t, s, strlen(s), true, &ids, &err), err, ERR_USAGE, cases[i].error);
        free(ids.ids);
    }
    tokenizer_close(t);
}

static void refuse(const char *path, const char *text) {
    tokenizer_t *t;
    err_t err = {0};
    assert_error(tokenizer_open(path, &t, &err), err, ERR_USAGE, text);
}

static void test_spm_files(void **state) {
    (void)state;
    static const char garbage[] = "this is no protobuf \xff\xff\xff\xff";
    const char *dir = test_tmpdir();
    refuse(dir, "neither tokenizer.json nor tokenizer.model");
    write_file(dir, "tokenizer.model", garbage, sizeof garbage);
    refuse(dir, "not a usable SentencePiece model");
    write_file(dir, "tokenizer.model", "", 0);
    refuse(dir, "empty");
    refuse("/no/such/place/tokenizer.model", "cannot open");
    /* Every truncation of the beginning of a real model. */
    mapping_t m;
    err_t err = {0};
    assert_ok(file_map(test_path("golden/tokenizer/llama2-tokenizer.model"), &m, &err), err);
    for (size_t n = 1; n < 400; n++) {
        char why[256];
        spm_model_t *model = spm_model_open(m.data, n, why, sizeof why);
        assert_null(model);
    }
    file_unmap(&m);
}

/* ---- GGUF ---- */

typedef struct {
    const char *model, *pre;
    const char *tokens[3];
    int types[3]; /* 0 ends the list */
    const char *merge;
    int n_scores;
    uint32_t eos;
    const char *error;
} gguf_case_t;

static void refuse_gguf(const gguf_case_t *c) {
    gguf_text_t w = {0};
    int n = 0, k = 0;
    while (n < 3 && c->tokens[n]) n++;
    while (k < 3 && c->types[k]) k++;
    if (c->model) gguf_text_str(&w, "tokenizer.ggml.model", c->model);
    if (c->pre) gguf_text_str(&w, "tokenizer.ggml.pre", c->pre);
    gguf_text_u32(&w, "tokenizer.ggml.eos_token_id", c->eos);
    gguf_text_strings(&w, "tokenizer.ggml.tokens", (uint64_t)n);
    for (int i = 0; i < n; i++) gguf_text_add_str(&w, c->tokens[i], strlen(c->tokens[i]));
    gguf_text_i32s(&w, "tokenizer.ggml.token_type", (uint64_t)k);
    for (int i = 0; i < k; i++) gguf_text_add_i32(&w, c->types[i]);
    gguf_text_f32s(&w, "tokenizer.ggml.scores", (uint64_t)c->n_scores);
    for (int i = 0; i < c->n_scores; i++) gguf_text_add_f32(&w, (float)-i);
    if (c->merge) {
        gguf_text_strings(&w, "tokenizer.ggml.merges", 1);
        gguf_text_add_str(&w, c->merge, strlen(c->merge));
    }
    refuse(gguf_text_write(&w), c->error);
    free(w.buf.p);
}

static void test_gguf(void **state) {
    (void)state;
    static const gguf_case_t cases[] = {
        {NULL, "gpt-2", {"a"}, {1}, NULL, 0, 0, "tokenizer.ggml.model is missing"},
        {"bert", "gpt-2", {"a"}, {1}, NULL, 0, 0, "is \"bert\"; expected gpt2 or llama"},
        {"gpt2", NULL, {"a"}, {1}, NULL, 0, 0, "tokenizer.ggml.pre is missing"},
        {"gpt2", "kimi-k2", {"a"}, {1}, NULL, 0, 0, "\"kimi-k2\" is not supported; expected one of gpt-2 phi-2"},
        {"gpt2", "gpt-2", {NULL}, {0}, NULL, 0, 0, "tokenizer.ggml.tokens is missing or empty"},
        {"gpt2", "gpt-2", {"a", "b"}, {1}, NULL, 0, 0, "1 entries for 2 tokens"},
        {"gpt2", "gpt-2", {"a"}, {9}, "a a", 0, 0, "token 0 has type 9"},
        {"gpt2", "gpt-2", {"a"}, {1}, NULL, 0, 0, "merges is missing"},
        {"gpt2", "gpt-2", {"a"}, {1}, "a a", 0, 0, "its result \"aa\""},
        {"gpt2", "gpt-2", {"a", "a"}, {1, 1}, NULL, 0, 0, "two ids, 0 and 1"},
        {"gpt2", "gpt-2", {"\xff"}, {1}, NULL, 0, 0, "not valid UTF-8"},
        {"gpt2", "gpt-2", {"a", "aa"}, {1, 1}, "a a", 0, 2, "eos_token_id is 2; there are 2 tokens"},
        {"gpt2", "gpt-2", {"a", "aa"}, {1, 1}, "a a", 0, 4294967294u, "eos_token_id is 4294967294"},
        {"llama", NULL, {"<unk>", "a"}, {2, 1}, NULL, 1, 0, "scores: expected one for each of 2 tokens"},
        {"llama", NULL, {"<unk>", "a", "a"}, {2, 1, 1}, NULL, 3, 0, "token \"a\" has two ids, 1 and 2"},
        {"llama", NULL, {"<unk>", "", "a"}, {2, 1, 1}, NULL, 3, 0, "the token with id 1 is empty"},
        {"llama", NULL, {"<unk>", "a", "<0x41>"}, {2, 1, 6}, NULL, 3, 0, "byte_fallback: the vocabulary has no token"},
        {"llama", NULL, {"<unk>", "a"}, {2, 1}, NULL, 2, 7, "eos_token_id is 7; there are 2 tokens"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) refuse_gguf(&cases[i]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_json),      cmocka_unit_test(test_gaps), cmocka_unit_test(test_invalid_utf8),
        cmocka_unit_test(test_spm_files), cmocka_unit_test(test_gguf),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
