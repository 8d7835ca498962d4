/* Datasets: every format, what is counted, what is refused; and the rows of a reference training run. */
#include "dataset_rig.h"

#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/mem.h"
#include "data/dataset.h"

static void test_formats(void **state) {
    (void)state;
    check_first("a.jsonl",
                "{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}, {\"role\": \"assistant\", \"content\": "
                "\"Yo\"}]}\n",
                DATA_MESSAGES, "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n[[Yo<|im_end|>]]\n");
    check_first(
        "a.json",
        "[{\"conversations\": [{\"from\": \"system\", \"value\": \"S\"}, {\"from\": \"human\", \"value\": \"Hi\"}, "
        "{\"from\": \"function_call\", \"value\": \"{\\\"name\\\": \\\"f\\\", \\\"arguments\\\": {\\\"x\\\": 1}}\"}, "
        "{\"from\": \"observation\", \"value\": \"7\"}, "
        "{\"from\": \"gpt\", \"value\": \"Yo\"}]}]",
        DATA_SHAREGPT,
        "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
        "[[<tool_call>\n{\"name\": \"f\", \"arguments\": {\"x\": 1}}\n</tool_call><|im_end|>]]\n<|im_start|>user\n"
        "<tool_response>\n7\n</tool_response><|im_end|>\n<|im_start|>assistant\n[[Yo<|im_end|>]]\n");
    check_first("a.jsonl", "{\"instruction\": \"Add\", \"input\": \"1 2\", \"output\": \"3\"}", DATA_ALPACA,
                "<|im_start|>user\nAdd\n\n1 2<|im_end|>\n<|im_start|>assistant\n[[3<|im_end|>]]\n");
    check_first("a.jsonl", "{\"prompt\": \"1+1=\", \"completion\": \" 2\"}", DATA_PROMPT_COMPLETION,
                "1+1=[[ 2<|endoftext|>]]");
    check_first("a.jsonl", "\xef\xbb\xbf\r\n{\"text\": \"Hello there\"}\r\n", DATA_TEXT,
                "Hello[[ there<|endoftext|>]]");
    check_first("a.txt", "Hello there\n", DATA_TEXT, "Hello[[ there\n<|endoftext|>]]");
    check_first("a.json", " [ {\"text\": \"a b\"} , {\"text\": \"c\"} ] ", DATA_TEXT, "a[[ b<|endoftext|>]]");
    /* OpenAI-style parts and calls. */
    check_first("a.jsonl",
                "{\"messages\": [{\"role\": \"user\", \"content\": [{\"type\": \"text\", \"text\": \"Hi\"}]}, "
                "{\"role\": \"assistant\", \"content\": null, \"tool_calls\": [{\"function\": {\"name\": \"f\", "
                "\"arguments\": \"{}\"}}]}]}",
                DATA_MESSAGES,
                "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
                "[[<tool_call>\n{\"name\": \"f\", \"arguments\": {}}\n</tool_call><|im_end|>]]\n");
    /* TRL's conversational prompt and completion. */
    check_first(
        "a.jsonl",
        "{\"prompt\": [{\"role\": \"user\", \"content\": \"Q\"}, {\"role\": \"assistant\", \"content\": \"R\"}, "
        "{\"role\": \"user\", \"content\": \"S\"}], \"completion\": [{\"role\": \"assistant\", \"content\": "
        "\"A\"}]}",
        DATA_PROMPT_COMPLETION,
        "<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\nR<|im_end|>\n<|im_start|>user\nS<|im_end|>\n"
        "<|im_start|>assistant\n[[A<|im_end|>]]\n");
    /* Earlier turns of an Alpaca row. */
    check_first(
        "a.jsonl",
        "{\"instruction\": \"Q\", \"input\": \"\", \"output\": \"A\", \"system\": \"S\", \"history\": [[\"q\", "
        "\"a\"]]}",
        DATA_ALPACA,
        "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n[[a<|im_end|>]]\n"
        "<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n[[A<|im_end|>]]\n");
    check_first(
        "a.jsonl",
        "{\"messages\": [{\"role\": \"user\", \"content\": \"Q\"}, {\"role\": \"assistant\", \"reasoning\": "
        "\"because\", \"content\": \"A\"}]}",
        DATA_MESSAGES,
        "<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n[[<think>\nbecause\n</think>\n\nA<|im_end|>]]\n");
}

