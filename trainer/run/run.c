#include "trainer/run/backend_open.h"
#include "trainer/run/run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/minmax.h"
#include "base/rng.h"
#include "model/adapter.h"
#include "trainer/ranks/ranks.h"
#include "trainer/run/checkpoint.h"
#include "trainer/run/run_data.h"
#include "trainer/run/shares.h"

/* ---- opening -------------------------------------------------------------------------------------------- */

static dtype_t compute_dtype(const run_t *run) {
    const compute_t asked = run->config.quantization.compute_dtype;
    const compute_t c = asked == COMPUTE_AUTO ? run->begun_in : asked;
    return c == COMPUTE_BF16 ? DT_BF16 : c == COMPUTE_F32 ? DT_F32 : DT_COUNT;
}

int run_open(run_t *run, bool load_train, bool load_eval, bool need_chat, err_t *err) {
    const config_t *c = &run->config;
    /* A wrong path is told even where nothing has to be paged yet. */
    if (c->device.spill && spill_check(c->device.spill, err)) return err->code;
    if (model_source_open(c->model.path, &run->src, err)) return err->code;
    if (backend_open(c->device.backend, compute_dtype(run), c->device.threads, ranks_share(), &run->be, err))
        return err->code;
    if (need_chat && (tokenizer_open(c->model.path, &run->tok, err) || run_find_template(run, err))) return err->code;
    return run_open_data(run, load_train, load_eval, err);
}

int run_lora_spec(const config_t *c, const model_config_t *m, lora_spec_t *spec, err_t *err) {
    const lora_choice_t choice = config_lora_choice(c);
    const char *member;
    *spec = (lora_spec_t){.r = c->lora.r,
                          .alpha = c->lora.alpha,
                          .dropout = c->lora.dropout,
                          .rslora = c->lora.use_rslora,
                          .f32 = c->lora.f32};
    if (lora_choose(&choice, m, spec, &member, err) == 0) return 0;
    return err_prefix(err, "%s: lora.%s", config_place(c, "lora", member), member);
}

/* A warm start goes on with the adapter as it is; another rank, scale or target list would change it. */
static int check_init(const config_t *c, const model_config_t *m, const lora_spec_t *want, err_t *err) {
    lora_spec_t have;
    if (adapter_read_spec(c->lora.init, m, &have, err)) return err->code;
    have.dropout = want->dropout; /* of the training, not of the adapter */
    char *has = lora_spec_text(&have), *wants = lora_spec_text(want);
    bool same = lora_spec_equal(&have, want);
    if (!same)
        err_set(err, ERR_USAGE, "lora.init: the adapter in %s has %s; the config says %s%s; expected the same",
                c->lora.init, has, wants, strcmp(has, wants) ? "" : ", of other layers or patterns");
    free(has);
    free(wants);
    lora_spec_free(&have);
    return same ? 0 : err->code;
}

/* The directory of a run is near enough to name what was meant. */
static int check_is_adapter(const char *dir, err_t *err) {
    char *here = path_join(dir, "adapter_config.json"), *below = path_join(dir, "adapter/adapter_config.json");
    int rc = 0;
    if (!path_exists(here) && path_exists(below))
        rc = err_set(err, ERR_USAGE, "%s: no adapter (no adapter_config.json); expected %s/adapter", dir, dir);
    free(here);
    free(below);
    return rc;
}

/* A checkpoint tells whether it is as it was written; an adapter from elsewhere has no checksums. */
static int check_adapter_dir(const char *dir, err_t *err) {
    if (check_is_adapter(dir, err)) return err->code;
    char *sums = path_join(dir, "checksums.json");
    int rc = path_exists(sums) ? checkpoint_verify(dir, err) : 0;
    free(sums);
    return rc;
}

