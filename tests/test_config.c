#include "tests/testing.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/rng.h"
#include "trainer/config.h"
#include "trainer/config_schema.h"

/* A directory with what configs refer to: model/, train.jsonl, more.jsonl, eval.jsonl, adapter/. */
static const char *dir;
static char *config_path;

static int setup(void **state) {
    (void)state;
    err_t err = {0};
    dir = test_tmpdir();
    config_path = path_join(dir, "c.yaml");
    static const char *const dirs[] = {"model", "adapter"};
    static const char *const files[] = {"train.jsonl", "more.jsonl", "eval.jsonl"};
    for (size_t i = 0; i < 2; i++) {
        char *p = path_join(dir, dirs[i]);
        assert_ok(dir_make(p, &err), err);
        free(p);
    }
    for (size_t i = 0; i < 3; i++) {
        char *p = path_join(dir, files[i]);
        assert_ok(file_write(p, "{}\n", 3, &err), err);
        free(p);
    }
    return chdir(dir);
}

static int teardown(void **state) {
    (void)state;
    free(config_path);
    return 0;
}

static int load_bytes(const char *yaml, size_t len, char *const *overrides, size_t n, config_use_t use, config_t *c,
                      err_t *err) {
    assert_ok(file_write(config_path, yaml, len, err), *err);
    return config_load("c.yaml", overrides, n, use, c, err);
}

static int load(const char *yaml, config_t *c, err_t *err) {
    return load_bytes(yaml, strlen(yaml), NULL, 0, CONFIG_TRAIN, c, err);
}

/* The whole message, not a part of it. */
#define assert_message(expr, err, expected)                    \
    do {                                                       \
        assert_error(expr, err, ERR_USAGE, expected);          \
        assert_string_equal((err).msg, expected);              \
    } while (0)

/* What every config needs, after its first lines. */
#define REST "model: {path: model}\ndata: {train: train.jsonl}\ntraining: {output_dir: out}\n"
#define MINIMAL REST

#define WHOLE(min, max) "expected a whole number from " #min " to " #max
#define LINEARS "all-linear or a list of q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj and down_proj"

