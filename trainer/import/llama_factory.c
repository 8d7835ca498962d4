/* LLaMA-Factory. Its defaults are those of its arguments and of Transformers' TrainingArguments. */
#include "trainer/import/llama_factory.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "trainer/config/config_json.h"
#include "trainer/import/state.h"

/* ---- model ---- */

static int take_stage(import_t *im, const import_key_t *k, const yaml_tree_t *v) {
    const char *text;
    if (import_scalar(im, v, k->key, &text)) return im->err->code;
    if (strcmp(text, "sft") == 0) return 0;
    if (strcmp(text, "pt") != 0)
        return import_error(im, v, k->key, "got \"%.60s\", another training; expected sft or pt", text);
    import_put(im, k->section, k->name, xstrdup("text"), v, k->key);
    return 0;
}

static int take_finetuning_type(import_t *im, const import_key_t *k, const yaml_tree_t *v) {
    const char *text;
    if (import_scalar(im, v, k->key, &text)) return im->err->code;
    if (strcmp(text, "lora") == 0) return 0;
    return import_error(im, v, k->key, "got \"%.60s\", which trains other parameters than adapters; expected lora",
                        text);
}

static int take_bits(import_t *im, const import_key_t *k, const yaml_tree_t *v) {
    const char *text;
    if (import_scalar(im, v, k->key, &text)) return im->err->code;
    if (strcmp(text, "4") != 0)
        return import_error(im, v, k->key, "got \"%.60s\", LoRA over other layers; expected 4, or none for 16-bit LoRA",
                            text);
    return 0;
}

static int take_method(import_t *im, const import_key_t *k, const yaml_tree_t *v) {
    const char *text;
    if (import_scalar(im, v, k->key, &text)) return im->err->code;
    if (!import_set_there(im, "quantization_bit") || strcmp(text, "bnb") == 0 || strcmp(text, "bitsandbytes") == 0)
        return 0;
    return import_error(im, v, k->key, "got \"%.60s\", another quantization; expected bnb or bitsandbytes", text);
}

static int take_quantization(import_t *im) {
    const yaml_tree_t *bits = import_get(im, "quantization_bit"), *type = import_get(im, "quantization_type");
    if (!bits) {
        import_put_said(im, "quantization", "quant_type", xstrdup("none"), "no quantization_bit: LoRA over 16 bits");
        return 0;
    }
    if (type) return import_copy(im, "quantization", "quant_type", type, "quantization_type");
    import_put(im, "quantization", "quant_type", xstrdup("nf4"), bits, "quantization_bit");
    return 0;
}

/* "all", or names with commas between them; "all" among them is all. */
static int take_targets(import_t *im, const import_key_t *k, const yaml_tree_t *v) {
    const char *text;
    if (v->kind == YAML_ITEM_LIST) return import_copy(im, k->section, k->name, v, k->key);
    if (import_scalar(im, v, k->key, &text)) return im->err->code;
    strbuf_t b = {0};
    bool all = false;
    strbuf_adds(&b, "[");
    for (const char *s = text; *s;) {
        s += strspn(s, ", ");
        size_t n = strcspn(s, ", ");
        char *name = xstrndup(s, n);
        if (strcmp(name, "all") == 0) all = true;
        else if (n) {
            if (b.len > 1) strbuf_adds(&b, ", ");
            yaml_add_quoted(&b, name);
        }
        free(name);
        s += n;
    }
    strbuf_adds(&b, "]");
    bool none = b.len == 2 && !all;
    import_put(im, k->section, k->name, all ? xstrdup("all-linear") : xstrdup(b.p), v, k->key);
    free(b.p);
    return none ? import_error(im, v, k->key, "no names; expected all, or names with commas between them") : 0;
}

/* Twice the rank where it is missing. */
static int put_alpha(import_t *im) {
    const yaml_tree_t *rank = import_get(im, "lora_rank"), *alpha = import_get(im, "lora_alpha");
    double r = 8;
    if (alpha && import_is_something(alpha)) return import_copy(im, "lora", "lora_alpha", alpha, "lora_alpha");
    if (rank && import_number(im, rank, "lora_rank", &r)) return im->err->code;
    import_put_said(im, "lora", "lora_alpha", xasprintf("%.0f", 2 * r),
                    "LLaMA-Factory's default of lora_alpha, 2 lora_rank");
    return 0;
}

static int take_fp16(import_t *im, const import_key_t *k, const yaml_tree_t *v) {
    if (import_is_something(v)) import_note(im, v, k->key, "computed in bf16, or f32 on a CPU without it");
    return 0;
}

/* ---- data ---- */