int run_set_lora(run_t *run, const char *adapter_dir, err_t *err) {
    lora_spec_t spec;
    const model_config_t *m = model_source_config(run->src);
    const char *dir = adapter_dir ? adapter_dir : run->config.lora.init;
    if (dir && check_adapter_dir(dir, err)) return err->code;
    if (adapter_dir ? adapter_read_spec(adapter_dir, m, &spec, err) : run_lora_spec(&run->config, m, &spec, err))
        return err->code;
    if (!adapter_dir && run->config.lora.init && check_init(&run->config, m, &spec, err)) {
        lora_spec_free(&spec);
        return err->code;
    }
    lora_init(&run->lora, m, &spec);
    return 0;
}

/* ---- memory and weights --------------------------------------------------------------------------------- */

size_t run_memory_limit(const config_t *c, backend_t *be) {
    size_t free_bytes, total;
    if (c->device.memory_limit) return c->device.memory_limit;
    be->mem_info(be, &free_bytes, &total);
    /* A margin for what is not in the pool: the dataset and the page cache; the driver's own. */
    size_t margin = be->unified ? free_bytes / 8 : (size_t)512 << 20;
    size_t usable = free_bytes > margin ? free_bytes - margin : 0;
    return be->unified ? usable / (size_t)ranks_share().count : usable;
}

static lora_t *lora_of(run_t *run) { return run->lora.layers ? &run->lora : NULL; }

static void warn_of_length(const run_t *run, size_t positions) {
    size_t most = model_source_config(run->src)->max_positions;
    if (positions > most)
        log_warn("a sample of %zu tokens is longer than the model's max_position_embeddings, %zu: it has learned "
                 "nothing about positions beyond (data.max_length cuts)",
                 positions, most);
}

/* Linear layers that a checkpoint in 4 bits holds in 16; 0 where it is none. */
static size_t plain_layers(const model_source_t *src) {
    size_t n = 0;
    for (size_t i = 0; model_source_quantized(src) && i < model_source_count(src); i++)
        n += model_source_at(src, i)->role == TENSOR_LINEAR && !model_source_at(src, i)->quantized;
    return n;
}

uint64_t run_model_id(const run_t *run) {
    const config_t *c = &run->config;
    uint64_t id = model_source_fingerprint(run->src);
    bool quantizes_rest = c->quantization.quant_type_given && plain_layers(run->src);
    return quantizes_rest ? rng_fold(id, c->quantization.quant_type) : id;
}

/* What a checkpoint holds in 4 bits stays so, and what it holds in 16 does where the config names no type. */
static void warn_of_quantization(const run_t *run) {
    const config_t *c = &run->config;
    const source_tensor_t *t = model_source_quantized(run->src);
    if (!t) return;
    bool other = t->quant != c->quantization.quant_type || t->double_quant != c->quantization.double_quant;
    if (other && c->quantization.quant_type_given)
        log_warn("%s is quantized already: its own %s is kept, whatever the config's quantization says", c->model.path,
                 t->file_type);
    size_t plain = plain_layers(run->src);
    if (plain && !c->quantization.quant_type_given)
        log_info("%s: %zu linear layers are not quantized there and stay in 16 bits (quantization.quant_type would "
                 "quantize them)",
                 c->model.path, plain);
}

/* By the longest text that the run may have, not by the data at hand. */
static void choose_rope(const run_t *run, size_t positions, model_config_t *m) {
    bool generates = !run->need.train_tokens && run->need.cache; /* alone */
    size_t longest = generates ? run->need.cache : max_size(positions, run->config.data.max_length);
    if (!model_choose_rope(m, longest)) return;
    log_info("LongRoPE with its %s factors: for up to %zu positions, of which the first training had %.0f",
             m->rope_long ? "long" : "short", longest, m->rope[0].original);
}

/* On a device that shares the host's memory paging makes room only under a limit that somebody set, or into a file. */
static bool makes_room(const run_t *run) {
    return !run->be->unified || run->config.device.memory_limit || run->config.device.spill;
}

