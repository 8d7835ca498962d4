#include "trainer/config/config_schema.h"

#include <string.h>

#include "base/mem.h"
#include "base/names.h"

/* In the order of their enums, so that the index is the value. */
static const char *const quant_types[] = {[QUANT_NF4] = "nf4",
                                          [QUANT_FP4] = "fp4",
                                          [QUANT_INT4] = "int4",
                                          [QUANT_INT8] = "int8",
                                          [QUANT_INT8_ZEROPOINT] = "int8-zeropoint",
                                          [QUANT_NONE] = "none",
                                          NULL};
static const char *const compute_types[] = {
    [COMPUTE_AUTO] = "auto", [COMPUTE_BF16] = "bf16", [COMPUTE_F32] = "f32", NULL};
static const char *const data_formats[] = {[DATA_MESSAGES] = "messages", [DATA_SHAREGPT] = "sharegpt",
                                           [DATA_ALPACA] = "alpaca",     [DATA_PROMPT_COMPLETION] = "prompt-completion",
                                           [DATA_TEXT] = "text",         [DATA_TOKENS] = "tokens",
                                           [DATA_AUTO] = "auto",         NULL};
static const char *const schedules[] = {[SCHED_CONSTANT] = "constant",
                                        [SCHED_LINEAR] = "linear",
                                        [SCHED_COSINE] = "cosine",
                                        [SCHED_CONSTANT_WITH_WARMUP] = "constant_with_warmup",
                                        NULL};
static const char *const optimizers[] = {[OPTIM_PAGED_ADAMW_32BIT] = "paged_adamw_32bit",
                                         [OPTIM_ADAMW_32BIT] = "adamw_32bit",
                                         [OPTIM_PAGED_ADAMW_8BIT] = "paged_adamw_8bit",
                                         [OPTIM_ADAMW_8BIT] = "adamw_8bit",
                                         NULL};
static const char *const train_on[] = {
    [TRAIN_ON_COMPLETION] = "completion", [TRAIN_ON_LAST] = "last", [TRAIN_ON_ALL] = "all", NULL};
static const char *const tristates[] = {[TRI_AUTO] = "auto", [TRI_TRUE] = "true", [TRI_FALSE] = "false", NULL};
static const char *const backends[] = {"auto", "cpu", "cuda", NULL};
static const char *const resumes[] = {"auto", "none", NULL};
static const char *const word_default[] = {"default", NULL};
static const char *const word_none[] = {"none", NULL};
static const char *const word_null[] = {"null", NULL};
static const char *const word_all_linear[] = {"all-linear", NULL};
static const char *const word_all[] = {"all", NULL};
static const char *const no_words[] = {NULL};
/* Of two words the second means true. */
static const char *const lora_dtypes[] = {"bf16", "f32", NULL};
static const char *const page_weights[] = {"never", "auto", NULL};
static const char *const reports[] = {"jsonl", "tensorboard", NULL}; /* the second beside the first */
static const char *const cache_weights[] = {"off", "auto", NULL};

#define AT(field) offsetof(config_t, field)
#define MANY 1000000000.0 /* the most steps, tokens and the like */