static const struct {
    const char *yaml, *message;
} bad[] = {
    /* names */
    {"lora: {rank: 4}\n" REST, "c.yaml:1:8: lora.rank: unknown key; expected one of r, lora_alpha, lora_dropout, "
                               "target_modules, use_rslora, dtype, init"},
    {"lora:\n  r: 4\n  lora_apha: 8\n" REST, "c.yaml:3:3: lora.lora_apha: unknown key; did you mean lora_alpha?"},
    {"lora:\n  alpha: 8\n" REST, "c.yaml:2:3: lora.alpha: unknown key; did you mean lora_alpha?"},
    {"lora: {learning_rate: 1}\n" REST,
     "c.yaml:1:8: lora.learning_rate: unknown key; did you mean training.learning_rate?"},
    {"model: {path: model}\ntraining: {epochs: 1}\n",
     "c.yaml:2:12: training.epochs: unknown key; did you mean num_train_epochs?"},
    {"traning: {seed: 1}\n" REST, "c.yaml:1:1: traning: unknown section; expected model, quantization, lora, data, "
                                  "training or device; did you mean training?"},
    {"learning_rate: 1e-4\n" REST,
     "c.yaml:1:1: learning_rate: a key outside of its section; did you mean training.learning_rate?"},
    {"zzz: 1\n" REST,
     "c.yaml:1:1: zzz: unknown section; expected model, quantization, lora, data, training or device"},
    {"lora: {r: 4, r: 5}\n" REST, "c.yaml:1:14: lora.r: the key is there twice, first in line 1; expected once"},
    {"lora: {r: 4}\nlora: {dtype: f32}\n" REST,
     "c.yaml:2:1: lora: the section is there twice, first in line 1; expected once"},
    {"lora: {}\nlora: {}\n" REST, "c.yaml:2:1: lora: the section is there twice, first in line 1; expected once"},
    {"lora: 4\n" REST, "c.yaml:1:7: lora: not a mapping; expected keys (r, lora_alpha, lora_dropout, target_modules, "
                       "use_rslora, dtype, init)"},
    {"lora: [r]\n" REST, "c.yaml:1:7: lora: not a mapping; expected keys (r, lora_alpha, lora_dropout, "
                         "target_modules, use_rslora, dtype, init)"},
    /* whole numbers */
    {"lora:\n  r: sixteen\n" REST, "c.yaml:2:6: lora.r: got \"sixteen\"; " WHOLE(1, 1024)},
    {"lora: {r: 0}\n" REST, "c.yaml:1:11: lora.r: got \"0\"; " WHOLE(1, 1024)},
    {"lora: {r: 1025}\n" REST, "c.yaml:1:11: lora.r: got \"1025\"; " WHOLE(1, 1024)},
    {"lora: {r: -1}\n" REST, "c.yaml:1:11: lora.r: got \"-1\"; " WHOLE(1, 1024)},
    {"lora: {r: 16.0}\n" REST, "c.yaml:1:11: lora.r: got \"16.0\"; " WHOLE(1, 1024)},
    {"lora: {r: 0x10}\n" REST, "c.yaml:1:11: lora.r: got \"0x10\"; " WHOLE(1, 1024)},
    {"lora: {r: 010}\n" REST, "c.yaml:1:11: lora.r: got \"010\"; " WHOLE(1, 1024)},
    {"lora: {r: '16'}\n" REST, "c.yaml:1:11: lora.r: got the string \"16\"; " WHOLE(1, 1024)},
    {"lora: {r: 99999999999999999999999}\n" REST,
     "c.yaml:1:11: lora.r: got \"99999999999999999999999\"; " WHOLE(1, 1024)},
    {"lora: {r: }\n" REST, "c.yaml:1:11: lora.r: no value; " WHOLE(1, 1024)},
    {"lora: {r: null}\n" REST, "c.yaml:1:11: lora.r: no value; " WHOLE(1, 1024)},
    {"lora: {r: {a: {b: [c]}}}\n" REST, "c.yaml:1:11: lora.r: a mapping; " WHOLE(1, 1024)},
    {"lora: {r: [1]}\n" REST, "c.yaml:1:11: lora.r: a list; " WHOLE(1, 1024)},
    {"device: {threads: 0}\n" REST,
     "c.yaml:1:19: device.threads: got \"0\"; expected auto or a whole number from 1 to 1024"},
    {"data: {train: train.jsonl, max_length: 1}\n", "c.yaml:1:40: data.max_length: got \"1\"; " WHOLE(2, 1048576)},
    {"training: {output_dir: o, max_steps: 0}\n",
     "c.yaml:1:38: training.max_steps: got \"0\"; expected -1 (all epochs) or "
                                                  "a whole number from 1 to 1000000000"},
    {"training: {output_dir: o, seed: 9007199254740992}\n", "c.yaml:1:33: training.seed: got \"9007199254740992\"; "
                                                            "expected a whole number from 0 to 9007199254740991"},
    /* real numbers */
    {"lora: {lora_dropout: 1}\n" REST,
     "c.yaml:1:22: lora.lora_dropout: got \"1\"; expected a number of at least 0 and below 1"},
    {"lora: {lora_dropout: .nan}\n" REST,
     "c.yaml:1:22: lora.lora_dropout: got \".nan\"; expected a number of at least 0 and below 1"},
    {"lora: {lora_alpha: .inf}\n" REST,
     "c.yaml:1:20: lora.lora_alpha: got \".inf\"; expected a number above 0 and at most 1000000"},
    {"lora: {lora_alpha: inf}\n" REST,
     "c.yaml:1:20: lora.lora_alpha: got \"inf\"; expected a number above 0 and at most 1000000"},
    {"lora: {lora_alpha: 1e999}\n" REST,
     "c.yaml:1:20: lora.lora_alpha: got \"1e999\"; expected a number above 0 and at most 1000000"},
    {"training: {output_dir: o, adam_epsilon: 1e-999}\n",
     "c.yaml:1:41: training.adam_epsilon: got \"1e-999\"; expected a number above 0 and at most 1"},
    {"training: {output_dir: o, learning_rate: 2e}\n",
     "c.yaml:1:42: training.learning_rate: got \"2e\"; expected a number from 0 to 10"},
    {"training: {output_dir: o, warmup_ratio: 3%}\n",
     "c.yaml:1:41: training.warmup_ratio: got \"3%\"; expected a number from 0 to 1"},
    {"training: {output_dir: o, num_train_epochs: 0}\n",
     "c.yaml:1:45: training.num_train_epochs: got \"0\"; expected a number above 0 and at most 1000000"},
    /* words */
    {"quantization: {quant_type: nf5}\n" REST, "c.yaml:1:28: quantization.quant_type: got \"nf5\"; expected nf4, fp4, "
                                               "int4, int8 or none; did you mean nf4?"},
    {"quantization: {double_quant: yes}\n" REST,
     "c.yaml:1:30: quantization.double_quant: got \"yes\"; expected true or false"},
    {"quantization: {double_quant: 'true'}\n" REST,
     "c.yaml:1:30: quantization.double_quant: got the string \"true\"; expected true or false"},
    {"quantization: {compute_dtype: f16}\n" REST,
     "c.yaml:1:31: quantization.compute_dtype: got \"f16\"; expected auto, bf16 or f32; did you mean bf16?"},
    {"lora: {dtype: fp32}\n" REST, "c.yaml:1:15: lora.dtype: got \"fp32\"; expected bf16 or f32; did you mean f32?"},
    {"device: {backend: gpu}\n" REST,
     "c.yaml:1:19: device.backend: got \"gpu\"; expected auto, cpu or cuda; did you mean cpu?"},
    {"device: {page_weights: true}\n" REST, "c.yaml:1:24: device.page_weights: got \"true\"; expected never or auto"},
    {"training: {output_dir: o, gradient_checkpointing: on}\n",
     "c.yaml:1:51: training.gradient_checkpointing: got \"on\"; expected auto, true or false"},
    {"training: {output_dir: o, optim: adamw_torch}\n",
     "c.yaml:1:34: training.optim: got \"adamw_torch\"; expected paged_adamw_32bit, adamw_32bit, "
     "paged_adamw_8bit or adamw_8bit"},
    {"training: {output_dir: o, optim: paged_adam_32bit}\n",
     "c.yaml:1:34: training.optim: got \"paged_adam_32bit\"; expected paged_adamw_32bit, adamw_32bit, "
     "paged_adamw_8bit or adamw_8bit; did you mean paged_adamw_32bit?"},
    /* sizes */
    {"device: {memory_limit: 4GB}\n" REST,
     "c.yaml:1:24: device.memory_limit: got \"4GB\"; expected auto or a size of at "
                                           "least 4096 bytes such as 512MiB or 4GiB; did you mean 4GiB?"},
    {"device: {memory_limit: 0}\n" REST,
     "c.yaml:1:24: device.memory_limit: got \"0\"; expected auto or a size of at least "
                                         "4096 bytes such as 512MiB or 4GiB"},
    {"device: {memory_limit: 99999999TiB}\n" REST,
     "c.yaml:1:24: device.memory_limit: got \"99999999TiB\"; expected auto or "
                                                   "a size of at least 4096 bytes such as 512MiB or 4GiB"},
    /* lists */
    {"lora: {target_modules: []}\n" REST, "c.yaml:1:24: lora.target_modules: an empty list; expected " LINEARS},
    {"lora:\n  target_modules:\n  - q_proj\n  - qproj\n" REST,
     "c.yaml:4:5: lora.target_modules: got \"qproj\"; expected " LINEARS "; did you mean q_proj?"},
    {"lora: {target_modules: q_proj}\n" REST, "c.yaml:1:24: lora.target_modules: got \"q_proj\"; expected " LINEARS},
    {"lora: {target_modules: all_linear}\n" REST,
     "c.yaml:1:24: lora.target_modules: got \"all_linear\"; expected " LINEARS "; did you mean all-linear?"},
    {"lora: {target_modules: [[q_proj]]}\n" REST,
     "c.yaml:1:25: lora.target_modules: not a single value; expected " LINEARS},
    {"data: {train: []}\n", "c.yaml:1:15: data.train: an empty list; expected a file or a list of files"},
    {"data: {train: [train.jsonl, {a: b}]}\n",
     "c.yaml:1:29: data.train: not a single value; expected a file or a list of files"},
    {"data: {train: ''}\n", "c.yaml:1:15: data.train: no value; expected a file or a list of files"},
    /* YAML */
    {"", "c.yaml:1:1: the config is empty; expected sections (model, data, ...)"},
    {"# nothing yet\n", "c.yaml:1:1: the config is empty; expected sections (model, data, ...)"},
    {"---\n", "c.yaml:1:1: the config is empty; expected sections (model, data, ...)"},
    {"- a\n", "c.yaml:1:1: not a mapping; expected sections (model, data, ...)"},
    {"model\n", "c.yaml:1:1: not a mapping; expected sections (model, data, ...)"},
    {"lora:\n\tr: 4\n", "c.yaml:2:1: not valid YAML: a tab in front; expected spaces"},
    {"lora: {r: 4\n", "c.yaml:2:1: not valid YAML: did not find expected ',' or '}'"},
    {"lora: &a {r: 4}\n", "c.yaml:1:7: anchors (&) and aliases (*) are not supported; expected plain values"},
    {"lora: {r: *a}\n", "c.yaml:1:11: anchors (&) and aliases (*) are not supported; expected plain values"},
    {"lora: {r: !!int 4}\n", "c.yaml:1:11: tags (!) are not supported; expected plain values"},
    {"lora: {r: 4}\n---\nlora: {r: 5}\n", "c.yaml:2:1: a second document; expected one"},
    {"{[a]: b}\n", "c.yaml:1:2: a key that is no name; expected a name"},
    {"lora: {dtype: \"a\\0b\"}\n", "c.yaml:1:15: a NUL character in a value; expected text"},
    {"lora: {dtype: \xff}\n", "c.yaml:1:15: not valid YAML: invalid leading UTF-8 octet"},
    /* the whole */
    {"data: {train: train.jsonl}\n", "c.yaml:1:1: model.path: missing; expected a model directory or a GGUF file"},
    {"\nmodel:\ndata: {train: train.jsonl}\n",
     "c.yaml:2:1: model.path: missing; expected a model directory or a GGUF file"},
    {"model: {path: model}\ntraining: {output_dir: out}\n",
     "c.yaml:1:1: data.train: missing; expected a file or a list of files"},
    {"model: {path: model}\ndata: {train: train.jsonl}\n",
     "c.yaml:1:1: training.output_dir: missing; expected a directory for the run"},
    {"training: {output_dir: out, eval_steps: 5}\nmodel: {path: model}\ndata: {train: train.jsonl}\n",
     "c.yaml:1:41: training.eval_steps: evaluation without data; expected a file in data.eval, or 0"},
};

