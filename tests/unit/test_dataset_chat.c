/* Datasets of conversations: which answers are trained, columns that nobody uses, and the rows of a reference run. */
#include "dataset_rig.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"

#define BAD_AND_GOOD(bad, good) \
    "<|im_start|>user\nQ1<|im_end|>\n<|im_start|>assistant\n" bad "\n<|im_start|>user\nQ2<|im_end|>\n" \
    "<|im_start|>assistant\n" good "\n"

/* Which answers of a conversation are trained: by train_on, and by what the row says. */
static void test_what_is_trained(void **state) {
    (void)state;
    static const char row[] = "{\"messages\": [{\"role\": \"user\", \"content\": \"Q1\"}, {\"role\": \"assistant\", "
                              "\"content\": \"BAD\"%s}, {\"role\": \"user\", \"content\": \"Q2\"}, {\"role\": "
                              "\"assistant\", \"content\": \"GOOD\"%s}]}";
    static const struct {
        const char *bad, *good;
        train_on_t train_on;
        const char *text;
    } cases[] = {
        {"", "", TRAIN_ON_COMPLETION, BAD_AND_GOOD("[[BAD<|im_end|>]]", "[[GOOD<|im_end|>]]")},
        {", \"weight\": 0", ", \"weight\": 1", TRAIN_ON_COMPLETION,
         BAD_AND_GOOD("BAD<|im_end|>", "[[GOOD<|im_end|>]]")},
        {", \"train\": false", "", TRAIN_ON_COMPLETION, BAD_AND_GOOD("BAD<|im_end|>", "[[GOOD<|im_end|>]]")},
        {"", "", TRAIN_ON_LAST, BAD_AND_GOOD("BAD<|im_end|>", "[[GOOD<|im_end|>]]")},
        {", \"weight\": 1", "", TRAIN_ON_LAST, BAD_AND_GOOD("[[BAD<|im_end|>]]", "[[GOOD<|im_end|>]]")},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[512];
        dataset_t ds;
        err_t err = {0};
        dataset_spec_t spec = spec_of(NULL, 0, bpe, chatml);
        spec.train_on = cases[i].train_on;
        snprintf(text, sizeof text, row, cases[i].bad, cases[i].good);
        assert_ok(load_rows("a.jsonl", text, &spec, &ds, &err), err);
        assert_sample(&ds, 0, bpe, cases[i].text);
        dataset_free(&ds);
    }
}

/* Columns that nobody uses. */
static void test_unused_columns(void **state) {
    (void)state;
    static const char *const columns[] = {"\"id\": 123456789012345678901234567890", "\"score\": NaN",
                                          "\"s\": [{\"t\": \"\\ud800\"}, -Infinity, 1e999]", "\"label\": \"good\"",
                                          "\"text\": NaN, \"images\": null"};
    for (size_t i = 0; i < sizeof columns / sizeof *columns; i++) {
        char text[256];
        snprintf(text, sizeof text,
                 "{\"messages\": [{\"role\": \"user\", \"content\": \"Q\"}, {\"role\": \"assistant\", \"content\": "
                 "\"A\"}], %s}\n",
                 columns[i]);
        check_first("a.jsonl", text, DATA_MESSAGES,
                    "<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n[[A<|im_end|>]]\n");
    }
    check_first("a.jsonl", "{\"text\": \"a b\", \"label\": 1, \"chosen\": \"c\"}", DATA_TEXT, "a[[ b<|endoftext|>]]");
}

