/* Passes as CUDA graphs, on the emulated GPU: the bytes of passes that are launched op by op, whatever differs from one to
 * the next, and also where graphs fail. */
#include "testing.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/mem.h"
#include "data/batch.h"
#include "host/control.h"
#include "tiny.h"

/* Two layers and the head, forward; and two layers back. */
enum { PASSES = 8, PARTS = 5, PARTS_FORWARD = 3, RECORDS = 32 };

static uint64_t seed; /* of the schedule: another one for each run */

static const tiny_spec_t plain = {.backend = "cuda",
                                  .arch = "llama-gqa-tied-odd",
                                  .quant = QUANT_NF4,
                                  .double_quant = true,
                                  .act = DT_BF16,
                                  .dropout = 0.1,
                                  .n_kept = 1};

/* ---- batches ---------------------------------------------------------------------------------------------------- */

/* The golden batch with the first `dropped` trained tokens left out and its second row in two segments, of which the first
 * has `cut` tokens; 0: in one. */
static batch_t other_batch(const tiny_t *t, size_t dropped, size_t cut) {
    batch_t b;
    tiny_batch(t, 0, 2, &b);
    assert_true(b.n_seg == 2 && dropped < b.n_labels && b.cap > 3);
    b.n_labels -= dropped;
    memmove(b.target_idx, b.target_idx + dropped, b.n_labels * sizeof *b.target_idx);
    memmove(b.target, b.target + dropped, b.n_labels * sizeof *b.target);
    if (!cut) return b;
    size_t at = (size_t)b.seg_off[1] + cut;
    b.seg_off = xrealloc(b.seg_off, (b.cap + 1) * sizeof *b.seg_off);
    b.n_seg = 3;
    b.seg_off[2] = (int32_t)at;
    b.seg_off[3] = (int32_t)b.T;
    for (size_t i = at; i < b.T; i++) b.pos[i] = (int32_t)(i - at);
    return b;
}

/* ---- training --------------------------------------------------------------------------------------------------- */

typedef struct {
    double loss[PASSES];
    float *grad; /* of all passes together */
    size_t count;
    cuda_host_graphs_t graphs; /* that it made */
    uint64_t submissions;      /* of the last pass */
} trained_passes_t;

typedef struct {
    tiny_spec_t spec;
    bool op_by_op;
    const char *fails; /* in pass `at` */
    size_t at;
    bool same_labels; /* in all passes */
} asked_t;

static cuda_host_graphs_t graphs_since(cuda_host_graphs_t before) {
    cuda_host_graphs_t now = cuda_host_graphs();
    return (cuda_host_graphs_t){now.instantiated - before.instantiated, now.updated - before.updated,
                                now.launched - before.launched, now.alive};
}

/* Micro-batches of one length that differ in dropout's step, trained tokens, segments and scale; the adapters change half
 * way, as in a step of the optimizer, and with them what is kept decoded. */
static trained_passes_t train(const asked_t *asked) {
    tiny_t t;
    trained_passes_t e;
    cuda_host_seed(++seed);
    tiny_open(&t, &asked->spec);
    if (asked->op_by_op) t.be->recorded = NULL;
    cuda_host_graphs_t before = cuda_host_graphs();
    for (size_t i = 0; i < PASSES; i++) {
        batch_t b = other_batch(&t, asked->same_labels ? 0 : i % 4, i % 3 * 5);
        if (i == PASSES / 2) t.lora.changes++;
        if (asked->fails && i == asked->at) cuda_host_fail_call(asked->fails);
        uint64_t submitted = cuda_host_submissions();
        model_train(&t.model, &t.acts, &b, (pass_seed_t){7, i / 2}, 1.0f / (float)(9 + i), &e.loss[i]);
        e.submissions = cuda_host_submissions() - submitted;
        batch_free(&b);
    }
    e.count = t.lora.count;
    e.grad = xmalloc(e.count * sizeof *e.grad);
    t.be->download(t.be, e.grad, t.lora.grad, e.count * sizeof *e.grad);
    e.graphs = graphs_since(before);
    tiny_close(&t);
    assert_int_equal(cuda_host_graphs().alive, 0);
    return e;
}

static void check_same(const trained_passes_t *want, const trained_passes_t *got) {
    assert_memory_equal(got->loss, want->loss, sizeof want->loss);
    assert_memory_equal(got->grad, want->grad, want->count * sizeof *want->grad);
}