static void bad_configs(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        config_t c;
        err_t err = {0};
        int rc = load(bad[i].yaml, &c, &err);
        if (rc != ERR_USAGE || strcmp(err.msg, bad[i].message) != 0)
            fail_msg("case %zu\n%s\nstatus %d\ngot      %s\nexpected %s", i, bad[i].yaml, rc, err.msg, bad[i].message);
        assert_null(c.path);
    }
}

static void paths_must_exist(void **state) {
    (void)state;
    static const struct {
        const char *yaml, *place, *what;
    } cases[] = {
        {"model: {path: modle}\ndata: {train: train.jsonl}\ntraining: {output_dir: out}\n",
         "c.yaml:1:15: model.path: ", "/modle: No such file or directory; expected an existing path"},
        {"model: {path: model}\ndata:\n  train: [train.jsonl, t.jsonl]\ntraining: {output_dir: out}\n",
         "c.yaml:3:10: data.train: ", "/t.jsonl: No such file or directory; expected an existing path"},
        {"model: {path: model}\ndata:\n  train: model\ntraining: {output_dir: out}\n",
         "c.yaml:3:10: data.train: ", "/model: a directory; expected a file"},
        {MINIMAL "lora: {init: nowhere}\n", "c.yaml:4:14: lora.init: ", "/nowhere: No such file"},
        {MINIMAL "lora: {init: train.jsonl}\n", "c.yaml:4:14: lora.init: ", "/train.jsonl: not a directory"},
        {"model: {path: model}\ndata: {train: train.jsonl, eval: e}\ntraining: {output_dir: out}\n",
         "c.yaml:2:34: data.eval: ", "/e: No such file"},
        {"model: {path: model}\ndata: {train: train.jsonl}\ntraining: {output_dir: train.jsonl}\n",
         "c.yaml:3:24: training.output_dir: ", "/train.jsonl: not a directory"},
        {"model: {path: model}\ndata: {train: train.jsonl}\ntraining: {output_dir: o, resume_from_checkpoint: x}\n",
         "c.yaml:3:51: training.resume_from_checkpoint: ", "/x: No such file"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        config_t c;
        err_t err = {0};
        assert_error(load(cases[i].yaml, &c, &err), err, ERR_USAGE, cases[i].what);
        if (strncmp(err.msg, cases[i].place, strlen(cases[i].place)) != 0)
            fail_msg("expected %s..., got %s", cases[i].place, err.msg);
    }
    config_t c;
    err_t err = {0};
    assert_error(config_load("no.yaml", NULL, 0, CONFIG_TRAIN, &c, &err), err, ERR_USAGE,
        "no.yaml: cannot open: No such file");
    assert_error(config_load("nodir/no.yaml", NULL, 0, CONFIG_TRAIN, &c, &err), err, ERR_USAGE,
        "nodir/no.yaml: cannot open");
    assert_error(config_load("model", NULL, 0, CONFIG_TRAIN, &c, &err), err, ERR_USAGE, "model: not a regular file");
}

static void defaults(void **state) {
    (void)state;
    config_t c;
    err_t err = {0};
    assert_ok(load(MINIMAL, &c, &err), err);
    assert_int_equal(c.quantization.quant_type, QUANT_NF4);
    assert_true(c.quantization.double_quant);
    assert_int_equal(c.quantization.compute_dtype, COMPUTE_AUTO);
    assert_int_equal(c.lora.r, 16);
    assert_true(c.lora.alpha == 16 && c.lora.dropout == 0 && !c.lora.use_rslora && !c.lora.f32);
    for (int i = 0; i < 7; i++) assert_true(c.lora.targets[i]);
    assert_null(c.lora.init);
    assert_int_equal(c.data.n_train, 1);
    assert_null(c.data.eval);
    assert_int_equal(c.data.format, DATA_AUTO);
    assert_int_equal(c.data.chat_template, CHAT_AUTO);
    assert_int_equal(c.data.max_length, 1024);
    assert_true(!c.data.train_all && c.data.packing && c.data.shuffle && !c.data.group_by_length);
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
    assert_string_equal(c.training.resume, "auto");
    assert_string_equal(c.device.backend, "auto");
    assert_true(c.device.memory_limit == 0 && c.device.page_weights && c.device.threads == 0);
    assert_null(c.device.spill);
    config_free(&c);
}

/* Every key, each away from its default. */
static const char everything[] =
    "model: {path: model}\n"
    "quantization: {quant_type: int8, double_quant: FALSE, compute_dtype: f32}\n"
    "lora:\n"
    "  r: 64\n"
    "  lora_alpha: 0.5\n"
    "  lora_dropout: 0.1\n"
    "  target_modules: [v_proj, q_proj, v_proj]\n"
    "  use_rslora: true\n"
    "  dtype: f32\n"
    "  init: \"adapter\"\n"
    "data: {train: [train.jsonl, ./more.jsonl], eval: eval.jsonl, format: prompt-completion, chat_template: zephyr,\n"
    "       max_length: 512, train_on: all, packing: false, shuffle: false, group_by_length: true}\n"
    "training: {output_dir: out/, num_train_epochs: 2.5, max_steps: 7, per_device_train_batch_size: 2,\n"
    "  gradient_accumulation_steps: 3, learning_rate: 1e-4, lr_scheduler_type: constant_with_warmup,\n"
    "  warmup_ratio: .03, warmup_steps: 5, weight_decay: 0.01, max_grad_norm: 1, seed: 9007199254740991,\n"
    "  optim: adamw_8bit, adam_beta1: 0.8, adam_beta2: 0.95, adam_epsilon: 1e-6, gradient_checkpointing: false,\n"
    "  logging_steps: 10, eval_steps: 20, save_steps: 30, save_total_limit: 0, resume_from_checkpoint: adapter}\n"
    "device: {backend: cpu, memory_limit: 1.5 GiB, page_weights: never, spill: tmp, threads: 3}\n";

static void assert_path(const char *got, const char *name) {
    char real[4096];
    assert_non_null(getcwd(real, sizeof real));
    char *expected = path_join(real, name);
    assert_string_equal(got, expected);
    free(expected);
}

static void every_key(void **state) {
    (void)state;
    config_t c;
    err_t err = {0};
    assert_ok(load(everything, &c, &err), err);
    assert_path(c.model.path, "model");
    assert_int_equal(c.quantization.quant_type, QUANT_INT8);
    assert_false(c.quantization.double_quant);
    assert_int_equal(c.quantization.compute_dtype, COMPUTE_F32);
    assert_true(c.lora.r == 64 && c.lora.alpha == 0.5 && c.lora.dropout == 0.1 && c.lora.use_rslora && c.lora.f32);
    for (int i = 0; i < 7; i++) assert_int_equal(c.lora.targets[i], i == 0 || i == 2);
    assert_path(c.lora.init, "adapter");
    assert_int_equal(c.data.n_train, 2);
    assert_path(c.data.train[0], "train.jsonl");
    assert_path(c.data.train[1], "more.jsonl");
    assert_path(c.data.eval, "eval.jsonl");
    assert_int_equal(c.data.format, DATA_PROMPT_COMPLETION);
    assert_int_equal(c.data.chat_template, CHAT_ZEPHYR);
    assert_true(c.data.max_length == 512 && c.data.train_all && c.data.group_by_length);
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
    assert_path(c.training.resume, "adapter");
    assert_string_equal(c.device.backend, "cpu");
    assert_true(c.device.memory_limit == 3ull << 29 && !c.device.page_weights && c.device.threads == 3);
    assert_path(c.device.spill, "tmp");
    config_free(&c);
}

static void round_trip(void **state) {
    (void)state;
    static const char *const configs[] = {MINIMAL, everything};
    for (size_t i = 0; i < 2; i++) {
        config_t c, again;
        err_t err = {0};
        assert_ok(load(configs[i], &c, &err), err);
        char *yaml = config_to_yaml(&c);
        assert_ok(load(yaml, &again, &err), err);
        char *yaml_again = config_to_yaml(&again);
        assert_string_equal(yaml, yaml_again);
        assert_true(config_run_id(&c) == config_run_id(&again));
        /* Written and read values agree as values, not only as text. */
        assert_true(c.training.learning_rate == again.training.learning_rate);
        assert_memory_equal(c.lora.targets, again.lora.targets, sizeof c.lora.targets);
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
    assert_ok(load(yaml, &again, &err), err);
    assert_string_equal(c.training.output_dir, again.training.output_dir);
    free(yaml);
    config_free(&c);
    config_free(&again);
}

/* A directory may have any bytes in its name; what is written to JSON may not. */
static void paths_are_utf8(void **state) {
    (void)state;
    config_t c;
    err_t err = {0};
    assert_int_equal(mkdir("latin1-\xe9", 0700), 0);
    assert_ok(file_write("latin1-\xe9/c.yaml", MINIMAL, strlen(MINIMAL), &err), err);
    assert_error(config_load("latin1-\xe9/c.yaml", NULL, 0, CONFIG_TRAIN, &c, &err), err, ERR_USAGE,
        "c.yaml:1:15: model.path: ");
    assert_error(err.code, err, ERR_USAGE, "/model; expected a path in UTF-8");
}

static void overrides_win(void **state) {
    (void)state;
    config_t c;
    err_t err = {0};
    static char *const overrides[] = {"lora.r=8", "data.train=[more.jsonl, train.jsonl]", "training.learning_rate=1e-5",
                                      "training.learning_rate=3e-5", "data.eval=eval.jsonl", "data.eval=",
                                      "lora.target_modules=[o_proj]", "device.memory_limit=512MiB"};
    assert_ok(load_bytes(everything, strlen(everything), overrides, 8, CONFIG_EVAL, &c, &err) == ERR_USAGE ? 0 : 1,
        err);
    assert_string_equal(err.msg, "command line: data.eval: missing; expected a file");
    err.code = 0;
    assert_ok(load_bytes(everything, strlen(everything), overrides, 5, CONFIG_TRAIN, &c, &err), err);
    assert_int_equal(c.lora.r, 8);
    assert_int_equal(c.data.n_train, 2);
    assert_path(c.data.train[0], "more.jsonl");
    assert_true(c.training.learning_rate == 3e-5);
    config_free(&c);
    assert_ok(load_bytes(MINIMAL, strlen(MINIMAL), overrides, 8, CONFIG_TRAIN, &c, &err), err);
    assert_null(c.data.eval);
    for (int i = 0; i < 7; i++) assert_int_equal(c.lora.targets[i], i == 3);
    assert_true(c.device.memory_limit == 512u << 20);
    config_free(&c);
}

static void bad_overrides(void **state) {
    (void)state;
    static const struct {
        char *arg;
        const char *message;
    } cases[] = {
        {"lora.r", "command line: \"lora.r\" is no override; expected section.key=value"},
        {"r=4", "command line: \"r=4\" is no override; expected section.key=value"},
        {"lora.=4", "command line: \"lora.=4\" is no override; expected section.key=value"},
        {".r=4", "command line: \".r=4\" is no override; expected section.key=value"},
        {"lora.r=x", "command line: lora.r: got \"x\"; " WHOLE(1, 1024)},
        {"lora.r=", "command line: lora.r: no value; " WHOLE(1, 1024)},
        {"lora.r={a: b}", "command line: lora.r: a mapping; " WHOLE(1, 1024)},
        {"lora.r=[1", "command line: lora.r: not valid YAML: did not find expected ',' or ']'"},
        {"lora.r=&a 4", "command line: lora.r: anchors (&) and aliases (*) are not supported; expected plain values"},
        {"lora.lora_apha=4", "command line: lora.lora_apha: unknown key; did you mean lora_alpha?"},
        {"lroa.r=4", "command line: lroa: unknown section; expected model, quantization, lora, data, "
                     "training or device; did you mean lora?"},
        {"training.eval_steps=3",
         "command line: training.eval_steps: evaluation without data; expected a file in data.eval, or 0"},
        {"data.train=[train.jsonl, '']", "command line: data.train: no value; expected a file or a list of files"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        config_t c;
        err_t err = {0};
        char *const overrides[] = {cases[i].arg};
        assert_message(load_bytes(MINIMAL, strlen(MINIMAL), overrides, 1, CONFIG_TRAIN, &c, &err), err,
            cases[i].message);
    }
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
    static char *const same[] = {"training.save_steps=7",         "training.logging_steps=3", "device.threads=2",
                                 "training.output_dir=elsewhere", "data.eval=eval.jsonl",     "device.backend=cpu",
                                 "lora.r=16",                     "training.max_steps=-1",
                                        "training.save_total_limit=9", "model.path=adapter", "data.train=more.jsonl"};
    static char *const other[] = {"training.seed=1",    "lora.r=8",           "training.learning_rate=1e-4",
                                  "data.packing=false",
                                  "training.max_steps=5", "lora.dtype=f32",   "quantization.quant_type=fp4"};
    config_t c;
    err_t err = {0};
    assert_ok(load(MINIMAL, &c, &err), err);
    uint64_t id = config_run_id(&c);
    config_free(&c);
    enum { SAME = sizeof same / sizeof *same, OTHER = sizeof other / sizeof *other };
    for (size_t i = 0; i < SAME + OTHER; i++) {
        char *const overrides[] = {i < SAME ? same[i] : other[i - SAME]};
        assert_ok(load_bytes(MINIMAL, strlen(MINIMAL), overrides, 1, CONFIG_TRAIN, &c, &err), err);
        if ((config_run_id(&c) == id) != (i < SAME)) fail_msg("%s", overrides[0]);
        config_free(&c);
    }
}

static void large_files_are_refused(void **state) {
    (void)state;
    config_t c;
    err_t err = {0};
    size_t n = (1 << 18) + 1;
    char *big = xmalloc(n);
    memset(big, '[', n);
    assert_message(load_bytes(big, n, NULL, 0, CONFIG_TRAIN, &c, &err), err,
                   "c.yaml: 262145 bytes; expected a YAML config of at most 256 KiB");
    assert_error(load_bytes(big, n - 1, NULL, 0, CONFIG_TRAIN, &c, &err), err, ERR_USAGE,
                 "c.yaml:1:65: brackets nested too deep");
    memcpy(big, "lora: {r: ", 10);
    assert_error(load_bytes(big, n - 1, NULL, 0, CONFIG_TRAIN, &c, &err), err, ERR_USAGE,
                 "c.yaml:1:74: brackets nested too deep");
    for (size_t i = 0; i < n; i++) big[i] = i % 2 ? ' ' : '-'; /* a list in a list in a list ... */
    assert_error(load_bytes(big, n - 1, NULL, 0, CONFIG_TRAIN, &c, &err), err, ERR_USAGE, "c.yaml:1:1: not a mapping");
    free(big);
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

/* A damaged config is refused or read; nothing else happens (the sanitizers watch). */
static void mutations(void **state) {
    (void)state;
    static const char inserts[] = "{}[]:,-#&*!|>'\"%@`\t\n 0\\~";
    size_t refused = 0, len = strlen(everything);
    char *text = xmalloc(len + 64);
    for (uint64_t round = 0; round < 2000; round++) {
        size_t n = len, edits = 1 + rng_fold(round, 0) % 4;
        memcpy(text, everything, n);
        for (size_t e = 1; e <= edits; e++) {
            uint64_t r = rng_fold(round, e);
            size_t at = (size_t)(r >> 8) % n, span = 1 + (size_t)(r >> 40) % 16;
            if (span > n - at) span = n - at;
            switch (r % 4) {
            case 0: text[at] = (char)(r >> 32); break;
            case 1: text[at] = inserts[(r >> 32) % (sizeof inserts - 1)]; break;
            case 2: /* cut a piece out */
                memmove(text + at, text + at + span, n - at - span);
                n -= span;
                break;
            default: /* repeat a piece */
                memmove(text + at + span, text + at, n - at);
                n += span;
                break;
            }
        }
        config_t c;
        err_t err = {0};
        int rc = load_bytes(text, n, NULL, 0, CONFIG_TRAIN, &c, &err);
        if (rc != 0 && rc != ERR_USAGE) fail_msg("round %d: status %d: %s", (int)round, rc, err.msg);
        if (rc && (strncmp(err.msg, "c.yaml:", 7) != 0 || strchr(err.msg, '\n')))
            fail_msg("round %d: message %s", (int)round, err.msg);
        refused += rc != 0;
        if (rc == 0) config_free(&c);
    }
    free(text);
    assert_in_range(refused, 500, 1999);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_configs),       cmocka_unit_test(paths_must_exist),
        cmocka_unit_test(defaults),          cmocka_unit_test(every_key),
        cmocka_unit_test(round_trip),        cmocka_unit_test(strange_paths),
        cmocka_unit_test(paths_are_utf8),    cmocka_unit_test(overrides_win),     cmocka_unit_test(bad_overrides),
        cmocka_unit_test(relative_paths),    cmocka_unit_test(commands_need_their_part),
        cmocka_unit_test(run_id),            cmocka_unit_test(large_files_are_refused),
        cmocka_unit_test(the_reference_is_complete), cmocka_unit_test(mutations),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
