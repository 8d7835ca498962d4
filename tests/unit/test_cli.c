/* The program itself: dispatch, exit status, what goes to which stream. */
#define _GNU_SOURCE /* pipe2 */
#include "tests/support/testing.h"

#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "model/backend/backend.h"
#include "model/formats/safetensors.h"
#include "tests/support/program.h"
#include "trainer/run/backend_open.h"
#include "trainer/commands/command.h"

static ran_t ran;

/* Runs the program with the arguments up to NULL; the result is in `ran` until the next call. */
static void run(const char *const *args) {
    ran_free(&ran);
    ran = program_run(args);
}

#define RUN(...) run((const char *const[]){__VA_ARGS__, NULL})

/* One line on standard error, with the text; nothing on standard output. */
static void assert_refused(const char *text) {
    const char *newline = strchr(ran.err, '\n');
    bool one_line = newline && !newline[1];
    if (ran.status != 2 || !one_line || !strstr(ran.err, text) || *ran.out)
        fail_msg("status %d, expected one line with \"%s\", got: %s%s", ran.status, text, ran.out, ran.err);
}

static void assert_answered(const char *text) {
    if (ran.status != 0 || *ran.err || !strstr(ran.out, text))
        fail_msg("status %d, expected \"%s\", got: %s%s", ran.status, text, ran.out, ran.err);
}

static void help_and_version(void **state) {
    (void)state;
    char *const general[] = {"--help", "-h", "help"};
    for (size_t i = 0; i < 3; i++) {
        RUN(general[i]);
        for (size_t k = 0; k < n_commands; k++) {
            char *line = xasprintf("\n  qlora-train %s ", commands[k]->name);
            assert_answered(line);
            free(line);
        }
    }
    for (size_t k = 0; k < n_commands; k++) {
        RUN(commands[k]->name, "--help");
        assert_answered("usage: qlora-train ");
        char *first = xstrdup(ran.out);
        RUN(commands[k]->name, "-h");
        assert_answered(first);
        RUN("help", commands[k]->name);
        assert_answered(first);
        free(first);
    }
    RUN("--help");
    assert_answered("--gguf-lora FILE");
    RUN("--version");
    assert_answered("qlora-train " QLORA_VERSION " (own kernels, ");
    assert_non_null(strstr(ran.out, backend_has_cuda() ? "CUDA: yes" : "CUDA: no"));
}

static void unknown_commands(void **state) {
    (void)state;
    run((const char *const[]){NULL});
    assert_refused("command line: nothing to do; expected a config file or a command");
    RUN("quantise");
    assert_refused("command line: unknown command \"quantise\"; did you mean quantize?");
    RUN("help", "evl");
    assert_refused("command line: unknown command \"evl\"; did you mean eval?");
    RUN("dance");
    assert_refused("command line: \"dance\" is neither a command nor a config file");
    RUN("--frobnicate");
    assert_refused("\"--frobnicate\" is neither a command nor a config file");
    RUN("--versoin");
    assert_refused("\"--versoin\"");
    for (size_t k = 0; k < n_commands; k++) {
        RUN(commands[k]->name, "--hepl");
        assert_refused("command line: unknown option --hepl; did you mean --help?");
    }
}

static void missing_things(void **state) {
    (void)state;
    char *const with_config[] = {"train", "plan", "eval"};
    for (size_t k = 0; k < 3; k++) {
        RUN(with_config[k], "/nowhere/c.yaml");
        assert_refused("/nowhere/c.yaml: cannot open: No such file or directory");
        RUN(with_config[k]);
        assert_refused("expected CONFIG.yaml");
    }
    RUN("/nowhere/c.yaml");
    assert_refused("/nowhere/c.yaml: cannot open: No such file or directory");
    RUN("c.yml");
    assert_refused("c.yml: cannot open: No such file or directory");
    RUN("generate", "/nowhere/c.yaml", "--prompt", "x");
    assert_refused("/nowhere/c.yaml: cannot open");
    RUN("inspect", "/nowhere");
    assert_refused("/nowhere: no such file or directory");
    RUN("tokenize", "/nowhere");
    assert_refused("/nowhere");
    RUN("quantize", "/nowhere", "/nowhere/out");
    assert_refused("/nowhere");
    RUN("export", "/nowhere", "--adapter", "/nowhere/out");
    assert_refused("/nowhere");
}

