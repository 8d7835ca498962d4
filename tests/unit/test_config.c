/* What is read from configs: defaults, every key, overrides, paths, the identity of the run. */
#include "config_rig.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "trainer/config/config_schema.h"

static void defaults(void **state) {
    (void)state;
    config_t c;
    err_t err = {0};
    assert_ok(load_text(MINIMAL, &c, &err), err);
    assert_int_equal(c.quantization.quant_type, QUANT_NF4);
    assert_true(c.quantization.double_quant);
    assert_int_equal(c.quantization.compute_dtype, COMPUTE_AUTO);
    assert_int_equal(c.lora.r, 16);
    assert_true(c.lora.alpha == 16 && c.lora.dropout == 0 && !c.lora.use_rslora && !c.lora.f32);
    assert_true(!c.lora.targets && !c.lora.exclude && !c.lora.layers);
    assert_true(c.lora.loraplus_lr_ratio == 1 && c.training.neftune_noise_alpha == 0);
    assert_null(c.lora.init);
    assert_true(!c.lora.rank_pattern && !c.lora.alpha_pattern);
    assert_int_equal(c.data.n_train, 1);
    assert_null(c.data.eval);
    assert_int_equal(c.data.format, DATA_AUTO);
    assert_string_equal(c.data.chat_template, "auto");
    assert_true(!c.data.chat_template_kwargs && !c.data.chat_template_date && c.data.eval_split == 0);
    assert_int_equal(c.data.max_length, 1024);
    assert_true(c.data.train_on == TRAIN_ON_COMPLETION && c.data.packing && c.data.shuffle && !c.data.group_by_length);
    assert_true(c.training.num_train_epochs == 1 && c.training.max_steps == -1);
    assert_true(c.training.batch_size == 4 && c.training.accumulation == 4);
    assert_true(c.training.learning_rate == 2e-4 && c.training.scheduler == SCHED_CONSTANT);
    assert_true(c.training.warmup_ratio == 0 && c.training.warmup_steps == 0 && c.training.weight_decay == 0);
    assert_true(c.training.max_grad_norm == 0.3 && c.training.seed == 42);
    assert_int_equal(c.training.optim, OPTIM_PAGED_ADAMW_32BIT);
    assert_true(c.training.adam_beta1 == 0.9 && c.training.adam_beta2 == 0.999 && c.training.adam_epsilon == 1e-8);
    assert_int_equal(c.training.gradient_checkpointing, TRI_AUTO);
    assert_true(c.training.logging_steps == 1 && c.training.eval_steps == 0 && c.training.save_steps == 100);
    assert_int_equal(c.training.save_total_limit, 3);
    assert_true(c.training.early_stopping_patience == 0 && !c.training.load_best && !c.training.sample_prompts);
    assert_string_equal(c.training.resume, "auto");
    assert_int_equal(c.training.preempted_exit_status, 75);
    assert_false(c.training.tensorboard);
    assert_string_equal(c.device.backend, "auto");
    assert_true(c.device.memory_limit == 0 && c.device.page_weights && c.device.threads == 0);
    assert_null(c.device.spill);
    config_free(&c);
}

/* On by default, but not of a type that has no second level of constants: what is printed and kept says so. */
static void double_quant_by_type(void **state) {
    (void)state;
    config_t c;
    err_t err = {0};
    assert_ok(load_text("quantization: {quant_type: int8-zeropoint}\n" MINIMAL, &c, &err), err);
    assert_true(c.quantization.quant_type == QUANT_INT8_ZEROPOINT && !c.quantization.double_quant);
    config_free(&c);
    assert_ok(load_text("quantization: {quant_type: int8}\n" MINIMAL, &c, &err), err);
    assert_true(c.quantization.double_quant);
    config_free(&c);
}