static int take_train_on_prompt(import_t *im, const import_key_t *k, const yaml_tree_t *v) {
    bool on;
    if (import_bool(im, v, k->key, &on)) return im->err->code;
    if (on) import_put(im, k->section, k->name, xstrdup(strcmp(k->key, "mask_history") ? "all" : "last"), v, k->key);
    return 0;
}

static int take_no_shuffling(import_t *im, const import_key_t *k, const yaml_tree_t *v) {
    bool off;
    if (import_bool(im, v, k->key, &off)) return im->err->code;
    import_put(im, k->section, k->name, xstrdup(off ? "false" : "true"), v, k->key);
    return 0;
}

/* neat_packing keeps samples apart, as ours does; alone, packing does not there. Pre-training packs by itself. */
static int take_packing(import_t *im) {
    const yaml_tree_t *packing = import_get(im, "packing"), *neat = import_get(im, "neat_packing");
    bool packs = import_has(im, "data", "format"), apart = false;
    if (packing && import_bool(im, packing, "packing", &packs)) return im->err->code;
    if (neat && import_bool(im, neat, "neat_packing", &apart)) return im->err->code;
    const yaml_tree_t *from = apart ? neat : packing;
    if (from) import_put(im, "data", "packing", xstrdup(packs || apart ? "true" : "false"), from, from->key);
    else
        import_put_said(im, "data", "packing", xstrdup(packs ? "true" : "false"), "LLaMA-Factory's default of packing");
    if (packing && packs && !apart)
        import_note(im, packing, "packing",
                    "samples of a row see each other there, and never here (neat_packing: true)");
    return 0;
}

/* ---- steps and evaluations ---- */

static int take_evaluations(import_t *im) {
    const yaml_tree_t *steps = import_get(im, "eval_steps"), *strategy = import_get(im, "eval_strategy");
    double n = 0;
    const char *text = "";
    if (!strategy) strategy = import_get(im, "evaluation_strategy");
    if (strategy && import_scalar(im, strategy, "eval_strategy", &text)) return im->err->code;
    if (!strategy || import_is_no(strategy) ||
        (!import_has(im, "data", "eval") && !import_has(im, "data", "eval_split")))
        return 0;
    if (strcmp(text, "epoch") == 0) import_evaluate_often(im, strategy, strategy->key);
    else {
        if (!steps) steps = import_get(im, "logging_steps");
        if (!steps) return import_error(im, strategy, strategy->key, "steps, but no eval_steps; expected a number");
        if (import_number(im, steps, steps->key, &n)) return im->err->code;
        if (n > 0 && n < 1) import_evaluate_often(im, steps, steps->key);
        else return import_copy(im, "training", "eval_steps", steps, steps->key);
    }
    return 0;
}

static int take_save_strategy(import_t *im, const import_key_t *k, const yaml_tree_t *v) {
    const char *text;
    if (import_scalar(im, v, k->key, &text)) return im->err->code;
    if (import_is_no(v)) import_put(im, k->section, k->name, xstrdup("0"), v, k->key);
    else if (strcmp(text, "steps") != 0) import_note(im, v, k->key, "%.20s; here by steps, and at the end", text);
    return 0;
}

static bool names_tensorboard(const yaml_tree_t *v) {
    if (v->kind == YAML_ITEM_SCALAR) return strcmp(v->text, "tensorboard") == 0 || strcmp(v->text, "all") == 0;
    for (size_t i = 0; i < v->n; i++)
        if (v->items[i].kind == YAML_ITEM_SCALAR && names_tensorboard(&v->items[i])) return true;
    return false;
}

static int take_reports(import_t *im, const import_key_t *k, const yaml_tree_t *v) {
    if (names_tensorboard(v)) import_put(im, k->section, k->name, xstrdup("[jsonl, tensorboard]"), v, k->key);
    else import_idle(im, k->key);
    return 0;
}

static int take_do_train(import_t *im, const import_key_t *k, const yaml_tree_t *v) {
    bool trains;
    if (import_bool(im, v, k->key, &trains)) return im->err->code;
    return trains ? 0 : import_error(im, v, k->key, "false: no training; expected true");
}

static int finish(import_t *im) {
    if (take_quantization(im) || put_alpha(im) || take_packing(im) || llama_factory_take_data(im) ||
        take_evaluations(im) || import_by_evaluations(im, "early_stopping_steps"))
        return im->err->code;
    if (!import_has(im, "training", "output_dir"))
        import_put_said(im, "training", "output_dir", xstrdup("\"saves/out\""), "there is no output_dir");
    return 0;
}

/* ---- keys ---- */