static void prompts_and_numbers(void **state) {
    (void)state;
    RUN("generate", "/nowhere/c.yaml", "--prompt", "");
    assert_refused("--prompt: expected some text");
    static char *const numbers[] = {"1.7", "0x10", "-1", "", " 1", "1e3", "99999999999999999999", "9007199254740993"};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        RUN("generate", "/nowhere/c.yaml", "--prompt", "x", "--max-new-tokens", numbers[i]);
        assert_refused("--max-new-tokens: got \"");
        RUN("generate", "/nowhere/c.yaml", "--prompt", "x", "--seed", numbers[i]);
        assert_refused("; expected a whole number from 0 to 9007199254740992\n");
    }
    RUN("generate", "/nowhere/c.yaml", "--prompt", "x", "--seed", "9007199254740992", "--max-new-tokens", "0");
    assert_refused("/nowhere/c.yaml: cannot open");
    RUN("quantize", "/now\xe9here", "/nowhere/out");
    assert_refused("expected a path in UTF-8");
}

static void config_errors_have_a_place(void **state) {
    (void)state;
    err_t err = {0};
    char *path = path_join(test_tmpdir(), "c.yaml");
    static const char yaml[] = "model: {path: .}\nlora:\n  rnak: 4\n  lora_apha: 16\n";
    assert_ok(file_write(path, yaml, strlen(yaml), &err), err);
    RUN(path);
    assert_refused("c.yaml:3:3: lora.rnak: unknown key; expected one of r, lora_alpha");
    static const char good[] = "model: {path: .}\nlora:\n  r: 4\n";
    assert_ok(file_write(path, good, strlen(good), &err), err);
    RUN(path, "lora.r=0");
    assert_refused("command line: lora.r: got \"0\"; expected a whole number from 1 to 1024\n");
    RUN(path, "lora.lora_apha=4");
    assert_refused("command line: lora.lora_apha: unknown key; did you mean lora_alpha?");
    free(path);
}

/* What is quantized already keeps its quantization: asking for another is refused, or warned of. */
static void quantized_already(void **state) {
    (void)state;
    const char *dq = test_path("golden/tiny/llama-mha/bnb4");
    char *out = path_join(test_tmpdir(), "out");
    const char *fp4 = test_path("golden/tiny/llama-gqa-tied-odd/bnb4-fp4");
    RUN("quantize", dq, out, "--quant-type", "fp4");
    assert_refused("bnb4: quantized already, as nf4+dq, and stays so; expected no other --quant-type");
    RUN("quantize", dq, out, "--no-double-quant");
    assert_refused("as nf4+dq, and stays so; expected no --no-double-quant");
    RUN("quantize", fp4, out, "--quant-type=nf4");
    assert_refused("as fp4, and stays so");
    RUN("quantize", fp4, out, "--quant-type=fp4", "--no-double-quant");
    assert_int_equal(ran.status, 0);
    free(out);
}

/* A config of a tiny model and one row of tokens, `len` of them, to train and to evaluate on. */
static char *tiny_config(const char *model, size_t len) {
    err_t err = {0};
    const char *dir = test_tmpdir();
    char *path = path_join(dir, "c.yaml"), *rows = path_join(dir, "rows.jsonl");
    char *yaml = xasprintf("model: {path: %s}\ndata: {train: rows.jsonl, eval: rows.jsonl, max_length: 4096}\n"
                           "training: {output_dir: out}\ndevice: {threads: 1}\n",
                           model);
    strbuf_t s = {0};
    strbuf_adds(&s, "{\"input_ids\": [7");
    for (size_t i = 1; i < len; i++) strbuf_addf(&s, ", %zu", i % 300);
    strbuf_adds(&s, "]}\n");
    assert_ok(file_write(path, yaml, strlen(yaml), &err), err);
    assert_ok(file_write(rows, s.p, s.len, &err), err);
    free(yaml);
    free(s.p);
    free(rows);
    return path;
}

static size_t count(const char *text, const char *what) {
    size_t n = 0;
    for (const char *at = strstr(text, what); at; at = strstr(at + 1, what)) n++;
    return n;
}

static void warnings_of_a_plan(void **state) {
    (void)state;
    char *fits = tiny_config(test_path("golden/tiny/llama-mha"), 512);
    char *longer = tiny_config(test_path("golden/tiny/llama-mha/bnb4"), 513);
    RUN("plan", fits, "quantization.quant_type=fp4");
    assert_int_equal(ran.status, 0);
    assert_string_equal(ran.err, "");
    RUN("plan", longer);
    assert_int_equal(ran.status, 0);
    assert_int_equal(count(ran.err, "warning: "), 1);
    assert_non_null(strstr(ran.err, "a sample of 513 tokens is longer than the model's max_position_embeddings, 512"));
    RUN("eval", longer, "quantization.quant_type=fp4", "data.max_length=100");
    assert_int_equal(ran.status, 0);
    assert_int_equal(count(ran.err, "warning: "), 1);
    assert_non_null(strstr(ran.err, "bnb4 is quantized already: its own nf4+dq is kept"));
    free(fits);
    free(longer);
}

