#include "paged_run.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "late.h"
#include "made_model.h"
#include "testing.h"
#include "trainer/run/prepare.h"

enum { VOCAB = 320 };

/* ---- start ---------------------------------------------------------------------------------------------- */

static void *(*real_alloc)(backend_t *be, size_t bytes, mem_kind_t kind);
static size_t device_allocations;
static bool pinned_fails;

static void *counting_alloc(backend_t *be, size_t bytes, mem_kind_t kind) {
    if (kind == MEM_PINNED && pinned_fails) return NULL;
    device_allocations += kind == MEM_DEVICE;
    return real_alloc(be, bytes, kind);
}

/* A model of so many layers; each is made once. */
static const char *model_dir(size_t layers) {
    static const char *dirs[PAGED_RUN_LAYERS + 1];
    CHECK(layers <= PAGED_RUN_LAYERS);
    if (!dirs[layers]) {
        dirs[layers] = xstrdup(test_tmpdir());
        made_model_write(
            dirs[layers],
            &(made_model_t){
                .vocab = VOCAB, .hidden = 96, .ffn = 200, .layers = layers, .heads = 6, .kv_heads = 2, .tied = true});
    }
    return dirs[layers];
}

static void configure(config_t *c, const paged_run_t *asked) {
    c->model.path = xstrdup(model_dir(asked->layers ? asked->layers : PAGED_RUN_LAYERS));
    c->device.backend = xstrdup(asked->backend ? asked->backend : "cpu");
    c->device.threads = 1;
    c->device.memory_limit = asked->limit ? asked->limit : (size_t)1 << 40;
    c->device.page_weights = asked->page_weights;
    c->device.cache_weights = asked->cache_weights;
    c->device.spill = asked->spill ? xstrdup(asked->spill) : NULL;
    c->quantization.quant_type = asked->quant;
    c->quantization.double_quant = true;
    c->quantization.compute_dtype = asked->bf16 ? COMPUTE_BF16 : COMPUTE_F32;
    c->lora.r = asked->rank ? asked->rank : 4;
    c->lora.alpha = 8;
    if (asked->some_targets) c->lora.targets = json_pack("[s, s]", "v_proj", "down_proj");
    c->training.optim = asked->optim;
    c->training.accumulation = asked->micro_batches ? asked->micro_batches : 1;
    c->training.gradient_checkpointing = asked->checkpointing;
}

int paged_run_plan(run_t *run, const paged_run_t *asked, err_t *err) {
    size_t tokens = paged_run_tokens(asked, 0);
    *run = (run_t){.need = {.train_tokens = tokens,
                            .train_seg = tokens,
                            .eval_tokens = asked->eval_tokens,
                            .eval_seg = asked->eval_tokens,
                            .optimizer = prepare_optimizer_kind(asked->optim)}};
    configure(&run->config, asked);
    if (run_open(run, false, false, false, err) || run_set_lora(run, NULL, err)) return err->code;
    run->be->unified = false; /* as a card that has memory of its own */
    return run_plan(run, err);
}

int paged_run_start(run_t *run, const paged_run_t *asked, err_t *err) {
    if (paged_run_plan(run, asked, err)) return err->code;
    if (asked->late) late_take_over(run->be, false, asked->late);
    real_alloc = run->be->alloc;
    run->be->alloc = counting_alloc;
    pinned_fails = asked->no_pinned;
    return run_load(run, NULL, err);
}

/* ---- steps ---------------------------------------------------------------------------------------------- */

size_t paged_run_tokens(const paged_run_t *asked, size_t step) {
    size_t tokens = asked->tokens ? asked->tokens : 160;
    return step % 2 ? tokens / 7 : tokens;
}

batch_t paged_run_batch(size_t T, uint64_t key) {
    batch_t b = {.T = T,
                 .n_rows = 1,
                 .n_seg = 1,
                 .n_labels = T - 1,
                 .max_seg = T,
                 .ids = xmalloc(T * 4),
                 .pos = xmalloc(T * 4),
                 .row = xcalloc(T, 4),
                 .row_pos = xmalloc(T * 4),
                 .seg_off = xcalloc(2, 4),
                 .target_idx = xmalloc(T * 4),
                 .target = xmalloc(T * 4),
                 .cap = T};
    for (size_t t = 0; t < T; t++) {
        b.ids[t] = (int32_t)(rng_fold(key, t) % VOCAB);
        b.pos[t] = b.row_pos[t] = b.target_idx[t] = (int32_t)t;
        if (t) b.target[t - 1] = b.ids[t];
    }
    b.seg_off[1] = (int32_t)T;
    return b;
}

