/* The memory plan against the pool of the run itself, and the course of the steps. */
#include "testing.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "cuda/workspace.h"
#include "made_model.h"
#include "trainer/run/generate.h"
#include "trainer/run/steps.h"

enum { LAYERS = 6, VOCAB = 320 };

/* ---- memory --------------------------------------------------------------------------------------------- */

typedef struct {
    size_t train_tokens, train_seg, eval_tokens, eval_seg;
    double dropout;
    size_t n_kept;
    compute_t compute;
    quant_type_t quant;
    bool f32, tied;
    size_t prompt, positions; /* of a generation; 0: none */
} combination_t;

static void run_start(run_t *run, const combination_t *k) {
    err_t err = {0};
    *run = (run_t){.need = {.train_tokens = k->train_tokens,
                            .train_seg = k->train_seg,
                            .eval_tokens = k->eval_tokens,
                            .eval_seg = k->eval_seg}};
    const plan_need_t generation = generate_need(k->prompt, k->positions);
    run->need.prompt_tokens = generation.prompt_tokens;
    run->need.cache = generation.cache;
    const char *dir = test_tmpdir();
    made_model_write(
        dir,
        &(made_model_t){
            .vocab = VOCAB, .hidden = 96, .ffn = 200, .layers = LAYERS, .heads = 6, .kv_heads = 2, .tied = k->tied});
    config_t *c = &run->config;
    c->model.path = xstrdup(dir);
    c->device.backend = xstrdup("cpu");
    c->device.threads = 1;
    c->quantization.quant_type = k->quant;
    c->quantization.double_quant = k->quant == QUANT_NF4;
    c->quantization.compute_dtype = k->compute;
    c->lora.r = 4;
    c->training.accumulation = 1;
    c->training.optim = OPTIM_ADAMW_32BIT;
    c->lora.alpha = 8;
    c->lora.dropout = k->dropout;
    c->lora.f32 = k->f32;
    assert_ok(run_open(run, false, false, false, &err) || run_set_lora(run, NULL, &err), err);
}

/* The whole layout of a training run with n blocks kept, made here once more. */
static size_t total_of(run_t *run, size_t n_kept) {
    pool_t pool = pool_counting(run->be);
    optimizer_t opt;
    acts_t acts = {.blocks = xcalloc(LAYERS, sizeof(block_acts_t))};
    layout_t layout = {.chunk = run->plan.layout.chunk, .n_homes = SIZE_MAX};
    plan_place_fixed(&pool, &run->model, &run->lora, &opt, &run->need, &layout);
    optimizer_free(&opt);
    pool_mark_t mark = pool_mark(&pool);
    acts_place(
        &acts, &run->model,
        &(acts_spec_t){PASS_TRAIN, run->need.train_tokens, n_kept, run->plan.layout.chunk, run->plan.layout.tile},
        &pool);
    pool_reset(&pool, &mark);
    if (run->need.eval_tokens)
        acts_place(&acts, &run->model,
                   &(acts_spec_t){PASS_LOSS, run->need.eval_tokens, 0, run->plan.layout.chunk, run->plan.layout.tile},
                   &pool);
    pool_reset(&pool, &mark);
    if (run->need.cache) {
        kv_cache_t cache;
        kv_cache_place(&cache, &run->model, run->need.cache, &pool);
        acts_place(
            &acts, &run->model,
            &(acts_spec_t){PASS_GENERATE, run->need.prompt_tokens, 0, run->plan.layout.chunk, run->plan.layout.tile},
            &pool);
        kv_cache_free(&cache);
    }
    free(acts.blocks);
    return pool.peak;
}

static int plan_with(run_t *run, tristate_t checkpointing, size_t limit, err_t *err) {
    run->need.checkpointing = checkpointing;
    return plan_make(&run->plan, &run->model, &run->lora, &run->need, limit, err);
}

