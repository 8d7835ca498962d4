/* Tokenizers against the ids of the reference libraries (tests/golden/tokenizer/generate.py), through every
 * way of opening one; decoding; saving; hostile files are in test_tokenizer_errors.c. */
#include "testing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "data/tokenizer/spm_shim.h"
#include "data/tokenizer/tokenizer.h"
#include "gguf_text.h"
#include "tokenizer_kinds.h"

#define GOLDEN(name) test_path("golden/tokenizer/" name)

static const char *own_template(const tokenizer_t *t) {
    size_t len;
    return tokenizer_chat_template(t, "default", &len);
}

static bool same_ids(const ids_t *got, const json_t *want) {
    if (got->len != json_array_size(want)) return false;
    for (size_t i = 0; i < got->len; i++) {
        if (got->ids[i] != json_integer_value(json_array_get(want, i))) return false;
    }
    return true;
}

/* Encodes `text`, compares with `want`, and says on a difference which text it was. */
static bool case_holds(const tokenizer_t *t, const json_t *text, bool specials, const json_t *want) {
    err_t err = {0};
    ids_t ids = {0};
    assert_ok(tokenizer_encode(t, json_string_value(text), json_string_length(text), specials, &ids, &err), err);
    bool same = same_ids(&ids, want);
    if (!same) print_error("differs: %s\n", json_string_value(text));
    free(ids.ids);
    return same;
}

static void check_cases(const tokenizer_t *t, const char *column, const char *what) {
    json_t *cases = load_json(GOLDEN("cases.json")), *c;
    size_t i, good = 0;
    bool specials = strcmp(column, "llama2_sp") != 0; /* to SentencePiece itself control tokens in text are text */
    json_array_foreach(cases, i, c) {
        good += case_holds(t, json_object_get(c, "text"), specials, json_object_get(c, column));
    }
    print_message("%s: %zu of %zu\n", what, good, json_array_size(cases));
    assert_int_equal(json_array_size(cases), 372);
    assert_int_equal(good, 372);
    json_decref(cases);
}

/* decode(encode(x)) is x, and the pieces of a stream are what decoding gives. */
static void check_round_trip(const tokenizer_t *t) {
    json_t *cases = load_json(GOLDEN("cases.json")), *c;
    size_t i;
    json_array_foreach(cases, i, c) {
        err_t err = {0};
        ids_t ids = {0};
        strbuf_t stream = {0};
        const char *text = json_string_value(json_object_get(c, "text"));
        size_t len = strlen(text), n, k;
        if (tokenizer_is_spm(t) && strstr(text, "\xe2\x96\x81")) continue; /* its own mark for a space */
        assert_ok(tokenizer_encode(t, text, len, !tokenizer_is_spm(t), &ids, &err), err);
        char *back = tokenizer_decode(t, ids.ids, ids.len, true, &n);
        assert_int_equal(n, len);
        assert_memory_equal(back, text, len);
        for (size_t j = 0; j < ids.len; j++) {
            const char *piece = tokenizer_piece(t, ids.ids[j], true, &k);
            strbuf_add(&stream, piece, k);
        }
        bool mark = tokenizer_is_spm(t) && stream.len > 0; /* the space before the first word */
        assert_int_equal(stream.len, len + mark);
        if (len) assert_memory_equal(stream.p + mark, text, len);
        free(stream.p);
        free(back);
        free(ids.ids);
    }
    json_decref(cases);
}

static void test_bpe_cases(void **state) {
    (void)state;
    tokenizer_t *t = open_tokenizer(GOLDEN("tokenizer.json"));
    check_cases(t, "smollm2", "byte-level BPE, tokenizer.json");
    check_cases(t, "smollm2", "the same, of words that are known by now");
    check_round_trip(t);
    assert_false(tokenizer_is_spm(t));
    assert_int_equal(tokenizer_vocab(t), 49152);
    tokenizer_close(t);
}

static void test_spm_cases(void **state) {
    (void)state;
    tokenizer_t *t = open_tokenizer(GOLDEN("llama2-tokenizer.model"));
    check_cases(t, "llama2_sp", "SentencePiece, tokenizer.model");
    check_round_trip(t);
    assert_true(tokenizer_is_spm(t));
    assert_true(tokenizer_add_bos(t));
    assert_int_equal(tokenizer_bos(t), 1);
    assert_int_equal(tokenizer_eos(t), 2);
    assert_int_equal(tokenizer_find(t, "<0x0A>"), 13);
    assert_true(tokenizer_is_special(t, 1));
    assert_int_equal(tokenizer_vocab(t), 32000);
    tokenizer_close(t);
}

/* ---- settings of tokenizer.json ---- */

