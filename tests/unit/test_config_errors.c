/* Configs that are refused: each with the place and the whole message. */
#include "config_rig.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/mem.h"
#include "base/rng.h"
#include "trainer/config/config_suggest.h"

#define REST MINIMAL /* after the lines that are tested */

#define WHOLE(min, max) "expected a whole number from " #min " to " #max
#define NAMES "all-linear, a list of names or a regular expression"
#define LORA_KEYS \
    "r, lora_alpha, lora_dropout, target_modules, exclude_modules, layers_to_transform, rank_pattern, alpha_pattern, " \
    "loraplus_lr_ratio, use_rslora, dtype, init"

#define TEMPLATES "auto, chatml, llama2, llama3, mistral, zephyr, alpaca, none, or the path of a .jinja file"

static const struct {
    const char *yaml, *message;
} bad[] = {
    /* names */
    {"lora: {zzzz: 4}\n" REST, "c.yaml:1:8: lora.zzzz: unknown key; expected one of " LORA_KEYS},
    {"lora:\n  r: 4\n  lora_apha: 8\n" REST, "c.yaml:3:3: lora.lora_apha: unknown key; did you mean lora_alpha?"},
    {"lora:\n  alpha: 8\n" REST, "c.yaml:2:3: lora.alpha: unknown key; did you mean lora_alpha?"},
    {"training: {lr: 1}\n", "c.yaml:1:12: training.lr: unknown key; did you mean learning_rate?"},
    {"training: {sequence_len: 1}\n", "c.yaml:1:12: training.sequence_len: unknown key; did you mean data.max_length?"},
    {"quantization: {type: nf4}\n" REST, "c.yaml:1:16: quantization.type: unknown key; did you mean quant_type?"},
    {"lora: {learning_rate: 1}\n" REST,
     "c.yaml:1:8: lora.learning_rate: unknown key; did you mean training.learning_rate?"},
    {"model: {path: model}\ntraining: {epochs: 1}\n",
     "c.yaml:2:12: training.epochs: unknown key; did you mean num_train_epochs?"},
    {"traning: {seed: 1}\n" REST, "c.yaml:1:1: traning: unknown section; expected model, quantization, lora, data, "
                                  "training or device; did you mean training?"},
    {"learning_rate: 1e-4\n" REST,
     "c.yaml:1:1: learning_rate: a key outside of its section; did you mean training.learning_rate?"},
    {"zzz: 1\n" REST, "c.yaml:1:1: zzz: unknown section; expected model, quantization, lora, data, training or device"},
    {"lora: {r: 4, r: 5}\n" REST, "c.yaml:1:14: lora.r: the key is there twice, first in line 1; expected once"},
    {"lora: {r: 4}\nlora: {dtype: f32}\n" REST,
     "c.yaml:2:1: lora: the section is there twice, first in line 1; expected once"},
    {"lora: {}\nlora: {}\n" REST, "c.yaml:2:1: lora: the section is there twice, first in line 1; expected once"},
    {"lora: 4\n" REST, "c.yaml:1:7: lora: not a mapping; expected keys (" LORA_KEYS ")"},
    {"lora: [r]\n" REST, "c.yaml:1:7: lora: not a mapping; expected keys (" LORA_KEYS ")"},
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
                                               "int4, int8, int8-zeropoint or none; did you mean nf4?"},
    {"quantization: {quant_type: int8-zeropoint, double_quant: true}\n" REST,
     "c.yaml:1:58: quantization.double_quant: true, but int8-zeropoint has its constants in one level; expected false"},
    {"quantization: {double_quant: yes}\n" REST,
     "c.yaml:1:30: quantization.double_quant: got \"yes\"; expected true or false"},
    {"quantization: {double_quant: 'true'}\n" REST,
     "c.yaml:1:30: quantization.double_quant: got the string \"true\"; expected true or false"},
    {"quantization: {compute_dtype: f16}\n" REST,
     "c.yaml:1:31: quantization.compute_dtype: got \"f16\"; expected auto, bf16 or f32; did you mean bf16?"},
    {"lora: {dtype: fp32}\n" REST, "c.yaml:1:15: lora.dtype: got \"fp32\"; expected bf16 or f32; did you mean f32?"},
    {"device: {backend: gpu}\n" REST,
     "c.yaml:1:19: device.backend: got \"gpu\"; expected auto, cpu or cuda; did you mean cuda?"},
    {"device: {page_weights: true}\n" REST, "c.yaml:1:24: device.page_weights: got \"true\"; expected never or auto"},
    {"training: {output_dir: o, gradient_checkpointing: on}\n",
     "c.yaml:1:51: training.gradient_checkpointing: got \"on\"; expected auto, true or false"},
    {"training: {output_dir: o, optim: adamw_torch}\n",
     "c.yaml:1:34: training.optim: got \"adamw_torch\"; expected paged_adamw_32bit, adamw_32bit, "
     "paged_adamw_8bit or adamw_8bit"},
    {"training: {output_dir: o, optim: paged_adam_32bit}\n",
     "c.yaml:1:34: training.optim: got \"paged_adam_32bit\"; expected paged_adamw_32bit, adamw_32bit, "
     "paged_adamw_8bit or adamw_8bit; did you mean paged_adamw_32bit?"},
    {"data: {train: train.jsonl, chat_template: chatmll}\n",
     "c.yaml:1:43: data.chat_template: got \"chatmll\"; expected " TEMPLATES "; did you mean chatml?"},
    {"data: {train: train.jsonl, chat_template: null}\n",
     "c.yaml:1:43: data.chat_template: no value; expected " TEMPLATES},
    {"data: {train: train.jsonl, chat_template_kwargs: enable_thinking}\n",
     "c.yaml:1:50: data.chat_template_kwargs: got \"enable_thinking\"; expected a mapping"},
    {"data: {train: train.jsonl, chat_template_date: 2023-02-29}\n",
     "c.yaml:1:48: data.chat_template_date: got \"2023-02-29\"; expected null or a date YYYY-MM-DD"},
    {"data: {train: train.jsonl, chat_template_date: 2024-2-9}\n",
     "c.yaml:1:48: data.chat_template_date: got \"2024-2-9\"; expected null or a date YYYY-MM-DD"},
    {"data: {train: train.jsonl, chat_template_date: 2024-13-01}\n",
     "c.yaml:1:48: data.chat_template_date: got \"2024-13-01\"; expected null or a date YYYY-MM-DD"},
    {"data: {train: train.jsonl, train_on: first}\n",
     "c.yaml:1:38: data.train_on: got \"first\"; expected completion, last or all"},
    {"data: {train: train.jsonl, eval_split: -0.1}\n",
     "c.yaml:1:40: data.eval_split: got \"-0.1\"; expected a number from 0 to 1000000000"},
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
    {"lora: {target_modules: []}\n" REST, "c.yaml:1:24: lora.target_modules: an empty list; expected " NAMES},
    {"lora: {target_modules: [[q_proj]]}\n" REST,
     "c.yaml:1:25: lora.target_modules: not a single value; expected " NAMES},
    {"lora: {target_modules: [q_proj, '']}\n" REST,
     "c.yaml:1:33: lora.target_modules: got the string \"\"; expected " NAMES},
    {"lora: {target_modules: {q_proj: 1}}\n" REST, "c.yaml:1:24: lora.target_modules: a mapping; expected " NAMES},
    {"lora: {target_modules: }\n" REST, "c.yaml:1:24: lora.target_modules: no value; expected " NAMES},
    {"lora: {target_modules: '.*(q_proj'}\n" REST,
     "c.yaml:1:24: lora.target_modules: \".*(q_proj\": missing closing parenthesis; expected a regular expression"},
    {"lora:\n  exclude_modules: '*.q_proj'\n" REST, "c.yaml:2:20: lora.exclude_modules: \"*.q_proj\": quantifier does "
                                                    "not follow a repeatable item; expected a regular "
                                                    "expression"},
    {"lora: {exclude_modules: {}}\n" REST,
     "c.yaml:1:25: lora.exclude_modules: a mapping; expected a list of names or a regular expression"},
    {"lora: {layers_to_transform: [0, -1]}\n" REST,
     "c.yaml:1:33: lora.layers_to_transform: got \"-1\"; expected all or a list of whole numbers"},
    {"lora: {layers_to_transform: []}\n" REST,
     "c.yaml:1:29: lora.layers_to_transform: an empty list; expected all or a list of whole numbers"},
    {"lora: {layers_to_transform: 0, target_modules: '.*q_proj'}\n" REST,
     "c.yaml:1:29: lora.layers_to_transform: target_modules is a regular expression, which has to say the layers "
     "itself; "
     "expected all, or a list of names there"},
    {"lora: {rank_pattern: {q_proj: 0}}\n" REST,
     "c.yaml:1:22: lora.rank_pattern: q_proj: expected a whole number from 1 to 1024"},
    {"lora: {rank_pattern: {q_proj: 8.0}}\n" REST,
     "c.yaml:1:22: lora.rank_pattern: q_proj: expected a whole number from 1 to 1024"},
    {"lora: {rank_pattern: {'q_proj)': 8}}\n" REST,
     "c.yaml:1:22: lora.rank_pattern: \"q_proj)\": unmatched closing parenthesis; expected a regular expression"},
    {"lora: {alpha_pattern: {q_proj: 0}}\n" REST,
     "c.yaml:1:23: lora.alpha_pattern: q_proj: expected a number above 0 and at most 1000000"},
    {"lora: {alpha_pattern: {q_proj: -1}}\n" REST,
     "c.yaml:1:23: lora.alpha_pattern: q_proj: expected a number above 0 and at most 1000000"},
    {"lora: {loraplus_lr_ratio: 0}\n" REST,
     "c.yaml:1:27: lora.loraplus_lr_ratio: got \"0\"; expected a number above 0 and at most 1000"},
    {"lora: {use_dora: true}\n" REST,
     "c.yaml:1:8: lora.use_dora: DoRA is not supported; expected the key left out, or use_rslora"},
    {"lora: {rank: 8}\n" REST, "c.yaml:1:8: lora.rank: unknown key; did you mean r?"},
    {"training: {output_dir: o, neftune_noise_alpha: -1}\n",
     "c.yaml:1:48: training.neftune_noise_alpha: got \"-1\"; expected a number from 0 to 1000"},
    {"data: {train: []}\n", "c.yaml:1:15: data.train: an empty list; expected a file or a list of files"},
    {"data: {train: [train.jsonl, {a: b}]}\n",
     "c.yaml:1:29: data.train: not a single value; expected a file or a list of files"},
    {"data: {train: ''}\n", "c.yaml:1:15: data.train: no value; expected a file or a list of files"},
    /* mappings */
    {"lora: {rank_pattern: 4}\n" REST, "c.yaml:1:22: lora.rank_pattern: got \"4\"; expected a mapping"},
    {"lora: {rank_pattern: [a]}\n" REST, "c.yaml:1:22: lora.rank_pattern: a list; expected a mapping"},
    {"lora: {rank_pattern: }\n" REST, "c.yaml:1:22: lora.rank_pattern: no value; expected a mapping"},
    {"lora:\n  rank_pattern:\n    a: 1\n    b:\n      c: 1\n      c: 2\n" REST,
     "c.yaml:6:7: lora.rank_pattern: the key \"c\" is there twice; expected once"},
    {"lora: {rank_pattern: {[a]: 1}}\n" REST, "c.yaml:1:23: lora.rank_pattern: a key that is no name; expected a name"},
    {"lora: {rank_pattern: {a: 010}}\n" REST, "c.yaml:1:26: lora.rank_pattern: got \"010\"; expected a whole number "
                                              "without zeros in front, or a string in quotes"},
    {"lora: {rank_pattern: {a: 9223372036854775808}}\n" REST,
     "c.yaml:1:26: lora.rank_pattern: got \"9223372036854775808\"; expected a whole number of 64 bits, "
     "or a string in quotes"},
    {"lora: {rank_pattern: {a: [1e999]}}\n" REST, "c.yaml:1:27: lora.rank_pattern: got \"1e999\"; expected a number "
                                                  "that a double holds, or a string in quotes"},
    {"lora: {rank_pattern: {a: -.inf}}\n" REST,
     "c.yaml:1:26: lora.rank_pattern: got \"-.inf\"; expected a finite number, or a string in quotes"},
    {"lora: {rank_pattern: {a: &b 1}}\n" REST,
     "c.yaml:1:26: anchors (&) and aliases (*) are not supported; expected plain values"},
    {"lora: {rank_pattern: {a: \"b\\0c\"}}\n" REST, "c.yaml:1:26: a NUL character in a value; expected text"},
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
    {"training: {output_dir: out, early_stopping_patience: 2}\nmodel: {path: model}\ndata: {train: train.jsonl, eval: "
     "eval.jsonl}\n",
     "c.yaml:1:54: training.early_stopping_patience: there are no evaluations to go by; expected training.eval_steps "
     "above 0"},
    {"training: {output_dir: out, load_best_model_at_end: true}\nmodel: {path: model}\ndata: {train: train.jsonl}\n",
     "c.yaml:1:53: training.load_best_model_at_end: there are no evaluations to go by; expected rows in data.eval, or "
     "data.eval_split, and training.eval_steps above 0"},
    {"training: {output_dir: out, eval_steps: 5}\nmodel: {path: model}\ndata: {train: train.jsonl}\n",
     "c.yaml:1:41: training.eval_steps: evaluation without data; expected a file in data.eval, or 0"},
    {"training: {output_dir: out, sample_prompts: eval.jsonl}\nmodel: {path: model}\ndata: {train: train.jsonl, eval: "
     "eval.jsonl}\n",
     "c.yaml:1:45: training.sample_prompts: nothing would be answered; expected training.eval_steps above 0 too, "
     "or none"},
    {"training: {output_dir: out, sample_prompts: [eval.jsonl], eval_steps: 5}\nmodel: {path: model}\ndata: {train: "
     "train.jsonl}\n",
     "c.yaml:1:45: training.sample_prompts: a list; expected none or a path"},
    {"data: {train: train.jsonl, eval_split: 2.5}\nmodel: {path: model}\ntraining: {output_dir: out}\n",
     "c.yaml:1:40: data.eval_split: got 2.5; expected a share below 1, or a whole number of rows"},
    {"data: {train: train.jsonl, eval_split: 2, eval: e}\nmodel: {path: model}\ntraining: {output_dir: out}\n",
     "c.yaml:1:40: data.eval_split: data.eval is given too; expected one of them"},
};