/* Segments of `seg` tokens, the last one shorter, that fill exactly T tokens. */
static batch_t batch_of(size_t T, size_t seg, size_t vocab) {
    size_t n = (T + seg - 1) / seg;
    dataset_t ds = {.ids = xcalloc(T, sizeof(int32_t)),
                    .samples = xcalloc(n, sizeof(sample_t)),
                    .n_tokens = T,
                    .n_samples = n,
                    .longest = seg};
    for (size_t i = 0; i < T; i++) ds.ids[i] = (int32_t)(i * 7 % vocab);
    ds.labels = ds.ids;
    for (size_t i = 0; i < n; i++) {
        size_t left = T - i * seg;
        ds.samples[i] = (sample_t){.start = i * seg, .len = left < seg ? left : seg, .labels = left - 1, .row = i + 1};
    }
    epoch_t e;
    batch_t b = {0};
    epoch_plan(&ds, &(batch_spec_t){.batch_size = n, .accumulation = 1, .max_length = seg}, 0, &e);
    batch_fill(&e, 0, &b);
    epoch_free(&e);
    free(ds.ids);
    free(ds.samples);
    assert_int_equal(b.T, T);
    return b;
}

static void compute(run_t *run, pass_t pass, size_t T, size_t seg) {
    batch_t b = batch_of(T, seg, run->model.config.vocab);
    double loss = 0;
    acts_t *a = run_acts(run, pass, T);
    if (pass == PASS_TRAIN) model_train(&run->model, a, &b, (pass_seed_t){1, 1}, 1.0f, &loss);
    else model_loss(&run->model, a, &b, &loss, NULL);
    assert_true(isfinite(loss) && loss > 0);
    batch_free(&b);
}

static void count_token(void *ctx, int32_t id) {
    assert_in_range(id, 0, VOCAB - 1);
    ++*(size_t *)ctx;
}

/* An answer up to the last position. */
static void generate(run_t *run, size_t prompt, size_t positions) {
    ids_t ids = {0};
    size_t made = 0;
    for (size_t i = 0; i < prompt; i++) ids_add(&ids, (int32_t)(i * 11 % VOCAB));
    generate_answer(run, &ids, &(answer_spec_t){.max_new = positions - prompt}, NULL, count_token, &made);
    assert_int_equal(made, positions - prompt);
    free(ids.ids);
}

static size_t aligned(size_t bytes) { return (bytes + POOL_ALIGN - 1) / POOL_ALIGN * POOL_ALIGN; }

/* What must lie in the pool, counted from the shapes alone. */
static void check_classes(const run_t *run) {
    const size_t *bytes = run->plan.bytes;
    const model_t *m = &run->model;
    size_t codes = 0, constants = 0, n = run->lora.count;
    for (size_t l = 0; l < LAYERS; l++)
        for (int k = 0; k < LINEAR_SLOTS; k++) {
            size_t values = linear_rows(&m->config, (linear_slot_t)k) * linear_cols(&m->config, (linear_slot_t)k);
            codes += aligned(quant_code_bytes(m->quant, values));
            if (m->quant == QUANT_NONE) continue;
            constants += m->double_quant ? aligned((values + 63) / 64) + aligned((values + 16383) / 16384 * 4)
                                         : aligned((values + 63) / 64 * 4);
        }
    assert_int_equal(bytes[POOL_WEIGHTS], codes);
    assert_int_equal(bytes[POOL_CONSTANTS], constants);
    size_t embeddings = aligned(VOCAB * 96 * 2) * (m->config.tied ? 1 : 2) + (2 * LAYERS + 1) * aligned(96 * 4);
    assert_int_equal(bytes[POOL_EMBEDDINGS], embeddings + aligned(m->rope_len * 16 * 4));
    bool copy = run->lora.compute_type == DT_BF16;
    assert_int_equal(bytes[POOL_ADAPTERS], aligned(n * 4) + (copy ? aligned(n * 2) : 0));
    assert_int_equal(bytes[POOL_GRADIENTS], aligned(n * 4));
    assert_int_equal(bytes[POOL_OPTIMIZER], 2 * aligned(n * 4) + POOL_ALIGN);
}

