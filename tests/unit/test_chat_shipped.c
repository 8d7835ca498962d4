/* The templates that the program ships, which of them fits a vocabulary, files, and the ids that end an answer. */
#include "chat_rig.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"

#define ROW \
    "{'messages': [{'role': 'user', 'content': 'A'}, {'role': 'assistant', 'content': 'B'}, {'role': 'user', " \
    "'content': " \
    "'C'}, {'role': 'assistant', 'content': 'D'}]}"
#define SYSTEM_ROW \
    "{'messages': [{'role': 'system', 'content': 'S'}, {'role': 'user', 'content': 'A'}, {'role': 'assistant', " \
    "'content': 'B'}]}"
#define CALL_ROW \
    "{'messages': [{'role': 'user', 'content': 'A'}, {'role': 'assistant', 'content': '', 'tool_calls': " \
    "[{'function': " \
    "{'name': 'f', 'arguments': {'x': 1}}}]}, {'role': 'tool', 'content': '3'}, {'role': 'assistant', 'content': " \
    "'D'}], " \
    "'tools': [{'type': 'function'}]}"
#define PREAMBLE \
    "Below is an instruction that describes a task. Write a response that appropriately completes the request."

/* Some of SmolLM2's special tokens, by id from 3, under other names. */
static tokenizer_t *model_with(const char *const *names, const char *eos) {
    static const char *const own[] = {"<repo_name>", "<reponame>", "<file_sep>"};
    err_t err = {0};
    const char *dir = test_tmpdir();
    json_t *root, *v,
        *config = json_pack("{s:s, s:s, s:s}", "tokenizer_class", "PreTrainedTokenizerFast", "bos_token",
                            "<|endoftext|>", "eos_token", eos);
    size_t i;
    assert_ok(json_file(test_path("golden/tokenizer/tokenizer.json"), &root, &err), err);
    json_t *vocab = json_object_get(json_object_get(root, "model"), "vocab");
    for (int k = 0; k < 3 && names[k]; k++) {
        json_array_foreach(json_object_get(root, "added_tokens"), i, v) {
            if (!strcmp(json_string_value(json_object_get(v, "content")), own[k]))
                json_object_set_new(v, "content", json_string(names[k]));
        }
        json_object_set_new(vocab, names[k], json_incref(json_object_get(vocab, own[k])));
        json_object_del(vocab, own[k]);
    }
    char *path = path_join(dir, "tokenizer.json"), *settings = path_join(dir, "tokenizer_config.json");
    assert_ok(json_write(path, root, &err), err);
    assert_ok(json_write(settings, config, &err), err);
    tokenizer_t *tok;
    assert_ok(tokenizer_open(dir, &tok, &err), err);
    json_decref(config);
    json_decref(root);
    free(settings);
    free(path);
    return tok;
}

static void check(const tokenizer_t *tok, const char *choice, const char *origin, const char *row, const char *want) {
    chat_template_t *t = rig_template(tok, choice);
    assert_string_equal(chat_template_origin(t), origin);
    assert_non_null(chat_template_foreign(t));
    assert_string_equal(rig_render(t, row, TRAIN_ON_COMPLETION, NULL), want);
    chat_template_close(t);
}

static void test_chatml(void **state) {
    (void)state;
    tokenizer_t *tok = rig_model(false, NULL, NULL);
    check(tok, "chatml", "chatml", ROW,
          "<|im_start|>user\nA<|im_end|>\n<|im_start|>assistant\n[[B<|im_end|>]]\n<|im_start|>user\nC<|im_end|>\n"
          "<|im_start|>assistant\n[[D<|im_end|>]]\n");
    check(
        tok, "chatml", "chatml", CALL_ROW,
        "<|im_start|>system\nYou may call functions to answer. These are their signatures:\n<tools>\n{\"type\": "
        "\"function\"}\n</tools>\n\nA call is a JSON object with the name of the function and its arguments, in tags:\n"
        "<tool_call>\n{\"name\": <name>, \"arguments\": "
        "<object>}\n</tool_call><|im_end|>\n<|im_start|>user\nA<|im_end|>\n"
        "<|im_start|>assistant\n[[<tool_call>\n{\"name\": \"f\", \"arguments\": {\"x\": 1}}\n</tool_call><|im_end|>]]\n"
        "<|im_start|>user\n<tool_response>\n3\n</tool_response><|im_end|>\n<|im_start|>assistant\n[[D<|im_end|>]]\n");
    check(tok, "chatml", "chatml",
          "{'messages': [{'role': 'user', 'content': 'A'}, {'role': 'assistant', 'content': 'B', 'reasoning_content': "
          "'R'}]}",
          "<|im_start|>user\nA<|im_end|>\n<|im_start|>assistant\n[[<think>\nR\n</think>\n\nB<|im_end|>]]\n");
    tokenizer_close(tok);
}