/* What is said once is counted over all rows, whoever converts them. */
static void test_notes(void **state) {
    (void)state;
    strbuf_t b = {0};
    dataset_t ds;
    err_t err = {0};
    int before = omp_get_max_threads();
    for (int i = 0; i < 5000; i++)
        strbuf_addf(&b,
                    "{\"messages\": [{\"role\": \"user\", \"content\": \"Q%d\"%s}, {\"role\": \"assistant\", "
                    "\"content\": \"%s\"}]}\n",
                    i, i % 5 == 3 ? ", \"mood\": 1, \"more\": 2" : "", i % 10 == 7 ? "" : "A");
    omp_set_num_threads(5);
    dataset_spec_t spec = spec_of(NULL, 0, bpe, chatml);
    assert_ok(load_rows("a.jsonl", b.p, &spec, &ds, &err), err);
    omp_set_num_threads(before);
    assert_int_equal(ds.notes.unknown_keys, 1000);
    assert_string_equal(ds.notes.unknown_key, "mood");
    assert_int_equal(ds.notes.empty_turns, 500);
    assert_true(ds.notes.no_reasoning == 0 && ds.notes.open_ends == 0 && ds.notes.spelled_tokens == 0);
    for (size_t i = 0; i < ds.n_samples; i++) assert_int_equal(ds.samples[i].row, i + 1);
    dataset_free(&ds);
    free(b.p);
}

#define DEEPSEEK \
    "{% for m in messages %}{% if m['role'] == 'user' %}{{ '<|im_start|>' + m['content'] }}{% endif %}" \
    "{% if m['role'] == 'assistant' and m['content'] is none %}{{ '<|im_end|>' + " \
    "m['tool_calls'][0]['function']['name'] + " \
    "' ' + m['tool_calls'][0]['function']['arguments'] + '<|endoftext|>' }}{% elif m['role'] == 'assistant' %}" \
    "{{ '<|im_end|>' + m['content'] + '<|endoftext|>' }}{% endif %}{% endfor %}" \
    "{% if add_generation_prompt %}{{ '<|im_end|>' }}{% endif %}"

/* In the manner of DeepSeek's: a call is what has a content of None, and its arguments are text. */
static void test_none_beside_calls(void **state) {
    (void)state;
    err_t err = {0};
    dataset_t ds;
    chat_template_t *chat;
    const char *jinja = write_file("deepseek.jinja", DEEPSEEK, sizeof DEEPSEEK - 1);
    assert_ok(chat_template_open(bpe, &(chat_spec_t){.choice = jinja}, &chat, &err), err);
    dataset_spec_t spec = spec_of(NULL, 0, bpe, chat);
    assert_ok(
        load_rows("a.jsonl",
                  "{\"messages\": [{\"role\": \"user\", \"content\": \"Q\"}, {\"role\": \"assistant\", \"content\": "
                  "null, \"tool_calls\": [{\"name\": \"f\", \"arguments\": {\"x\": 1}}]}, {\"role\": \"user\", "
                  "\"content\": \"R\"}, {\"role\": \"assistant\", \"content\": \"A\"}]}",
                  &spec, &ds, &err),
        err);
    assert_sample(&ds, 0, bpe,
                  "<|im_start|>Q<|im_end|>[[f {\"x\": 1}<|endoftext|>]]<|im_start|>R<|im_end|>[[A<|endoftext|>]]");
    dataset_free(&ds);
    chat_template_close(chat);
}

/* Templates ask whether a message has reasoning: one that is empty is there under its own name only. */
static void test_empty_reasoning(void **state) {
    (void)state;
    static const char jinja[] =
        "{% for m in messages %}<|im_start|>{{ m.content }}{{ ' seen' if m.reasoning_content is defined }}"
        "{{ ' thinks' if m.thinking is defined }}<|im_end|>{% endfor %}";
    static const char *const names[] = {"reasoning", "reasoning_content", "thinking"};
    static const char *const texts[] = {"A", "A seen", "A thinks"};
    err_t err = {0};
    dataset_t ds;
    chat_template_t *chat;
    const char *file = write_file("reasoning.jinja", jinja, sizeof jinja - 1);
    assert_ok(chat_template_open(bpe, &(chat_spec_t){.choice = file}, &chat, &err), err);
    dataset_spec_t spec = spec_of(NULL, 0, bpe, chat);
    spec.train_on = TRAIN_ON_ALL;
    for (size_t i = 0; i < 3; i++) {
        char row[256], want[128];
        snprintf(row, sizeof row,
                 "{\"messages\": [{\"role\": \"user\", \"content\": \"Q\"}, {\"role\": \"assistant\", \"content\": "
                 "\"A\", \"%s\": \"\"}]}",
                 names[i]);
        snprintf(want, sizeof want, "<|im_start|>[[Q<|im_end|><|im_start|>%s<|im_end|>]]", texts[i]);
        assert_ok(load_rows("a.jsonl", row, &spec, &ds, &err), err);
        assert_sample(&ds, 0, bpe, want);
        dataset_free(&ds);
    }
    chat_template_close(chat);
}

