/* Pages of optimizer state and of frozen weights: a run forced to page ends in the bytes of one that never does, moves
 * what its plan says, and takes no other memory of the device. */
#include "testing.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/mem.h"
#include "base/rng.h"
#include "made_model.h"
#include "trainer/run.h"

enum { LAYERS = 8, VOCAB = 320, STEPS = 4 };

/* ---- a run ---------------------------------------------------------------------------------------------- */

typedef struct {
    size_t limit;             /* 0: none */
    optim_t optim;
    bool page_weights, cache_weights, bf16;
    const char *spill;
    tristate_t checkpointing;
    size_t micro_batches;     /* a step; 0: one */
    size_t rank, tokens;      /* 0: 4, 160. Every second step's micro-batches have a seventh of the tokens */
    bool known_next;          /* the optimizer is told where the next activations end */
    bool no_pinned;           /* the backend has no pinned memory */
} asked_t;

typedef struct {
    plan_t plan;
    float *master;
    size_t moved[STEPS], peak[STEPS]; /* of each step */
    size_t device_allocations;        /* after the first step */
} ended_t;

static void *(*real_alloc)(backend_t *be, size_t bytes, mem_kind_t kind);
static size_t device_allocations;
static bool pinned_fails;

static void *counting_alloc(backend_t *be, size_t bytes, mem_kind_t kind) {
    if (kind == MEM_PINNED && pinned_fails) return NULL;
    device_allocations += kind == MEM_DEVICE;
    return real_alloc(be, bytes, kind);
}

static size_t tokens_of(const asked_t *asked, size_t step) {
    size_t tokens = asked->tokens ? asked->tokens : 160;
    return step % 2 ? tokens / 7 : tokens;
}