static void test_named_and_detected_formats(void **state) {
    (void)state;
    for (int f = 0; f <= DATA_AUTO; f++) {
        data_format_t back = DATA_AUTO;
        assert_true(data_format_from_name(data_format_name((data_format_t)f), &back));
        assert_int_equal(back, f);
    }
    data_format_t f = DATA_AUTO;
    assert_false(data_format_from_name("parquet", &f));
    err_t err = {0};
    bool uses_template;
    const char *both = write_file("a.jsonl", "{\"text\": \"a\", \"messages\": []}", 29);
    assert_ok(dataset_detect(both, &f, &uses_template, &err), err);
    assert_true(f == DATA_MESSAGES && uses_template);
    static const char list[] = "{\"prompt\": [], \"completion\": []}",
                      text[] = "{\"prompt\": \"\", \"completion\": \"\"}";
    for (int k = 0; k < 2; k++) {
        f = DATA_AUTO;
        const char *file = write_file("p.jsonl", k ? text : list, strlen(k ? text : list));
        assert_ok(dataset_detect(file, &f, &uses_template, &err), err);
        assert_true(f == DATA_PROMPT_COMPLETION && uses_template == (k == 0));
    }
    /* Named, the other key of the row counts. */
    dataset_spec_t spec = spec_of(&both, 1, bpe, chatml);
    dataset_t ds;
    spec.format = DATA_TEXT;
    assert_ok(dataset_load(&spec, &ds, &err), err);
    assert_int_equal(ds.format, DATA_TEXT);
    dataset_free(&ds);
}

static void test_tokens(void **state) {
    (void)state;
    dataset_spec_t spec = spec_of(NULL, 0, NULL, NULL);
    spec.max_length = 4;
    dataset_t ds;
    err_t err = {0};
    assert_ok(
        load_rows("t.jsonl",
                  "{\"input_ids\": [1, 2, 3], \"labels\": [-100, 9, -100]}\n\n{\"input_ids\": [4, 5, 6, 7, 8, 9]}\n"
                  "{\"input_ids\": [4, 5], \"labels\": [4, -100]}\n{\"input_ids\": []}\n",
                  &spec, &ds, &err),
        err);
    assert_int_equal(ds.n_samples, 2);
    assert_int_equal(ds.rows_read, 4);
    assert_int_equal(ds.unlabelled_rows, 2);
    assert_int_equal(ds.truncated_rows, 1);
    assert_int_equal(ds.truncated_tokens, 2);
    assert_int_equal(ds.label_tokens, 1 + 3);
    assert_int_equal(ds.longest, 4);
    static const int32_t ids[] = {1, 2, 3, 4, 5, 6, 7}, labels[] = {-100, 9, -100, -100, 5, 6, 7};
    assert_int_equal(ds.n_tokens, 7);
    assert_memory_equal(ds.ids, ids, sizeof ids);
    assert_memory_equal(ds.labels, labels, sizeof labels);
    assert_sample(&ds, 0, NULL, "1 [[2 ]]3");
    dataset_free(&ds);
}