static void every_key(void **state) {
    (void)state;
    config_t c;
    err_t err = {0};
    assert_ok(load_text(config_everything, &c, &err), err);
    assert_path(c.model.path, "model");
    assert_int_equal(c.quantization.quant_type, QUANT_INT8);
    assert_false(c.quantization.double_quant);
    assert_int_equal(c.quantization.compute_dtype, COMPUTE_F32);
    assert_true(c.lora.r == 64 && c.lora.alpha == 0.5 && c.lora.dropout == 0.1 && c.lora.use_rslora && c.lora.f32);
    assert_int_equal(json_array_size(c.lora.targets), 2);
    assert_string_equal(json_string_value(json_array_get(c.lora.targets, 0)), "q_proj");
    assert_string_equal(json_string_value(c.lora.exclude), ".*\\.0\\..*");
    assert_int_equal(json_integer_value(json_array_get(c.lora.layers, 1)), 1);
    assert_true(c.lora.loraplus_lr_ratio == 16 && c.training.neftune_noise_alpha == 5);
    assert_path(c.lora.init, "adapter");
    assert_int_equal(json_integer_value(json_object_get(c.lora.rank_pattern, "q_proj")), 8);
    assert_true(json_real_value(json_object_get(c.lora.alpha_pattern, "layers\\.0\\..*")) == 0.5);
    assert_int_equal(c.data.n_train, 2);
    assert_path(c.data.train[0], "train.jsonl");
    assert_path(c.data.train[1], "more.jsonl");
    assert_path(c.data.eval, "eval.jsonl");
    assert_int_equal(c.data.format, DATA_PROMPT_COMPLETION);
    assert_string_equal(c.data.chat_template, "zephyr");
    assert_true(json_is_false(json_object_get(c.data.chat_template_kwargs, "enable_thinking")));
    assert_string_equal(c.data.chat_template_date, "2024-02-29");
    assert_true(c.data.max_length == 512 && c.data.train_on == TRAIN_ON_ALL && c.data.group_by_length);
    assert_true(!c.data.packing && !c.data.shuffle);
    assert_path(c.training.output_dir, "out");
    assert_true(c.training.num_train_epochs == 2.5 && c.training.max_steps == 7);
    assert_true(c.training.batch_size == 2 && c.training.accumulation == 3 && c.training.learning_rate == 1e-4);
    assert_int_equal(c.training.scheduler, SCHED_CONSTANT_WITH_WARMUP);
    assert_true(c.training.warmup_ratio == 0.03 && c.training.warmup_steps == 5);
    assert_true(c.training.weight_decay == 0.01 && c.training.max_grad_norm == 1);
    assert_true(c.training.seed == 9007199254740991u);
    assert_int_equal(c.training.optim, OPTIM_ADAMW_8BIT);
    assert_true(c.training.adam_beta1 == 0.8 && c.training.adam_beta2 == 0.95 && c.training.adam_epsilon == 1e-6);
    assert_int_equal(c.training.gradient_checkpointing, TRI_FALSE);
    assert_true(c.training.logging_steps == 10 && c.training.eval_steps == 20 && c.training.save_steps == 30);
    assert_int_equal(c.training.save_total_limit, 0);
    assert_true(c.training.early_stopping_patience == 4 && c.training.load_best);
    assert_path(c.training.sample_prompts, "eval.jsonl");
    assert_path(c.training.resume, "adapter");
    assert_int_equal(c.training.preempted_exit_status, 130);
    assert_true(c.training.tensorboard);
    assert_string_equal(c.device.backend, "cpu");
    assert_true(c.device.memory_limit == 3ull << 29 && !c.device.page_weights && c.device.threads == 3);
    assert_path(c.device.spill, "tmp");
    config_free(&c);
}

static void round_trip(void **state) {
    (void)state;
    static const char *const configs[] = {MINIMAL, config_everything};
    for (size_t i = 0; i < 2; i++) {
        config_t c, again;
        err_t err = {0};
        assert_ok(load_text(configs[i], &c, &err), err);
        char *yaml = config_to_yaml(&c);
        assert_ok(load_text(yaml, &again, &err), err);
        char *yaml_again = config_to_yaml(&again);
        assert_string_equal(yaml, yaml_again);
        assert_true(config_run_id(&c) == config_run_id(&again));
        /* Written and read values agree as values, not only as text. */
        assert_true(c.training.learning_rate == again.training.learning_rate);
        assert_true(i == 0 || json_equal(c.lora.targets, again.lora.targets));
        assert_true(i == 0 || json_equal(c.lora.exclude, again.lora.exclude));
        assert_true(i == 0 || json_equal(c.lora.layers, again.lora.layers));
        assert_true(!c.lora.rank_pattern || json_equal(c.lora.rank_pattern, again.lora.rank_pattern));
        assert_true(c.device.memory_limit == again.device.memory_limit && c.training.seed == again.training.seed);
        free(yaml);
        free(yaml_again);
        config_free(&c);
        config_free(&again);
    }
}