int run_plan(run_t *run, err_t *err) {
    const config_t *c = &run->config;
    size_t positions = max_size(run->need.train_seg, run->need.eval_seg); /* of the data */
    warn_of_length(run, positions);
    warn_of_quantization(run);
    model_init(&run->model, model_source_config(run->src), run->be, c->quantization.quant_type,
               c->quantization.double_quant, max_size(positions, run->need.cache));
    model_take_types(&run->model, run->src, c->quantization.quant_type_given);
    choose_rope(run, positions, &run->model.config);
    run->model.lora = lora_of(run);
    run->model.noise_alpha = c->training.neftune_noise_alpha;
    plan_need_t *need = &run->need;
    need->checkpointing = c->training.gradient_checkpointing;
    need->micro_batches = c->training.accumulation;
    need->no_room = !makes_room(run);
    need->page_optimizer = config_pages_optimizer(c);
    need->page_weights = c->device.page_weights;
    /* Where memory is the host's, others have a use for it; and a CPU dequantizes in no time beside its products. */
    need->cache_weights = !run->be->unified && c->device.cache_weights;
    return plan_make(&run->plan, &run->model, lora_of(run), need, run_memory_limit(&run->config, run->be), err);
}

static int load_adapter(run_t *run, const char *dir, err_t *err) {
    float *master = xmalloc(run->lora.count * sizeof *master);
    int rc = adapter_read(dir, &run->lora, run->src, master, err);
    if (rc == 0) lora_upload(&run->lora, run->be, master);
    free(master);
    return rc;
}

/* The pool and everything that stays in it, without contents. */
static int open_memory(run_t *run, err_t *err) {
    const plan_t *p = &run->plan;
    bool training = run->need.train_tokens != 0;
    const char *spill = run->config.device.spill;
    if (pool_open(&run->pool, run->be, p->total, err)) return err->code;
    plan_place_fixed(&run->pool, &run->model, lora_of(run), training ? &run->opt : NULL, &run->need, &p->layout);
    run->fixed = pool_mark(&run->pool);
    run->least_peak = run->pool.peak;
    run->acts.blocks = xcalloc(run->model.config.layers, sizeof(block_acts_t));
    if (model_open_pages(&run->model, &run->pool, spill, err)) return err->code;
    return training ? optimizer_open(&run->opt, &run->lora, &run->pool, p->top, spill, err) : 0;
}

int run_load(run_t *run, const char *adapter_dir, err_t *err) {
    if (open_memory(run, err) || model_load(&run->model, run->src, err)) return err->code;
    if (!lora_of(run)) return 0;
    if (adapter_dir) return load_adapter(run, adapter_dir, err);
    if (run->config.lora.init) return load_adapter(run, run->config.lora.init, err);
    lora_fill(&run->lora, run->be, run->config.training.seed);
    return 0;
}

void run_close(run_t *run) {
    free(run->acts.blocks);
    replicas_close(&run->replicas);
    kv_cache_free(&run->cache);
    optimizer_free(&run->opt);
    model_free(&run->model);
    pool_close(&run->pool);
    lora_free(&run->lora);
    if (run->be) run->be->close(run->be);
    dataset_free(&run->train);
    dataset_free(&run->eval);
    prompts_free(&run->prompts);
    chat_template_close(run->chat);
    tokenizer_close(run->tok);
    model_source_close(run->src);
    config_free(&run->config);
}

static acts_spec_t acts_spec(const run_t *run, pass_t pass, size_t T) {
    const layout_t *l = &run->plan.layout;
    return (acts_spec_t){pass, T, pass == PASS_TRAIN ? l->n_kept : 0, l->chunk, l->tile};
}

acts_t *run_acts(run_t *run, pass_t pass, size_t T) {
    acts_spec_t spec = acts_spec(run, pass, T);
    pool_reset(&run->pool, &run->fixed);
    acts_place(&run->acts, &run->model, &spec, &run->pool);
    pager_make_room(&run->opt.pager, run->pool.used);
    return &run->acts;
}

acts_t *run_generation(run_t *run) {
    pool_reset(&run->pool, &run->fixed);
    kv_cache_free(&run->cache);
    plan_place_generation(&run->pool, &run->model, &run->cache, &run->acts, &run->need, &run->plan.layout);
    pager_make_room(&run->opt.pager, run->pool.used);
    return &run->acts;
}