static const import_key_t keys[] = {
    {"model_name_or_path", OURS("model", "path"), NULL, take_model, NULL},
    {"quantization_bit", OURS("quantization", "quant_type"), NULL, take_bits, "4: `nf4`; missing: `none`"},
    LATER("quantization_type", "quantization", "quant_type", NULL),
    {"quantization_method", OURS("quantization", "quant_type"), NULL, take_method, "bitsandbytes; others are refused"},
    {"double_quantization", OURS("quantization", "double_quant"), NULL, NULL, NULL},
    {"stage", OURS("data", "format"), NULL, take_stage, "`sft`; `pt`: `text`; others are refused"},
    {"finetuning_type", OURS("lora", "r"), NULL, take_finetuning_type, "`lora`; others are refused"},
    {"lora_rank", OURS("lora", "r"), "8", NULL, NULL},
    LATER("lora_alpha", "lora", "lora_alpha", "missing: twice `lora_rank`"),
    {"lora_dropout", OURS("lora", "lora_dropout"), NULL, NULL, NULL},
    {"lora_target", OURS("lora", "target_modules"), NULL, take_targets, "`all`: `all-linear`"},
    {"loraplus_lr_ratio", OURS("lora", "loraplus_lr_ratio"), NULL, NULL, NULL},
    {"use_rslora", OURS("lora", "use_rslora"), NULL, NULL, NULL},
    {"adapter_name_or_path", OURS("lora", "init"), NULL, take_adapter, NULL},
    LATER("dataset", "data", "train", "files by `dataset_info.json`, which also gives `data.format`"),
    LATER("eval_dataset", "data", "eval", NULL),
    LATER("dataset_dir", "data", "train", NULL),
    LATER("template", "data", "chat_template", "names that are not ours: `auto`, the model's own"),
    {"cutoff_len", OURS("data", "max_length"), "2048", NULL, NULL},
    {"train_on_prompt", OURS("data", "train_on"), NULL, take_train_on_prompt, "`true`: `all`"},
    {"mask_history", OURS("data", "train_on"), NULL, take_train_on_prompt, "`true`: `last`"},
    {"val_size", OURS("data", "eval_split"), NULL, take_nonzero, NULL},
    LATER("packing", "data", "packing", "missing: `false`, but `true` for `stage: pt`"),
    LATER("neat_packing", "data", "packing", NULL),
    {"disable_shuffling", OURS("data", "shuffle"), NULL, take_no_shuffling, NULL},
    {"group_by_length", OURS("data", "group_by_length"), NULL, NULL, NULL},
    {"per_device_train_batch_size", OURS("training", "per_device_train_batch_size"), "8", NULL, NULL},
    {"gradient_accumulation_steps", OURS("training", "gradient_accumulation_steps"), "1", NULL, NULL},
    {"num_train_epochs", OURS("training", "num_train_epochs"), "3", NULL, NULL},
    {"max_steps", OURS("training", "max_steps"), NULL, take_nonzero, NULL},
    {"learning_rate", OURS("training", "learning_rate"), "5e-5", NULL, NULL},
    {"optim", OURS("training", "optim"), "adamw_32bit", take_optimizer, "AdamW; others are refused"},
    {"lr_scheduler_type", OURS("training", "lr_scheduler_type"), "linear", take_schedule, NULL},
    {"warmup_steps", OURS("training", "warmup_steps"), NULL, take_warmup_steps, NULL},
    {"warmup_ratio", OURS("training", "warmup_ratio"), NULL, take_nonzero, NULL},
    {"weight_decay", OURS("training", "weight_decay"), NULL, NULL, NULL},
    {"max_grad_norm", OURS("training", "max_grad_norm"), "1", NULL, NULL},
    {"adam_beta1", OURS("training", "adam_beta1"), NULL, NULL, NULL},
    {"adam_beta2", OURS("training", "adam_beta2"), NULL, NULL, NULL},
    {"adam_epsilon", OURS("training", "adam_epsilon"), NULL, NULL, NULL},
    {"neftune_noise_alpha", OURS("training", "neftune_noise_alpha"), NULL, take_nonzero, NULL},
    {"seed", OURS("training", "seed"), NULL, NULL, NULL},
    {"output_dir", OURS("training", "output_dir"), NULL, take_output, NULL},
    {"logging_steps", OURS("training", "logging_steps"), NULL, take_steps, NULL},
    LATER("eval_strategy", "training", "eval_steps", NULL),
    LATER("evaluation_strategy", "training", "eval_steps", NULL),
    LATER("eval_steps", "training", "eval_steps", NULL),
    {"save_steps", OURS("training", "save_steps"), NULL, take_steps, NULL},
    {"save_strategy", OURS("training", "save_steps"), NULL, take_save_strategy, NULL},
    {"save_total_limit", OURS("training", "save_total_limit"), NULL, NULL, NULL},
    LATER("load_best_model_at_end", "training", "load_best_model_at_end", NULL),
    LATER("early_stopping_steps", "training", "early_stopping_patience", NULL),
    {"resume_from_checkpoint", OURS("training", "resume_from_checkpoint"), NULL, take_resume, NULL},
    {"report_to", OURS("training", "report_to"), NULL, take_reports, "`tensorboard`"},
    {"do_train", OURS("training", "output_dir"), NULL, take_do_train, "`false` is refused"},

    {"fp16", FATE_LOST, NULL, NULL, NULL, take_fp16, "computed in bf16, or f32 on a CPU without it"},
    IDLE("bf16"),
    IDLE("pure_bf16"),
    IDLE("tf32"),
    IDLE("do_eval"),
    IDLE("do_predict"),
    IDLE("predict_with_generate"),
    IDLE("overwrite_cache"),
    IDLE("overwrite_output_dir"),
    IDLE("preprocessing_num_workers"),
    IDLE("preprocessing_batch_size"),
    IDLE("dataloader_num_workers"),
    IDLE("dataloader_pin_memory"),
    IDLE("data_shared_file_system"),
    IDLE("cache_dir"),
    IDLE("use_fast_tokenizer"),
    IDLE("low_cpu_mem_usage"),
    IDLE("trust_remote_code"),
    IDLE("hf_hub_token"),
    IDLE("ms_hub_token"),
    IDLE("om_hub_token"),
    IDLE("flash_attn"),
    IDLE("use_unsloth"),
    IDLE("use_unsloth_gc"),
    IDLE("enable_liger_kernel"),
    IDLE("use_v1_kernels"),
    IDLE("disable_gradient_checkpointing"),
    IDLE("gradient_checkpointing"),
    IDLE("use_reentrant_gc"),
    IDLE("upcast_layernorm"),
    IDLE("upcast_lmhead_output"),
    IDLE("use_cache"),
    IDLE("use_kv_cache"),
    IDLE("quantization_device_map"),
    IDLE("pissa_convert"),
    IDLE("loraplus_lr_embedding"),
    IDLE("adapter_folder"),
    IDLE("ignore_pad_token_for_loss"),
    IDLE("per_device_eval_batch_size"),
    IDLE("eval_num_beams"),
    IDLE("eval_accumulation_steps"),
    IDLE("eval_on_each_dataset"),
    IDLE("compute_accuracy"),
    IDLE("plot_loss"),
    IDLE("logging_strategy"),
    IDLE("logging_dir"),
    IDLE("logging_first_step"),
    IDLE("run_name"),
    IDLE("save_only_model"),
    IDLE("save_safetensors"),
    IDLE("greater_is_better"),
    IDLE("include_num_input_tokens_seen"),
    IDLE("include_tokens_per_second"),
    IDLE("include_effective_tokens_per_second"),
    IDLE("print_param_status"),
    IDLE("ddp_timeout"),
    IDLE("ddp_find_unused_parameters"),
    IDLE("ddp_bucket_cap_mb"),
    IDLE("local_rank"),
    IDLE("deepspeed"),
    IDLE("fsdp"),
    IDLE("fsdp_config"),
    IDLE("accelerator_config"),
    IDLE("torch_compile"),
    IDLE("remove_unused_columns"),
    IDLE("push_to_hub"),
    IDLE("hub_model_id"),
    IDLE("hub_strategy"),
    IDLE("use_swanlab"),
    IDLE("swanlab_project"),
    IDLE("swanlab_workspace"),
    IDLE("swanlab_run_name"),
    IDLE("swanlab_mode"),
    IDLE("swanlab_logdir"),
    IDLE("ray_run_name"),
    IDLE("ray_storage_path"),
    IDLE("ray_num_workers"),
    IDLE("resources_per_worker"),
    IDLE("placement_strategy"),
    IDLE("infer_backend"),
    IDLE("infer_dtype"),
    IDLE("offload_folder"),
    IDLE("export_dir"),
    IDLE("export_size"),
    IDLE("export_device"),
    IDLE("export_legacy_format"),
    IDLE("max_new_tokens"),
    IDLE("temperature"),
    IDLE("top_p"),
    IDLE("top_k"),
    IDLE("do_sample"),
    IDLE("num_beams"),
    IDLE("repetition_penalty"),
    IDLE("freeze_vision_tower"),
    IDLE("freeze_multi_modal_projector"),

    {"metric_for_best_model", FATE_LOST, NULL, NULL, NULL, take_metric, "but `eval_loss`, by which the best is told"},
    LOST("tool_format", "tools are put as the chat template has them"),
    LOST("data_seed", "training.seed gives the order of rows too"),
    LOST("tokenized_path", "rows are read as dataset says, not from there"),
    LOST("dataloader_drop_last", "the last step of an epoch takes the rows that remain"),
    LOST("max_samples", "the first rows of each data set only, there; here all: cut the files (head -n)"),
    LOST("model_revision", "download that revision"),
    LOST("split_special_tokens", "special tokens in texts are recognised"),
    LOST("resize_vocab", "embeddings stay as they are"),
    LOST("add_tokens", "tokens are not added to the vocabulary"),
    LOST("add_special_tokens", "tokens are not added to the vocabulary"),
    LOST("new_special_tokens", "tokens are not added to the vocabulary"),
    LOST("new_special_tokens_config", "tokens are not added to the vocabulary"),
    LOST("additional_target", "these are trained in full there; here embeddings and head stay as they are"),
    LOST("rope_scaling", "the model is used as its config.json says; set it there"),
    LOST("create_new_adapter", "lora.init goes on with the adapter; merge it first for a new one over it"),
    LOST("pissa_init", "adapters begin with A random and B zero"),
    LOST("pissa_iter", "adapters begin with A random and B zero"),
    LOST("mix_strategy", "files are read one after another, and shuffled"),
    LOST("interleave_probs", "files are read one after another, and shuffled"),
    LOST("streaming", "the data are read as a whole"),
    LOST("buffer_size", "the data are shuffled as a whole"),
    LOST("default_system", "rows need a system message of their own, or the chat template one"),
    LOST("enable_thinking", "say it in data.chat_template_kwargs: {enable_thinking: ...}, where the template reads it"),
    LOST("efficient_eos", "rows end as the chat template says"),
    LOST("replace_jinja_template", "the template is data.chat_template"),
    LOST("lr_scheduler_kwargs", "schedules have no parameters of their own"),
    LOST("optim_args", "put betas and epsilon in training.adam_*"),
    LOST("label_smoothing_factor", "the loss is the plain cross-entropy"),
    LOST("auto_find_batch_size", "the batch stays as given; a plan says whether it fits"),
    LOST("moe_aux_loss_coef", "the loss is the plain cross-entropy"),

    REFUSED("train_from_scratch", "trains all weights from random ones; expected adapters over a model"),
    REFUSED("use_dora", "DoRA is another training; expected LoRA"),
    REFUSED("shift_attn", "another attention (shifted sparse); expected the model's own"),
    REFUSED("mixture_of_depths", "another model (mixture of depths); expected the model as it is"),
    REFUSED("use_galore", "another optimizer (GaLore); expected AdamW"),
    REFUSED("use_apollo", "another optimizer (APOLLO); expected AdamW"),
    REFUSED("use_badam", "another optimizer (BAdam); expected AdamW"),
    REFUSED("use_adam_mini", "another optimizer (Adam-mini); expected AdamW"),
    REFUSED("use_muon", "another optimizer (Muon); expected AdamW"),
    REFUSED("use_llama_pro", "trains added blocks; expected adapters"),
    REFUSED("use_dft_loss", "another loss; expected the plain cross-entropy"),
    REFUSED("use_eaft_loss", "another loss; expected the plain cross-entropy"),
    REFUSED("use_asft_loss", "another loss; expected the plain cross-entropy"),
    REFUSED("use_mca", "Megatron's training; expected LoRA"),
    REFUSED("fp8", "training in 8 bits; expected bf16"),
    REFUSED("image_max_pixels", "images; expected text alone"),
    REFUSED("image_min_pixels", "images; expected text alone"),
    REFUSED("video_max_pixels", "video; expected text alone"),
    REFUSED("video_min_pixels", "video; expected text alone"),
    REFUSED("video_fps", "video; expected text alone"),
    REFUSED("video_maxlen", "video; expected text alone"),
    REFUSED("audio_sampling_rate", "audio; expected text alone"),
    REFUSED("use_audio_in_video", "video; expected text alone"),
    REFUSED("media_dir", "images or audio; expected text alone"),
    REFUSED("freeze_language_model", "images or audio; expected text alone"),
    REFUSED("pref_loss", "preference training; expected sft or pt"),
    REFUSED("pref_beta", "preference training; expected sft or pt"),
    REFUSED("reward_model", "reinforcement training; expected sft or pt"),
};

const dialect_t dialect_llama_factory = {"LLaMA-Factory", "model_name_or_path", keys, sizeof keys / sizeof *keys,
                                         finish};