static void bad_configs(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        config_t c;
        err_t err = {0};
        int rc = load_text(bad[i].yaml, &c, &err);
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
        {"training: {output_dir: ./model}\nmodel: {path: model}\ndata: {train: train.jsonl}\n",
         "c.yaml:1:24: training.output_dir: ", "is the directory of the model; expected one for the run"},
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
        {"model: {path: model}\ndata: {train: train.jsonl, chat_template: c.jinja}\ntraining: {output_dir: out}\n",
         "c.yaml:2:43: data.chat_template: ", "/c.jinja: No such file"},
        {"model: {path: model}\ndata: {train: train.jsonl, chat_template: ./model}\ntraining: {output_dir: out}\n",
         "c.yaml:2:43: data.chat_template: ", "/model: a directory; expected a file"},
        {"model: {path: model}\ndata: {train: train.jsonl}\ntraining: {output_dir: train.jsonl}\n",
         "c.yaml:3:24: training.output_dir: ", "/train.jsonl: not a directory"},
        {"model: {path: model}\ndata: {train: train.jsonl}\ntraining: {output_dir: o, eval_steps: 5, sample_prompts: "
         "p}\n",
         "c.yaml:3:58: training.sample_prompts: ", "/p: No such file"},
        {"model: {path: model}\ndata: {train: train.jsonl}\ntraining: {output_dir: o, eval_steps: 5, sample_prompts: "
         "model}\n",
         "c.yaml:3:58: training.sample_prompts: ", "/model: a directory; expected a file"},
        {"model: {path: model}\ndata: {train: train.jsonl}\ntraining: {output_dir: o, resume_from_checkpoint: x}\n",
         "c.yaml:3:51: training.resume_from_checkpoint: ", "/x: No such file"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        config_t c;
        err_t err = {0};
        assert_error(load_text(cases[i].yaml, &c, &err), err, ERR_USAGE, cases[i].what);
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

/* What other trainers call a key is answered with ours. */
static void names_of_others(void **state) {
    (void)state;
    static const char *const pairs[][2] = {
        {"base_model", "model.path"},
        {"model_name_or_path", "model.path"},
        {"bnb_4bit_quant_type", "quantization.quant_type"},
        {"bnb_4bit_use_double_quant", "quantization.double_quant"},
        {"bnb_4bit_compute_dtype", "quantization.compute_dtype"},
        {"rank", "lora.r"},
        {"lora_r", "lora.r"},
        {"dataset", "data.train"},
        {"train_file", "data.train"},
        {"validation_file", "data.eval"},
        {"val_set_size", "data.eval_split"},
        {"cutoff_len", "data.max_length"},
        {"seq_len", "data.max_length"},
        {"sequence_len", "data.max_length"},
        {"max_seq_length", "data.max_length"},
        {"train_on_inputs", "data.train_on"},
        {"lr", "training.learning_rate"},
        {"num_epochs", "training.num_train_epochs"},
        {"micro_batch_size", "training.per_device_train_batch_size"},
        {"optimizer", "training.optim"},
        {"num_threads", "device.threads"},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        char near[128];
        assert_true(config_suggest_key(NULL, pairs[i][0], near));
        assert_string_equal(near, pairs[i][1]);
        assert_true(config_suggest_key("device", pairs[i][0], near));
        assert_string_equal(near, i + 1 < sizeof pairs / sizeof *pairs ? pairs[i][1] : "threads");
    }
}

static void bad_overrides(void **state) {
    (void)state;
    static const struct {
        char *arg;
        const char *message;
    } cases[] = {
        {"lora.r", "command line: \"lora.r\" is no override; expected section.key=value"},
        {"r=4", "command line: \"r=4\": a key without its section; did you mean lora.r?"},
        {"learning_rte=1e-4",
         "command line: \"learning_rte=1e-4\": a key without its section; did you mean training.learning_rate?"},
        {"zzzz=4", "command line: \"zzzz=4\" is no override; expected section.key=value"},
        {"=4", "command line: \"=4\" is no override; expected section.key=value"},
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
        {"lora.rank_pattern=4", "command line: lora.rank_pattern: got \"4\"; expected a mapping"},
        {"lora.rank_pattern={a: 1, a: 2}",
         "command line: lora.rank_pattern: the key \"a\" is there twice; expected once"},
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

static void large_files_are_refused(void **state) {
    (void)state;
    config_t c;
    err_t err = {0};
    size_t n = (1 << 18) + 1;
    char *big = xmalloc(n);
    memset(big, '[', n);
    assert_message(load_bytes(big, n, NULL, 0, CONFIG_TRAIN, &c, &err), err,
                   "c.yaml: 262145 bytes; expected a YAML config of at most 256 KiB");
    assert_error(load_bytes(big, n - 1, NULL, 0, CONFIG_TRAIN, &c, &err), err, ERR_USAGE, "c.yaml:1:1: not a mapping");
    memcpy(big, "lora: {r: ", 10);
    assert_error(load_bytes(big, n - 1, NULL, 0, CONFIG_TRAIN, &c, &err), err, ERR_USAGE,
                 "c.yaml:1:76: nested too deep; expected at most 64 levels");
    for (size_t i = 0; i < n; i++) big[i] = i % 2 ? ' ' : '-'; /* a list in a list in a list ... */
    assert_error(load_bytes(big, n - 1, NULL, 0, CONFIG_TRAIN, &c, &err), err, ERR_USAGE, "c.yaml:1:1: not a mapping");
    memcpy(big, "lora: {rank_pattern: {a: [", 26);
    memset(big + 26, '[', 60);
    assert_error(load_bytes(big, n - 1, NULL, 0, CONFIG_TRAIN, &c, &err), err, ERR_USAGE, "c.yaml:1:");
    static const char block[] = "lora:\n  rank_pattern:\n    a:\n    ";
    memcpy(big, block, sizeof block - 1);
    for (size_t i = sizeof block - 1; i < n; i++) big[i] = i % 2 == (sizeof block - 1) % 2 ? '-' : ' ';
    assert_error(load_bytes(big, n - 1, NULL, 0, CONFIG_TRAIN, &c, &err), err, ERR_USAGE,
                 "lora.rank_pattern: nested too deep; expected at most 64 levels");
    free(big);
}

/* Brackets of a text nest nothing, however many they are; written and read again it is the same. */
static void brackets_in_texts(void **state) {
    (void)state;
    config_t c, again;
    err_t err = {0};
    char name[201], text[600];
    memset(name, '[', sizeof name - 1);
    name[200] = 0;
    int n = snprintf(text, sizeof text, "model: {path: m}\ndata:\n  train: x%s\ntraining: {output_dir: out}\n", name);
    assert_ok(load_bytes(text, (size_t)n, NULL, 0, CONFIG_WRITTEN, &c, &err), err);
    char *yaml = config_to_yaml(&c);
    assert_ok(load_bytes(yaml, strlen(yaml), NULL, 0, CONFIG_WRITTEN, &again, &err), err);
    assert_string_equal(strrchr(again.data.train[0], '/') + 2, name);
    free(yaml);
    config_free(&c);
    config_free(&again);
}

/* A damaged config is refused or read; nothing else happens (the sanitizers watch). */
static void mutations(void **state) {
    (void)state;
    static const char inserts[] = "{}[]:,-#&*!|>'\"%@`\t\n 0\\~";
    size_t refused = 0, len = strlen(config_everything);
    char *text = xmalloc(len + 64);
    for (uint64_t round = 0; round < 2000; round++) {
        size_t n = len, edits = 1 + rng_fold(round, 0) % 4;
        memcpy(text, config_everything, n);
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
        cmocka_unit_test(bad_configs),
        cmocka_unit_test(paths_must_exist),
        cmocka_unit_test(paths_are_utf8),
        cmocka_unit_test(names_of_others),
        cmocka_unit_test(bad_overrides),
        cmocka_unit_test(mutations),
        cmocka_unit_test(large_files_are_refused),
        cmocka_unit_test(brackets_in_texts),
    };
    return cmocka_run_group_tests(tests, config_setup, config_teardown);
}