/* Names that YAML would read otherwise survive the way out and back. */
static void strange_paths(void **state) {
    (void)state;
    config_t c, again;
    err_t err = {0};
    static char *const overrides[] = {"training.output_dir=\"a: b # \\\"c\\\\ \\t\xc3\xa9\""};
    assert_ok(load_bytes(MINIMAL, strlen(MINIMAL), overrides, 1, CONFIG_TRAIN, &c, &err), err);
    assert_path(c.training.output_dir, "a: b # \"c\\ \t\xc3\xa9");
    char *yaml = config_to_yaml(&c);
    assert_ok(load_text(yaml, &again, &err), err);
    assert_string_equal(c.training.output_dir, again.training.output_dir);
    free(yaml);
    config_free(&c);
    config_free(&again);
}

/* The mapping of lora.rank_pattern as text. */
static char *mapping_text(const char *value) {
    const config_key_t *key = config_key_find("lora", "rank_pattern");
    config_t c = {0};
    yaml_doc_t doc;
    err_t err = {0};
    assert_ok(yaml_doc_parse_override("lora", "rank_pattern", value, &doc, &err), err);
    assert_ok(config_value_set(key, &doc.entries[0], "/", &c, &err), err);
    yaml_doc_free(&doc);
    char *text = config_value_text(key, &c);
    config_value_free(key, &c);
    return text;
}