static void check_combination(const combination_t *k) {
    err_t err = {0};
    run_t run;
    run_start(&run, k);
    run.config.training.gradient_checkpointing = TRI_FALSE;
    run.config.device.memory_limit = SIZE_MAX;
    assert_ok(run_plan(&run, &err), err);
    assert_int_equal(run.plan.layout.n_kept, LAYERS);
    run.config.training.gradient_checkpointing = TRI_AUTO;
    run.config.device.memory_limit = total_of(&run, k->n_kept);
    model_free(&run.model);
    assert_ok(run_plan(&run, &err), err);
    /* An evaluation or a generation that is larger than the step may leave room for more. */
    bool more = k->eval_tokens > k->train_tokens || k->positions > k->train_tokens;
    assert_true(run.plan.layout.n_kept == k->n_kept || (more && run.plan.layout.n_kept > k->n_kept));

    assert_ok(run_load(&run, NULL, &err), err);
    for (int c = 0; c < POOL_ACTIVATIONS; c++) assert_int_equal(run.pool.bytes[c], run.plan.bytes[c]);
    run.be->zero(run.be, run.lora.grad, run.lora.count * sizeof(float));
    for (int round = 0; round < 2; round++) {
        compute(&run, PASS_TRAIN, k->train_tokens, k->train_seg);
        if (k->eval_tokens) compute(&run, PASS_LOSS, k->eval_tokens, k->eval_seg);
        if (k->positions) generate(&run, k->prompt, k->positions);
    }
    for (int c = 0; c < POOL_ACTIVATIONS; c++) assert_int_equal(run.pool.bytes[c], run.plan.bytes[c]);
    assert_int_equal(run.pool.peak, run.plan.total);
    assert_int_equal(run.pool.peak_activations, run.plan.bytes[POOL_ACTIVATIONS]);
    size_t sum = 0;
    for (int c = 0; c < POOL_CLASSES; c++) sum += run.plan.bytes[c];
    assert_int_equal(sum, run.plan.total);
    check_classes(&run);
    print_message("%4zu+%zu tokens, dropout %.1f: %zu kept, %zu bytes\n", k->train_tokens, k->eval_tokens, k->dropout,
                  run.plan.layout.n_kept, run.plan.total);
    run_close(&run);
}

static void test_planned_and_measured(void **state) {
    (void)state;
    static const combination_t combinations[] = {
        {64, 64, 0, 0, 0, 6, COMPUTE_F32, QUANT_NF4, true, true, 0, 0},
        {64, 64, 0, 0, 0.1, 6, COMPUTE_F32, QUANT_NF4, true, true, 0, 0},
        {77, 20, 0, 0, 0, 3, COMPUTE_F32, QUANT_NF4, true, false, 0, 0},
        {200, 50, 30, 30, 0.1, 0, COMPUTE_F32, QUANT_FP4, false, true, 0, 0},
        {16, 16, 300, 150, 0, 0, COMPUTE_F32, QUANT_NF4, true, true, 0, 0},
        {16, 16, 300, 150, 0.5, 2, COMPUTE_BF16, QUANT_INT8, true, false, 0, 0},
        {128, 128, 128, 64, 0, 1, COMPUTE_BF16, QUANT_NONE, false, true, 0, 0},
        {2, 2, 0, 0, 0, 4, COMPUTE_BF16, QUANT_NF4, false, false, 0, 0},
        {64, 64, 40, 40, 0.1, 3, COMPUTE_F32, QUANT_NF4, true, true, 7, 40}, /* in the place of the step's */
        {2, 2, 4, 4, 0, 2, COMPUTE_F32, QUANT_NF4, true, true, 7, 40},
        {16, 16, 300, 150, 0, 0, COMPUTE_BF16, QUANT_INT8, true, false, 600, 640},
        {16, 16, 0, 0, 0.5, 2, COMPUTE_BF16, QUANT_NF4, false, true, 1, 500},
    };
    for (size_t i = 0; i < sizeof combinations / sizeof *combinations; i++) check_combination(&combinations[i]);
}