static int start(run_t *run, const asked_t *asked, err_t *err) {
    static const char *dir;
    if (!dir) {
        dir = xstrdup(test_tmpdir());
        made_model_write(dir, &(made_model_t){.vocab = VOCAB, .hidden = 96, .ffn = 200, .layers = LAYERS, .heads = 6,
                                              .kv_heads = 2, .tied = true});
    }
    size_t tokens = tokens_of(asked, 0);
    *run = (run_t){.need = {.train_tokens = tokens, .train_seg = tokens}};
    config_t *c = &run->config;
    c->model.path = xstrdup(dir);
    c->device.backend = xstrdup("cpu");
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

static void train_step(run_t *run, const asked_t *asked, size_t step) {
    const optimizer_hyper_t h = {.lr = 1e-2f, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8f, .max_grad_norm = 0.3};
    double loss, norm;
    run->be->zero(run->be, run->lora.grad, run->lora.count * sizeof(float));
    for (size_t m = 0; m < run->config.training.accumulation; m++) {
        batch_t b = batch_of(tokens_of(asked, step), step * 8 + m);
        model_train(&run->model, run_acts(run, PASS_TRAIN, b.T), &b, (pass_seed_t){1, step}, 1e-2f, &loss);
        batch_free(&b);
    }
    size_t top = asked->known_next ? run_acts_top(run, tokens_of(asked, step + 1)) : 0;
    assert_true(optimizer_step(&run->opt, &run->lora, run->be, &h, top, &norm));
}

static ended_t run_with(const asked_t *asked) {
    err_t err = {0};
    run_t run;
    ended_t e = {0};
    assert_ok(start(&run, asked, &err), err);
    e.plan = run.plan;
    for (size_t step = 0; step < STEPS; step++) {
        run_settle(&run);
        run.opt.pager.moved = run.model.pager.moved = 0;
        run.pool.peak = run.least_peak;
        train_step(&run, asked, step);
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

/* Of ended_t.master: masters and moments. */
static size_t state_bytes(const asked_t *asked) {
    run_t run;
    err_t err = {0};
    assert_ok(start(&run, asked, &err), err);
    size_t bytes = run.lora.count * (4 + 2 * dtype_size(run.opt.arrays[STATE_M].dtype));
    run_close(&run);
    return bytes;
}

/* Runs as asked and expects the bytes of `want`; the plan's figures are those of the run. */
static ended_t same_as(const ended_t *want, const asked_t *asked, size_t bytes) {
    ended_t e = run_with(asked);
    assert_memory_equal(e.master, want->master, bytes);
    assert_int_equal(e.device_allocations, 0);
    for (size_t step = 0; step < STEPS; step += 2) {
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

/* ---- the optimizer's pages ------------------------------------------------------------------------------ */

static void check_pressure(optim_t optim, bool bf16) {
    asked_t a = {.optim = optim, .bf16 = bf16, .checkpointing = TRI_FALSE};
    ended_t free_run = run_with(&a);
    size_t bytes = state_bytes(&a), pages = free_run.plan.bytes[POOL_OPTIMIZER];
    size_t all = free_run.plan.total, acts = free_run.plan.bytes[POOL_ACTIVATIONS];
    assert_int_equal(free_run.moved[0], 0);
    assert_true(acts > pages); /* else there is nothing for the activations to push out */
    size_t before = 0;
    for (int percent = 25; percent <= 100; percent += 25) {
        a.limit = all - pages * (size_t)percent / 100;
        if (percent == 100) a.limit = free_run.plan.top;
        for (int known = 0; known < 2; known++) {
            a.known_next = known;
            ended_t e = same_as(&free_run, &a, bytes);
            /* All pages of a share, and no more than one beyond it; none leaves for the short batches. */
            size_t away = e.moved[0] / 2;
            assert_true(away * 100 >= (pages - 4096) * (size_t)percent * 9 / 10 && away >= before);
            if (percent == 25) assert_int_equal(e.moved[1], 0);
            before = away;
        }
    }
    free(free_run.master);
}

/* More state than there is room for beside the weights: some pages have no home, and each step streams them. */
static void check_streaming(optim_t optim, size_t rank) {
    asked_t a = {.optim = optim, .checkpointing = TRI_FALSE, .rank = rank, .tokens = 14};
    ended_t free_run = run_with(&a);
    size_t bytes = state_bytes(&a), pages = free_run.plan.bytes[POOL_OPTIMIZER], before = SIZE_MAX;
    assert_true(free_run.plan.bytes[POOL_ACTIVATIONS] < pages);
    for (size_t sixteenths = 4; sixteenths <= 12; sixteenths += 4) {
        a.limit = free_run.plan.total - pages * sixteenths / 16;
        a.known_next = !a.known_next;
        ended_t e = same_as(&free_run, &a, bytes);
        assert_true(e.plan.layout.n_homes < before && e.moved[1] > 0);
        before = e.plan.layout.n_homes;
    }
    assert_true(before <= 4);
    free(free_run.master);
}

static void test_streaming(void **state) {
    (void)state;
    check_streaming(OPTIM_PAGED_ADAMW_32BIT, 48);
    check_streaming(OPTIM_PAGED_ADAMW_8BIT, 256);
}

static void test_pressure_32bit(void **state) {
    (void)state;
    check_pressure(OPTIM_PAGED_ADAMW_32BIT, false);
}

static void test_pressure_8bit(void **state) {
    (void)state;
    check_pressure(OPTIM_PAGED_ADAMW_8BIT, false);
}

static void test_pressure_bf16(void **state) {
    (void)state;
    check_pressure(OPTIM_PAGED_ADAMW_32BIT, true);
}

/* The same bytes out of a file, and out of memory that is not pinned. */
static void test_other_memory(void **state) {
    (void)state;
    asked_t a = {.optim = OPTIM_PAGED_ADAMW_32BIT, .checkpointing = TRI_FALSE};
    ended_t free_run = run_with(&a);
    size_t bytes = state_bytes(&a);
    a.limit = free_run.plan.top;
    a.spill = test_tmpdir();
    same_as(&free_run, &a, bytes);
    a.spill = NULL;
    a.no_pinned = true;
    same_as(&free_run, &a, bytes);
    free(free_run.master);
}

static void test_unpaged_is_refused(void **state) {
    (void)state;
    err_t err = {0};
    run_t run;
    asked_t a = {.optim = OPTIM_ADAMW_32BIT, .checkpointing = TRI_FALSE};
    ended_t free_run = run_with(&a);
    a.limit = free_run.plan.total - 1;
    assert_error(start(&run, &a, &err), err, ERR_USAGE, "it would fit with training.gradient_checkpointing auto, or a "
                 "paged training.optim");
    run_close(&run);
    free(free_run.master);
}

/* ---- the weights' pages ----------------------------------------------------------------------------------- */

static void test_weights(void **state) {
    (void)state;
    asked_t a = {.optim = OPTIM_PAGED_ADAMW_32BIT, .checkpointing = TRI_TRUE};
    ended_t free_run = run_with(&a);
    size_t bytes = state_bytes(&a);
    size_t weights = free_run.plan.bytes[POOL_WEIGHTS] + free_run.plan.bytes[POOL_CONSTANTS], one = weights / LAYERS;
    a.page_weights = true;
    size_t with_pages_away = free_run.plan.total - free_run.plan.bytes[POOL_OPTIMIZER];
    /* From the first layer that must go to the last. */
    for (size_t n = 1; n + PAGER_SLOTS <= LAYERS; n++) {
        a.limit = with_pages_away + 8192 - n * one;
        ended_t e = same_as(&free_run, &a, bytes);
        assert_int_equal(e.plan.layout.n_paged, n + PAGER_SLOTS);
        assert_true(e.plan.weights_step_bytes > 0 && e.plan.host_weights >= (n + PAGER_SLOTS) * one - 8192);
    }
    a.spill = test_tmpdir();
    same_as(&free_run, &a, bytes);
    a.spill = NULL;
    a.page_weights = false;
    err_t err = {0};
    run_t run;
    assert_error(start(&run, &a, &err), err, ERR_USAGE, "device.page_weights auto");
    run_close(&run);
    free(free_run.master);
}

/* Several micro-batches a step, an evaluation between: each pass moves what the plan says. */
static void test_passes(void **state) {
    (void)state;
    err_t err = {0};
    asked_t a = {.optim = OPTIM_PAGED_ADAMW_32BIT, .checkpointing = TRI_TRUE, .micro_batches = 3};
    ended_t free_run = run_with(&a);
    size_t bytes = state_bytes(&a);
    a.page_weights = true;
    a.limit = free_run.plan.total - free_run.plan.bytes[POOL_OPTIMIZER] -
              4 * (free_run.plan.bytes[POOL_WEIGHTS] + free_run.plan.bytes[POOL_CONSTANTS]) / LAYERS;
    same_as(&free_run, &a, bytes);

    run_t run;
    assert_ok(start(&run, &a, &err), err);
    for (size_t step = 0; step < STEPS; step++) {
        batch_t b = batch_of(tokens_of(&a, 0), 77);
        double loss;
        model_loss(&run.model, run_acts(&run, PASS_LOSS, b.T), &b, &loss, NULL);
        batch_free(&b);
        run_settle(&run);
        run.model.pager.moved = 0;
        train_step(&run, &a, step);
        assert_int_equal(run.model.pager.moved, run.plan.weights_step_bytes);
    }
    assert_memory_equal(run.lora.master, free_run.master, run.lora.count * sizeof(float));
    run_close(&run);
    free(free_run.master);
}

/* Dequantized copies take what is left over, a layer at a time, and change nothing. */
static void test_cached_weights(void **state) {
    (void)state;
    asked_t a = {.optim = OPTIM_PAGED_ADAMW_32BIT, .bf16 = true, .checkpointing = TRI_FALSE};
    ended_t free_run = run_with(&a);
    size_t bytes = state_bytes(&a), one = 0;
    for (int k = 0; k < LIN_COUNT; k++) one += pool_round((k == LIN_K || k == LIN_V ? 32 : k < LIN_GATE ? 96 : 200) * 96 * 2);
    a.cache_weights = true;
    for (size_t n = 0; n <= LAYERS + 1; n += 3) {
        a.limit = free_run.plan.total + n * one + one / 2;
        ended_t e = same_as(&free_run, &a, bytes);
        assert_int_equal(e.plan.layout.n_cached, n < LAYERS ? n : LAYERS);
        assert_int_equal(e.plan.bytes[POOL_CACHE], e.plan.layout.n_cached * one);
        assert_int_equal(e.plan.optimizer_step_bytes, 0);
    }
    /* Never instead of something else. */
    a.limit = free_run.plan.total - 1;
    ended_t e = same_as(&free_run, &a, bytes);
    assert_int_equal(e.plan.layout.n_cached, 0);
    free(free_run.master);
}

/* ---- faults ----------------------------------------------------------------------------------------------- */

static void test_no_room_to_spill(void **state) {
    (void)state;
    err_t err = {0};
    run_t run;
    asked_t a = {.optim = OPTIM_PAGED_ADAMW_32BIT, .checkpointing = TRI_FALSE};
    ended_t free_run = run_with(&a);
    a.limit = free_run.plan.top;
    a.spill = "/nonexistent/directory";
    assert_error(start(&run, &a, &err), err, ERR_USAGE, "device.spill: cannot make a file in /nonexistent/directory");
    run_close(&run);

    /* A file that cannot grow, as on a full disk. */
    struct rlimit old, small;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small = (struct rlimit){.rlim_cur = 4096, .rlim_max = old.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    a.spill = test_tmpdir();
    int rc = start(&run, &a, &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_error(rc, err, ERR_FAILED, "MiB for pages");
    run_close(&run);

    /* More host memory than any machine has. */
    spill_t s;
    backend_t *be;
    assert_ok(backend_open_cpu(DT_F32, 1, false, &be, &err), err);
    assert_error(spill_open(&s, be, NULL, (size_t)1 << 50, &err), err, ERR_FAILED, "of host memory are needed");
    spill_close(&s);
    be->close(be);
    free(free_run.master);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pressure_32bit),   cmocka_unit_test(test_pressure_8bit),
        cmocka_unit_test(test_pressure_bf16),    cmocka_unit_test(test_streaming),
        cmocka_unit_test(test_other_memory),
        cmocka_unit_test(test_unpaged_is_refused), cmocka_unit_test(test_weights),
        cmocka_unit_test(test_passes),           cmocka_unit_test(test_cached_weights),
        cmocka_unit_test(test_no_room_to_spill),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
