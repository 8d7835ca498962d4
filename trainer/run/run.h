/* What a config names, opened: model source, tokenizer, datasets, backend, and, once the memory plan stands,
 * the model with its adapters in place. Train, plan, eval, generate and the check of an export all start
 * here, in this order; run_close() ends it at any point, also after an error:
 *
 *   run->config loaded          config_load()
 *   run_open()                  headers, backend, data; run->need is the caller's to fill in from here on
 *   run_set_lora()              unless the base model is to be alone
 *   run_plan()                  the model laid out, nothing allocated
 *   run_load()                  memory, weights, adapters
 *   run_acts(), run_evaluate(), run_generation()    passes, as often as wanted */
#ifndef TRAINER_RUN_RUN_H
#define TRAINER_RUN_RUN_H

#include "trainer/run/plan.h"
#include "trainer/run/prompts.h"
#include "trainer/run/replicas.h"

typedef struct {
    config_t config;
    compute_t begun_in; /* compute_dtype auto: what the run that goes on computed in; COMPUTE_AUTO: it is a new one */
    model_source_t *src;
    tokenizer_t *tok;      /* NULL: the data is tokens already */
    chat_template_t *chat; /* NULL: no row is a conversation, or data.chat_template is none */
    dataset_t train, eval; /* n_samples 0: not loaded */
    prompts_t prompts;     /* of a training only */
    backend_t *be;
    model_t model;
    lora_t lora; /* layers 0: none */
    optimizer_t opt;
    replicas_t replicas; /* several processes only */
    kv_cache_t cache;    /* of the generation at hand */
    plan_need_t need;
    plan_t plan;
    pool_t pool;
    pool_mark_t fixed; /* above it: the activations of the pass at hand */
    size_t least_peak; /* of the pool in a step whose activations are small */
    acts_t acts;
} run_t;

/* Opens everything that is cheap: source (headers), tokenizer, datasets (tokenized), backend. Zero-initialise
 * the run; run_close also after an error. config was loaded by the caller and becomes the run's. */
int run_open(run_t *run, bool load_train, bool load_eval, bool need_chat, err_t *err);
/* Only the datasets (and the tokenizer that they need), of a run that is open. */
int run_open_data(run_t *run, bool load_train, bool load_eval, err_t *err);

/* Identity of the base model as it is trained on: its weights, and of a checkpoint in 4 bits whether what it holds
 * in 16 is quantized too. */
uint64_t run_model_id(const run_t *run);
/* Adapters as the config describes them; ERR_USAGE where it targets layers that the model does not have. */
int run_lora_spec(const config_t *c, const model_config_t *m, lora_spec_t *spec, err_t *err);
/* device.memory_limit in bytes; auto: what the device has free, less a margin; where it is the host's memory, this
 * process's share of that. */
size_t run_memory_limit(const config_t *c, backend_t *be);
/* Adapters as the config describes them, or as a directory of adapters says (adapter_dir; NULL: config). */
int run_set_lora(run_t *run, const char *adapter_dir, err_t *err);

/* Plans the memory for run->need, paging as the config allows; then allocates, loads the weights and the adapters, and
 * resets the optimizer if there is training. */
int run_plan(run_t *run, err_t *err);
int run_load(run_t *run, const char *adapter_dir, err_t *err);
void run_close(run_t *run);

/* Places activations for a pass over T tokens (over those of the pass before). */
acts_t *run_acts(run_t *run, pass_t pass, size_t T);
/* Places an empty cache in run->cache, and activations for the pieces of a prompt and single tokens, likewise. */
acts_t *run_generation(run_t *run);
/* Where those of a training pass would end in the pool. */
size_t run_acts_top(const run_t *run, size_t T);
/* Brings pages to where they are between two steps, whatever ran before. */
void run_settle(run_t *run);

/* (all) Mean loss over a dataset, in file order. Between batches `stop` (may be NULL) is asked whether to give up: then
 * false, on all ranks if it was on one. */
bool run_evaluate(run_t *run, const dataset_t *ds, bool (*stop)(void), double *loss, size_t *label_tokens);
/* Tokens and longest segment of its largest batch. */
void run_eval_extent(const run_t *run, const dataset_t *ds, size_t *tokens, size_t *seg);

/* Prints model, parameters, trainable share, data. */
void run_summary(const run_t *run);

#endif
