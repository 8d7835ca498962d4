#include "paging.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "made_model.h"
#include "testing.h"

enum { VOCAB = 320 };

static void *(*real_alloc)(backend_t *be, size_t bytes, mem_kind_t kind);
static size_t device_allocations;
static bool pinned_fails;

static void *counting_alloc(backend_t *be, size_t bytes, mem_kind_t kind) {
    if (kind == MEM_PINNED && pinned_fails) return NULL;
    device_allocations += kind == MEM_DEVICE;
    return real_alloc(be, bytes, kind);
}

static size_t tokens_of(const paging_t *asked, size_t step) {
    size_t tokens = asked->tokens ? asked->tokens : 160;
    return step % 2 ? tokens / 7 : tokens;
}

int paging_start(run_t *run, const paging_t *asked, err_t *err) {
    static const char *dir;
    if (!dir) {
        dir = xstrdup(test_tmpdir());
        made_model_write(dir, &(made_model_t){.vocab = VOCAB, .hidden = 96, .ffn = 200, .layers = PAGING_LAYERS,
                                              .heads = 6, .kv_heads = 2, .tied = true});
    }
    size_t tokens = tokens_of(asked, 0);
    *run = (run_t){.need = {.train_tokens = tokens, .train_seg = tokens}};
    config_t *c = &run->config;
    c->model.path = xstrdup(dir);
    c->device.backend = xstrdup(asked->backend ? asked->backend : "cpu");
    c->device.threads = 1;
    c->device.memory_limit = asked->limit ? asked->limit : (size_t)1 << 40;
    c->device.page_weights = asked->page_weights;
    c->device.spill = asked->spill ? xstrdup(asked->spill) : NULL;
    c->quantization.double_quant = true;
    c->quantization.compute_dtype = asked->bf16 ? COMPUTE_BF16 : COMPUTE_F32;
    c->lora.r = asked->rank ? asked->rank : 4;
    c->lora.alpha = 8;
    c->training.optim = asked->optim;
    c->training.accumulation = asked->micro_batches ? asked->micro_batches : 1;
    c->training.gradient_checkpointing = asked->checkpointing;
    run->need.optimizer = asked->optim >= OPTIM_PAGED_ADAMW_8BIT ? OPTIMIZER_8BIT : OPTIMIZER_32BIT;
    for (int i = 0; i < LIN_COUNT; i++) c->lora.targets[i] = true;
    c->device.cache_weights = asked->cache_weights;
    if (run_open(run, false, false, false, err) || run_set_lora(run, NULL, err)) return err->code;
    run->be->unified = false; /* as a card that has memory of its own */
    if (run_plan(run, err)) return err->code;
    real_alloc = run->be->alloc;
    run->be->alloc = counting_alloc;
    pinned_fails = asked->no_pinned;
    return run_load(run, NULL, err);
}

static batch_t batch_of(size_t T, uint64_t key) {
    batch_t b = {.T = T, .n_rows = 1, .n_seg = 1, .n_labels = T - 1, .max_seg = T, .ids = xmalloc(T * 4),
                 .pos = xmalloc(T * 4), .row = xcalloc(T, 4), .row_pos = xmalloc(T * 4), .seg_off = xcalloc(2, 4),
                 .target_idx = xmalloc(T * 4), .target = xmalloc(T * 4), .cap = T};
    for (size_t t = 0; t < T; t++) {
        b.ids[t] = (int32_t)(rng_fold(key, t) % VOCAB);
        b.pos[t] = b.row_pos[t] = b.target_idx[t] = (int32_t)t;
        if (t) b.target[t - 1] = b.ids[t];
    }
    b.seg_off[1] = (int32_t)T;
    return b;
}

batch_t paging_batch(const paging_t *asked, size_t step, uint64_t key) {
    return batch_of(tokens_of(asked, step), key);
}

void paging_step(run_t *run, const paging_t *asked, size_t step) {
    const optimizer_hyper_t h = {.lr = 1e-2f, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8f, .max_grad_norm = 0.3};
    double loss, norm;
    run->be->zero(run->be, run->lora.grad, run->lora.count * sizeof(float));
    for (size_t m = 0; m < run->config.training.accumulation; m++) {
        batch_t b = paging_batch(asked, step, step * 8 + m);
        model_train(&run->model, run_acts(run, PASS_TRAIN, b.T), &b, (pass_seed_t){1, step}, 1e-2f, &loss);
        batch_free(&b);
    }
    size_t top = asked->known_next ? run_acts_top(run, tokens_of(asked, step + 1)) : 0;
    assert_true(optimizer_step(&run->opt, &run->lora, run->be, &h, top, &norm));
}

paged_t paging_run(const paging_t *asked) {
    err_t err = {0};
    run_t run;
    paged_t e = {0};
    assert_ok(paging_start(&run, asked, &err), err);
    e.plan = run.plan;
    for (size_t step = 0; step < PAGING_STEPS; step++) {
        run_settle(&run);
        run.opt.pager.moved = run.model.pager.moved = 0;
        run.pool.peak = run.least_peak;
        paging_step(&run, asked, step);
        e.moved[step] = run.opt.pager.moved + run.model.pager.moved;
        e.peak[step] = run.pool.peak;
        if (step == 0) device_allocations = 0;
    }
    e.device_allocations = device_allocations;
    e.master = xmalloc(run.lora.count * sizeof(float));
    run.be->download(run.be, e.master, run.lora.master, run.lora.count * sizeof(float));
    /* The moments are read back wherever they are: as much a result as the adapter. */
    size_t n = run.opt.count, elem = dtype_size(run.opt.arrays[STATE_M].dtype);
    e.master = xrealloc(e.master, run.lora.count * sizeof(float) + 2 * n * elem);
    optimizer_read(&run.opt, STATE_M, 0, n, (unsigned char *)(e.master + n));
    optimizer_read(&run.opt, STATE_V, 0, n, (unsigned char *)(e.master + n) + n * elem);
    run_close(&run);
    return e;
}

size_t paging_state_bytes(const paging_t *asked) {
    run_t run;
    err_t err = {0};
    assert_ok(paging_start(&run, asked, &err), err);
    size_t bytes = run.lora.count * (4 + 2 * dtype_size(run.opt.arrays[STATE_M].dtype));
    run_close(&run);
    return bytes;
}

paged_t paging_same_as(const paged_t *want, const paging_t *asked, size_t bytes) {
    paged_t e = paging_run(asked);
    assert_memory_equal(e.master, want->master, bytes);
    assert_int_equal(e.device_allocations, 0);
    for (size_t step = 0; step < PAGING_STEPS; step += 2) {
        assert_int_equal(e.moved[step], e.plan.optimizer_step_bytes + e.plan.weights_step_bytes);
        assert_int_equal(e.peak[step], e.plan.total);
    }
    assert_true(e.plan.total <= (asked->limit ? asked->limit : SIZE_MAX));
    print_message("limit %8zu: pool %8zu, homes %2zu, kept %zu, paged layers %zu; moved %zu, in short steps %zu\n",
                  asked->limit, e.plan.total, e.plan.layout.n_homes == SIZE_MAX ? 99 : e.plan.layout.n_homes,
                  e.plan.layout.n_kept, e.plan.layout.n_paged, e.moved[0], e.moved[1]);
    free(e.master);
    return e;
}

