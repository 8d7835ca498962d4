#include "config_rig.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"

static const char *dir;
static char *config_path;

int config_setup(void **state) {
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

int config_teardown(void **state) {
    (void)state;
    free(config_path);
    return 0;
}

int load_bytes(const char *yaml, size_t len, char *const *overrides, size_t n, config_use_t use, config_t *c,
               err_t *err) {
    assert_ok(file_write(config_path, yaml, len, err), *err);
    return config_load("c.yaml", overrides, n, use, c, err);
}

int load_text(const char *yaml, config_t *c, err_t *err) {
    return load_bytes(yaml, strlen(yaml), NULL, 0, CONFIG_TRAIN, c, err);
}

const char config_everything[] =
    "model: {path: model}\n"
    "quantization: {quant_type: int8, double_quant: FALSE, compute_dtype: f32}\n"
    "lora:\n"
    "  r: 64\n"
    "  lora_alpha: 0.5\n"
    "  lora_dropout: 0.1\n"
    "  target_modules: [v_proj, q_proj, v_proj]\n"
    "  exclude_modules: .*\\.0\\..*\n"
    "  layers_to_transform: [0, 1]\n"
    "  rank_pattern: {q_proj: 8}\n"
    "  loraplus_lr_ratio: 16\n"
    "  alpha_pattern:\n"
    "    layers\\.0\\..*: 0.5\n"
    "  use_rslora: true\n"
    "  dtype: f32\n"
    "  init: \"adapter\"\n"
    "data: {train: [train.jsonl, ./more.jsonl], eval: eval.jsonl, format: prompt-completion, chat_template: zephyr,\n"
    "       chat_template_kwargs: {enable_thinking: false, depth: [1, x]}, chat_template_date: 2024-02-29,\n"
    "       max_length: 512, train_on: all, packing: false, shuffle: false, group_by_length: true}\n"
    "training: {output_dir: out/, num_train_epochs: 2.5, max_steps: 7, per_device_train_batch_size: 2,\n"
    "  gradient_accumulation_steps: 3, learning_rate: 1e-4, lr_scheduler_type: constant_with_warmup,\n"
    "  warmup_ratio: .03, warmup_steps: 5, weight_decay: 0.01, max_grad_norm: 1, seed: 9007199254740991,\n"
    "  optim: adamw_8bit, adam_beta1: 0.8, adam_beta2: 0.95, adam_epsilon: 1e-6, gradient_checkpointing: false,\n"
    "  neftune_noise_alpha: 5,\n"
    "  logging_steps: 10, eval_steps: 20, save_steps: 30, save_total_limit: 0,\n"
    "  early_stopping_patience: 4, load_best_model_at_end: true, sample_prompts: eval.jsonl,\n"
    "  resume_from_checkpoint: adapter,\n"
    "  preempted_exit_status: 130, report_to: [tensorboard, jsonl]}\n"
    "device: {backend: cpu, memory_limit: 1.5 GiB, page_weights: never, spill: tmp, threads: 3}\n";

void assert_path(const char *got, const char *name) {
    char real[4096];
    assert_non_null(getcwd(real, sizeof real));
    char *expected = path_join(real, name);
    assert_string_equal(got, expected);
    free(expected);
}