/* auto takes the most blocks that fit, at every limit between the two ends, and says what is missing below. */
static void test_checkpointing(void **state) {
    (void)state;
    static const combination_t k = {256, 64, 40, 40, 0.1, 0, COMPUTE_F32, QUANT_NF4, true, true, 0, 0};
    err_t err = {0};
    run_t run;
    run_start(&run, &k);
    run.config.device.memory_limit = SIZE_MAX;
    assert_ok(run_plan(&run, &err), err);
    size_t t[LAYERS + 1];
    for (size_t n = 0; n <= LAYERS; n++) t[n] = total_of(&run, n);
    assert_int_equal(run.plan.total_recompute_all, t[0]);
    assert_int_equal(run.plan.total_keep_all, t[LAYERS]);

    size_t chosen[LAYERS + 1] = {0};
    for (size_t i = 0; i <= 200; i++) {
        size_t limit = t[0] + (t[LAYERS] - t[0]) * i / 200, best = 0;
        for (size_t n = 0; n <= LAYERS; n++)
            if (t[n] <= limit) best = n;
        assert_ok(plan_with(&run, TRI_AUTO, limit, &err), err);
        assert_int_equal(run.plan.layout.n_kept, best);
        assert_int_equal(run.plan.total, t[best]);
        assert_true(run.plan.total <= limit && run.plan.limit == limit);
        chosen[best]++;
    }
    assert_true(chosen[0] && chosen[1] && chosen[3] && chosen[LAYERS]);
    for (size_t n = 1; n <= LAYERS; n++) {
        assert_ok(plan_with(&run, TRI_AUTO, t[n], &err), err);
        assert_int_equal(run.plan.total, t[n]);
        assert_ok(plan_with(&run, TRI_AUTO, t[n] - 1, &err), err);
        assert_true(run.plan.total < t[n]);
    }
    assert_ok(plan_with(&run, TRI_TRUE, SIZE_MAX, &err), err);
    assert_int_equal(run.plan.layout.n_kept, 0);
    assert_ok(plan_with(&run, TRI_FALSE, t[LAYERS], &err), err);
    assert_int_equal(run.plan.layout.n_kept, LAYERS);

    char want[160];
    snprintf(want, sizeof want,
             "needs %.1f MiB with every block recomputed (%.1f MiB with none) for micro-batches of "
             "up to 256 tokens",
             (double)t[0] / (1 << 20), (double)t[LAYERS] / (1 << 20));
    assert_error(plan_with(&run, TRI_AUTO, t[0] - 1, &err), err, ERR_USAGE, want);
    snprintf(want, sizeof want,
             "device.memory_limit leaves %.1f MiB; it would fit with a paged training.optim, or an "
             "8-bit",
             (double)(t[0] - 1) / (1 << 20));
    assert_error(plan_with(&run, TRI_TRUE, t[0] - 1, &err), err, ERR_USAGE, want);
    assert_error(plan_with(&run, TRI_FALSE, t[LAYERS] - 1, &err), err, ERR_USAGE, "the run does not fit");
    run_close(&run);
}

/* ---- what no memory is enough for ------------------------------------------------------------------------- */

/* One more of something than is taken is refused in the config's terms, and that many are not. */
static void assert_most(const run_t *run, size_t *value, size_t most, const char *text) {
    err_t err = {0};
    size_t before = *value;
    *value = most;
    assert_ok(plan_check_sizes(&run->model, &run->need, &err), err);
    *value = most + 1;
    assert_error(plan_check_sizes(&run->model, &run->need, &err), err, ERR_USAGE, text);
    plan_t p;
    assert_int_equal(plan_make(&p, &run->model, &run->lora, &run->need, SIZE_MAX, &err), ERR_USAGE);
    *value = before;
}

static void test_sizes(void **state) {
    (void)state;
    static const combination_t k = {64, 16, 0, 0, 0, 0, COMPUTE_F32, QUANT_NF4, true, true, 0, 0};
    run_t run;
    run_start(&run, &k);
    err_t err = {0};
    assert_ok(run_plan(&run, &err), err);
    assert_most(&run, &run.need.train_tokens, INT32_MAX - 1,
                "micro-batches of 2147483647 tokens are more than cpu takes");
    backend_t cuda = backend_plan_cuda(DT_BF16), *cpu = run.be;
    run.model.be = &cuda;
    run.model.lora = &run.lora;
    size_t heads = run.model.config.heads, *rows = &run.model.layers[0].w[LIN_DOWN].rows;
    workspace_need_t w = plan_workspace_need(&run.model, &run.need);
    assert_true(w.attn_ld == linear_ld(160, 12)); /* q, k and v, and the du of their three adapters of rank 4 */
    assert_most(&run, &run.need.train_tokens, INT32_MAX / heads, "training.per_device_train_batch_size: micro-batches");
    assert_most(&run, &run.need.train_seg, 65535 * 16, "data.max_length: a row of 1048561 tokens");
    run.lora.width[SITE_QKV] = 8000; /* rows so far apart that 32 bits are the bound */
    assert_most(&run, &run.need.train_seg, UINT32_MAX / linear_ld(160, 8000), "data.max_length: a row of ");
    run.lora.width[SITE_QKV] = 12;
    assert_most(&run, &run.need.cache, 65535 * 16, "expected a shorter prompt in training.sample_prompts");
    run.need = generate_need(8, 16);
    assert_most(&run, &run.need.cache, 65535 * 16, "a shorter prompt or a lower --max-new-tokens");
    run.need = (plan_need_t){.train_tokens = 64, .train_seg = 16};
    assert_most(&run, &run.model.config.head_dim, 371, "model.path: heads of 372 channels");
    size_t layer = (UINT32_MAX - CUDA_DEQUANT_AHEAD) / linear_ld(200, 4) - 4; /* with the rows of A */
    assert_most(&run, rows, layer, "model.path: a layer of ");
    run.model.be = cpu;
    run_close(&run);
}