static void test_text_is_split_others_are_cut(void **state) {
    (void)state;
    dataset_spec_t spec = spec_of(NULL, 0, bpe, chatml);
    dataset_t ds;
    err_t err = {0};
    spec.max_length = 4;
    assert_ok(load_rows("t.jsonl", "{\"text\": \"a b c d e f g h\"}", &spec, &ds, &err), err);
    assert_int_equal(ds.rows_read, 1);
    assert_int_equal(ds.n_samples, 2); /* 8 words and EOS: 4 + 4 + 1, and the one token predicts nothing */
    assert_int_equal(ds.unlabelled_rows, 1);
    assert_int_equal(ds.truncated_rows, 0);
    assert_sample(&ds, 0, bpe, "a[[ b c d]]");
    assert_sample(&ds, 1, bpe, " e[[ f g h]]");
    dataset_free(&ds);
    assert_ok(load_rows("t.jsonl", "{\"prompt\": \"a b\", \"completion\": \" c d e f\"}", &spec, &ds, &err), err);
    assert_int_equal(ds.n_samples, 1);
    assert_int_equal(ds.truncated_rows, 1);
    assert_int_equal(ds.truncated_tokens, 3);
    assert_sample(&ds, 0, bpe, "a b[[ c d]]");
    dataset_free(&ds);
    /* The answer lies behind the cut. */
    assert_error(load_rows("t.jsonl", "{\"prompt\": \"a b c d e\", \"completion\": \" f\"}", &spec, &ds, &err), err,
                 ERR_USAGE, "no trained token in any of 1 rows (1 cut at 4 tokens)");
}

/* Rows enough for many chunks, of which row `wrong` has no text (0: all have). The caller frees. */
static strbuf_t many_rows(size_t n, size_t wrong) {
    strbuf_t b = {0};
    for (size_t i = 1; i <= n; i++) {
        if (i == wrong) strbuf_adds(&b, "{\"prompt\": 1, \"completion\": \"\"}\n");
        else
            strbuf_addf(&b, "{\"prompt\": \"row %zu of\", \"completion\": \" many, all of them other %zu\"}\n", i,
                        i * i);
    }
    return b;
}

/* Rows are converted by many threads; what comes of it does not show. */
static void test_many_threads(void **state) {
    (void)state;
    enum { ROWS = 20000 };
    int before = omp_get_max_threads();
    dataset_spec_t spec = spec_of(NULL, 0, bpe, chatml);
    strbuf_t good = many_rows(ROWS, 0);
    dataset_t one, many;
    err_t err = {0};
    omp_set_num_threads(1);
    assert_ok(load_rows("a.jsonl", good.p, &spec, &one, &err), err);
    omp_set_num_threads(5);
    assert_ok(load_rows("a.jsonl", good.p, &spec, &many, &err), err);
    assert_int_equal(many.rows_read, ROWS);
    assert_int_equal(many.n_samples, ROWS);
    assert_int_equal(many.fingerprint, one.fingerprint);
    assert_memory_equal(many.samples, one.samples, ROWS * sizeof *one.samples);
    assert_int_equal(many.samples[12344].line, 12345);
    char *text = dataset_sample_text(&many, 12344, bpe, "[[", "]]");
    assert_string_equal(text, "row 12345 of[[ many, all of them other 152399025<|endoftext|>]]");
    free(text);
    dataset_free(&one);
    dataset_free(&many);
    free(good.p);
    /* Of two rows at fault the first is named. */
    strbuf_t bad = many_rows(ROWS, 9000);
    strbuf_adds(&bad, "{");
    assert_error(load_rows("a.jsonl", bad.p, &spec, &many, &err), err, ERR_USAGE,
                 "a.jsonl:9000: prompt: expected a string");
    free(bad.p);
    omp_set_num_threads(before);
}