size_t run_acts_top(const run_t *run, size_t T) {
    acts_spec_t spec = acts_spec(run, PASS_TRAIN, T);
    pool_t pool = pool_counting(run->be);
    acts_t acts = {.blocks = xcalloc(run->model.config.layers, sizeof(block_acts_t))};
    acts_place(&acts, &run->model, &spec, &pool);
    free(acts.blocks);
    return run->fixed.used + pool.used;
}

void run_settle(run_t *run) {
    pager_settle(&run->opt.pager);
    pager_settle(&run->model.pager);
}

/* ---- evaluation ----------------------------------------------------------------------------------------- */

static batch_spec_t eval_spec(const run_t *run) {
    return (batch_spec_t){
        .batch_size = run->config.training.batch_size, .accumulation = 1, .max_length = run->config.data.max_length};
}

/* This rank's share of the batches; whether it has given up. */
static bool evaluate_share(run_t *run, const epoch_t *e, bool (*stop)(void), shares_t *shares) {
    batch_t b = {0};
    bool gave_up = false;
    for (size_t i = shares_first(); i < e->n_micro; i = shares_next(i)) {
        gave_up = stop && stop();
        if (gave_up) break;
        batch_fill(e, i, &b);
        model_loss(&run->model, run_acts(run, PASS_LOSS, b.T), &b, &shares->loss[i], NULL);
    }
    batch_free(&b);
    return gave_up;
}

bool run_evaluate(run_t *run, const dataset_t *ds, bool (*stop)(void), double *loss, size_t *label_tokens) {
    batch_spec_t spec = eval_spec(run);
    shares_t shares;
    epoch_t e;
    double sum;
    epoch_plan(ds, &spec, 0, &e);
    shares_open(&shares, e.n_micro);
    shares_begin(&shares, e.n_micro);
    bool whole = shares_sum(&shares, evaluate_share(run, &e, stop, &shares), &sum);
    *label_tokens = ds->label_tokens;
    *loss = *label_tokens ? sum / (double)*label_tokens : 0;
    shares_close(&shares);
    epoch_free(&e);
    return whole;
}

void run_eval_extent(const run_t *run, const dataset_t *ds, size_t *tokens, size_t *seg) {
    batch_spec_t spec = eval_spec(run);
    epoch_t e;
    epoch_plan(ds, &spec, 0, &e);
    epoch_extent(&e, tokens, seg);
    epoch_free(&e);
}

/* ---- summary -------------------------------------------------------------------------------------------- */

static const char *quant_name(const model_t *m) {
    static char name[32];
    snprintf(name, sizeof name, "%s%s", quant_type_name(m->quant), m->double_quant ? " + double quantization" : "");
    return name;
}

void run_summary(const run_t *run) {
    const model_config_t *c = &run->model.config;
    model_params_t p = model_count_params(c);
    size_t total = p.linear + p.embedding + p.head + p.rest;
    log_info("model     %s: %s, %.1f M parameters, %zu layers, hidden %zu, heads %zu/%zu, vocabulary %zu%s",
             run->config.model.path, c->arch->model_type, (double)total / 1e6, c->layers, c->hidden, c->heads,
             c->kv_heads, c->vocab, c->tied ? " (tied)" : "");
    const char *why = run->be->why_act;
    log_info("          linear layers in %s, compute in %s%s%s%s", quant_name(&run->model), backend_type_name(run->be),
             *why ? " (auto: " : "", why, *why ? ")" : "");
    if (run->lora.layers) {
        char *lora = lora_spec_text(&run->lora.spec);
        log_info("lora      %s%s: %.2f M trainable parameters (%.2f%%)", lora, run->lora.head.n ? ", the head too" : "",
                 (double)run->lora.count / 1e6, 100.0 * (double)run->lora.count / (double)(total + run->lora.count));
        free(lora);
    }
    log_info("device    %s, %d thread%s%s%s", run->be->device, run->be->threads, run->be->threads == 1 ? "" : "s",
             run->be->no_gpu[0] ? "; no GPU: " : "", run->be->no_gpu);
    run_summarise_data(run);
}
