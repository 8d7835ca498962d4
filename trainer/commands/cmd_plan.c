/* `qlora-train plan CONFIG.yaml`: what a run would do and take, and whether it fits, before it is started. For a model
 * whose weights are not here, the same for the cards that it may run on. */
#include <stdlib.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/minmax.h"
#include "model/outline.h"
#include "trainer/commands/command.h"
#include "trainer/run/estimate.h"
#include "trainer/run/generate.h"
#include "trainer/run/prepare.h"
#include "trainer/run/progress.h"
#include "trainer/run/samples.h"

/* ---- with weights ---------------------------------------------------------------------------------------- */

static void say_evaluations(const run_t *run, const estimate_t *e) {
    const char *plural = e->evaluations == 1 ? "" : "s";
    if (run->eval.n_samples && e->evaluations)
        log_info("          %zu evaluation%s of %zu tokens among them", e->evaluations, plural, run->eval.n_tokens);
    if (run->prompts.n)
        log_info("          not counted: the answers to %zu prompt%s at each of %zu evaluation%s", run->prompts.n,
                 run->prompts.n == 1 ? "" : "s", e->evaluations, plural);
}

static int plan_here(run_t *run, err_t *err) {
    output_dir_t out = output_dir_at(run->config.training.output_dir);
    run_identity_t id = {0};
    steps_t steps = {0};
    estimate_t e;
    char time[16];
    int rc = prepare_open(run, &out, &id, err);
    if (rc == 0) rc = prepare_plan(run, &steps, out.begun, err);
    if (rc == 0) rc = estimate_run(run, &steps, &e, err);
    if (rc == 0) {
        format_duration(e.seconds, time);
        log_info("time      about %s: %.3g floating-point operations, products run at %.0f GFLOP/s", time, e.flops,
                 e.flops_per_second / 1e9);
        say_evaluations(run, &e);
        if (e.link_seconds > 0)
            log_info("paging    %.2f s a step at %.1f GB/s; a step computes for %.2f s", e.link_seconds,
                     e.link_bytes_per_second / 1e9, e.step_seconds);
        log_info("the run fits");
    }
    if (out.finished) log_info("%s: this run is finished; training has nothing to do", out.dir);
    steps_free(&steps);
    output_dir_close(&out);
    free(id.config);
    json_decref(id.model);
    return rc;
}

/* ---- without ---------------------------------------------------------------------------------------------- */

/* What makers state: memory as the driver reports it, dense BF16 products with fp32 sums, and what a copy from pinned
 * host memory reaches over the link. */
typedef struct {
    const char *name;
    size_t mib;
    double flops, link;
} card_t;

static const card_t cards[] = {
    {"24 GB (RTX 4090)", 24564, 165e12, 25e9},
    {"48 GB (L40S)", 46068, 362e12, 25e9},
    {"80 GB (H100)", 81559, 989e12, 55e9},
    {"141 GB (H200)", 143771, 989e12, 55e9},
};
#define CARD_RESERVE ((size_t)1 << 30) /* driver, kernels, cuBLAS: not of the pool */
#define CARD_SHARE 0.6                 /* of the stated rate: what well-tuned training reaches */

/* Of a micro-batch that no data bounds; what a card holds is far below, and sums of bytes stay far from overflow. */
#define OUTLINE_MAX_TOKENS ((size_t)1 << 32)

/* A model, adapters and needs without files behind them. */
typedef struct {
    const config_t *config;
    model_t model;
    lora_t lora;
    plan_need_t need;
} outline_run_t;

static int outline_open(outline_run_t *o, const config_t *c, const model_config_t *shape, backend_t *be, err_t *err) {
    lora_spec_t spec;
    *o = (outline_run_t){.config = c};
    if (run_lora_spec(c, shape, &spec, err)) return err->code;
    lora_init(&o->lora, shape, &spec);
    model_init(&o->model, shape, be, c->quantization.quant_type, c->quantization.double_quant, c->data.max_length);
    o->model.lora = &o->lora;
    size_t tokens = c->training.batch_size * c->data.max_length;
    o->need = (plan_need_t){.train_tokens = tokens,
                            .train_seg = c->data.max_length,
                            .micro_batches = c->training.accumulation,
                            .optimizer = prepare_optimizer_kind(c->training.optim),
                            .page_optimizer = config_pages_optimizer(c),
                            .page_weights = c->device.page_weights,
                            .cache_weights = c->device.cache_weights,
                            .checkpointing = c->training.gradient_checkpointing};
    if (c->data.eval && c->training.eval_steps) {
        o->need.eval_tokens = tokens;
        o->need.eval_seg = c->data.max_length;
    }
    if (c->training.sample_prompts) { /* as long as the rows */
        size_t positions = min_size(c->data.max_length + SAMPLE_TOKENS, shape->max_positions);
        plan_need_t n = generate_need(c->data.max_length, positions);
        o->need.prompt_tokens = n.prompt_tokens;
        o->need.cache = n.cache;
    }
    return 0;
}

static void outline_close(outline_run_t *o) {
    lora_free(&o->lora);
    model_free(&o->model);
}