/* Labels of a row's own, after rows whose labels are their ids. */
static void test_labels_of_their_own(void **state) {
    (void)state;
    dataset_spec_t spec = spec_of(NULL, 0, NULL, NULL);
    strbuf_t b = {0};
    dataset_t ds;
    err_t err = {0};
    for (int i = 0; i < 9000; i++) strbuf_adds(&b, "{\"input_ids\": [1, 2, 3], \"labels\": [1, -100, 3]}\n");
    assert_ok(load_rows("t.jsonl", b.p, &spec, &ds, &err), err);
    assert_null(ds.labels);
    for (size_t t = 0; t < ds.n_tokens; t++) assert_int_equal(dataset_label(&ds, t), t % 3 == 2 ? 3 : LABEL_NONE);
    dataset_free(&ds);
    strbuf_adds(&b, "{\"input_ids\": [4, 5], \"labels\": [4, 6]}\n");
    assert_ok(load_rows("t.jsonl", b.p, &spec, &ds, &err), err);
    assert_int_equal(ds.n_tokens, 27002);
    for (size_t t = 0; t < 27000; t++) assert_int_equal(dataset_label(&ds, t), t % 3 == 2 ? 3 : LABEL_NONE);
    assert_int_equal(dataset_label(&ds, 27001), 6);
    dataset_free(&ds);
    free(b.p);
}

static void test_train_all(void **state) {
    (void)state;
    dataset_spec_t spec = spec_of(NULL, 0, bpe, chatml);
    dataset_t ds;
    err_t err = {0};
    spec.train_on = TRAIN_ON_ALL;
    assert_ok(load_rows("t.jsonl", "{\"prompt\": \"a b\", \"completion\": \" c\"}", &spec, &ds, &err), err);
    assert_sample(&ds, 0, bpe, "a[[ b c<|endoftext|>]]");
    dataset_free(&ds);
}

/* One BOS and one EOS, also where the text has them spelled out. */
static void test_bos_and_eos(void **state) {
    (void)state;
    static const char *const texts[] = {"{\"text\": \"Hello there\"}", "{\"text\": \"<s>Hello there\"}",
                                        "{\"text\": \"<s>Hello there</s>\"}",
                                        "{\"prompt\": \"<s>Hello\", \"completion\": \" there</s>\"}",
                                        "{\"prompt\": \"\", \"completion\": \"Hello there\"}"};
    dataset_spec_t spec = spec_of(NULL, 0, spm, llama2);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        dataset_t ds;
        err_t err = {0};
        assert_ok(load_rows("t.jsonl", texts[i], &spec, &ds, &err), err);
        static const int32_t want[] = {1, 15043, 727, 2}; /* <s> ▁Hello ▁there </s> */
        assert_int_equal(ds.n_tokens, 4);
        assert_memory_equal(ds.ids, want, sizeof want);
        assert_int_equal(ds.samples[0].labels, i == 3 ? 2 : 3);
        dataset_free(&ds);
    }
    check_first("a.jsonl", "{\"text\": \"Hello there<|endoftext|>\"}", DATA_TEXT, "Hello[[ there<|endoftext|>]]");
    check_first("a.jsonl", "{\"text\": \"x<|im_end|>\"}", DATA_TEXT, "x[[<|im_end|><|endoftext|>]]");
}

static void test_counts_and_fingerprint(void **state) {
    (void)state;
    static const char one[] = "{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}, {\"role\": \"assistant\", "
                              "\"content\": \"Yo\"}]}\n";
    static const char none[] = "{\"messages\": []}\n{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}]}\n";
    const char *files[] = {write_file("a.jsonl", one, sizeof one - 1), write_file("b.jsonl", none, sizeof none - 1),
                           write_file("c.jsonl", "{\"text\": \"other format\"}", 24)};
    dataset_spec_t spec = spec_of(files, 3, bpe, chatml);
    dataset_t ds, again, less;
    err_t err = {0};
    assert_ok(dataset_load(&spec, &ds, &err), err);
    assert_int_equal(ds.rows_read, 4);
    assert_int_equal(ds.n_samples, 2);
    assert_int_equal(ds.unlabelled_rows, 2);
    assert_int_equal(ds.format, DATA_MESSAGES);
    assert_ok(dataset_load(&spec, &again, &err), err);
    assert_int_equal(ds.fingerprint, again.fingerprint);
    spec.train_on = TRAIN_ON_ALL;
    assert_ok(dataset_load(&spec, &less, &err), err);
    assert_int_not_equal(ds.fingerprint, less.fingerprint);
    dataset_free(&ds);
    dataset_free(&again);
    dataset_free(&less);
}

