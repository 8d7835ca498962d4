/* Kinds of tokenizers as transformers reads them (tests/golden/tokenizer/gen_kinds.py): settings of a tokenizer.json of
 * SentencePiece's kind, the class and "legacy" of tokenizer_config.json, pre-tokenizers by the names of GGUF; special
 * tokens in text and spaces after them. */
#include "testing.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "data/dataset.h"
#include "data/tokenizer/spm_shim.h"
#include "data/tokenizer/tokenizer.h"
#include "gguf_text.h"
#include "tokenizer_kinds.h"

static json_t *golden, *smollm2;

static int setup(void **state) {
    (void)state;
    err_t err = {0};
    return json_file(test_path("golden/tokenizer/kinds.json"), &golden, &err) ||
           json_file(test_path("golden/tokenizer/tokenizer.json"), &smollm2, &err);
}

static int teardown(void **state) {
    (void)state;
    json_decref(golden);
    json_decref(smollm2);
    return 0;
}

static bool same_ids(const ids_t *got, const json_t *want) {
    if (got->len != json_array_size(want)) return false;
    for (size_t i = 0; i < got->len; i++) {
        if (got->ids[i] != json_integer_value(json_array_get(want, i))) return false;
    }
    return true;
}

static void print_difference(const char *text, const ids_t *got, const json_t *want) {
    strbuf_t b = {0};
    for (size_t i = 0; i < got->len; i++) strbuf_addf(&b, "%d,", got->ids[i]);
    char *w = json_dumps(want, JSON_COMPACT);
    print_error("\"%s\"\n  got [%s]\n  expected %s\n", text, b.p ? b.p : "", w);
    free(w);
    free(b.p);
}

/* All texts of the golden file give these ids. */
static void check(const tokenizer_t *t, const char *name, const char *how, const json_t *want) {
    const json_t *texts = json_object_get(golden, "texts"), *text;
    size_t i, good = 0;
    json_array_foreach(texts, i, text) {
        err_t err = {0};
        ids_t ids = {0};
        assert_ok(tokenizer_encode(t, json_string_value(text), json_string_length(text), true, &ids, &err), err);
        bool same = same_ids(&ids, json_array_get(want, i));
        if (!same) print_difference(json_string_value(text), &ids, json_array_get(want, i));
        good += same;
        free(ids.ids);
    }
    print_message("%s, %s: %zu of %zu\n", name, how, good, json_array_size(texts));
    assert_int_equal(good, json_array_size(texts));
    assert_true(good >= 100);
}

static const char *write_files(const json_t *files) { return write_kind(json_object_get(golden, "base"), files); }

static void test_kinds(void **state) {
    (void)state;
    const json_t *kinds = json_object_get(golden, "kinds"), *k;
    size_t i;
    assert_true(json_array_size(kinds) >= 25);
    json_array_foreach(kinds, i, k) {
        const char *name = json_string_value(json_object_get(k, "name"));
        const json_t *files = json_object_get(k, "files"), *want = json_object_get(k, "ids");
        tokenizer_t *t = open_tokenizer(write_files(files));
        assert_true(tokenizer_is_spm(t));
        check(t, name, "read", want);
        if (json_object_get(files, "tokenizer.json")) {
            err_t err = {0};
            const char *saved = test_tmpdir();
            assert_ok(tokenizer_save(t, saved, &err), err);
            tokenizer_close(t);
            t = open_tokenizer(saved);
            check(t, name, "saved and read again", want);
        }
        tokenizer_close(t);
    }
}

/* Special tokens in rows of text, and spaces after those of a template. */
static void test_rows(void **state) {
    (void)state;
    const json_t *rows = json_object_get(golden, "rows"), *r;
    size_t i;
    assert_true(json_array_size(rows) >= 6);
    json_array_foreach(rows, i, r) {
        err_t err = {0};
        const char *dir = write_files(json_object_get(r, "files"));
        char *file = path_join(dir, "rows.jsonl"), *line = json_dumps(json_object_get(r, "row"), 0);
        const char *files[] = {file};
        tokenizer_t *t = open_tokenizer(dir);
        chat_template_t *chat;
        dataset_t ds;
        chat_spec_t own = {.choice = tokenizer_templates_from(t) ? "auto" : "zephyr"};
        assert_ok(chat_template_open(t, &own, &chat, &err), err);
        assert_ok(file_write(file, line, strlen(line), &err), err);
        dataset_spec_t spec = {.files = files,
                               .n_files = 1,
                               .format = DATA_AUTO,
                               .max_length = 64,
                               .tok = t,
                               .chat = chat,
                               .vocab = tokenizer_vocab(t)};
        assert_ok(dataset_load(&spec, &ds, &err), err);
        ids_t got = {.ids = ds.ids, .len = ds.n_tokens};
        const json_t *want = json_object_get(r, "ids");
        if (!same_ids(&got, want)) {
            print_difference(line, &got, want);
            fail();
        }
        dataset_free(&ds);
        chat_template_close(chat);
        tokenizer_close(t);
        free(file);
        free(line);
    }
}