static void patch(json_t *root, json_t *p) {
    json_t *model = json_object_get(p, "model"), *added = json_object_get(p, "added_tokens"), *v;
    const char *key;
    json_object_foreach(p, key, v) {
        if (v != model && v != added) json_object_set(root, key, v);
    }
    if (model) json_object_update(json_object_get(root, "model"), model);
    if (added) json_array_extend(json_object_get(root, "added_tokens"), added);
}

/* A directory with `root` as its tokenizer.json. */
static const char *write_model(const json_t *root) {
    err_t err = {0};
    const char *dir = test_tmpdir();
    char *path = path_join(dir, "tokenizer.json");
    assert_ok(json_write(path, root, &err), err);
    free(path);
    return dir;
}

static void check_variant(const tokenizer_t *t, const json_t *texts, const json_t *variant, const char *how) {
    const json_t *want = json_object_get(variant, "ids"), *text;
    size_t i, good = 0;
    json_array_foreach(texts, i, text) good += case_holds(t, text, true, json_array_get(want, i));
    print_message("%s, %s: %zu of %zu\n", json_string_value(json_object_get(variant, "name")), how, good,
                  json_array_size(texts));
    assert_int_equal(good, json_array_size(texts));
}

static void test_variants(void **state) {
    (void)state;
    json_t *all = load_json(GOLDEN("variants.json")), *v;
    const json_t *texts = json_object_get(all, "texts");
    size_t i;
    assert_true(json_array_size(texts) >= 100);
    json_array_foreach(json_object_get(all, "variants"), i, v) {
        err_t err = {0};
        json_t *root = load_json(GOLDEN("tokenizer.json"));
        patch(root, json_object_get(v, "patch"));
        tokenizer_t *t = open_tokenizer(write_model(root));
        check_variant(t, texts, v, "read");
        const char *saved = test_tmpdir();
        assert_ok(tokenizer_save(t, saved, &err), err);
        tokenizer_close(t);
        t = open_tokenizer(saved);
        check_variant(t, texts, v, "saved and read again");
        tokenizer_close(t);
        json_decref(root);
    }
    json_decref(all);
}

static void test_specials_as_text(void **state) {
    (void)state;
    tokenizer_t *t = open_tokenizer(GOLDEN("tokenizer.json"));
    err_t err = {0};
    ids_t as_token = {0}, as_text = {0};
    const char *text = "<|im_end|>";
    size_t len, text_len = strlen(text);
    assert_ok(tokenizer_encode(t, text, text_len, true, &as_token, &err), err);
    assert_ok(tokenizer_encode(t, text, text_len, false, &as_text, &err), err);
    assert_int_equal(as_token.len, 1);
    assert_int_equal(as_token.ids[0], tokenizer_find(t, text));
    assert_true(as_text.len > 1);
    char *hidden = tokenizer_decode(t, as_token.ids, 1, false, &len);
    assert_int_equal(len, 0);
    char *shown = tokenizer_decode(t, as_text.ids, as_text.len, false, &len);
    assert_string_equal(shown, text);
    free(hidden);
    free(shown);
    free(as_token.ids);
    free(as_text.ids);
    tokenizer_close(t);
}

/* Files beside a tokenizer.json: roles as text, object and id; the template file before the key. */
static void test_settings(void **state) {
    (void)state;
    err_t err = {0};
    json_t *root = load_json(GOLDEN("tokenizer.json"));
    const char *dir = write_model(root);
    char *config = path_join(dir, "tokenizer_config.json"), *map = path_join(dir, "special_tokens_map.json");
    char *generation = path_join(dir, "generation_config.json"), *jinja = path_join(dir, "chat_template.jinja");
    /* The huge model_max_length is what transformers writes for "none". */
    const char *text = "{\"bos_token\": {\"content\": \"<|im_start|>\"}, \"add_bos_token\": true, \"chat_template\": "
                       "[{\"name\": \"tool_use\", \"template\": \"T\"}, {\"name\": \"default\", \"template\": \"D\"}], "
                       "\"model_max_length\": 1000000000000000019884624838656}";
    assert_ok(file_write(config, text, strlen(text), &err), err);
    text = "{\"eos_token_id\": [0, 2], \"bos_token_id\": 0}";
    assert_ok(file_write(generation, text, strlen(text), &err), err);
    tokenizer_t *t = open_tokenizer(dir);
    assert_int_equal(tokenizer_bos(t), 1);
    assert_int_equal(tokenizer_eos(t), 0);
    assert_true(tokenizer_add_bos(t));
    assert_string_equal(own_template(t), "D");
    tokenizer_close(t);

    text = "{\"eos_token\": \"<|im_end|>\"}";
    assert_ok(file_write(map, text, strlen(text), &err), err);
    assert_ok(file_write(jinja, "J", 1, &err), err);
    t = open_tokenizer(dir);
    assert_int_equal(tokenizer_eos(t), 2);
    assert_string_equal(own_template(t), "J");
    tokenizer_close(t);

    text = "{\"eos_token\": \"<|no such|>\"}";
    assert_ok(file_write(config, text, strlen(text), &err), err);
    assert_error(tokenizer_open(dir, &t, &err), err, ERR_USAGE, "eos_token: the tokenizer has no token");
    free(config);
    free(map);
    free(generation);
    free(jinja);
    json_decref(root);
}