/* Each sample knows its file and line, whatever was left out before it, and however a row lies in the file. */
static void test_where_samples_come_from(void **state) {
    (void)state;
    static const char a[] = "{\"input_ids\": [1, 2]}\n\n{\"input_ids\": [3]}\n{\"input_ids\": [4, 5, 6]}\n";
    static const char b[] = "[{\"input_ids\": [1]},\n {\"input_ids\":\n [7, 8]}, {\"input_ids\": [9, 10]}]";
    static const uint32_t want[][2] = {{0, 1}, {0, 4}, {1, 2}, {1, 3}};
    const char *files[] = {write_file("a.jsonl", a, sizeof a - 1), write_file("b.json", b, sizeof b - 1)};
    dataset_spec_t spec = spec_of(files, 2, NULL, NULL);
    dataset_t ds;
    err_t err = {0};
    assert_ok(dataset_load(&spec, &ds, &err), err);
    assert_int_equal(ds.unlabelled_rows, 2);
    assert_int_equal(ds.n_samples, sizeof want / sizeof *want);
    for (size_t i = 0; i < ds.n_samples; i++) {
        assert_int_equal(ds.samples[i].file, want[i][0]);
        assert_int_equal(ds.samples[i].line, want[i][1]);
    }
    dataset_free(&ds);
}

typedef struct {
    const char *name, *text, *error;
} bad_t;

