/* What the files of a model say for chat templates: the templates, special tokens by name, ids that end a text. */
#include "testing.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "data/tokenizer/tokenizer.h"
#include "tokenizer_kinds.h"
#include "gguf_text.h"

static void put(const char *dir, const char *name, const char *text) {
    err_t err = {0};
    char *path = path_join(dir, name);
    assert_ok(file_write(path, text, strlen(text), &err), err);
    free(path);
}

static const char *new_dir(const char *config) {
    err_t err = {0};
    const char *dir = test_tmpdir();
    char *path = path_join(dir, "tokenizer.json");
    assert_ok(file_copy(test_path("golden/tokenizer/tokenizer.json"), path, &err), err);
    put(dir, "tokenizer_config.json", config);
    free(path);
    return dir;
}

static void check_template(const tokenizer_t *t, const char *name, const char *want) {
    size_t len;
    const char *got = tokenizer_chat_template(t, name, &len);
    if (!want) {
        assert_null(got);
        return;
    }
    assert_non_null(got);
    assert_string_equal(got, want);
    assert_int_equal(len, strlen(want));
}

/* As transformers saves several: the default in a file, the others in a folder; the key is then not read. */
static void test_files(void **state) {
    (void)state;
    err_t err = {0};
    const char *dir = new_dir("{\"chat_template\": \"K\"}");
    char *folder = path_join(dir, "additional_chat_templates");
    tokenizer_t *t = open_tokenizer(dir);
    check_template(t, "default", "K");
    assert_string_equal(tokenizer_templates_from(t), "tokenizer_config.json");
    tokenizer_close(t);
    assert_ok(dir_make(folder, &err), err);
    put(folder, "tool_use.jinja", "T");
    put(folder, "README", "no template");
    t = open_tokenizer(dir);
    check_template(t, "default", NULL);
    check_template(t, "tool_use", "T");
    check_template(t, "README", NULL);
    tokenizer_close(t);
    put(dir, "chat_template.jinja", "D");
    t = open_tokenizer(dir);
    check_template(t, "default", "D");
    check_template(t, "tool_use", "T");
    assert_string_equal(tokenizer_templates_from(t), "chat_template.jinja");
    tokenizer_close(t);
    put(folder, "bad.jinja", "\xff");
    assert_error(tokenizer_open(dir, &t, &err), err, ERR_USAGE, "bad.jinja: not valid UTF-8");
    free(folder);
}

static void test_key(void **state) {
    (void)state;
    err_t err = {0};
    tokenizer_t *t = open_tokenizer(new_dir("{\"chat_template\": [{\"name\": \"tool_use\", \"template\": \"T\"}, "
                                            "{\"name\": \"default\", \"template\": \"D\"}]}"));
    check_template(t, "default", "D");
    check_template(t, "tool_use", "T");
    const char *saved = test_tmpdir();
    assert_ok(tokenizer_save(t, saved, &err), err);
    tokenizer_close(t);
    t = open_tokenizer(saved);
    check_template(t, "default", "D");
    check_template(t, "tool_use", "T");
    tokenizer_close(t);
    t = open_tokenizer(new_dir("{}"));
    assert_null(tokenizer_templates_from(t));
    check_template(t, "default", NULL);
    tokenizer_close(t);
    assert_error(tokenizer_open(new_dir("{\"chat_template\": [{\"name\": \"default\"}]}"), &t, &err), err, ERR_USAGE,
                 "chat_template[0]: expected {\"name\", \"template\"}");
}

static void check_named(const tokenizer_t *t, const char *name, const char *want) {
    const json_t *v = json_object_get(tokenizer_named_tokens(t), name);
    if (want) assert_string_equal(json_string_value(v), want);
    else assert_null(v);
}

/* Every NAME_token, whatever its name; special_tokens_map.json counts only beside older configs. */
static void test_named(void **state) {
    (void)state;
    const char *dir = new_dir(
        "{\"bos_token\": {\"content\": \"<|im_start|>\"}, \"eos_token\": \"<|im_end|>\", \"image_token\": "
        "\"<i>\", \"add_bos_token\": false, \"extra_special_tokens\": {\"boi\": \"<b>\"}}");
    put(dir, "special_tokens_map.json", "{\"bos_token\": null, \"unk_token\": \"<|endoftext|>\"}");
    tokenizer_t *t = open_tokenizer(dir);
    check_named(t, "eos_token", "<|im_end|>");
    check_named(t, "image_token", "<i>");
    check_named(t, "boi", "<b>");
    check_named(t, "unk_token", "<|endoftext|>");
    check_named(t, "bos_token", NULL);
    check_named(t, "pad_token", NULL);
    check_named(t, "add_bos_token", NULL);
    tokenizer_close(t);
    put(dir, "tokenizer_config.json", "{\"bos_token\": \"<|im_start|>\", \"added_tokens_decoder\": {}}");
    t = open_tokenizer(dir);
    check_named(t, "bos_token", "<|im_start|>");
    check_named(t, "unk_token", NULL);
    tokenizer_close(t);
    t = open_tokenizer(test_path("golden/tokenizer/llama2-tokenizer.model"));
    check_named(t, "bos_token", "<s>");
    check_named(t, "eos_token", "</s>");
    tokenizer_close(t);
}

static void test_ends(void **state) {
    (void)state;
    static const int32_t want[] = {2, 5, 0, 6, 7};
    const char *dir = new_dir("{\"eos_token\": \"<|im_end|>\"}");
    size_t n;
    put(dir, "generation_config.json", "{\"eos_token_id\": [5, 2, 0, 999999, -1, 1.5]}");
    put(dir, "config.json", "{\"eos_token_id\": 6, \"text_config\": {\"eos_token_id\": [7, \"x\"]}}");
    tokenizer_t *t = open_tokenizer(dir);
    const int32_t *ends = tokenizer_ends(t, &n);
    assert_int_equal(n, 5);
    assert_memory_equal(ends, want, sizeof want);
    tokenizer_close(t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_key),
        cmocka_unit_test(test_named),
        cmocka_unit_test(test_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