/* TemplateProcessing decides on BOS where tokenizer_config.json is silent. */
static void test_post_processor(void **state) {
    (void)state;
    err_t err = {0};
    json_t *root = load_json(GOLDEN("tokenizer.json")), *post;
    const char *text = "{\"type\": \"Sequence\", \"processors\": [{\"type\": \"ByteLevel\"}, {\"type\": "
                       "\"TemplateProcessing\", \"single\": [{\"SpecialToken\": {\"id\": \"<|im_start|>\"}}, "
                       "{\"Sequence\": {\"id\": \"A\"}}]}]}";
    assert_ok(json_text(text, strlen(text), "test", &post, &err), err);
    json_object_set_new(root, "post_processor", post);
    tokenizer_t *t = open_tokenizer(write_model(root));
    assert_true(tokenizer_add_bos(t));
    assert_int_equal(tokenizer_bos(t), 1);
    const char *saved = test_tmpdir();
    assert_ok(tokenizer_save(t, saved, &err), err);
    tokenizer_close(t);
    t = open_tokenizer(saved);
    assert_true(tokenizer_add_bos(t));
    tokenizer_close(t);
    json_decref(root);
}

/* ---- GGUF ---- */

static void test_gguf_bpe(void **state) {
    (void)state;
    json_t *root = load_json(GOLDEN("tokenizer.json")), *id, *m;
    json_t *model = json_object_get(root, "model"), *vocab = json_object_get(model, "vocab");
    const json_t *merges = json_object_get(model, "merges");
    gguf_text_t w = {0};
    const char *key;
    size_t i;
    gguf_text_str(&w, "general.architecture", "llama");
    gguf_text_str(&w, "tokenizer.ggml.model", "gpt2");
    gguf_text_str(&w, "tokenizer.ggml.pre", "smollm");
    gguf_text_str(&w, "tokenizer.chat_template", "{{ 'é' }}");
    gguf_text_strings(&w, "tokenizer.chat_templates", 1);
    gguf_text_add_str(&w, "tool_use", 8);
    gguf_text_str(&w, "tokenizer.chat_template.tool_use", "T");
    gguf_text_u32(&w, "tokenizer.ggml.eot_token_id", 5);
    gguf_text_u32(&w, "tokenizer.ggml.bos_token_id", 1);
    gguf_text_u32(&w, "tokenizer.ggml.eos_token_id", 2);
    gguf_text_bool(&w, "tokenizer.ggml.add_bos_token", 0);
    gguf_text_strings(&w, "tokenizer.ggml.tokens", json_object_size(vocab));
    json_object_foreach(vocab, key, id) gguf_text_add_str(&w, key, strlen(key)); /* in the order of ids */
    gguf_text_i32s(&w, "tokenizer.ggml.token_type", json_object_size(vocab));
    for (i = 0; i < json_object_size(vocab); i++) gguf_text_add_i32(&w, i < 17 ? SPM_CONTROL : SPM_NORMAL);
    gguf_text_strings(&w, "tokenizer.ggml.merges", json_array_size(merges));
    json_array_foreach(merges, i, m) gguf_text_add_str(&w, json_string_value(m), json_string_length(m));
    tokenizer_t *t = open_tokenizer(gguf_text_write(&w));
    check_cases(t, "smollm2", "byte-level BPE, GGUF");
    assert_int_equal(tokenizer_bos(t), 1);
    assert_int_equal(tokenizer_eos(t), 2);
    assert_false(tokenizer_add_bos(t));
    assert_string_equal(own_template(t), "{{ 'é' }}");
    size_t n;
    assert_string_equal(tokenizer_chat_template(t, "tool_use", &n), "T");
    const int32_t *ends = tokenizer_ends(t, &n);
    assert_int_equal(n, 2);
    assert_int_equal(ends[1], 5);
    err_t err = {0};
    const char *saved = test_tmpdir();
    assert_ok(tokenizer_save(t, saved, &err), err);
    tokenizer_close(t);
    t = open_tokenizer(saved);
    check_cases(t, "smollm2", "byte-level BPE, saved from a GGUF");
    assert_int_equal(tokenizer_eos(t), 2);
    assert_string_equal(own_template(t), "{{ 'é' }}");
    assert_string_equal(tokenizer_chat_template(t, "tool_use", &n), "T");
    tokenizer_close(t);
    free(w.buf.p);
    json_decref(root);
}