static void print_card(const outline_run_t *o, const plan_t *p, const card_t *card) {
    double gib = 1 << 30, link = (double)(p->optimizer_step_bytes + p->weights_step_bytes) / card->link;
    double computing = estimate_step_flops(&o->model, &o->need, p->layout.n_kept) / (CARD_SHARE * card->flops);
    strbuf_t b = {0};
    strbuf_addf(&b, "fits in %.1f GiB; %zu of %zu blocks recomputed", (double)p->total / gib,
                o->model.config.layers - p->layout.n_kept, o->model.config.layers);
    if (p->optimizer_step_bytes)
        strbuf_addf(&b, "; optimizer pages: %.1f GiB a step", (double)p->optimizer_step_bytes / gib);
    if (p->layout.n_paged)
        strbuf_addf(&b, "; weights of %zu layers paged: %.1f GiB a step", p->layout.n_paged,
                    (double)p->weights_step_bytes / gib);
    if (p->layout.n_cached)
        strbuf_addf(&b, ", %.1f GiB of it weights dequantized once", (double)p->bytes[POOL_CACHE] / gib);
    double step = computing > link ? computing : link;
    strbuf_addf(&b, "; about %.*f s a step", step < 0.95 ? 2 : 1, step);
    if (link > 0)
        strbuf_addf(&b, ", %.1f s of it waiting for copies (%.1f s at %.0f GB/s)",
                    link > computing ? link - computing : 0, link, card->link / 1e9);
    log_info("  %-18s %s", card->name, b.p);
    free(b.p);
}

/* A line for a card of `limit` bytes; whether the run fits there. */
static int plan_card(outline_run_t *o, const card_t *card, size_t limit, err_t *err) {
    plan_t p;
    if (plan_make(&p, &o->model, &o->lora, &o->need, limit, err)) {
        log_info("  %-18s %s", card->name, err->msg);
        return err->code;
    }
    print_card(o, &p, card);
    return 0;
}

static void print_needs(outline_run_t *o, const char *name) {
    const config_t *c = o->config;
    const model_config_t *m = &o->model.config;
    model_params_t n = model_count_params(m);
    err_t ignored = {0};
    plan_t p;
    log_info("model     %s, without weights: %.2f B parameters, %zu layers, hidden %zu, heads %zu/%zu, vocabulary "
             "%zu%s",
             name, (double)(n.linear + n.embedding + n.head + n.rest) / 1e9, m->layers, m->hidden, m->heads,
             m->kv_heads, m->vocab, m->tied ? " (tied)" : "");
    char *lora = lora_spec_text(&o->lora.spec);
    log_info("lora      %s: %.2f M trainable parameters", lora, (double)o->lora.count / 1e6);
    free(lora);
    log_info("steps     of %zu x %zu rows, the data not looked at: micro-batches of up to %zu tokens",
             c->training.accumulation, c->training.batch_size, o->need.train_tokens);
    plan_need_t need = o->need;
    need.cache_weights = false; /* that is for what a card has left over */
    plan_make(&p, &o->model, &o->lora, &need, SIZE_MAX, &ignored);
    plan_print(&p, m->layers);
}

static int plan_outline(const config_t *c, err_t *err) {
    model_config_t shape;
    char *name;
    if (c->training.batch_size > OUTLINE_MAX_TOKENS / c->data.max_length)
        return err_set(err, ERR_USAGE,
                       "training.per_device_train_batch_size: %zu rows of data.max_length %zu are more "
                       "than %zu tokens; expected less",
                       c->training.batch_size, c->data.max_length, OUTLINE_MAX_TOKENS);
    if (outline_read(c->model.path, &shape, &name, err)) return err->code;
    backend_t be = backend_plan_cuda(c->quantization.compute_dtype == COMPUTE_F32 ? DT_F32 : DT_BF16);
    outline_run_t o;
    int rc = outline_open(&o, c, &shape, &be, err);
    if (rc == 0) {
        rc = plan_check_sizes(&o.model, &o.need, err);
        if (rc) outline_close(&o);
    }
    if (rc) {
        free(name);
        return rc;
    }
    print_needs(&o, name);
    log_info("on a GPU of (computing at %.0f%% of the stated rate; estimates):", 100 * CARD_SHARE);
    for (size_t i = 0; i < sizeof cards / sizeof *cards; i++) {
        err_t misfit = {0};
        plan_card(&o, &cards[i], (cards[i].mib << 20) - CARD_RESERVE, &misfit);
    }
    if (c->device.memory_limit) {
        card_t limited = cards[sizeof cards / sizeof *cards - 1];
        limited.name = "memory_limit, H200";
        rc = plan_card(&o, &limited, c->device.memory_limit, err);
    }
    outline_close(&o);
    free(name);
    return rc;
}

static int run_plan_command(int argc, char **argv) {
    run_t run = {0};
    err_t err = {0};
    bool helped;
    int rc = command_config(&command_plan, argc, argv, NULL, CONFIG_PLAN, &run.config, &helped, &err);
    if (rc == 0 && !helped)
        rc = outline_only(run.config.model.path) ? plan_outline(&run.config, &err) : plan_here(&run, &err);
    if (rc) log_error("%s", err.msg);
    run_close(&run);
    return rc;
}

static const positional_t positionals[] = {{"CONFIG.yaml", ARG_CONFIG, .help = "the config of the run"}};

const command_t command_plan = {
    .name = "plan",
    .synopsis = "CONFIG.yaml [section.key=value ...]",
    .what = "check config and data, print memory and time, train nothing",
    .about =
        "Checks config, model and data, prints what a run would do and the memory that it would take, and trains "
        "nothing. Where model.path has a config.json but no weights, or is no path here but the name of a published "
        "model (/path/to/Llama-2-70b-hf), the plan is made for GPUs of 24, 48, 80 and 141 GB.",
    COMMAND_POSITIONALS(positionals),
    .overrides = true,
    .run = run_plan_command,
};
