/* The configuration of a run: one YAML file, `section.key=value` overrides, one schema table (config_schema.c) that
 * holds for every key its type, default, range and choices. docs/config.md is the reference for users. */
#ifndef TRAINER_CONFIG_CONFIG_H
#define TRAINER_CONFIG_CONFIG_H

#include <jansson.h>

#include "base/dtype.h"
#include "data/batch.h"
#include "model/formats/quant.h"
#include "model/lora_choice.h"

typedef enum { SCHED_CONSTANT, SCHED_LINEAR, SCHED_COSINE, SCHED_CONSTANT_WITH_WARMUP } schedule_t;
typedef enum { OPTIM_PAGED_ADAMW_32BIT, OPTIM_ADAMW_32BIT, OPTIM_PAGED_ADAMW_8BIT, OPTIM_ADAMW_8BIT } optim_t;
typedef enum { TRI_AUTO, TRI_TRUE, TRI_FALSE } tristate_t;
typedef enum { COMPUTE_AUTO, COMPUTE_BF16, COMPUTE_F32 } compute_t;

typedef struct {
    char *path;    /* the YAML file, for messages */
    char *dir;     /* its directory: relative paths in it are resolved against this, once, at load */
    char **places; /* see config_place() */

    struct {
        char *path;
    } model;
    struct {
        quant_type_t quant_type;
        bool quant_type_given; /* and not the default */
        bool double_quant;
        compute_t compute_dtype;
    } quantization;
    struct {
        size_t r;
        double alpha, dropout;
        json_t *targets;                      /* array of names, or a string: a regular expression; NULL: all-linear */
        json_t *exclude;                      /* the same; NULL: [] */
        json_t *layers;                       /* an integer or an array; NULL: all */
        json_t *rank_pattern, *alpha_pattern; /* regular expression -> r, alpha; NULL: {} */
        double loraplus_lr_ratio;
        bool use_rslora;
        bool f32;   /* dtype: f32 instead of bf16 */
        char *init; /* NULL: default, else an adapter directory */
    } lora;
    struct {
        char **train; /* n_train files */
        size_t n_train;
        char *eval; /* NULL: none */
        data_format_t format;
        char *chat_template;          /* "auto", "none", one of chat_template_names(), or the path of a file */
        json_t *chat_template_kwargs; /* NULL: {} */
        char *chat_template_date;     /* YYYY-MM-DD; NULL: none */
        size_t max_length;
        train_on_t train_on;
        double eval_split; /* 0: none; a share of the rows, or from 1 on a number of them */
        bool packing, shuffle, group_by_length;
    } data;
    struct {
        char *output_dir;
        double num_train_epochs;
        long max_steps; /* -1: from the epochs */
        size_t batch_size, accumulation;
        double learning_rate;
        schedule_t scheduler;
        double warmup_ratio;
        size_t warmup_steps;
        double weight_decay, max_grad_norm;
        uint64_t seed;
        optim_t optim;
        double adam_beta1, adam_beta2, adam_epsilon;
        tristate_t gradient_checkpointing;
        double neftune_noise_alpha; /* 0: none */
        size_t logging_steps, eval_steps, save_steps, save_total_limit;
        size_t early_stopping_patience; /* evaluations; 0: off */
        bool load_best;
        char *sample_prompts; /* a file; NULL: none */
        char *resume;         /* "auto", "none" or a checkpoint directory */
        size_t preempted_exit_status;
        bool tensorboard; /* report_to: beside jsonl, which is always written */
    } training;
    struct {
        char *backend;       /* "auto", "cpu", "cuda" */
        size_t memory_limit; /* bytes; 0: auto */
        bool page_weights;   /* auto; false: never */
        bool cache_weights;  /* auto; false: off */
        char *spill;         /* NULL: none */
        int threads;         /* 0: auto */
    } device;
} config_t;

/* CONFIG_PLAN is CONFIG_TRAIN, but for a model without weights its path and those of the data need not exist.
 * CONFIG_EVAL and CONFIG_GENERATE do without data.train and training.output_dir. CONFIG_WRITTEN is CONFIG_TRAIN where no
 * path need exist yet. */
typedef enum { CONFIG_TRAIN, CONFIG_PLAN, CONFIG_EVAL, CONFIG_GENERATE, CONFIG_WRITTEN } config_use_t;
/* Reads and checks everything that `use` needs. Every error is ERR_USAGE in the form
 * "file:line:column: section.key: what is wrong; expected ...; did you mean ...?" (for an override,
 * "command line: section.key: ..."). path NULL: the overrides are all of it. */
int config_load(const char *path, char *const *overrides, size_t n_overrides, config_use_t use, config_t *c,
                err_t *err);
void config_free(config_t *c);

/* An override, key "section.key", whose value is this text, whatever YAML would make of it. The caller frees. */
char *config_override(const char *key, const char *text);

/* The resolved config as YAML, every key with its value, absolute paths: what a run prints and keeps with each
 * checkpoint. Loading it again gives the same config. The caller frees. */
char *config_to_yaml(const config_t *c);

/* Whether data.chat_template is the path of a file, which it is as soon as it is no name. */
bool config_template_is_file(const config_t *c);

/* Whether training.optim is one of those that may page. */
bool config_pages_optimizer(const config_t *c);

/* Where a key was set, for errors that only the model tells: "c.yaml:3:20", "command line"; the file, if nowhere. */
const char *config_place(const config_t *c, const char *section, const char *name);

/* What the section `lora` says of the layers to adapt; borrowed from the config. */
lora_choice_t config_lora_choice(const config_t *c);
/* The greatest rank. */
#define LORA_MAX_RANK ((size_t)1024)

/* The keys that define a run, one "section.key=value" a line. The caller frees. */
char *config_run_text(const config_t *c);
/* What must not change between a run and its resumption (keys and values that define the run: not logging,
 * saving, device or output): XXH3 over them. */
uint64_t config_run_id(const config_t *c);

#endif