/* ---- what would make it fit ------------------------------------------------------------------------------ */

static int plan_in(run_t *run, size_t limit, err_t *err) {
    return plan_make(&run->plan, &run->model, &run->lora, &run->need, limit, err);
}

static void assert_advice(run_t *run, size_t limit, const char *text, const char *not_text) {
    err_t err = {0};
    assert_error(plan_in(run, limit, &err), err, ERR_USAGE, text);
    if (not_text && strstr(err.msg, not_text)) fail_msg("%s", err.msg);
}

/* The plan names a limit; with it the plan stands, and with less it does not. */
static void assert_limit_named(run_t *run) {
    static const char before[] = "expected a limit of at least ";
    err_t err = {0};
    assert_int_equal(plan_in(run, 4096, &err), ERR_USAGE);
    const char *at = strstr(err.msg, before);
    if (!at) fail_msg("%s", err.msg);
    double mib = strtod(at + strlen(before), NULL);
    err = (err_t){0};
    assert_ok(plan_in(run, (size_t)(mib * (1 << 20)), &err), err);
    assert_int_equal(plan_in(run, (size_t)((mib - 0.1) * (1 << 20)), &err), ERR_USAGE);
}

static size_t unpaged_total(run_t *run) {
    err_t err = {0};
    assert_ok(plan_in(run, SIZE_MAX, &err), err);
    return run->plan.total;
}

/* Each kind of run is told what helps it: keys that it reads, and of one that has begun only those that may change. */
static void test_advice(void **state) {
    (void)state;
    static const combination_t k = {256, 64, 0, 0, 0, 0, COMPUTE_F32, QUANT_NONE, true, true, 0, 0};
    err_t err = {0};
    run_t run;
    run_start(&run, &k);
    run.config.device.memory_limit = SIZE_MAX;
    assert_ok(run_plan(&run, &err), err);

    run.need = (plan_need_t){.eval_tokens = 64, .eval_seg = 32};
    size_t all = unpaged_total(&run);
    assert_advice(&run, all - 1, "the model does not fit: it needs ", "training.optim");
    assert_advice(&run, all - 1, "it would fit with device.page_weights auto, or batches of at most 32 tokens",
                  "paging");
    run.need.page_weights = run.need.no_room = true;
    assert_advice(&run, all - 1, "it would fit with device.spill to a directory, or batches of at most 32 tokens",
                  "paging");
    run.need.page_weights = false;
    run.need.eval_tokens = run.need.eval_seg = 1;
    assert_advice(&run, unpaged_total(&run) - 1,
                  "it would fit with device.page_weights auto and device.spill to a directory", "limit of");
    run.need = (plan_need_t){.eval_tokens = 64, .eval_seg = 32, .page_weights = true};
    assert_limit_named(&run);
    assert_advice(&run, 4096, "MiB with all the paging that the config allows, and", "training.");

    run.need = generate_need(64, 4000);
    run.need.page_weights = true;
    assert_advice(&run, all, "it would fit with at most ", "batch");
    assert_advice(&run, all, " positions (a shorter prompt or a lower --max-new-tokens)", "optim");

    run.need = (plan_need_t){.train_tokens = 256, .train_seg = 64, .micro_batches = 1, .checkpointing = TRI_FALSE};
    all = unpaged_total(&run);
    assert_advice(&run, all - 1,
                  "it would fit with training.gradient_checkpointing auto, or a paged training.optim, "
                  "or an 8-bit training.optim, or device.page_weights auto, or micro-batches of at most 128 tokens "
                  "(lower training.per_device_train_batch_size or data.max_length)",
                  NULL);
    run.need.resumes = true;
    assert_advice(&run, all - 1, "it would fit with training.gradient_checkpointing auto, or device.page_weights auto",
                  "training.optim");
    assert_advice(&run, all - 1, "device.page_weights auto", "micro-batches of at most");
    run.need.cache = 40000;
    run.need.prompt_tokens = 64;
    assert_advice(&run, unpaged_total(&run) - 1, "device.page_weights auto, or training.sample_prompts none",
                  "positions");
    run.need.cache = run.need.prompt_tokens = 0;
    run.need.checkpointing = TRI_AUTO;
    run.need.page_weights = true;
    assert_limit_named(&run);
    assert_advice(&run, 4096, "MiB: the other keys that would help define this run", "lora.r");
    run_close(&run);
}