/* An added token that is looked for in normalised text is normalised itself. */
static void test_normalized_added_token(void **state) {
    (void)state;
    static const char *const texts[] = {"cafe\xcc\x81", "caf\xc3\xa9"};
    err_t err = {0};
    json_t *root = json_deep_copy(smollm2), *added = json_object_get(root, "added_tokens");
    json_object_set_new(root, "normalizer", json_pack("{s:s}", "type", "NFC"));
    json_array_append_new(added, json_pack("{s:i, s:s, s:b}", "id", 49152, "content", texts[0], "normalized", 1));
    char *path = path_join(test_tmpdir(), "tokenizer.json");
    assert_ok(json_write(path, root, &err), err);
    tokenizer_t *t = open_tokenizer(path);
    for (int i = 0; i < 2; i++) {
        ids_t ids = {0};
        assert_ok(tokenizer_encode(t, texts[i], strlen(texts[i]), true, &ids, &err), err);
        assert_int_equal(ids.len, 1);
        assert_int_equal(ids.ids[0], 49152);
        free(ids.ids);
    }
    tokenizer_close(t);
    json_decref(root);
    free(path);
}

/* A word of a megabyte costs n log n, not n². */
static void test_long_text(void **state) {
    (void)state;
    enum { N = 1 << 20 };
    err_t err = {0};
    json_t *root = json_object_get(golden, "base");
    char *path = path_join(test_tmpdir(), "tokenizer.json"), *text = xmalloc(N);
    assert_ok(json_write(path, root, &err), err);
    tokenizer_t *t = open_tokenizer(path);
    for (size_t i = 0; i < N; i++) text[i] = "the <s> theory of it"[i % 20];
    for (int specials = 0; specials < 2; specials++) {
        ids_t ids = {0};
        size_t len;
        assert_ok(tokenizer_encode(t, text, N, specials, &ids, &err), err);
        char *back = tokenizer_decode(t, ids.ids, ids.len, true, &len);
        if (!specials) {
            assert_int_equal(len, N);
            assert_memory_equal(back, text, N);
        }
        free(back);
        free(ids.ids);
    }
    tokenizer_close(t);
    free(text);
    free(path);
}

/* ---- GGUF ---- */

typedef struct {
    spm_model_t *model;
    size_t n;
} pieces_t;

static spm_type_t piece_at(const pieces_t *p, size_t i, const char **text, size_t *len, float *score) {
    spm_type_t type;
    *text = spm_model_piece(p->model, (int32_t)i, len, score, &type);
    /* Llama 2 has no user-defined pieces; Gemma has, among them spaces, which llama.cpp's converter writes as such. */
    if (*len == 6 && !memcmp(*text, "\xe2\x96\x81\xe2\x96\x81", 6)) {
        *text = "  ";
        *len = 2;
        return SPM_USER_DEFINED;
    }
    return *len == 3 && !memcmp(*text, "ing", 3) ? SPM_USER_DEFINED : type;
}

/* Llama 2's pieces as a GGUF. */
static const char *write_pieces(bool space_prefix) {
    err_t err = {0};
    mapping_t file;
    char why[256];
    const char *text;
    size_t len;
    float score;
    gguf_text_t w = {0};
    assert_ok(file_map(test_path("golden/tokenizer/llama2-tokenizer.model"), &file, &err), err);
    pieces_t p = {.model = spm_model_open(file.data, file.size, why, sizeof why)};
    assert_non_null(p.model);
    p.n = spm_model_size(p.model);
    gguf_text_str(&w, "tokenizer.ggml.model", "llama");
    gguf_text_u32(&w, "tokenizer.ggml.unknown_token_id", 0);
    gguf_text_bool(&w, "tokenizer.ggml.add_space_prefix", space_prefix);
    gguf_text_strings(&w, "tokenizer.ggml.tokens", p.n);
    for (size_t i = 0; i < p.n; i++) {
        piece_at(&p, i, &text, &len, &score);
        gguf_text_add_str(&w, text, len);
    }
    gguf_text_f32s(&w, "tokenizer.ggml.scores", p.n);
    for (size_t i = 0; i < p.n; i++) {
        piece_at(&p, i, &text, &len, &score);
        gguf_text_add_f32(&w, score);
    }
    gguf_text_i32s(&w, "tokenizer.ggml.token_type", p.n);
    for (size_t i = 0; i < p.n; i++) gguf_text_add_i32(&w, piece_at(&p, i, &text, &len, &score));
    spm_model_close(p.model);
    file_unmap(&file);
    const char *path = gguf_text_write(&w);
    free(w.buf.p);
    return path;
}

static void add_id(void *ctx, int32_t id, size_t start) {
    (void)start;
    ids_add(ctx, id);
}