static void test_bad_input(void **state) {
    (void)state;
    static const bad_t bad[] = {
        {"a.jsonl", "{\"text\": \"a b\"}\n{\"text\": \"a\n", "a.jsonl:2: not valid JSON"},
        {"a.jsonl", "{\"text\": \"a b\"}\n\n{\"text\": \"a\xff\"}\n", "a.jsonl:3: not valid UTF-8"},
        {"a.jsonl", "{\"text\": \"a\", \"text\": \"b\"}\n", "a.jsonl:1: not valid JSON: duplicate"},
        {"a.jsonl", "{\"text\": \"a b\"} {\"text\": \"a b\"}\n", "a.jsonl:1: not valid JSON"},
        {"a.json", "[{\"text\": \"a b\"},\n\n{\"text\": \n 'a'}]", "a.json:4: not valid JSON"},
        {"a.json", "[{\"text\": \"a b\"},\n]", "a.json:2: not valid JSON: expected another element"},
        {"a.json", "[{\"text\": \"a b\"}\n{\"text\": \"c\"}]", "a.json:2: not valid JSON: expected ','"},
        {"a.json", "[{\"text\": \"a b\"}", "not valid JSON: expected ','"},
        {"a.json", "[{\"text\": \"a b\"}]\nx", "a.json:2: text after the end"},
        {"a.json", "[", "not valid JSON"},
        {"a.json", "[]", "the file has no rows"},
        {"a.jsonl", "\n \n", "the file has no rows"},
        {"a.jsonl", "", "empty"},
        {"a.csv", "a,b\n", "a.csv: .csv is not read; expected JSONL: "},
        {"a.doc", "a", "a.doc: unknown kind of data file; expected .jsonl, .json (an array) or .txt"},
        {"a.json", "{\n\"data\": [{\"text\": \"a\"}]\n}\n",
         "a.json:1: not valid JSON: string or '}' expected near end of file; expected a row on one line, or an array"},
        {"a.txt", "a\xff", "a.txt:1: the text is not valid UTF-8"},
        {"a.jsonl", "{\"question\": \"a\"}\n", "a.jsonl:1: the row's keys are of no known format; expected messages"},
        {"a.jsonl", "3\n", "a.jsonl:1: expected an object"},
        {"a.jsonl", "{\"text\": 3}\n", "a.jsonl:1: text: expected a string"},
        {"a.jsonl", "{\"text\": \"a b\"}\n{\"messages\": []}\n",
         "a.jsonl:2: text is missing; expected a row of the format text"},
        {"a.jsonl", "{\"text\": \"a b\"}\n[1]\n", "a.jsonl:2: expected an object"},
        {"a.jsonl", "{\"instruction\": \"a\", \"output\": 1}\n", "a.jsonl:1: output: expected a string"},
        {"a.jsonl", "{\"instruction\": \"a\", \"output\": \"b\"}\n{\"instruction\": \"a\"}",
         "a.jsonl:2: output is missing"},
        {"a.jsonl", "{\"prompt\": 1, \"completion\": \"b\"}\n", "a.jsonl:1: prompt: expected a string"},
        {"a.jsonl", "{\"prompt\": [], \"completion\": \"b\"}\n", "a.jsonl:1: completion: expected a list of messages"},
        {"a.jsonl", "{\"messages\": {}}\n", "a.jsonl:1: messages: expected a list of messages"},
        {"a.jsonl", "{\"messages\": [1]}\n", "a.jsonl:1: messages[0]: expected an object"},
        {"a.jsonl", "{\"messages\": [{\"content\": \"a\"}]}\n", "a.jsonl:1: messages[0]: role is missing"},
        {"a.jsonl", "{\"messages\": [{\"role\": \"user\"}]}\n",
         "a.jsonl:1: messages[0]: content is missing; expected a string"},
        {"a.jsonl", "{\"messages\": [{\"role\": \"bot\", \"content\": \"a\"}]}\n",
         "a.jsonl:1: messages[0]: unknown role \"bot\"; expected"},
        {"a.jsonl", "{\"messages\": [{\"role\": \"user\", \"content\": [{\"image\": 1}]}]}",
         "messages[0]: content: part 1 is of no type, not text"},
        {"a.jsonl", "{\"messages\": [{\"role\": \"assistant\", \"tool_calls\": [{}]}]}",
         "tool_calls[0]: function.name is missing"},
        {"a.jsonl", "{\"conversations\": [{\"from\": \"human\", \"value\": 1}]}\n",
         "a.jsonl:1: conversations[0]: value: expected a string"},
        {"a.jsonl", "{\"conversations\": [{\"from\": \"gpt\", \"value\": \"a\"}], \"tools\": \"[\"}\n",
         "a.jsonl:1: tools: not valid JSON: "},
        {"a.jsonl",
         "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}], \"tools\": [{\"name\": \"f\", \"x\": NaN}]}",
         "a.jsonl:1: tools: NaN: expected a finite number"},
        {"a.jsonl", "{\"messages\": [{\"role\": \"user\", \"content\": \"\\udc00\"}]}",
         "a.jsonl:1: messages[0]: \"\\udc00\": half of a surrogate pair"},
        {"a.jsonl", "{\"text\": 1e999}\n", "a.jsonl:1: text: 1e999: expected a finite number of at most 64 bits"},
        /* Preference data. */
        {"a.jsonl", "{\"prompt\": \"a\", \"chosen\": \"b\", \"rejected\": \"c\"}\n",
         "a.jsonl:1: chosen: this is preference data"},
        {"a.jsonl", "{\"prompt\": \"a\", \"completion\": \"b\", \"label\": false}\n",
         "a.jsonl:1: label: this is preference data"},
        {"a.jsonl", "{\"messages\": [], \"rejected\": {\"role\": \"assistant\"}}\n",
         "a.jsonl:1: rejected: this is preference data"},
        {"a.jsonl", "{\"messages\": []}\n{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}]}",
         "no trained token in any of 2 rows"},
        {"a.jsonl", "{\"input_ids\": [1, -1]}\n", "a.jsonl:1: input_ids[1]: -1 is no token id; expected 0 to 49151"},
        {"a.jsonl", "{\"input_ids\": [1, 2]}\n{\"input_ids\": [1, 49152]}\n",
         "a.jsonl:2: input_ids[1]: 49152 is no token id"},
        {"a.jsonl", "{\"input_ids\": [1, 1.5]}\n", "a.jsonl:1: input_ids[1]: expected a token id"},
        {"a.jsonl", "{\"input_ids\": \"1\"}\n", "a.jsonl:1: input_ids: expected a list"},
        {"a.jsonl", "{\"input_ids\": [1, 2], \"labels\": [1]}\n", "a.jsonl:1: labels: has 1 values, input_ids 2"},
        {"a.jsonl", "{\"input_ids\": [1, 2], \"labels\": [1, -7]}\n", "a.jsonl:1: labels[1]: -7 is no token id"},
        {"a.jsonl", "{\"input_ids\": [1, 99999999999999999999]}\n", "a.jsonl:1: input_ids[1]: expected a token id"},
    };
    dataset_spec_t spec = spec_of(NULL, 0, bpe, chatml);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        dataset_t ds;
        err_t err = {0};
        assert_error(load_rows(bad[i].name, bad[i].text, &spec, &ds, &err), err, ERR_USAGE, bad[i].error);
    }
}