/* A directory with SentencePiece's model and these settings. */
static tokenizer_t *open_spm(const char *settings) {
    tokenizer_t *tok;
    err_t err = {0};
    const char *dir = test_tmpdir();
    char *model = path_join(dir, "tokenizer.model"), *config = path_join(dir, "tokenizer_config.json");
    assert_ok(file_copy(test_path("golden/tokenizer/llama2-tokenizer.model"), model, &err) ||
                  file_write(config, settings, strlen(settings), &err) || tokenizer_open(dir, &tok, &err),
              err);
    free(model);
    free(config);
    return tok;
}

static void assert_ids(const char *text, const tokenizer_t *tok, const chat_template_t *chat, const int32_t *want,
                       size_t n) {
    dataset_t ds;
    err_t err = {0};
    dataset_spec_t spec = spec_of(NULL, 0, tok, chat);
    assert_ok(load_rows("a.jsonl", text, &spec, &ds, &err), err);
    assert_int_equal(ds.n_tokens, n);
    assert_memory_equal(ds.ids, want, n * sizeof *want);
    dataset_free(&ds);
}

/* SentencePiece's kind: special tokens inside a text, and what stands behind one (ids by transformers 5.24). */
static void test_special_tokens_of_spm(void **state) {
    (void)state;
    static const int32_t text[] = {1,     29961, 25580, 29962, 6324,  518,   29914, 25580, 29962, 15043,
                                   29889, 29871, 2,     1,     29961, 25580, 29962, 2648,  29872, 518,
                                   29914, 25580, 29962, 2823,  366,   29889, 29871, 2};
    tokenizer_t *tok = open_spm("{\"tokenizer_class\": \"LlamaTokenizer\", \"add_bos_token\": true, \"bos_token\": "
                                "\"<s>\", \"eos_token\": \"</s>\", \"unk_token\": \"<unk>\", \"legacy\": false}");
    assert_ids("{\"text\": \"<s>[INST] Hi [/INST] Hello. </s><s>[INST] Bye [/INST] See you. </s>\"}", tok, NULL, text,
               sizeof text / sizeof *text);
    tokenizer_close(tok);

    static const int32_t turns[] = {32001, 1792,  13, 18567, 727,   32000, 13, 32001,
                                    465,   22137, 13, 10994, 29889, 32000, 13};
    tok = open_spm(
        "{\"tokenizer_class\": \"LlamaTokenizer\", \"add_bos_token\": true, \"bos_token\": \"<s>\", "
        "\"eos_token\": \"<|im_end|>\", \"unk_token\": \"<unk>\", \"legacy\": false, \"added_tokens_decoder\": "
        "{\"32000\": {\"content\": \"<|im_end|>\", \"special\": true}, \"32001\": {\"content\": "
        "\"<|im_start|>\", \"special\": true}}, \"chat_template\": \"{% for m in messages %}{{ '<|im_start|>' + "
        "m['role'] + '\\n' + m['content'] + '<|im_end|>' + '\\n' }}{% endfor %}\"}");
    chat_template_t *chat;
    err_t err = {0};
    assert_ok(chat_template_open(tok, &(chat_spec_t){.choice = "auto"}, &chat, &err), err);
    assert_ids(
        "{\"messages\": [{\"role\": \"user\", \"content\": \"Hi there\"}, {\"role\": \"assistant\", \"content\": "
        "\"Hello.\"}]}",
        tok, chat, turns, sizeof turns / sizeof *turns);
    chat_template_close(chat);
    tokenizer_close(tok);
}