void paged_run_step(run_t *run, const paged_run_t *asked, size_t step) {
    const optimizer_hyper_t h = {
        .lr = 1e-2f, .lr_b = 1e-2f, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8f, .max_grad_norm = 0.3};
    double loss, norm;
    run->be->zero(run->be, run->lora.grad, run->lora.count * sizeof(float));
    for (size_t m = 0; m < run->config.training.accumulation; m++) {
        batch_t b = paged_run_batch(paged_run_tokens(asked, step), step * 8 + m);
        model_train(&run->model, run_acts(run, PASS_TRAIN, b.T), &b, (pass_seed_t){1, step}, 1e-2f, &loss);
        batch_free(&b);
    }
    size_t top = asked->known_next ? run_acts_top(run, paged_run_tokens(asked, step + 1)) : 0;
    assert_true(optimizer_step(&run->opt, &run->lora, run->be, &h, top, &norm));
}

static void evaluate(run_t *run, const paged_run_t *asked, paged_end_t *e) {
    if (!asked->eval_tokens) return;
    batch_t b = paged_run_batch(asked->eval_tokens, 99);
    double loss;
    run->pool.peak = run->least_peak;
    model_loss(&run->model, run_acts(run, PASS_LOSS, b.T), &b, &loss, NULL);
    batch_free(&b);
    e->eval_peak = run->pool.peak;
}

/* ---- results -------------------------------------------------------------------------------------------- */

/* The moments are read back wherever they are: as much a result as the adapter. */
static float *read_state(run_t *run) {
    size_t n = run->opt.count, elem = dtype_size(run->opt.arrays[STATE_M].dtype);
    float *master = xmalloc(n * sizeof *master + 2 * n * elem);
    run->be->download(run->be, master, run->lora.master, n * sizeof *master);
    optimizer_read(&run->opt, STATE_M, 0, n, (unsigned char *)(master + n));
    optimizer_read(&run->opt, STATE_V, 0, n, (unsigned char *)(master + n) + n * elem);
    return master;
}

paged_end_t paged_run(const paged_run_t *asked) {
    err_t err = {0};
    run_t run;
    paged_end_t e = {0};
    assert_ok(paged_run_start(&run, asked, &err), err);
    e.plan = run.plan;
    for (size_t step = 0; step < PAGED_RUN_STEPS; step++) {
        run_settle(&run);
        run.opt.pager.moved = run.model.pager.moved = 0;
        run.pool.peak = run.least_peak;
        paged_run_step(&run, asked, step);
        e.moved[step] = run.opt.pager.moved + run.model.pager.moved;
        e.peak[step] = run.pool.peak;
        evaluate(&run, asked, &e);
        if (step == 0) device_allocations = 0;
    }
    e.device_allocations = device_allocations;
    e.master = read_state(&run);
    run_close(&run);
    return e;
}

size_t paged_run_bytes(const paged_run_t *asked) {
    run_t run;
    err_t err = {0};
    assert_ok(paged_run_start(&run, asked, &err), err);
    size_t bytes = run.lora.count * (4 + 2 * dtype_size(run.opt.arrays[STATE_M].dtype));
    run_close(&run);
    return bytes;
}

paged_end_t paged_run_same(const paged_end_t *want, const paged_run_t *asked, size_t bytes) {
    paged_end_t e = paged_run(asked);
    const plan_t *p = &e.plan;
    assert_memory_equal(e.master, want->master, bytes);
    assert_int_equal(e.device_allocations, 0);
    for (size_t step = 0; step < PAGED_RUN_STEPS; step += 2) {
        assert_int_equal(e.moved[step], p->optimizer_step_bytes + p->weights_step_bytes);
        assert_int_equal(e.peak[step] > e.eval_peak ? e.peak[step] : e.eval_peak, p->total);
    }
    assert_true(p->total <= (asked->limit ? asked->limit : SIZE_MAX));
    print_message("limit %8zu: pool %8zu, homes %2zu, kept %zu, paged layers %zu; moved %zu, in short steps %zu\n",
                  asked->limit, p->total, p->layout.n_homes == SIZE_MAX ? 99 : p->layout.n_homes, p->layout.n_kept,
                  p->layout.n_paged, e.moved[0], e.moved[1]);
    free(e.master);
    return e;
}