static void test_others(void **state) {
    (void)state;
    static const char *const llama3[] = {"<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"};
    static const char *const mistral[] = {"[INST]", "[/INST]", NULL};
    tokenizer_t *tok = rig_model(false, NULL, NULL);
    check(tok, "zephyr", "zephyr", SYSTEM_ROW,
          "<|system|>\nS<|im_end|>\n<|user|>\nA<|im_end|>\n<|assistant|>\n[[B<|im_end|>]]\n");
    check(tok, "alpaca", "alpaca", ROW,
          PREAMBLE "\n\n### Instruction:\nA\n\n### Response:\n[[B<|im_end|>]]\n\n### Instruction:\nC\n\n### "
                   "Response:\n[[D<|im_end|>]]");
    check(tok, "alpaca", "alpaca", SYSTEM_ROW, "S\n\n### Instruction:\nA\n\n### Response:\n[[B<|im_end|>]]");
    tokenizer_close(tok);
    tok = model_with(llama3, "<|eot_id|>");
    check(tok, "llama3", "llama3", SYSTEM_ROW,
          "<|start_header_id|>system<|end_header_id|>\n\nS<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nA<|eot_"
          "id|>"
          "<|start_header_id|>assistant<|end_header_id|>\n\n[[B<|eot_id|>]]");
    tokenizer_close(tok);
    tok = model_with(mistral, "<|im_end|>");
    check(tok, "mistral", "mistral-tekken", ROW, "[INST]A[/INST][[B<|im_end|>]][INST]C[/INST][[D<|im_end|>]]");
    check(tok, "mistral", "mistral-tekken", CALL_ROW,
          "[AVAILABLE_TOOLS][{\"type\": \"function\"}][/AVAILABLE_TOOLS][INST]A[/INST][[[TOOL_CALLS][{\"name\": \"f\", "
          "\"arguments\": {\"x\": 1}}]<|im_end|>]][TOOL_RESULTS]{\"content\": \"3\"}[/TOOL_RESULTS][[D<|im_end|>]]");
    tokenizer_close(tok);
}

/* A vocabulary of pieces, whose settings put BOS first. */
static void test_pieces(void **state) {
    (void)state;
    json_t *none = json_object();
    tokenizer_t *tok = rig_model(true, none, NULL);
    check(tok, "llama2", "llama2", SYSTEM_ROW, "<s>[INST] <<SYS>>\nS\n<</SYS>>\n\nA [/INST][[ B </s>]]");
    check(tok, "llama2", "llama2", ROW, "<s>[INST] A [/INST][[ B </s>]]<s>[INST] C [/INST][[ D </s>]]");
    check(tok, "mistral", "mistral-v1", ROW, "<s> [INST] A [/INST][[ B</s>]] [INST] C [/INST][[ D</s>]]");
    check(tok, "zephyr", "zephyr", ROW,
          "<s><|user|>\nA</s>\n<|assistant|>\n[[B</s>]]\n<|user|>\nC</s>\n<|assistant|>\n[[D</s>]]\n");
    tokenizer_close(tok);
    err_t err = {0};
    assert_ok(tokenizer_open(test_path("golden/chat/mistral-v3.model"), &tok, &err), err);
    check(tok, "mistral", "mistral-v3", ROW, "<s>[INST] A[/INST][[ B</s>]][INST] C[/INST][[ D</s>]]");
    tokenizer_close(tok);
    json_decref(none);
}

static void check_no_template(const tokenizer_t *tok, const char *choice, const char *why) {
    err_t err = {0};
    chat_template_t *t = NULL;
    chat_spec_t spec = {.choice = choice};
    assert_error(chat_template_open(tok, &spec, &t, &err), err, ERR_USAGE, why);
}

static void test_refused(void **state) {
    (void)state;
    tokenizer_t *tok = rig_model(false, NULL, NULL);
    check_no_template(tok, "auto", "the model has no chat template, so auto finds none");
    check_no_template(tok, "llama3", "llama3 needs the token <|start_header_id|>");
    check_no_template(tok, "no/such.jinja", "\"no/such.jinja\" is no template and no file");
    tokenizer_close(tok);
    json_t *no_eos = json_pack("{s:{s:s}}", "tokenizer_config.json", "tokenizer_class", "PreTrainedTokenizerFast");
    tok = rig_model(false, no_eos, "{% for %}");
    check_no_template(tok, "zephyr", "zephyr ends answers with EOS");
    check_no_template(tok, "auto", "chat_template.jinja:1:");
    tokenizer_close(tok);
    json_decref(no_eos);
}

static void test_file(void **state) {
    (void)state;
    static const char text[] = "{% for m in messages %}{{ m.content }}{{ eos_token }}{% endfor %}";
    err_t err = {0};
    char *path = path_join(test_tmpdir(), "my.jinja");
    tokenizer_t *tok = rig_model(false, NULL, NULL);
    assert_ok(file_write(path, text, strlen(text), &err), err);
    check(tok, path, path, ROW, "A<|im_end|>[[B<|im_end|>]]C<|im_end|>[[D<|im_end|>]]");
    chat_template_t *t = rig_template(tok, path);
    assert_string_equal(chat_template_foreign(t), text);
    chat_template_close(t);
    tokenizer_close(tok);
    free(path);
}

/* The end that the template writes comes first, then those that the model's files name. */
static void test_stops(void **state) {
    (void)state;
    int32_t ids[4];
    json_t *files = json_pack("{s:{s:s, s:s}, s:{s:[i, i]}, s:{s:i}}", "tokenizer_config.json", "tokenizer_class",
                              "PreTrainedTokenizerFast", "eos_token", "<|endoftext|>", "generation_config.json",
                              "eos_token_id", 5, 0, "config.json", "eos_token_id", 6);
    tokenizer_t *tok = rig_model(false, files,
                                 "{% for m in messages %}<|im_start|>{{ m.content }}<|im_end|>\n{% endfor %}");
    chat_template_t *t = rig_template(tok, "auto");
    static const int32_t want[] = {2, 0, 5, 6};
    assert_int_equal(chat_stop_ids(t, ids, 4), 4);
    assert_memory_equal(ids, want, sizeof want);
    assert_int_equal(chat_stop_ids(t, ids, 1), 1);
    assert_int_equal(ids[0], 2);
    chat_template_close(t);
    tokenizer_close(tok);
    json_decref(files);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chatml),  cmocka_unit_test(test_others), cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_refused), cmocka_unit_test(test_file),   cmocka_unit_test(test_stops),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