static void test_what_is_missing(void **state) {
    (void)state;
    dataset_t ds;
    err_t err = {0};
    dataset_spec_t spec = spec_of(NULL, 0, NULL, NULL);
    assert_error(load_rows("a.jsonl", "{\"text\": \"a b\"}", &spec, &ds, &err), err, ERR_USAGE,
                 "a.jsonl:1: rows of the format text need a tokenizer");
    spec = spec_of(NULL, 0, bpe, NULL);
    assert_error(load_rows("a.jsonl", "{\"messages\": []}", &spec, &ds, &err), err, ERR_USAGE, "need a chat template");
    /* A tokenizer with more tokens than the model: only a row with one of them is at fault. */
    spec.vocab = 20000;
    assert_ok(load_rows("a.jsonl", "{\"text\": \"Hello world\"}", &spec, &ds, &err), err);
    dataset_free(&ds);
    assert_error(load_rows("a.jsonl", "{\"text\": \"Hello\"}\n{\"text\": \"Hello rubbish\"}", &spec, &ds, &err), err,
                 ERR_USAGE, "a.jsonl:2: token 1 is \" rubbish\", id 39458, but the model's vocabulary has 20000");
    spec = spec_of(NULL, 0, spm, llama2);
    assert_error(load_rows("a.jsonl",
                           "{\"conversations\": [{\"from\": \"human\", \"value\": \"a\"}, {\"from\": "
                           "\"function_call\", \"value\": \"{\\\"name\\\": \\\"f\\\"}\"}, "
                           "{\"from\": \"observation\", \"value\": \"c\"}]}",
                           &spec, &ds, &err),
                 err, ERR_USAGE, "a.jsonl:1: ");
    const char *missing[] = {"/nonexistent/a.jsonl"};
    spec.files = missing;
    spec.n_files = 1;
    assert_error(dataset_load(&spec, &ds, &err), err, ERR_USAGE, "/nonexistent/a.jsonl");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_formats),
        cmocka_unit_test(test_named_and_detected_formats),
        cmocka_unit_test(test_tokens),
        cmocka_unit_test(test_text_is_split_others_are_cut),
        cmocka_unit_test(test_many_threads),
        cmocka_unit_test(test_labels_of_their_own),
        cmocka_unit_test(test_train_all),
        cmocka_unit_test(test_bos_and_eos),
        cmocka_unit_test(test_counts_and_fingerprint),
        cmocka_unit_test(test_where_samples_come_from),
        cmocka_unit_test(test_bad_input),
        cmocka_unit_test(test_what_is_missing),
    };
    return cmocka_run_group_tests(tests, dataset_setup, dataset_teardown);
}