/* Pieces, scores and types give what SentencePiece's own library gives for the model that is saved of them. */
static void test_gguf_against_the_library(void **state) {
    (void)state;
    const json_t *texts = json_object_get(golden, "texts"), *text;
    const char *saved = test_tmpdir();
    char *path = path_join(saved, "tokenizer.model"), why[256];
    size_t i;
    err_t err = {0};
    mapping_t file;
    tokenizer_t *t = open_tokenizer(write_pieces(false));
    assert_false(tokenizer_adds_space(t));
    assert_ok(tokenizer_save(t, saved, &err), err);
    tokenizer_t *again = open_tokenizer(saved);
    assert_ok(file_map(path, &file, &err), err);
    spm_model_t *library = spm_model_open(file.data, file.size, why, sizeof why);
    assert_non_null(library);
    json_array_foreach(texts, i, text) {
        const char *s = json_string_value(text);
        size_t len = json_string_length(text);
        ids_t want = {0}, got = {0}, reread = {0};
        assert_true(spm_model_encode(library, s, len, add_id, &want, why, sizeof why));
        assert_ok(tokenizer_encode(t, s, len, false, &got, &err), err);
        assert_int_equal(got.len, want.len);
        if (want.len) assert_memory_equal(got.ids, want.ids, want.len * sizeof *want.ids);
        assert_ok(tokenizer_encode(again, s, len, false, &reread, &err), err);
        assert_int_equal(reread.len, want.len);
        if (want.len) assert_memory_equal(reread.ids, want.ids, want.len * sizeof *want.ids);
        got.len = reread.len = 0;
        assert_ok(tokenizer_encode(t, s, len, true, &got, &err), err);
        assert_ok(tokenizer_encode(again, s, len, true, &reread, &err), err);
        assert_int_equal(got.len, reread.len);
        if (got.len) assert_memory_equal(got.ids, reread.ids, got.len * sizeof *got.ids);
        free(want.ids);
        free(got.ids);
        free(reread.ids);
    }
    spm_model_close(library);
    file_unmap(&file);
    tokenizer_close(t);
    tokenizer_close(again);
    free(path);
}

/* With a space before every text user-defined pieces are found too, and special tokens end a segment. */
static void test_gguf_space_prefix(void **state) {
    (void)state;
    static const char text[] = "ing</s>a";
    static const int32_t want[] = {2, 263}; /* </s>, "▁a" */
    err_t err = {0};
    ids_t ids = {0};
    tokenizer_t *t = open_tokenizer(write_pieces(true));
    assert_true(tokenizer_adds_space(t));
    assert_ok(tokenizer_encode(t, text, sizeof text - 1, true, &ids, &err), err);
    assert_int_equal(ids.len, 3);
    assert_int_equal(ids.ids[0], tokenizer_find(t, "ing"));
    assert_memory_equal(ids.ids + 1, want, sizeof want);
    free(ids.ids);
    tokenizer_close(t);
}

/* SmolLM2's vocabulary under the name of another pre-tokenizer. */
static const char *write_preset(const char *name) {
    const json_t *model = json_object_get(smollm2, "model"), *merges = json_object_get(model, "merges"), *m;
    json_t *vocab = json_object_get(model, "vocab"), *id;
    const char *key;
    size_t i;
    gguf_text_t w = {0};
    gguf_text_str(&w, "tokenizer.ggml.model", "gpt2");
    gguf_text_str(&w, "tokenizer.ggml.pre", name);
    gguf_text_u32(&w, "tokenizer.ggml.padding_token_id", UINT32_MAX);
    gguf_text_strings(&w, "tokenizer.ggml.tokens", json_object_size(vocab));
    json_object_foreach(vocab, key, id) gguf_text_add_str(&w, key, strlen(key)); /* in the order of ids */
    gguf_text_i32s(&w, "tokenizer.ggml.token_type", json_object_size(vocab));
    for (i = 0; i < json_object_size(vocab); i++) gguf_text_add_i32(&w, i < 17 ? SPM_CONTROL : SPM_NORMAL);
    gguf_text_strings(&w, "tokenizer.ggml.merges", json_array_size(merges));
    json_array_foreach(merges, i, m) gguf_text_add_str(&w, json_string_value(m), json_string_length(m));
    const char *path = gguf_text_write(&w);
    free(w.buf.p);
    return path;
}

static void test_presets(void **state) {
    (void)state;
    const json_t *presets = json_object_get(golden, "presets"), *p;
    size_t i;
    assert_true(json_array_size(presets) >= 25);
    json_array_foreach(presets, i, p) {
        const char *name = json_string_value(json_object_get(p, "name"));
        tokenizer_t *t = open_tokenizer(write_preset(name));
        check(t, name, "GGUF", json_object_get(p, "ids"));
        tokenizer_close(t);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kinds),
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_normalized_added_token),
        cmocka_unit_test(test_long_text),
        cmocka_unit_test(test_gguf_against_the_library),
        cmocka_unit_test(test_gguf_space_prefix),
        cmocka_unit_test(test_presets),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