/* A copy of the golden directory's file, with what `tensor` holds replaced by `fill`, if it has one. */
static void copy_filled(const char *from_dir, const char *dir, const char *file, const char *tensor, bf16_t fill) {
    err_t err = {0};
    char *from = path_join(from_dir, file), *to = path_join(dir, file), *data = NULL;
    size_t len = 0;
    assert_ok(file_read(from, &data, &len, &err), err);
    if (tensor) {
        safetensors_t *st = NULL;
        assert_ok(safetensors_open(from, &st, &err), err);
        const st_tensor_t *t = safetensors_find(st, tensor);
        for (size_t i = 0; i < t->bytes; i += 2) memcpy(data + (t->data - st->map.data) + i, &fill, 2);
        safetensors_close(st);
    }
    assert_ok(file_write(to, data, len, &err), err);
    free(from);
    free(to);
    free(data);
}

/* A loss that is no number is an error, and nothing is printed that looks like a result. */
static void evaluating_nonsense(void **state) {
    (void)state;
    const char *golden = test_path("golden/tiny/llama-mha"), *dir = test_tmpdir();
    copy_filled(golden, dir, "config.json", NULL, 0);
    copy_filled(golden, dir, "model.safetensors", "model.norm.weight", 0x7f7f); /* the largest BF16 */
    char *config = tiny_config(dir, 20), *sane = tiny_config(golden, 20);
    RUN("eval", config);
    assert_int_equal(ran.status, 1);
    assert_string_equal(ran.err, "the loss is not finite\n");
    assert_null(strstr(ran.out, "eval_loss"));
    RUN("eval", sane);
    assert_int_equal(ran.status, 0);
    assert_non_null(strstr(ran.out, "{\"eval_loss\": "));
    free(config);
    free(sane);
}

/* The adapter of a checkpoint is used only if it is as it was written. */
static void damaged_adapters(void **state) {
    (void)state;
    err_t err = {0};
    const char *golden = test_path("golden/tiny/llama-mha"), *dir = test_tmpdir();
    char *config = tiny_config(golden, 20), *adapter = path_join(golden, "adapter");
    char *sums = path_join(dir, "checksums.json");
    copy_filled(adapter, dir, "adapter_config.json", NULL, 0);
    copy_filled(adapter, dir, "adapter_model.safetensors", NULL, 0);
    RUN("eval", config, "--adapter", dir);
    assert_int_equal(ran.status, 0);
    static const char other[] = "{\"adapter_config.json\": \"0123456789abcdef\"}";
    assert_ok(file_write(sums, other, strlen(other), &err), err);
    RUN("eval", config, "--adapter", dir);
    assert_int_equal(ran.status, 2);
    assert_non_null(strstr(ran.err, "adapter_config.json"));
    char *init = xasprintf("lora.init=%s", dir);
    RUN("eval", config, init);
    assert_int_equal(ran.status, 2);
    /* The directory above an adapter is not one, but the message says what is. */
    RUN("eval", config, "--adapter", golden);
    assert_int_equal(ran.status, 2);
    assert_non_null(strstr(ran.err, "llama-mha: no adapter (no adapter_config.json); expected "));
    assert_non_null(strstr(ran.err, "llama-mha/adapter\n"));
    free(init);
    free(config);
    free(adapter);
    free(sums);
}

static void inspecting(void **state) {
    (void)state;
    RUN("inspect", test_path("golden/tiny/llama-gqa-tied-odd"));
    assert_answered("sizes       2 layers, hidden 96, FFN 200, heads 6/2 of 16, vocabulary 320");
    assert_answered("parameters  195552: linear 164352, embedding 30720, head 0, norms and biases 480\n");
    assert_answered("  linear     BF16        14 tensors         164352 values");
    RUN("inspect", test_path("golden/tiny/llama-mha/bnb4"));
    assert_answered("  linear     nf4+dq      14 tensors         327680 values");
    RUN("inspect", test_path("golden/tiny/llama-mha/adapter"));
    assert_answered("lora        r 4, alpha 8, dropout 0, F32\n"
                    "targets     down_proj, gate_proj, k_proj, o_proj, q_proj, up_proj, v_proj\n"
                    "tensors     28, 17408 values\n");
    RUN("inspect", test_path("support/testing.c"));
    assert_refused("testing.c: a file of an unknown kind; expected .gguf, .jsonl, .json (an array) or .txt");
    RUN("inspect", test_path("golden"));
    assert_refused("golden: no model, adapter or checkpoint");
}