const config_key_t config_keys[] = {
    {"model", "path", KEY_PATH, AT(model.path), .defines_run = false,
     .help = "The base model: a Hugging Face directory or a GGUF file; it is never written to."},

    {"quantization", "quant_type", KEY_CHOICE, AT(quantization.quant_type), "nf4", .words = quant_types,
     .defines_run = true, .help = "How the linear layers are held; none keeps them in 16 bits: plain LoRA."},
    {"quantization", "double_quant", KEY_BOOL, AT(quantization.double_quant), "true", .defines_run = true,
     .help = "Quantizes the quantization constants too, at no measurable cost."},
    {"quantization", "compute_dtype", KEY_CHOICE, AT(quantization.compute_dtype), "auto", .words = compute_types,
     .defines_run = true, .help = "Type of the activations, and of what products read; auto takes the faster one."},

    {"lora", "r", KEY_WHOLE, AT(lora.r), "16", .min = 1, .max = 1024, .defines_run = true,
     .help = "Rank of the adapters; 8 to 64 is usual."},
    {"lora", "lora_alpha", KEY_REAL, AT(lora.alpha), "16", .min = 0, .max = 1e6, .open = OPEN_MIN, .defines_run = true,
     .help = "The adapters are scaled by lora_alpha / r."},
    {"lora", "lora_dropout", KEY_REAL, AT(lora.dropout), "0", .min = 0, .max = 1, .open = OPEN_MAX, .defines_run = true,
     .help = "Dropout on the adapters' input; 0.05 to 0.1 helps on small data."},
    {"lora", "target_modules", KEY_NAMES, AT(lora.targets), "all-linear", .words = word_all_linear, .defines_run = true,
     .help = "Which linear layers are adapted: names, or one regular expression over whole module names."},
    {"lora", "exclude_modules", KEY_NAMES, AT(lora.exclude), "[]", .words = no_words, .defines_run = true,
     .help = "Which of target_modules are not adapted, by the same rules."},
    {"lora", "layers_to_transform", KEY_INDICES, AT(lora.layers), "all", .max = 1023, .words = word_all,
     .defines_run = true, .help = "The layers, from 0, in which the names of target_modules count."},
    {"lora", "rank_pattern", KEY_JSON, AT(lora.rank_pattern), "{}", .defines_run = true,
     .help = "Other ranks than r: a regular expression over module names to a rank; the first that matches counts."},
    {"lora", "alpha_pattern", KEY_JSON, AT(lora.alpha_pattern), "{}", .defines_run = true,
     .help = "Other lora_alpha, by the rules of rank_pattern."},
    {"lora", "loraplus_lr_ratio", KEY_REAL, AT(lora.loraplus_lr_ratio), "1", .min = 0, .max = 1000, .open = OPEN_MIN,
     .defines_run = true, .help = "LoRA+: the learning rate of B is so many times that of A."},
    {"lora", "use_rslora", KEY_BOOL, AT(lora.use_rslora), "false", .defines_run = true,
     .help = "Scales by lora_alpha over the square root of r, which keeps large ranks useful."},
    {"lora", "dtype", KEY_FLAG, AT(lora.f32), "bf16", .words = lora_dtypes, .defines_run = true,
     .help = "What products read and what a saved adapter holds."},
    {"lora", "init", KEY_NONE_PATH, AT(lora.init), "default", .words = word_default, .defines_run = true,
     .help = "default (A random, B zero), or a PEFT adapter to go on from."},

    {"data", "train", KEY_FILES, AT(data.train), .defines_run = false,
     .help = "Training rows: .jsonl, .json or .txt, also .gz or .zst; a file or a list of files."},
    {"data", "eval", KEY_NONE_PATH, AT(data.eval), "null", .words = word_null,
     .help = "Held-out rows, for eval_steps and `qlora-train eval`."},
    {"data", "format", KEY_CHOICE, AT(data.format), "auto", .words = data_formats, .defines_run = true,
     .help = "What a row is; auto tells it from the first row's keys."},
    {"data", "chat_template", KEY_TEMPLATE, AT(data.chat_template), "auto", .defines_run = true,
     .help = "How a conversation becomes text; auto is the model's own, and a file of Jinja may be given."},
    {"data", "chat_template_kwargs", KEY_JSON, AT(data.chat_template_kwargs), "{}", .defines_run = true,
     .help = "Further variables of the chat template, such as {enable_thinking: false}."},
    {"data", "chat_template_date", KEY_DATE, AT(data.chat_template_date), "null", .defines_run = true,
     .help = "What strftime_now() says in a chat template; null: the template finds no such function."},
    {"data", "max_length", KEY_WHOLE, AT(data.max_length), "1024", .min = 2, .max = 1048576, .defines_run = true,
     .help = "Tokens of a row at most; longer text is split, other rows are cut on the right and counted."},
    {"data", "train_on", KEY_CHOICE, AT(data.train_on), "completion", .words = train_on, .defines_run = true,
     .help = "What is trained: the answers (completion), the last answer only, or every token."},
    {"data", "eval_split", KEY_REAL, AT(data.eval_split), "0", .min = 0, .max = MANY, .defines_run = true,
     .help = "Rows taken out of train for evaluation where eval is not given: a share below 1, or a number of rows."},
    {"data", "packing", KEY_BOOL, AT(data.packing), "true", .defines_run = true,
     .help = "Puts several samples into one row, which never see each other: less waste, so faster."},
    {"data", "shuffle", KEY_BOOL, AT(data.shuffle), "true", .defines_run = true,
     .help = "A new order each epoch, from training.seed."},
    {"data", "group_by_length", KEY_BOOL, AT(data.group_by_length), "false", .defines_run = true,
     .help = "Brings rows of like length together, the longest first; used without packing."},

    {"training", "output_dir", KEY_PATH, AT(training.output_dir), .default_text = NULL,
     .help = "Checkpoints, metrics and the final adapter; one run a directory."},
    {"training", "num_train_epochs", KEY_REAL, AT(training.num_train_epochs), "1", .min = 0, .max = 1e6,
     .open = OPEN_MIN, .defines_run = true, .help = "Passes over the data; fractions are fine."},
    {"training", "max_steps", KEY_STEPS, AT(training.max_steps), "-1", .min = 1, .max = MANY, .defines_run = true,
     .help = "Optimizer steps, instead of epochs; -1: as many as the epochs have."},
    {"training", "per_device_train_batch_size", KEY_WHOLE, AT(training.batch_size), "4", .min = 1, .max = 1048576,
     .defines_run = true, .help = "Rows of a micro-batch: what memory must hold at once."},
    {"training", "gradient_accumulation_steps", KEY_WHOLE, AT(training.accumulation), "4", .min = 1, .max = 1048576,
     .defines_run = true, .help = "Micro-batches of an optimizer step."},
    {"training", "learning_rate", KEY_REAL, AT(training.learning_rate), "2e-4", .min = 0, .max = 10,
     .defines_run = true, .help = "Peak learning rate; 1e-4 for models of 33B and more."},
    {"training", "lr_scheduler_type", KEY_CHOICE, AT(training.scheduler), "constant", .words = schedules,
     .defines_run = true, .help = "Course of the learning rate; linear and cosine reach 0 at the last step."},
    {"training", "warmup_ratio", KEY_REAL, AT(training.warmup_ratio), "0", .min = 0, .max = 1, .defines_run = true,
     .help = "Share of the steps that warm up, rounded up."},
    {"training", "warmup_steps", KEY_WHOLE, AT(training.warmup_steps), "0", .min = 0, .max = MANY, .defines_run = true,
     .help = "Steps that warm up; when not 0, warmup_ratio is ignored."},
    {"training", "weight_decay", KEY_REAL, AT(training.weight_decay), "0", .min = 0, .max = 1, .defines_run = true,
     .help = "Decoupled weight decay, on the adapters."},
    {"training", "max_grad_norm", KEY_REAL, AT(training.max_grad_norm), "0.3", .min = 0, .max = 1e9,
     .defines_run = true, .help = "Clips the norm of the whole gradient; 0: no clipping."},
    {"training", "seed", KEY_SEED, AT(training.seed), "42", .min = 0, .max = 9007199254740991.0, .defines_run = true,
     .help = "Data order, dropout and fresh adapters; same seed and machine: same bytes."},
    {"training", "optim", KEY_CHOICE, AT(training.optim), "paged_adamw_32bit", .words = optimizers, .defines_run = true,
     .help = "AdamW with states of 32 or 8 bits; paged_*: they may leave the device's memory."},
    {"training", "adam_beta1", KEY_REAL, AT(training.adam_beta1), "0.9", .min = 0, .max = 1, .open = OPEN_MAX,
     .defines_run = true, .help = "Decay of the gradient's mean."},
    {"training", "adam_beta2", KEY_REAL, AT(training.adam_beta2), "0.999", .min = 0, .max = 1, .open = OPEN_MAX,
     .defines_run = true, .help = "Decay of the squared gradient's mean."},
    {"training", "adam_epsilon", KEY_REAL, AT(training.adam_epsilon), "1e-8", .min = 0, .max = 1, .open = OPEN_MIN,
     .defines_run = true, .help = "Keeps the update finite."},
    /* Recomputation gives the same bits: it may change on resume. */
    {"training", "gradient_checkpointing", KEY_CHOICE, AT(training.gradient_checkpointing), "auto", .words = tristates,
     .help = "Recomputes activations instead of keeping them; auto: as the memory demands; the result is the same."},
    {"training", "neftune_noise_alpha", KEY_REAL, AT(training.neftune_noise_alpha), "0", .min = 0, .max = 1000,
     .defines_run = true, .help = "NEFTune: noise on the embeddings in training; 5 is usual for chat data, 0: none."},
    {"training", "logging_steps", KEY_WHOLE, AT(training.logging_steps), "1", .min = 1, .max = MANY,
     .help = "Every how many steps a row goes to metrics.jsonl."},
    {"training", "eval_steps", KEY_WHOLE, AT(training.eval_steps), "0", .min = 0, .max = MANY,
     .help = "Every how many steps held-out rows are evaluated and sample_prompts answered; 0: never."},
    {"training", "save_steps", KEY_WHOLE, AT(training.save_steps), "100", .min = 0, .max = MANY,
     .help = "Every how many steps a checkpoint is written; 0: at the end only."},
    {"training", "save_total_limit", KEY_WHOLE, AT(training.save_total_limit), "3", .min = 0, .max = MANY,
     .help = "Checkpoints to keep; 0: all."},
    {"training", "early_stopping_patience", KEY_WHOLE, AT(training.early_stopping_patience), "0", .min = 0, .max = MANY,
     .help = "Ends the run after so many evaluations in a row without a lower eval_loss; 0: off."},
    {"training", "load_best_model_at_end", KEY_BOOL, AT(training.load_best), "false",
     .help = "The final adapter is that of the evaluation with the lowest eval_loss, not the last."},
    {"training", "sample_prompts", KEY_NONE_PATH, AT(training.sample_prompts), "none", .words = word_none,
     .help = "A file of prompts, one a line; the model's answers at each evaluation go to samples.jsonl."},
    {"training", "resume_from_checkpoint", KEY_WORD_PATH, AT(training.resume), "auto", .words = resumes,
     .help = "auto goes on from output_dir's newest good checkpoint; none or a checkpoint: how the run begins."},
    {"training", "preempted_exit_status", KEY_WHOLE, AT(training.preempted_exit_status), "75", .min = 0, .max = 255,
     .help = "The exit status of a run that was asked to stop, its checkpoint good."},
    {"training", "report_to", KEY_ALSO, AT(training.tensorboard), "[jsonl]", .words = reports,
     .help = "Where the curves go besides metrics.jsonl: tensorboard writes event files into output_dir."},

    {"device", "backend", KEY_WORD, AT(device.backend), "auto", .words = backends,
     .help = "Where it is computed; auto takes a usable GPU."},
    {"device", "memory_limit", KEY_AUTO_BYTES, AT(device.memory_limit), "auto", .min = 4096, .max = 1125899906842624.0,
     .help = "What a run may take of the device's memory: a size such as 4GiB; auto: what is free, less a margin."},
    {"device", "page_weights", KEY_FLAG, AT(device.page_weights), "auto", .words = page_weights,
     .help = "Whether quantized weights that do not fit may stay in host memory and be fetched ahead of use."},
    {"device", "cache_weights", KEY_FLAG, AT(device.cache_weights), "auto", .words = cache_weights,
     .help = "Whether a GPU's spare memory keeps dequantized weights; the result is the same."},
    {"device", "spill", KEY_NONE_PATH, AT(device.spill), "none", .words = word_none,
     .help = "A directory for a file that takes what leaves the device, for hosts short of memory."},
    {"device", "threads", KEY_AUTO_WHOLE, AT(device.threads), "auto", .min = 1, .max = 1024,
     .help = "CPU threads; no result depends on their number."},
};
const size_t config_n_keys = sizeof config_keys / sizeof *config_keys;