static void test_training(void **state) {
    (void)state;
    tiny_spec_t f32 = plain, kept = plain, chunks = plain;
    f32.act = DT_F32;
    kept.n_cached = 2;
    kept.n_kept = SIZE_MAX;
    chunks.chunk = 4;
    const tiny_spec_t specs[] = {plain, f32, kept, chunks};
    for (size_t i = 0; i < sizeof specs / sizeof *specs; i++) {
        trained_passes_t want = train(&(asked_t){.spec = specs[i], .op_by_op = true});
        trained_passes_t got = train(&(asked_t){.spec = specs[i]});
        print_message("the last pass: %llu submissions op by op, %llu as a graph; %llu graphs made, %llu exchanged\n",
                      (unsigned long long)want.submissions, (unsigned long long)got.submissions,
                      (unsigned long long)got.graphs.instantiated, (unsigned long long)got.graphs.updated);
        check_same(&want, &got);
        assert_int_equal(want.graphs.launched, 0);
        /* The head is launched op by op for numbers of rows that its products never had, and made anew where these form
         * other clusters; it may be in two or three chunks. */
        assert_true(got.graphs.launched > (PARTS - 1) * (PASSES - 1) && got.graphs.updated > 0);
        assert_true(got.graphs.instantiated > PARTS);
        assert_int_equal(got.graphs.launched, got.graphs.instantiated + got.graphs.updated);
        assert_true(want.submissions > 100 && got.submissions < 30);
        free(want.grad);
        free(got.grad);
    }
}

/* ---- failures --------------------------------------------------------------------------------------------------- */

static size_t lines; /* of warnings and the like */
static void count_line(void) { lines++; }

/* Whatever fails, and in whichever pass, no pass is lost and none runs twice. */
static void test_failures(void **state) {
    (void)state;
    static const char *const calls[] = {"cudaStreamBeginCapture", "a node", "cudaStreamEndCapture",
                                        "cudaGraphInstantiate", "cudaGraphLaunch"};
    trained_passes_t want = train(&(asked_t){.spec = plain, .op_by_op = true, .same_labels = true});
    log_before_line = count_line;
    for (size_t i = 0; i < 2 * sizeof calls / sizeof *calls; i++) {
        asked_t asked = {.spec = plain, .fails = calls[i / 2], .at = 1 + 3 * (i % 2), .same_labels = true};
        if (!strcmp(asked.fails, "cudaGraphInstantiate")) asked.at = 1; /* later the graph is there */
        lines = 0;
        trained_passes_t got = train(&asked);
        check_same(&want, &got);
        assert_int_equal(got.graphs.launched, PARTS * (asked.at - 1));
        assert_int_equal(lines, 1);
        free(got.grad);
    }
    asked_t asked = {.spec = plain, .fails = "cudaGraphExecUpdate", .at = 2, .same_labels = true};
    trained_passes_t got = train(&asked);
    check_same(&want, &got);
    assert_int_equal(got.graphs.launched, PARTS);
    log_before_line = NULL;
    free(got.grad);
    free(want.grad);
}

/* ---- other passes ----------------------------------------------------------------------------------------------- */

/* The loss with and without the adapters, whose nodes differ: the graph is made anew, and in the end not at all. */
static void test_other_nodes(void **state) {
    (void)state;
    enum { TIMES = 12 };
    tiny_t t;
    double loss[2] = {0}, again;
    cuda_host_seed(++seed);
    tiny_open(&t, &plain);
    cuda_host_graphs_t before = cuda_host_graphs();
    for (size_t i = 0; i < TIMES; i++) {
        t.model.base_alone = i % 2;
        model_loss(&t.model, &t.acts, &t.batch, &again, NULL);
        if (i < 2) loss[i] = again;
        assert_true(again == loss[i % 2]);
    }
    cuda_host_graphs_t made = graphs_since(before);
    assert_true(loss[0] != loss[1]);
    assert_true(made.instantiated > PARTS_FORWARD && made.instantiated <= 1 + 4 * (PARTS_FORWARD - 1));
    assert_int_equal(made.updated, TIMES - 2); /* those of the head, which has no adapter */
    tiny_close(&t);
}