#define SMOLLM2 \
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\\n" \
    "You are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\\n' }}{% endif %}" \
    "{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}" \
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"

/* The rows and labels of the reference run on SmolLM2, cut at 512. */
static void test_reference_rows(void **state) {
    (void)state;
    json_t *rows;
    err_t err = {0};
    const char *file = test_path("golden/chat/alpaca.json");
    assert_ok(json_file(file, &rows, &err), err);
    chat_template_t *chat;
    const char *jinja = write_file("smollm2.jinja", SMOLLM2, sizeof SMOLLM2 - 1);
    assert_ok(chat_template_open(bpe, &(chat_spec_t){.choice = jinja}, &chat, &err), err);
    dataset_spec_t spec = spec_of(&file, 1, bpe, chat);
    spec.max_length = 512;
    dataset_t ds;
    assert_ok(dataset_load(&spec, &ds, &err), err);
    assert_int_equal(ds.n_samples, 120);
    size_t i;
    json_t *row;
    json_array_foreach(rows, i, row) {
        const sample_t *s = &ds.samples[i];
        const json_t *ids = json_object_get(row, "ids");
        size_t n = json_array_size(ids), first = (size_t)json_integer_value(json_object_get(row, "first_trained"));
        /* The reference stops at the last trained token; a newline follows where the row was not cut. */
        assert_int_equal(s->len, n < 512 ? n + 1 : n);
        for (size_t k = 0; k < n; k++) {
            assert_int_equal(ds.ids[s->start + k], json_integer_value(json_array_get(ids, k)));
            assert_int_equal(dataset_label(&ds, s->start + k), k >= first ? ds.ids[s->start + k] : LABEL_NONE);
        }
        if (n < 512) assert_int_equal(dataset_label(&ds, s->start + n), LABEL_NONE);
    }
    dataset_free(&ds);
    json_decref(rows);
    chat_template_close(chat);
}

#define ALPACA_PREAMBLE \
    "Below is an instruction that describes a task. Write a response that appropriately completes the request."
#define ALPACA_PREAMBLE_INPUT \
    "Below is an instruction that describes a task, paired with an input that provides further context. " \
    "Write a response that appropriately completes the request."

/* Alpaca rows without a chat template are the Alpaca prompt. */
static void test_alpaca_without_template(void **state) {
    (void)state;
    dataset_spec_t spec = spec_of(NULL, 0, bpe, NULL);
    dataset_t ds;
    err_t err = {0};
    assert_ok(load_rows("a.jsonl", "{\"instruction\": \"Add\", \"output\": \"3\"}", &spec, &ds, &err), err);
    assert_sample(&ds, 0, bpe, ALPACA_PREAMBLE "\n\n### Instruction:\nAdd\n\n### Response:\n[[3<|endoftext|>]]");
    dataset_free(&ds);
    assert_ok(
        load_rows("a.jsonl", "{\"instruction\": \"Add\", \"input\": \"1 2\", \"output\": \"3\"}", &spec, &ds, &err),
        err);
    assert_sample(&ds, 0, bpe,
                  ALPACA_PREAMBLE_INPUT "\n\n### Instruction:\nAdd\n\n### Input:\n1 2\n\n### "
                                        "Response:\n[[3<|endoftext|>]]");
    dataset_free(&ds);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_trained),   cmocka_unit_test(test_notes),
        cmocka_unit_test(test_none_beside_calls), cmocka_unit_test(test_empty_reasoning),
        cmocka_unit_test(test_unused_columns),    cmocka_unit_test(test_special_tokens_of_spm),
        cmocka_unit_test(test_reference_rows),    cmocka_unit_test(test_alpaca_without_template)};
    return cmocka_run_group_tests(tests, dataset_setup, dataset_teardown);
}