static void inspecting_data(void **state) {
    (void)state;
    err_t err = {0};
    char *path = path_join(test_tmpdir(), "d.jsonl");
    static const char rows[] = "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}, "
                               "{\"role\": \"assistant\", \"content\": \"b\"}]}\n"
                               "{\"messages\": [{\"role\": \"user\", \"content\": \"c\"}]}\n";
    assert_ok(file_write(path, rows, strlen(rows), &err), err);
    RUN("inspect", path);
    assert_answered("d.jsonl: data, messages, 2 rows\nfirst row   keys messages\nturns       user, assistant\n");
    static const char tokens[] = "{\"input_ids\": [5, 6, 7], \"labels\": [-100, -100, 7]}\n";
    assert_ok(file_write(path, tokens, strlen(tokens), &err), err);
    RUN("inspect", path);
    assert_answered("samples     1 from 1 rows, 3 tokens, 1 trained, longest 3\n");
    assert_answered("[[7]]");
    static const char broken[] = "{\"text\": \"a\"}\n{\"text\": \n";
    assert_ok(file_write(path, broken, strlen(broken), &err), err);
    RUN("inspect", path);
    assert_refused("d.jsonl:2");
    RUN("inspect", path, "--max-length", "many");
    assert_refused("command line: --max-length: got \"many\"; expected a whole number from 2 to 1048576");
    free(path);
}

/* Rows as programs read them: one object a row, and nothing beside them. */
static void rows_for_programs(void **state) {
    (void)state;
    err_t err = {0};
    char *path = path_join(test_tmpdir(), "d.jsonl");
    static const char tokens[] =
        "{\"input_ids\": [5, 6, 7, 0], \"attention_mask\": [1, 1, 1, 0]}\n"
        "{\"input_ids\": [5, \"x\"]}\n"
        "{\"input_ids\": [5\n"
        "{\"input_ids\": [8, 9], \"labels\": [-100, -100], \"id\": 123456789012345678901234567890}\n";
    assert_ok(file_write(path, tokens, strlen(tokens), &err), err);
    RUN("inspect", path, "--jsonl", "--row", "1");
    assert_answered("");
    assert_string_equal(ran.out, "{\"row\": 1, \"input_ids\": [5, 6, 7], \"labels\": [-100, 6, 7]}\n");
    RUN("inspect", path, "--jsonl", "--row=1", "--max-length=2");
    assert_string_equal(ran.out, "{\"row\": 1, \"input_ids\": [5, 6], \"labels\": [-100, 6]}\n");
    RUN("inspect", path, "--jsonl");
    assert_int_equal(ran.status, 2);
    char *want = xasprintf("{\"row\": 1, \"input_ids\": [5, 6, 7], \"labels\": [-100, 6, 7]}\n"
                           "{\"row\": 2, \"error\": \"%s:2: input_ids[1]: expected a token id\"}\n"
                           "{\"row\": 3, \"error\": \"%s:3: not valid JSON: ']' expected near end of file; expected a "
                           "row on one line, or an array [...] of rows\"}\n"
                           "{\"row\": 4, \"input_ids\": [8, 9], \"labels\": [-100, -100]}\n",
                           path, path);
    assert_string_equal(ran.out, want);
    free(want);
    RUN("inspect", path, "--jsonl", "--row=5");
    assert_refused("--row: 5; ");
    RUN("inspect", path, "--rows=2", "--row=1");
    assert_refused("--rows and --row: expected one of them");
    RUN("inspect", path, "--train-on=first");
    assert_refused("--train-on: first; expected completion, last or all");
    RUN("inspect", path, "--chat-template-date=2023-02-29");
    assert_refused("--chat-template-date: 2023-02-29; expected a date YYYY-MM-DD");
    RUN("inspect", path, "--chat-template-kwargs=[]");
    assert_refused("--chat-template-kwargs: expected an object");
    /* A model's vocabulary bounds the ids, as in a run. */
    static const char beyond[] = "{\"input_ids\": [1, 320]}\n";
    assert_ok(file_write(path, beyond, strlen(beyond), &err), err);
    RUN("inspect", path, "--model", test_path("golden/tiny/llama-mha"), "--jsonl");
    assert_int_equal(ran.status, 2);
    assert_non_null(strstr(ran.out, "input_ids[1]: 320 is no token id; expected 0 to 319"));
    /* Text needs a tokenizer; what it becomes says all that is trained. */
    static const char text[] =
        "{\"prompt\": \"1+1=\", \"completion\": \" \\u00e9\\\"\"}\n{\"prompt\": \"\", \"completion\": \"a b\"}\n";
    assert_ok(file_write(path, text, strlen(text), &err), err);
    RUN("inspect", path, "--jsonl");
    assert_refused("--jsonl: rows of the format prompt-completion need --model");
    RUN("inspect", path, "--model", test_path("golden/tokenizer/tokenizer.json"), "--jsonl", "--rows", "1");
    assert_answered("{\"row\": 1, \"text\": \"1+1= \xc3\xa9\\\"\", \"input_ids\": [33, 27, 33, 45, ");
    assert_answered("\"labels\": [-100, -100, -100, -100, ");
    RUN("inspect", path, "--model", test_path("golden/tokenizer/tokenizer.json"), "--rows", "2");
    assert_answered(
        "row 1 (trained between [[ and ]]):\n1+1=[[ \xc3\xa9\"]]\nrow 2 (trained between [[ and ]]):\na[[ b]]\n");
    free(path);
}