/* Of many lengths few graphs are kept, and of one that comes once none is made. */
static void test_lengths(void **state) {
    (void)state;
    enum { LENGTHS = 12 };
    tiny_t t;
    double want[LENGTHS], got;
    cuda_host_seed(++seed);
    tiny_open(&t, &plain);
    batch_t b = other_batch(&t, 0, 0);
    size_t whole = b.T, labels = 0;
    cuda_host_graphs_t before = cuda_host_graphs();
    for (size_t i = 0; i < 3 * LENGTHS; i++) {
        size_t which = i < LENGTHS ? i : (i - LENGTHS) / 2; /* each once, then each twice in a row */
        b.T = whole - which;
        b.seg_off[2] = (int32_t)b.T;
        for (labels = 0; labels < t.batch.n_labels && (size_t)b.target_idx[labels] < b.T; labels++) continue;
        b.n_labels = labels;
        model_loss(&t.model, &t.acts, &b, &got, NULL);
        if (i < LENGTHS) want[which] = got;
        assert_true(got == want[which]);
        if (i < LENGTHS) assert_int_equal(graphs_since(before).instantiated, 0);
        assert_true(cuda_host_graphs().alive <= RECORDS);
    }
    assert_int_equal(graphs_since(before).instantiated, PARTS_FORWARD * LENGTHS);
    assert_int_equal(cuda_host_graphs().alive, RECORDS);
    batch_free(&b);
    tiny_close(&t);
}

static void count_call(void *calls) { ++*(size_t *)calls; }

/* Where the ops take long, and where weights are paged, everything is as without graphs. */
static void test_not_worth_it(void **state) {
    (void)state;
    tiny_t t;
    double loss;
    size_t calls = 0;
    tiny_spec_t paged = plain;
    paged.n_paged = 1;
    tiny_open(&t, &paged);
    cuda_host_graphs_t before = cuda_host_graphs();
    for (int i = 0; i < 3; i++) model_loss(&t.model, &t.acts, &t.batch, &loss, NULL);
    for (int i = 0; i < 3; i++)
        t.be->recorded(t.be, &(record_key_t){.tokens = 8192, .width = 4096}, count_call, &calls);
    assert_int_equal(calls, 3);
    assert_int_equal(graphs_since(before).launched, 0);
    tiny_close(&t);
}

/* Tokens one by one, while the keys become more. */
static void generate(bool op_by_op, float *logits, cuda_host_graphs_t *made) {
    tiny_t t;
    err_t err = {0};
    pool_t pool;
    kv_cache_t cache;
    cuda_host_seed(++seed);
    tiny_open(&t, &plain);
    if (op_by_op) t.be->recorded = NULL;
    cuda_host_graphs_t before = cuda_host_graphs();
    size_t V = t.model.config.vocab, S = t.batch.max_seg;
    acts_t a = {.blocks = xcalloc(t.model.config.layers, sizeof(block_acts_t))};
    assert_ok(pool_open(&pool, t.be, 8 << 20, &err), err);
    kv_cache_place(&cache, &t.model, S, &pool);
    acts_place(&a, &t.model, &(acts_spec_t){PASS_GENERATE, 5, 0, 1, 0}, &pool);
    model_extend(&t.model, &a, &cache, t.batch.ids, 5, logits);
    for (size_t i = 5; i < S; i++) model_extend(&t.model, &a, &cache, t.batch.ids + i, 1, logits + (i - 4) * V);
    *made = graphs_since(before);
    free(a.blocks);
    kv_cache_free(&cache);
    pool_close(&pool);
    tiny_close(&t);
}

static void test_generation(void **state) {
    (void)state;
    tiny_t t;
    cuda_host_graphs_t made;
    tiny_open(&t, &plain);
    size_t tokens = t.batch.max_seg - 5, n = (tokens + 1) * t.model.config.vocab;
    tiny_close(&t);
    float *want = xcalloc(n, sizeof *want), *got = xcalloc(n, sizeof *got);
    generate(true, want, &made);
    assert_int_equal(made.launched, 0);
    generate(false, got, &made);
    assert_memory_equal(got, want, n * sizeof *want);
    assert_int_equal(made.launched, PARTS_FORWARD * (tokens - 1));
    assert_true(made.updated > made.launched / 2);
    free(want);
    free(got);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_training), cmocka_unit_test(test_failures),     cmocka_unit_test(test_other_nodes),
        cmocka_unit_test(test_lengths),  cmocka_unit_test(test_not_worth_it), cmocka_unit_test(test_generation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
