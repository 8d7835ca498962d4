/* Axolotl. Its defaults are those of its schemas and of Transformers' TrainingArguments. */
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "trainer/import/axolotl.h"
#include "trainer/import/state.h"

/* ---- steps and evaluations ---- */

static bool evaluates(const import_t *im) {
    return import_has(im, "data", "eval") || import_has(im, "data", "eval_split");
}

/* Evaluations are by steps here; without rows for them there are none. */
static int take_evaluations(import_t *im) {
    const yaml_tree_t *often = import_get(im, "evals_per_epoch"), *strategy = import_get(im, "eval_strategy");
    const yaml_tree_t *steps = import_get(im, "eval_steps");
    double n;
    const char *text = "";
    if (!strategy) strategy = import_get(im, "evaluation_strategy");
    if (strategy && import_scalar(im, strategy, "eval_strategy", &text)) return im->err->code;
    if (!evaluates(im) || (strategy && import_is_no(strategy))) return 0;
    if (often && import_is_something(often)) import_evaluate_often(im, often, "evals_per_epoch");
    else if (strcmp(text, "epoch") == 0) import_evaluate_often(im, strategy, strategy->key);
    else if (steps) {
        if (import_number(im, steps, "eval_steps", &n)) return im->err->code;
        if (n <= 0 || n >= 1) return import_copy(im, "training", "eval_steps", steps, "eval_steps");
        import_evaluate_often(im, steps, "eval_steps");
    }
    return 0;
}

static int take_saves(import_t *im, const import_key_t *k, const yaml_tree_t *v) {
    const char *text;
    if (import_scalar(im, v, k->key, &text)) return im->err->code;
    if (import_is_no(v) && !import_set_there(im, "save_steps"))
        import_put(im, k->section, k->name, xstrdup("0"), v, k->key);
    else if (strcmp(text, "steps") != 0)
        import_note(im, v, k->key, "%.20s; here every 100 steps, and at the end", text);
    return 0;
}

static int take_tensorboard(import_t *im, const import_key_t *k, const yaml_tree_t *v) {
    bool flag;
    if (import_bool(im, v, k->key, &flag)) return im->err->code;
    if (flag) import_put(im, k->section, k->name, xstrdup("[jsonl, tensorboard]"), v, k->key);
    return 0;
}

/* The rows of all micro-batches of a step, given as one number. */
static int take_batch_size(import_t *im, const import_key_t *k, const yaml_tree_t *v) {
    double all, micro = 1;
    const yaml_tree_t *size = import_get(im, "micro_batch_size");
    if (import_number(im, v, k->key, &all) || (size && import_number(im, size, "micro_batch_size", &micro)))
        return im->err->code;
    if (micro < 1 || all < micro || all > 1e6) return import_error(im, v, k->key, "expected at least micro_batch_size");
    import_put(im, k->section, k->name, xasprintf("%.0f", (double)(size_t)(all / micro)), v, k->key);
    return 0;
}

static int finish(import_t *im) {
    if (axolotl_take_quantization(im) || axolotl_take_targets(im) || axolotl_take_dtypes(im) || axolotl_take_data(im) ||
        take_evaluations(im) || import_by_evaluations(im, "early_stopping_patience"))
        return im->err->code;
    static const char *const needed[][2] = {{"lora_r", "r"}, {"lora_alpha", "lora_alpha"}};
    for (size_t i = 0; i < 2; i++)
        if (!import_has(im, "lora", needed[i][1]))
            return err_set(im->err, ERR_USAGE, "%s: %s is missing, and Axolotl has no default; expected a number",
                           im->file, needed[i][0]);
    if (!import_has(im, "training", "learning_rate"))
        return err_set(im->err, ERR_USAGE,
                       "%s: learning_rate is missing, and Axolotl has no default; expected a number", im->file);
    if (!import_get(im, "warmup_steps") && !import_get(im, "warmup_ratio"))
        import_put_said(im, "training", "warmup_ratio", xstrdup("0.03"), "Axolotl's default of warmup_ratio");
    if (!import_has(im, "training", "output_dir"))
        import_put_said(im, "training", "output_dir", xstrdup("\"./model-out\""), "Axolotl's default of output_dir");
    return 0;
}

/* ---- keys ---- */