/* A template that reads variables of its own, and the date. */
static void variables_of_a_template(void **state) {
    (void)state;
    err_t err = {0};
    const char *dir = test_tmpdir();
    char *path = path_join(dir, "d.jsonl"), *jinja = path_join(dir, "t.jinja");
    static const char row[] = "{\"messages\": [{\"role\": \"user\", \"content\": \"Q\"}, {\"role\": \"assistant\", "
                              "\"content\": \"A\"}]}\n";
    static const char text[] =
        "{{ strftime_now('%d %B %Y') }} {{ mood }}{% for m in messages %}<|im_start|>{{ m.content "
        "}}<|im_end|>{% endfor %}{% if add_generation_prompt %}<|im_start|>{% endif %}";
    assert_ok(file_write(path, row, strlen(row), &err) || file_write(jinja, text, strlen(text), &err), err);
    RUN("inspect", path, "--model", test_path("golden/tokenizer/tokenizer.json"), "--chat-template", jinja,
        "--chat-template-date=2024-07-26", "--chat-template-kwargs={\"mood\": \"good\"}", "--jsonl");
    assert_answered("\"text\": \"26 July 2024 good<|im_start|>Q<|im_end|><|im_start|>A<|im_end|>\"");
    RUN("inspect", path, "--model", test_path("golden/tokenizer/tokenizer.json"), "--chat-template", "chatml");
    assert_answered("template    chatml\n");
    free(path);
    free(jinja);
}

/* An answer that is lost is a failure, not a success. */
static void full_disk(void **state) {
    (void)state;
    ran_free(&ran);
    ran = program_run_to("/dev/full", (const char *const[]){"--help", NULL});
    assert_int_equal(ran.status, 1);
    assert_string_equal(ran.err, "standard output: cannot write\n");
}

/* Of several processes on one pipe no line comes into the middle of another's: each is one write, which is what one read
 * of such a pipe gives. */
static void whole_lines(void **state) {
    (void)state;
    char *argv[] = {"qlora-train", "dance", NULL}, line[512] = "";
    int ends[2];
    pid_t pid;
    assert_int_equal(pipe2(ends, O_DIRECT | O_CLOEXEC), 0);
    posix_spawn_file_actions_t files;
    posix_spawn_file_actions_init(&files);
    posix_spawn_file_actions_adddup2(&files, ends[1], STDERR_FILENO);
    assert_int_equal(posix_spawn(&pid, TEST_PROGRAM, &files, NULL, argv, environ), 0);
    posix_spawn_file_actions_destroy(&files);
    assert_true(read(ends[0], line, sizeof line - 1) > 0);
    assert_non_null(strstr(line, "\"dance\" is neither a command nor a config file; see qlora-train --help\n"));
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    close(ends[0]);
    close(ends[1]);
}

static int teardown(void **state) {
    (void)state;
    ran_free(&ran);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(help_and_version),    cmocka_unit_test(unknown_commands),
        cmocka_unit_test(whole_lines),         cmocka_unit_test(prompts_and_numbers),
        cmocka_unit_test(missing_things),      cmocka_unit_test(config_errors_have_a_place),
        cmocka_unit_test(quantized_already),   cmocka_unit_test(warnings_of_a_plan),
        cmocka_unit_test(evaluating_nonsense), cmocka_unit_test(damaged_adapters),
        cmocka_unit_test(inspecting),          cmocka_unit_test(inspecting_data),
        cmocka_unit_test(rows_for_programs),   cmocka_unit_test(variables_of_a_template),
        cmocka_unit_test(full_disk),
    };
    return cmocka_run_group_tests(tests, NULL, teardown);
}