/* ---- steps ---------------------------------------------------------------------------------------------- */

enum { ROWS = 10 };

/* Rows of 3 to 12 tokens. */
static dataset_t dataset(void) {
    dataset_t ds = {.samples = xcalloc(ROWS, sizeof(sample_t)), .n_samples = ROWS};
    for (size_t i = 0; i < ROWS; i++) {
        ds.samples[i] = (sample_t){.start = ds.n_tokens, .len = 3 + i, .labels = 2 + i, .row = i + 1};
        ds.n_tokens += 3 + i;
        ds.longest = 3 + i;
    }
    ds.ids = xcalloc(ds.n_tokens, sizeof(int32_t));
    ds.labels = xcalloc(ds.n_tokens, sizeof(int32_t));
    return ds;
}

static void test_steps(void **state) {
    (void)state;
    /* Five micro-batches of two rows, in steps of two: two whole steps and a last one of one micro-batch. */
    static const struct {
        double epochs;
        long max_steps;
        size_t total, begun;
    } cases[] = {
        {1, -1, 3, 1},       {2, -1, 6, 2},    {0.5, -1, 2, 1},  {0.01, -1, 1, 1},    {1.0 / 3, -1, 1, 1},
        {2.0 / 3, -1, 2, 1}, {1.34, -1, 5, 2}, {1.25, -1, 4, 2}, {2.9, -1, 9, 3},     {7, 1, 1, 1},
        {7, 3, 3, 1},        {1, 4, 4, 2},     {1, 7, 7, 3},     {0.5, 100, 100, 34},
    };
    dataset_t ds = dataset();
    batch_spec_t spec = {.batch_size = 2, .accumulation = 2, .max_length = 16};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        config_t c = {.training = {.num_train_epochs = cases[i].epochs, .max_steps = cases[i].max_steps}};
        steps_t s;
        steps_plan(&s, &ds, &spec, &c);
        if (s.total != cases[i].total || s.n_epochs != cases[i].begun)
            fail_msg("epochs %g, max_steps %ld: %zu steps in %zu epochs; expected %zu in %zu", cases[i].epochs,
                     cases[i].max_steps, s.total, s.n_epochs, cases[i].total, cases[i].begun);
        for (size_t e = 0; e < s.n_epochs; e++) {
            assert_int_equal(steps_span(&s, e).first, 3 * e);
            assert_int_equal(steps_span(&s, e).steps, 3);
        }
        for (size_t step = 0; step < s.total; step++) assert_int_equal(steps_epoch(&s, step), step / 3);
        for (size_t step = 0; step <= s.total; step++)
            assert_true(fabs(steps_progress(&s, step) - (double)step / 3) < 1e-12);
        /* In file order the largest micro-batch is the last: rows of 11 and 12. */
        assert_int_equal(s.max_tokens, 23);
        assert_int_equal(s.max_seg, 12);
        steps_free(&s);
        assert_null(s.spans);
    }
    epoch_t e;
    epoch_plan(&ds, &spec, 0, &e);
    assert_int_equal(epoch_step_micros(&e, 0), 2);
    assert_int_equal(epoch_step_micros(&e, 2), 1);
    epoch_free(&e);
    dataset_free(&ds);
}