static const import_key_t keys[] = {
    {"base_model", OURS("model", "path"), NULL, take_model, NULL},
    {"adapter", OURS("quantization", "quant_type"), NULL, axolotl_take_adapter_kind,
     "with `load_in_4bit`: `nf4`, else `none`"},
    LATER("load_in_4bit", "quantization", "quant_type", NULL),
    {"bnb_config_kwargs", OURS("quantization", "double_quant"), NULL, axolotl_take_bnb, "and the type"},
    {"peft", OURS("quantization", "quant_type"), NULL, axolotl_take_peft, "`weight_dtype`"},
    LATER("bf16", "quantization", "compute_dtype", "`false` without `fp16`: `f32`, else `auto`"),
    LATER("float32", "quantization", "compute_dtype", NULL),
    {"lora_r", OURS("lora", "r"), NULL, NULL, NULL},
    {"lora_alpha", OURS("lora", "lora_alpha"), NULL, NULL, NULL},
    {"lora_dropout", OURS("lora", "lora_dropout"), NULL, NULL, NULL},
    LATER("lora_target_modules", "lora", "target_modules", NULL),
    LATER("lora_target_linear", "lora", "target_modules", "`true`: `all-linear`"),
    {"peft_layers_to_transform", OURS("lora", "layers_to_transform"), NULL, NULL, NULL},
    {"peft_use_rslora", OURS("lora", "use_rslora"), NULL, NULL, NULL},
    {"loraplus_lr_ratio", OURS("lora", "loraplus_lr_ratio"), NULL, NULL, NULL},
    {"lora_model_dir", OURS("lora", "init"), NULL, take_adapter, NULL},
    LATER("datasets", "data", "train", "files; `type` gives `data.format` and, of alpaca, the template"),
    LATER("pretraining_dataset", "data", "train", "rows of text"),
    LATER("test_datasets", "data", "eval", NULL),
    {"val_set_size", OURS("data", "eval_split"), NULL, take_nonzero, NULL},
    LATER("chat_template", "data", "chat_template", "names that are not ours: `auto`, the model's own"),
    LATER("chat_template_jinja", "data", "chat_template", "the path of a file"),
    {"chat_template_kwargs", OURS("data", "chat_template_kwargs"), NULL, axolotl_take_kwargs, NULL},
    {"sequence_len", OURS("data", "max_length"), "512", NULL, "longer rows are cut here, and dropped there"},
    {"sample_packing", OURS("data", "packing"), "false", NULL, NULL},
    {"train_on_inputs", OURS("data", "train_on"), NULL, axolotl_take_train_on, "`true`: `all`"},
    {"group_by_length", OURS("data", "group_by_length"), NULL, NULL, NULL},
    {"shuffle_merged_datasets", OURS("data", "shuffle"), NULL, NULL, NULL},
    {"micro_batch_size", OURS("training", "per_device_train_batch_size"), "1", NULL, NULL},
    {"gradient_accumulation_steps", OURS("training", "gradient_accumulation_steps"), "1", NULL, NULL},
    {"batch_size", OURS("training", "gradient_accumulation_steps"), NULL, take_batch_size, "over `micro_batch_size`"},
    {"num_epochs", OURS("training", "num_train_epochs"), NULL, NULL, NULL},
    {"max_steps", OURS("training", "max_steps"), NULL, take_nonzero, NULL},
    {"learning_rate", OURS("training", "learning_rate"), NULL, NULL, NULL},
    {"optimizer", OURS("training", "optim"), "adamw_32bit", take_optimizer, "AdamW; others are refused"},
    {"lr_scheduler", OURS("training", "lr_scheduler_type"), "cosine", take_schedule, NULL},
    {"warmup_steps", OURS("training", "warmup_steps"), NULL, take_warmup_steps, NULL},
    {"warmup_ratio", OURS("training", "warmup_ratio"), NULL, take_nonzero, "without it and `warmup_steps`: `0.03`"},
    {"weight_decay", OURS("training", "weight_decay"), NULL, NULL, NULL},
    {"max_grad_norm", OURS("training", "max_grad_norm"), "1", NULL, NULL},
    {"adam_beta1", OURS("training", "adam_beta1"), NULL, NULL, NULL},
    {"adam_beta2", OURS("training", "adam_beta2"), NULL, NULL, NULL},
    {"adam_epsilon", OURS("training", "adam_epsilon"), NULL, NULL, NULL},
    {"neftune_noise_alpha", OURS("training", "neftune_noise_alpha"), NULL, take_nonzero, NULL},
    {"noisy_embedding_alpha", OURS("training", "neftune_noise_alpha"), NULL, take_nonzero, NULL},
    {"seed", OURS("training", "seed"), NULL, NULL, NULL},
    {"output_dir", OURS("training", "output_dir"), NULL, take_output, NULL},
    {"logging_steps", OURS("training", "logging_steps"), NULL, NULL, NULL},
    LATER("eval_steps", "training", "eval_steps", NULL),
    LATER("evals_per_epoch", "training", "eval_steps", "every 50 steps"),
    LATER("eval_strategy", "training", "eval_steps", NULL),
    LATER("evaluation_strategy", "training", "eval_steps", NULL),
    {"save_steps", OURS("training", "save_steps"), NULL, take_steps, NULL},
    {"save_strategy", OURS("training", "save_steps"), NULL, take_saves, NULL},
    {"save_total_limit", OURS("training", "save_total_limit"), NULL, NULL, NULL},
    LATER("early_stopping_patience", "training", "early_stopping_patience", NULL),
    LATER("load_best_model_at_end", "training", "load_best_model_at_end", NULL),
    {"resume_from_checkpoint", OURS("training", "resume_from_checkpoint"), NULL, take_resume, NULL},
    {"auto_resume_from_checkpoints", OURS("training", "resume_from_checkpoint"), NULL, take_resume, NULL},
    {"use_tensorboard", OURS("training", "report_to"), NULL, take_tensorboard, NULL},
    IDLE("gradient_checkpointing"),

    {"special_tokens", FATE_LOST, NULL, NULL, NULL, axolotl_take_tokens, "but `pad_token`, which changes nothing here"},
    IDLE("strict"),
    IDLE("model_type"),
    IDLE("tokenizer_type"),
    IDLE("tokenizer_use_fast"),
    IDLE("trust_remote_code"),
    IDLE("is_llama_derived_model"),
    IDLE("is_mistral_derived_model"),
    IDLE("is_falcon_derived_model"),
    IDLE("is_qwen_derived_model"),
    IDLE("hf_use_auth_token"),
    IDLE("base_model_ignore_patterns"),
    IDLE("qlora_sharded_model_loading"),
    IDLE("lora_on_cpu"),
    IDLE("lora_fan_in_fan_out"),
    IDLE("peft_autocast_adapter_dtype"),
    IDLE("loraplus_lr_embedding"),
    IDLE("merge_lora"),
    IDLE("merge_method"),
    IDLE("bfloat16"),
    IDLE("tf32"),
    IDLE("dataset_prepared_path"),
    IDLE("dataset_processes"),
    IDLE("dataset_num_proc"),
    IDLE("dataset_keep_in_memory"),
    IDLE("dataset_shard_num"),
    IDLE("skip_prepare_dataset"),
    IDLE("remove_unused_columns"),
    IDLE("push_dataset_to_hub"),
    IDLE("dataloader_pin_memory"),
    IDLE("dataloader_num_workers"),
    IDLE("dataloader_prefetch_factor"),
    IDLE("accelerator_config"),
    IDLE("pad_to_sequence_len"),
    IDLE("eval_sample_packing"),
    IDLE("eval_batch_size"),
    IDLE("sample_packing_group_size"),
    IDLE("sample_packing_bin_size"),
    IDLE("sample_packing_eff_est"),
    IDLE("multipack_real_batches"),
    IDLE("batch_flattening"),
    IDLE("flash_attention"),
    IDLE("flash_attn_cross_entropy"),
    IDLE("flash_attn_rms_norm"),
    IDLE("flash_attn_fuse_qkv"),
    IDLE("flash_attn_fuse_mlp"),
    IDLE("flash_optimum"),
    IDLE("xformers_attention"),
    IDLE("sdp_attention"),
    IDLE("flex_attention"),
    IDLE("eager_attention"),
    IDLE("attn_implementation"),
    IDLE("attention"),
    IDLE("torchdistx_path"),
    IDLE("gptq_model_v1"),
    IDLE("eval_table_max_new_tokens"),
    IDLE("flex_attn_compile_kwargs"),
    IDLE("gradient_checkpointing_kwargs"),
    IDLE("activation_offloading"),
    IDLE("layer_offloading"),
    IDLE("unsloth_cross_entropy_loss"),
    IDLE("unsloth_lora_mlp"),
    IDLE("unsloth_lora_qkv"),
    IDLE("unsloth_lora_o"),
    IDLE("unsloth_rms_norm"),
    IDLE("unsloth_rope"),
    IDLE("lora_mlp_kernel"),
    IDLE("lora_qkv_kernel"),
    IDLE("lora_o_kernel"),
    IDLE("lora_embedding_kernel"),
    IDLE("liger_rope"),
    IDLE("liger_rms_norm"),
    IDLE("liger_swiglu"),
    IDLE("liger_glu_activation"),
    IDLE("liger_layer_norm"),
    IDLE("liger_fused_linear_cross_entropy"),
    IDLE("liger_cross_entropy"),
    IDLE("cut_cross_entropy"),
    IDLE("chunked_cross_entropy"),
    IDLE("torch_compile"),
    IDLE("torch_compile_backend"),
    IDLE("torch_compile_mode"),
    IDLE("use_kernels"),
    IDLE("deepspeed"),
    IDLE("fsdp"),
    IDLE("fsdp_config"),
    IDLE("fsdp_version"),
    IDLE("fsdp_final_state_dict_type"),
    IDLE("tensor_parallel_size"),
    IDLE("sequence_parallel_degree"),
    IDLE("context_parallel_size"),
    IDLE("dp_shard_size"),
    IDLE("dp_replicate_size"),
    IDLE("heads_k_stride"),
    IDLE("ring_attn_func"),
    IDLE("world_size"),
    IDLE("local_rank"),
    IDLE("ddp"),
    IDLE("ddp_timeout"),
    IDLE("ddp_bucket_cap_mb"),
    IDLE("ddp_broadcast_buffers"),
    IDLE("ddp_find_unused_parameters"),
    IDLE("device"),
    IDLE("device_map"),
    IDLE("max_memory"),
    IDLE("gpu_memory_limit"),
    IDLE("low_cpu_mem_usage"),
    IDLE("experimental_skip_move_to_device"),
    IDLE("use_ray"),
    IDLE("ray_num_workers"),
    IDLE("resources_per_worker"),
    IDLE("gc_steps"),
    IDLE("saves_per_epoch"),
    IDLE("save_safetensors"),
    IDLE("save_only_model"),
    IDLE("save_first_step"),
    IDLE("eval_table_size"),
    IDLE("eval_max_new_tokens"),
    IDLE("greater_is_better"),
    IDLE("debug"),
    IDLE("profiler_steps"),
    IDLE("include_tokens_per_second"),
    IDLE("total_num_tokens"),
    IDLE("total_supervised_tokens"),
    IDLE("hub_model_id"),
    IDLE("hub_strategy"),
    IDLE("hub_private_repo"),
    IDLE("use_wandb"),
    IDLE("wandb_project"),
    IDLE("wandb_entity"),
    IDLE("wandb_watch"),
    IDLE("wandb_name"),
    IDLE("wandb_run_id"),
    IDLE("wandb_mode"),
    IDLE("wandb_log_model"),
    IDLE("use_mlflow"),
    IDLE("mlflow_tracking_uri"),
    IDLE("mlflow_experiment_name"),
    IDLE("mlflow_run_name"),
    IDLE("use_comet"),
    IDLE("comet_project_name"),
    IDLE("comet_workspace"),
    IDLE("use_trackio"),
    IDLE("trackio_project_name"),
    IDLE("trackio_run_name"),
    IDLE("use_otel_metrics"),
    IDLE("otel_metrics_host"),
    IDLE("otel_metrics_port"),
    IDLE("axolotl_config_path"),
    IDLE("is_preprocess"),

    LOST("base_model_config", "config.json is read from the model's own directory"),
    LOST("tokenizer_config", "the tokenizer is the model's own; put another one's files into the model's directory"),
    LOST("revision_of_model", "download that revision"),
    LOST("tokens", "tokens are not added to the vocabulary"),
    LOST("added_tokens_overrides", "tokens are the model's own"),
    LOST("resize_token_embeddings_to_32x", "embeddings stay as they are"),
    LOST("shrink_embeddings", "embeddings stay as they are"),
    LOST("fix_untrained_tokens", "embeddings stay as they are"),
    LOST("lora_modules_to_save", "these are trained in full there; here embeddings and head stay as they are"),
    {"fp16", FATE_LOST, NULL, NULL, NULL, take_later, "computed in bf16, or f32 on a CPU without it"},
    {"float16", FATE_LOST, NULL, NULL, NULL, take_later, "computed in bf16, or f32 on a CPU without it"},
    {"plugins", FATE_LOST, NULL, NULL, NULL, axolotl_take_plugins, "but faster kernels, which change nothing here"},
    {"metric_for_best_model", FATE_LOST, NULL, NULL, NULL, take_metric, "but `eval_loss`, by which the best is told"},
    LOST("loss_watchdog_threshold", "a run goes on whatever its loss, unless it is no number"),
    IDLE("loss_watchdog_patience"),
    LOST("dataloader_drop_last", "the last step of an epoch takes the rows that remain"),
    LOST("unfrozen_parameters", "adapters alone are trained"),
    LOST("lora_target_parameters", "parameters outside linear layers are not adapted"),
    LOST("peft_trainable_token_indices", "embeddings stay as they are"),
    LOST("peft_layers_pattern", "layers are found by their usual names"),
    LOST("peft_init_lora_weights", "adapters begin with A random and B zero"),
    LOST("rope_scaling", "the model is used as its config.json says; set it there"),
    LOST("rope_theta", "the model is used as its config.json says; set it there"),
    LOST("overrides_of_model_config", "the model is used as its config.json says; set it there"),
    LOST("overrides_of_model_kwargs", "the model is used as its config.json says"),
    LOST("model_config", "the model is used as its config.json says; set it there"),
    LOST("max_packed_sequence_len", "an old key; put it in data.max_length with data.packing: true"),
    LOST("excess_length_strategy", "longer rows are cut on the right, and counted"),
    LOST("min_sample_len", "short rows are kept"),
    LOST("dataset_exact_deduplication", "rows that are there twice are trained twice; take them out of the files"),
    LOST("exact_deduplication", "rows that are there twice are trained twice; take them out of the files"),
    LOST("dataset_shard_idx", "all rows are read"),
    LOST("default_system_message", "rows need a system message of their own, or the chat template one"),
    LOST("eot_tokens", "turns end as the chat template says"),
    LOST("roles_to_train", "answers are trained, as data.train_on says"),
    LOST("curriculum_sampling", "rows come in data.shuffle's order"),
    LOST("sample_packing_sequentially", "rows are packed in data.shuffle's order"),
    LOST("pretraining_sample_concatenation", "data.packing keeps samples of a row apart"),
    LOST("pretrain_multipack_attn", "data.packing keeps samples of a row apart"),
    LOST("cosine_min_lr_ratio", "cosine falls to 0"),
    LOST("cosine_constant_lr_ratio", "cosine falls to the last step"),
    LOST("lr_scheduler_kwargs", "schedules have no parameters of their own"),
    LOST("lr_quadratic_warmup", "warm-up is linear"),
    LOST("lr_div_factor", "warm-up begins with the first step's share"),
    LOST("lr_groups", "all adapters have one learning rate, but for lora.loraplus_lr_ratio"),
    LOST("embedding_lr", "embeddings stay as they are"),
    LOST("embedding_lr_scale", "embeddings stay as they are"),
    LOST("optim_args", "put betas and epsilon in training.adam_*"),
    LOST("optim_target_modules", "all adapters are trained"),
    LOST("adam_beta3", "AdamW has two"),
    LOST("adam_epsilon2", "AdamW has one"),
    LOST("auto_find_batch_size", "the batch stays as given; a plan says whether it fits"),
    LOST("jagged_restart_steps", "the schedule has no restarts"),
    LOST("do_bench_eval", "evaluations give loss and perplexity alone"),
    LOST("do_causal_lm_eval", "evaluations give loss and perplexity alone"),
    LOST("eval_causal_lm_metrics", "evaluations give loss and perplexity alone"),
    LOST("eval_on_start", "the first evaluation comes after training.eval_steps"),

    REFUSED("load_in_8bit", "LoRA over 8-bit layers is another training; expected load_in_4bit, or neither"),
    REFUSED("gptq", "a GPTQ model is not read; expected an unquantized model, or a bitsandbytes 4-bit one"),
    REFUSED("gptq_groupsize", "a GPTQ model is not read; expected an unquantized model, or a bitsandbytes 4-bit one"),
    REFUSED("rl", "preference or reinforcement training; expected supervised training"),
    REFUSED("reward_model", "a reward model is another training; expected supervised training"),
    REFUSED("process_reward_model", "a reward model is another training; expected supervised training"),
    REFUSED("num_labels", "a classifier is another training; expected supervised training of text"),
    REFUSED("processor_type", "images or audio; expected text alone"),
    REFUSED("is_multimodal", "images or audio; expected text alone"),
    REFUSED("peft_use_dora", "DoRA is another training; expected LoRA"),
    REFUSED("peft_layer_replication", "layers are not repeated; expected the model as it is"),
    REFUSED("relora", "ReLoRA is another training; expected LoRA"),
    REFUSED("relora_steps", "ReLoRA is another training; expected LoRA"),
    REFUSED("lisa_n_layers", "LISA is another training; expected LoRA"),
    REFUSED("qat", "quantization-aware training; expected LoRA"),
    REFUSED("fp8", "training in 8 bits; expected bf16"),
    REFUSED("s2_attention", "another attention (shifted sparse); expected the model's own"),
    REFUSED("use_pose", "another training (PoSE); expected plain rows"),
    REFUSED("diffusion", "another training (diffusion); expected next-token prediction"),
    REFUSED("kd_trainer", "distillation is another training; expected supervised training"),
};

const dialect_t dialect_axolotl = {"Axolotl", "base_model", keys, sizeof keys / sizeof *keys, finish};