const char *const config_sections[] = {"model", "quantization", "lora", "data", "training", "device"};
const size_t config_n_sections = sizeof config_sections / sizeof *config_sections;

const config_key_t *config_key_find(const char *section, const char *name) {
    for (size_t i = 0; i < config_n_keys; i++)
        if (strcmp(config_keys[i].section, section) == 0 && strcmp(config_keys[i].name, name) == 0)
            return &config_keys[i];
    return NULL;
}

const char *const *config_template_words(void) {
    static const char *words[32];
    const char *const *names = chat_template_names();
    size_t n = 0;
    words[n++] = "auto";
    for (size_t i = 0; names[i]; i++) {
        CHECK(n + 2 < sizeof words / sizeof *words);
        words[n++] = names[i];
    }
    words[n++] = "none";
    words[n] = NULL;
    return words;
}

static void add_words(strbuf_t *b, const char *const *words) {
    for (size_t i = 0; words[i]; i++) strbuf_addf(b, "%s%s", i ? ", " : "", words[i]);
}

static char *list_words(const char *const *words) { return name_list(words, name_count(words)); }

static void add_real_range(strbuf_t *b, const config_key_t *k) {
    const char *low = k->open & OPEN_MIN ? "above" : k->open & OPEN_MAX ? "of at least" : "from";
    const char *high = k->open & OPEN_MAX ? "and below" : k->open & OPEN_MIN ? "and at most" : "to";
    strbuf_addf(b, "a number %s %.15g %s %.15g", low, k->min, high, k->max);
}