/* A GGUF keeps pieces, scores and types of a SentencePiece model: the ModelProto made of them must tokenize as
 * the original does. */
static void test_gguf_spm(void **state) {
    (void)state;
    err_t err = {0};
    mapping_t file;
    char why[256];
    assert_ok(file_map(GOLDEN("llama2-tokenizer.model"), &file, &err), err);
    spm_model_t *m = spm_model_open(file.data, file.size, why, sizeof why);
    assert_non_null(m);
    size_t n = spm_model_size(m), len;
    float score;
    spm_type_t type;
    gguf_text_t w = {0};
    gguf_text_str(&w, "tokenizer.ggml.model", "llama");
    gguf_text_u32(&w, "tokenizer.ggml.bos_token_id", 1);
    gguf_text_u32(&w, "tokenizer.ggml.eos_token_id", 2);
    gguf_text_u32(&w, "tokenizer.ggml.unknown_token_id", 0);
    gguf_text_strings(&w, "tokenizer.ggml.tokens", n);
    for (size_t i = 0; i < n; i++) {
        const char *piece = spm_model_piece(m, (int32_t)i, &len, &score, &type);
        gguf_text_add_str(&w, piece, len);
    }
    gguf_text_f32s(&w, "tokenizer.ggml.scores", n);
    for (size_t i = 0; i < n; i++) {
        spm_model_piece(m, (int32_t)i, &len, &score, &type);
        gguf_text_add_f32(&w, score);
    }
    gguf_text_i32s(&w, "tokenizer.ggml.token_type", n);
    for (size_t i = 0; i < n; i++) {
        spm_model_piece(m, (int32_t)i, &len, &score, &type);
        gguf_text_add_i32(&w, type);
    }
    spm_model_close(m);
    file_unmap(&file);
    tokenizer_t *t = open_tokenizer(gguf_text_write(&w));
    check_cases(t, "llama2_sp", "SentencePiece, GGUF");
    check_round_trip(t);
    assert_true(tokenizer_add_bos(t));
    assert_int_equal(tokenizer_bos(t), 1);
    const char *saved = test_tmpdir();
    assert_ok(tokenizer_save(t, saved, &err), err);
    tokenizer_close(t);
    t = open_tokenizer(saved);
    check_cases(t, "llama2_sp", "SentencePiece, saved from a GGUF");
    tokenizer_close(t);
    free(w.buf.p);
}

/* The published file itself, where it is at hand (98 MB: not in the repository). */
static void test_smollm2_gguf(void **state) {
    (void)state;
    const char *path = getenv("QLORA_SMOLLM2_GGUF");
    if (!path) path = test_path("../models/SmolLM2-135M-Instruct.Q4_1.gguf");
    if (!path_exists(path)) {
        print_message("%s is not there (or set QLORA_SMOLLM2_GGUF): skipped\n", path);
        skip();
    }
    tokenizer_t *t = open_tokenizer(path);
    check_cases(t, "smollm2", "SmolLM2 GGUF");
    check_round_trip(t);
    assert_int_equal(tokenizer_eos(t), tokenizer_find(t, "<|im_end|>"));
    assert_non_null(own_template(t));
    tokenizer_close(t);
}

/* A word of a megabyte costs n log n, and is exactly undone: by n² the program would take longer than CTest lets it. */
static void test_long_word(void **state) {
    (void)state;
    tokenizer_t *t = open_tokenizer(GOLDEN("tokenizer.json"));
    enum { N = 1 << 20 };
    char *text = malloc(N);
    for (size_t i = 0; i < N; i++) text[i] = "abcde"[i % 5];
    err_t err = {0};
    ids_t ids = {0};
    size_t len;
    assert_ok(tokenizer_encode(t, text, N, true, &ids, &err), err);
    char *back = tokenizer_decode(t, ids.ids, ids.len, true, &len);
    assert_int_equal(len, N);
    assert_memory_equal(back, text, N);
    free(back);
    free(ids.ids);
    free(text);
    tokenizer_close(t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bpe_cases),    cmocka_unit_test(test_spm_cases),
        cmocka_unit_test(test_variants),     cmocka_unit_test(test_specials_as_text),
        cmocka_unit_test(test_settings),     cmocka_unit_test(test_post_processor),
        cmocka_unit_test(test_gguf_bpe),     cmocka_unit_test(test_gguf_spm),
        cmocka_unit_test(test_smollm2_gguf), cmocka_unit_test(test_long_word),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