/* Shuffled and packed, epochs differ: the extents are those of the largest micro-batch of any that is begun. */
static void test_extents(void **state) {
    (void)state;
    dataset_t ds = dataset();
    config_t c = {
        .data = {.max_length = 14, .packing = true, .shuffle = true},
        .training = {.batch_size = 2, .accumulation = 3, .num_train_epochs = 4.5, .max_steps = -1, .seed = 3}};
    batch_spec_t spec = steps_batch_spec(&c);
    assert_true(spec.batch_size == 2 && spec.accumulation == 3 && spec.max_length == 14 && spec.packing &&
                spec.shuffle && !spec.group_by_length && spec.seed == 3);
    steps_t s;
    steps_plan(&s, &ds, &spec, &c);
    assert_int_equal(s.n_epochs, 5);
    size_t tokens = 0, seg = 0, first = 0;
    for (size_t n = 0; n < 5; n++) {
        epoch_t e;
        batch_t b = {0};
        epoch_plan(&ds, &spec, n, &e);
        for (size_t m = 0; m < e.n_micro; m++) {
            batch_fill(&e, m, &b);
            if (b.T > tokens) tokens = b.T;
            if (b.max_seg > seg) seg = b.max_seg;
        }
        assert_int_equal(steps_span(&s, n).first, first);
        assert_int_equal(steps_span(&s, n).steps, e.n_steps);
        first += n < 4 ? e.n_steps : (e.n_steps + 1) / 2;
        batch_free(&b);
        epoch_free(&e);
    }
    assert_int_equal(s.total, first);
    assert_int_equal(s.max_tokens, tokens);
    assert_int_equal(s.max_seg, seg);
    steps_free(&s);
    dataset_free(&ds);
}

/* A thousand million steps on a few rows: planned at once, and every step still has its epoch. */
static void test_endless(void **state) {
    (void)state;
    dataset_t ds = dataset();
    config_t c = {.data = {.max_length = 14, .shuffle = true},
                  .training = {.batch_size = 2, .accumulation = 3, .max_steps = 1000000000, .seed = 3}};
    batch_spec_t spec = steps_batch_spec(&c);
    steps_t s;
    steps_plan(&s, &ds, &spec, &c); /* 5 micro-batches, 2 steps */
    assert_int_equal(s.total, 1000000000);
    assert_int_equal(s.n_epochs, 500000000);
    assert_true(s.epochs == 5e8);
    assert_int_equal(s.max_tokens, 23); /* 12 and 11, wherever they come together */
    assert_int_equal(s.max_seg, 12);
    assert_int_equal(steps_epoch(&s, 999999999), 499999999);
    assert_true(steps_progress(&s, 999999999) == 499999999.5);
    steps_free(&s);

    spec.packing = true;
    steps_plan(&s, &ds, &spec, &c);
    assert_int_equal(s.total, 1000000000);
    assert_true(s.n_epochs >= 400000000 && s.max_seg == 12);
    assert_int_equal(s.max_tokens, 28 < ds.n_tokens ? 28 : ds.n_tokens);
    size_t first = 0;
    for (size_t n = 0; n < STEPS_AHEAD + 100; n++) { /* past what was planned */
        epoch_t e;
        epoch_plan(&ds, &spec, n, &e);
        assert_int_equal(steps_epoch(&s, first), n);
        assert_int_equal(steps_epoch(&s, first + e.n_steps - 1), n);
        assert_int_equal(steps_span(&s, n).first, first);
        assert_int_equal(steps_span(&s, n).steps, e.n_steps);
        assert_true(fabs(steps_progress(&s, first + e.n_steps) - (double)(n + 1)) < 1e-9);
        first += e.n_steps;
        epoch_free(&e);
    }
    steps_free(&s);
    dataset_free(&ds);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_planned_and_measured),
        cmocka_unit_test(test_checkpointing),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_advice),
        cmocka_unit_test(test_steps),
        cmocka_unit_test(test_extents),
        cmocka_unit_test(test_endless),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