char *config_key_expected(const config_key_t *k) {
    strbuf_t b = {0};
    switch (k->kind) {
    case KEY_WHOLE:
    case KEY_SEED: strbuf_addf(&b, "a whole number from %.0f to %.0f", k->min, k->max); break;
    case KEY_STEPS: strbuf_addf(&b, "-1 (all epochs) or a whole number from %.0f to %.0f", k->min, k->max); break;
    case KEY_REAL: add_real_range(&b, k); break;
    case KEY_BOOL: strbuf_adds(&b, "true or false"); break;
    case KEY_CHOICE:
    case KEY_FLAG:
    case KEY_WORD: return list_words(k->words);
    case KEY_PATH: strbuf_adds(&b, "a path"); break;
    case KEY_WORD_PATH:
    case KEY_NONE_PATH:
        add_words(&b, k->words);
        strbuf_adds(&b, " or a path");
        break;
    case KEY_TEMPLATE:
        add_words(&b, config_template_words());
        strbuf_adds(&b, ", or the path of a .jinja file");
        break;
    case KEY_DATE: strbuf_adds(&b, "null or a date YYYY-MM-DD"); break;
    case KEY_FILES: strbuf_adds(&b, "a file or a list of files"); break;
    case KEY_NAMES:
        strbuf_addf(&b, "%s%sa list of names or a regular expression", k->words[0] ? k->words[0] : "",
                    k->words[0] ? ", " : "");
        break;
    case KEY_INDICES: strbuf_addf(&b, "%s or a list of whole numbers", k->words[0]); break;
    case KEY_ALSO: strbuf_addf(&b, "[%s] or [%s, %s]", k->words[0], k->words[0], k->words[1]); break;
    case KEY_JSON: strbuf_adds(&b, "a mapping"); break;
    case KEY_AUTO_BYTES: strbuf_addf(&b, "auto or a size of at least %.0f bytes such as 512MiB or 4GiB", k->min); break;
    case KEY_AUTO_WHOLE: strbuf_addf(&b, "auto or a whole number from %.0f to %.0f", k->min, k->max); break;
    }
    return b.p;
}