/* Scalars as YAML's core schema has them, anything nested, and text that reads back as the same. */
static void mappings(void **state) {
    (void)state;
    static const struct {
        const char *yaml, *text;
    } cases[] = {
        {"{}", "{}"},
        {"{q_proj: 8}", "{\"q_proj\": 8}"},
        {"{b: 1, a: 2, 3: c}", "{\"b\": 1, \"a\": 2, \"3\": \"c\"}"}, /* the order counts */
        {"{a: , b: ~, c: null, d: NULL, e: ''}", "{\"a\": null, \"b\": null, \"c\": null, \"d\": null, \"e\": \"\"}"},
        {"{a: true, b: False, c: yes, d: off, e: 'true'}",
         "{\"a\": true, \"b\": false, \"c\": \"yes\", \"d\": \"off\", \"e\": \"true\"}"},
        {"{a: -7, b: +7, c: 0x1F, d: 0o17, e: '7', f: 9223372036854775807, g: 0}",
         "{\"a\": -7, \"b\": 7, \"c\": 31, \"d\": 15, \"e\": \"7\", \"f\": 9223372036854775807, \"g\": 0}"},
        {"{a: 1.0, b: .5, c: 2e3, d: 1e300, e: -0.0, f: 0.1, g: 1.2.3, h: 2e}",
         "{\"a\": 1.0, \"b\": 0.5, \"c\": 2000.0, \"d\": 1e+300, \"e\": 0.0, \"f\": 0.1, \"g\": \"1.2.3\", \"h\": "
         "\"2e\"}"},
        {"{a: [1, [], {b: {}}], c: {d: [x]}}", "{\"a\": [1, [], {\"b\": {}}], \"c\": {\"d\": [\"x\"]}}"},
        {"{a: \"\\x01\\x85\\ufeff\\x7f \\\" \\\\ \xc3\xa9\"}",
         "{\"a\": \"\\x01\\x85\\uFEFF\\x7f \\\" \\\\ \xc3\xa9\"}"},
        {"{a: \"x \\u2028 \\u2029y\\ufffe\\uffff \xe2\x80\xa6\"}",
         "{\"a\": \"x \\u2028 \\u2029y\\uFFFE\\uFFFF \xe2\x80\xa6\"}"},
        {"\na:\n  - b: 1\n    c: |\n      d\n", "{\"a\": [{\"b\": 1, \"c\": \"d\\x0a\"}]}"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *text = mapping_text(cases[i].yaml);
        if (strcmp(text, cases[i].text) != 0) fail_msg("%s\ngot %s", cases[i].yaml, text);
        char *again = mapping_text(text);
        assert_string_equal(again, text);
        free(text);
        free(again);
    }
}

static void overrides_win(void **state) {
    (void)state;
    config_t c;
    err_t err = {0};
    static char *const overrides[] = {"lora.r=8",
                                      "data.train=[more.jsonl, train.jsonl]",
                                      "training.learning_rate=1e-5",
                                      "training.learning_rate=3e-5",
                                      "data.eval=eval.jsonl",
                                      "data.eval=",
                                      "lora.target_modules=[o_proj]",
                                      "device.memory_limit=512MiB"};
    assert_message(load_bytes(config_everything, strlen(config_everything), overrides, 8, CONFIG_EVAL, &c, &err), err,
                   "command line: data.eval: missing; expected a file");
    err.code = 0;
    assert_ok(load_bytes(config_everything, strlen(config_everything), overrides, 5, CONFIG_TRAIN, &c, &err), err);
    assert_int_equal(c.lora.r, 8);
    assert_int_equal(c.data.n_train, 2);
    assert_path(c.data.train[0], "more.jsonl");
    assert_true(c.training.learning_rate == 3e-5);
    config_free(&c);
    assert_ok(load_bytes(MINIMAL, strlen(MINIMAL), overrides, 8, CONFIG_TRAIN, &c, &err), err);
    assert_null(c.data.eval);
    assert_string_equal(json_string_value(json_array_get(c.lora.targets, 0)), "o_proj");
    assert_true(c.device.memory_limit == 512u << 20);
    config_free(&c);
}

/* File: from the config's directory. Command line: from the working directory. */
static void relative_paths(void **state) {
    (void)state;
    config_t c, other;
    err_t err = {0};
    assert_ok(dir_make("sub/deep", &err), err);
    static const char yaml[] = "model: {path: ../model}\ndata: {train: .././train.jsonl}\ntraining: {output_dir: .}\n";
    assert_ok(file_write("sub/c.yaml", yaml, strlen(yaml), &err), err);
    char *const overrides[] = {"data.eval=eval.jsonl", "device.spill=/nowhere/x/"};
    assert_ok(config_load("sub/deep/../c.yaml", overrides, 2, CONFIG_TRAIN, &c, &err), err);
    assert_path(c.model.path, "model");
    assert_path(c.data.train[0], "train.jsonl");
    assert_path(c.data.eval, "eval.jsonl");
    assert_path(c.training.output_dir, "sub");
    assert_string_equal(c.device.spill, "/nowhere/x");
    assert_int_equal(chdir("sub"), 0);
    assert_ok(config_load("c.yaml", NULL, 0, CONFIG_TRAIN, &other, &err), err);
    assert_true(config_run_id(&c) == config_run_id(&other));
    assert_int_equal(chdir(".."), 0);
    config_free(&c);
    config_free(&other);
}

static void commands_need_their_part(void **state) {
    (void)state;
    config_t c;
    err_t err = {0};
    static const char model_only[] = "model: {path: model}\n";
    assert_ok(load_bytes(model_only, strlen(model_only), NULL, 0, CONFIG_GENERATE, &c, &err), err);
    assert_null(c.training.output_dir);
    assert_int_equal(c.data.n_train, 0);
    char *yaml = config_to_yaml(&c);
    config_free(&c);
    assert_ok(load_bytes(yaml, strlen(yaml), NULL, 0, CONFIG_GENERATE, &c, &err), err);
    config_free(&c);
    free(yaml);
    assert_message(load_bytes(model_only, strlen(model_only), NULL, 0, CONFIG_EVAL, &c, &err), err,
                   "c.yaml:1:1: data.eval: missing; expected a file");
    static const char with_eval[] = "model: {path: model}\ndata: {eval: eval.jsonl}\n";
    assert_ok(load_bytes(with_eval, strlen(with_eval), NULL, 0, CONFIG_EVAL, &c, &err), err);
    config_free(&c);
}

/* The identity of a run: what changes its numbers changes it, what does not does not. */
static void run_id(void **state) {
    (void)state;
    static char *const same[] = {"training.save_steps=7",
                                 "training.logging_steps=3",
                                 "device.threads=2",
                                 "training.output_dir=elsewhere",
                                 "data.eval=eval.jsonl",
                                 "device.backend=cpu",
                                 "lora.r=16",
                                 "lora.rank_pattern={}",
                                 "training.max_steps=-1",
                                 "training.save_total_limit=9",
                                 "model.path=adapter",
                                 "data.train=more.jsonl",
                                 "data.chat_template=auto",
                                 "data.chat_template_kwargs={}",
                                 "data.eval_split=0.0",
                                 "training.preempted_exit_status=0"};
    static char *const other[] = {"training.seed=1",
                                  "lora.r=8",
                                  "lora.lora_dropout=0.1",
                                  "training.learning_rate=1e-4",
                                  "data.packing=false",
                                  "training.max_steps=5",
                                  "lora.dtype=f32",
                                  "quantization.quant_type=fp4",
                                  "lora.rank_pattern={a: 1}",
                                  "data.train_on=last",
                                  "data.chat_template=chatml",
                                  "data.chat_template=./train.jsonl",
                                  "data.chat_template_kwargs={enable_thinking: false}",
                                  "data.chat_template_date=2024-07-26",
                                  "data.eval_split=0.1"};
    config_t c;
    err_t err = {0};
    assert_ok(load_text(MINIMAL, &c, &err), err);
    uint64_t id = config_run_id(&c);
    config_free(&c);
    enum { SAME = sizeof same / sizeof *same, OTHER = sizeof other / sizeof *other };
    for (size_t i = 0; i < SAME + OTHER; i++) {
        char *const overrides[] = {i < SAME ? same[i] : other[i - SAME]};
        assert_ok(load_bytes(MINIMAL, strlen(MINIMAL), overrides, 1, CONFIG_TRAIN, &c, &err), err);
        if ((config_run_id(&c) == id) != (i < SAME)) fail_msg("%s", overrides[0]);
        config_free(&c);
    }
    /* Names are a set. */
    static char *const names[] = {"lora.target_modules=[q_proj, v_proj]",
                                  "lora.target_modules=[v_proj, q_proj, v_proj]"};
    uint64_t ids[2];
    for (size_t i = 0; i < 2; i++) {
        assert_ok(load_bytes(MINIMAL, strlen(MINIMAL), &names[i], 1, CONFIG_TRAIN, &c, &err), err);
        ids[i] = config_run_id(&c);
        config_free(&c);
    }
    assert_true(ids[0] == ids[1] && ids[0] != id);
}

/* Masks that are other ones than a version before drew: runs with dropout are other runs, those without are not. */
static void run_text_of_masks(void **state) {
    (void)state;
    static const struct {
        char *overrides[1];
        const char *line;
    } cases[] = {{{"lora.lora_dropout=0"}, "\nlora.lora_dropout=0\n"},
                 {{"lora.lora_dropout=0.1"}, "\nlora.lora_dropout=0.1 with masks of 16 bits\n"}};
    for (size_t i = 0; i < 2; i++) {
        config_t c;
        err_t err = {0};
        assert_ok(load_bytes(MINIMAL, strlen(MINIMAL), cases[i].overrides, 1, CONFIG_TRAIN, &c, &err), err);
        char *text = config_run_text(&c);
        if (!strstr(text, cases[i].line)) fail_msg("%s", text);
        free(text);
        config_free(&c);
    }
}

/* A template of one's own: its text counts, which the data's tokens show, and not where it lies. */
static void a_file_as_template(void **state) {
    (void)state;
    config_t c, again;
    err_t err = {0};
    uint64_t ids[2];
    static char *const files[][1] = {{"data.chat_template=./train.jsonl"},
                                     {"data.chat_template=adapter/../more.jsonl"}};
    for (int i = 0; i < 2; i++) {
        assert_ok(load_bytes(MINIMAL, strlen(MINIMAL), files[i], 1, CONFIG_TRAIN, &c, &err), err);
        ids[i] = config_run_id(&c);
        char *yaml = config_to_yaml(&c);
        assert_ok(load_text(yaml, &again, &err), err);
        assert_string_equal(c.data.chat_template, again.data.chat_template);
        if (i == 0) assert_path(c.data.chat_template, "train.jsonl");
        free(yaml);
        config_free(&c);
        config_free(&again);
    }
    assert_true(ids[0] == ids[1]);
    /* Whoever needs none need not have it. */
    static char *const gone[] = {"data.chat_template=gone.jinja"};
    assert_ok(load_bytes(MINIMAL, strlen(MINIMAL), gone, 1, CONFIG_GENERATE, &c, &err), err);
    config_free(&c);
}

/* Rows held out of the training data: an evaluation without a file of its own. */
static void rows_held_out(void **state) {
    (void)state;
    config_t c;
    err_t err = {0};
    static char *const overrides[] = {"data.eval_split=0.05", "training.eval_steps=3"};
    assert_ok(load_bytes(MINIMAL, strlen(MINIMAL), overrides, 2, CONFIG_TRAIN, &c, &err), err);
    assert_true(c.data.eval_split == 0.05 && c.training.eval_steps == 3);
    config_free(&c);
    static const char evaluation[] = "model: {path: model}\ndata: {train: train.jsonl, eval_split: 200}\n";
    assert_ok(load_bytes(evaluation, strlen(evaluation), NULL, 0, CONFIG_EVAL, &c, &err), err);
    assert_true(c.data.eval_split == 200);
    config_free(&c);
    static const char gone[] = "model: {path: model}\ndata: {train: gone.jsonl, eval_split: 200}\n";
    assert_error(load_bytes(gone, strlen(gone), NULL, 0, CONFIG_EVAL, &c, &err), err, ERR_USAGE, "data.train: ");
    static const char nothing[] = "model: {path: model}\ndata: {eval_split: 200}\n";
    err = (err_t){0};
    assert_message(load_bytes(nothing, strlen(nothing), NULL, 0, CONFIG_EVAL, &c, &err), err,
                   "c.yaml:2:1: data.train: missing; expected a file or a list of files");
}

/* As editors on Windows write files. */
static void byte_order_mark(void **state) {
    (void)state;
    config_t c;
    err_t err = {0};
    assert_ok(load_text("\xef\xbb\xbf" MINIMAL, &c, &err), err);
    assert_path(c.model.path, "model");
    config_free(&c);
    assert_message(load_text("\xef\xbb\xbflora: {r: 0}\n", &c, &err), err,
                   "c.yaml:1:11: lora.r: got \"0\"; expected a whole number from 1 to 1024");
}

/* docs/config.md has a row for every key, with its default. */
static void the_reference_is_complete(void **state) {
    (void)state;
    char *docs;
    size_t len;
    err_t err = {0};
    assert_ok(file_read(test_path("../docs/config.md"), &docs, &len, &err), err);
    for (size_t i = 0; i < config_n_keys; i++) {
        const config_key_t *k = &config_keys[i];
        char *head = xasprintf("\n| `%s` |", k->name);
        const char *row = strstr(docs, head);
        if (!row) fail_msg("%s.%s is not documented", k->section, k->name);
        char *line = xstrndup(row + 1, strcspn(row + 1, "\n"));
        char *value = k->default_text ? xasprintf("| `%s` | %s |", k->default_text, k->defines_run ? "yes" : "no")
                                      : xstrdup("| required");
        if (!strstr(line, value)) fail_msg("%s.%s: no %s in %s", k->section, k->name, value, line);
        free(head);
        free(line);
        free(value);
    }
    free(docs);
}

/* One sentence a key, on one line, short enough for a comment. */
static void every_key_is_explained(void **state) {
    (void)state;
    for (size_t i = 0; i < config_n_keys; i++) {
        const config_key_t *k = &config_keys[i];
        size_t len = k->help ? strlen(k->help) : 0;
        if (len < 10 || len > 110 || k->help[len - 1] != '.' || strchr(k->help, '\n'))
            fail_msg("%s.%s: expected a help text of one short sentence, got \"%s\"", k->section, k->name,
                     len ? k->help : "");
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults),
        cmocka_unit_test(every_key),
        cmocka_unit_test(double_quant_by_type),
        cmocka_unit_test(round_trip),
        cmocka_unit_test(strange_paths),
        cmocka_unit_test(mappings),
        cmocka_unit_test(overrides_win),
        cmocka_unit_test(relative_paths),
        cmocka_unit_test(run_id),
        cmocka_unit_test(run_text_of_masks),
        cmocka_unit_test(a_file_as_template),
        cmocka_unit_test(rows_held_out),
        cmocka_unit_test(byte_order_mark),
        cmocka_unit_test(commands_need_their_part),
        cmocka_unit_test(the_reference_is_complete),
        cmocka_unit_test(every_key_is_explained),
    };
    return cmocka_run_group_tests(tests, config_setup, config_teardown);
}
