/* Paging on the emulated GPU: streams that run as late, or as far ahead, as nothing forbids. A run forced to page ends
 * in the bytes of one that never does, under every schedule; a copy that a kernel does not wait for would show. */
#include "testing.h"

#include <stdlib.h>
#include <string.h>

#include "host/control.h"
#include "paged_run.h"

static uint64_t seed; /* another one for each run */

static paged_end_t run_free(const paged_run_t *asked, size_t *bytes) {
    cuda_host_seed(++seed);
    paged_end_t e = paged_run(asked);
    assert_int_equal(e.moved[0], 0);
    *bytes = paged_run_bytes(asked);
    return e;
}

static paged_end_t same_as(const paged_end_t *want, const paged_run_t *asked, size_t bytes) {
    cuda_host_seed(++seed);
    print_message("schedule seed %llu, ", (unsigned long long)seed);
    return paged_run_same(want, asked, bytes);
}

/* Activations push pages of the optimizer's state out. */
static void check_pressure(optim_t optim) {
    size_t bytes;
    paged_run_t a = {.backend = "cuda", .optim = optim, .bf16 = true, .checkpointing = TRI_FALSE, .rank = 16};
    paged_end_t want = run_free(&a, &bytes);
    a.limit = want.plan.total - want.plan.bytes[POOL_OPTIMIZER] / 2;
    assert_true(same_as(&want, &a, bytes).moved[0] > 0);
    a.limit = want.plan.top;
    a.known_next = true;
    assert_true(same_as(&want, &a, bytes).moved[0] > 0);
    free(want.master);
}

static void test_pressure_32bit(void **state) {
    (void)state;
    check_pressure(OPTIM_PAGED_ADAMW_32BIT);
}

static void test_pressure_8bit(void **state) {
    (void)state;
    check_pressure(OPTIM_PAGED_ADAMW_8BIT);
}

/* Pages without a home pass through slots, each step. */
static void test_streaming(void **state) {
    (void)state;
    size_t bytes;
    paged_run_t a = {.backend = "cuda",
                     .optim = OPTIM_PAGED_ADAMW_32BIT,
                     .bf16 = true,
                     .checkpointing = TRI_FALSE,
                     .rank = 48,
                     .tokens = 14};
    paged_end_t want = run_free(&a, &bytes);
    for (size_t quarters = 2; quarters <= 3; quarters++) {
        a.limit = want.plan.total - want.plan.bytes[POOL_OPTIMIZER] * quarters / 4;
        for (int again = 0; again < 2; again++) assert_true(same_as(&want, &a, bytes).moved[1] > 0);
    }
    free(want.master);
}

/* Layers of frozen weights come and go, in the forward and in the backward pass. */
static void test_weights(void **state) {
    (void)state;
    size_t bytes;
    paged_run_t a = {.backend = "cuda",
                     .optim = OPTIM_PAGED_ADAMW_32BIT,
                     .bf16 = true,
                     .checkpointing = TRI_TRUE,
                     .page_weights = true,
                     .tokens = 35,
                     .micro_batches = 2};
    paged_end_t want = run_free(&a, &bytes);
    size_t one = (want.plan.bytes[POOL_WEIGHTS] + want.plan.bytes[POOL_CONSTANTS]) / PAGED_RUN_LAYERS;
    for (size_t layers = 2; layers <= 4; layers += 2) {
        a.limit = want.plan.total - want.plan.bytes[POOL_OPTIMIZER] + 8192 - layers * one;
        paged_end_t e = same_as(&want, &a, bytes);
        assert_true(e.plan.layout.n_paged > 0 && e.plan.weights_step_bytes > 0);
    }
    a.spill = test_tmpdir();
    same_as(&want, &a, bytes);
    a.spill = NULL;
    a.no_pinned = true;
    same_as(&want, &a, bytes);
    free(want.master);
}

/* A device on which nothing overlaps: pages that come and go, layers that are brought ahead, and products beside which
 * the next weight is decoded wait for each other in whatever order the streams have their turn, and for nothing else. */
static void test_serialized(void **state) {
    (void)state;
    enum { ORDERS = 4 };
    size_t bytes, overtaken = 0;
    paged_run_t a = {.backend = "cuda",
                     .optim = OPTIM_PAGED_ADAMW_32BIT,
                     .bf16 = true,
                     .checkpointing = TRI_TRUE,
                     .page_weights = true,
                     .rank = 16,
                     .tokens = 35};
    paged_end_t want = run_free(&a, &bytes);
    size_t one = (want.plan.bytes[POOL_WEIGHTS] + want.plan.bytes[POOL_CONSTANTS]) / PAGED_RUN_LAYERS;
    a.limit = want.plan.total - want.plan.bytes[POOL_OPTIMIZER] + 8192 - 2 * one;
    cuda_host_serialize(true);
    for (int order = 0; order < ORDERS; order++) {
        uint64_t before = cuda_host_overtaken();
        paged_end_t e = same_as(&want, &a, bytes);
        assert_true(e.plan.layout.n_paged > 0 && e.moved[1] > 0);
        uint64_t n = cuda_host_overtaken() - before;
        print_message("  %llu overtaken\n", (unsigned long long)n);
        overtaken += n > 0;
    }
    cuda_host_serialize(false);
    assert_true(overtaken > 0);
    free(want.master);
}

/* Weights that are kept dequantized, with the adapters of each step beside them, change nothing: also where there is
 * room for only some, where gate and up are multiplied one after the other, and where some are multiplied where they
 * are, being neither quantized nor adapted. */
static void check_kept_weights(quant_type_t quant, bool some_targets, size_t rank) {
    enum { LAYERS = 4 };
    size_t bytes;
    paged_run_t a = {.backend = "cuda",
                     .optim = OPTIM_PAGED_ADAMW_32BIT,
                     .bf16 = true,
                     .checkpointing = TRI_FALSE,
                     .layers = LAYERS,
                     .tokens = 35,
                     .quant = quant,
                     .some_targets = some_targets,
                     .rank = rank};
    paged_end_t want = run_free(&a, &bytes);
    assert_int_equal(want.plan.layout.n_cached, 0);
    a.cache_weights = true;
    paged_end_t all = same_as(&want, &a, bytes);
    assert_int_equal(all.plan.layout.n_cached, LAYERS);
    a.limit = want.plan.total + all.plan.bytes[POOL_CACHE] * 5 / 8;
    assert_int_equal(same_as(&want, &a, bytes).plan.layout.n_cached, 2);
    free(want.master);
}

static void test_kept_weights(void **state) {
    (void)state;
    check_kept_weights(QUANT_NF4, false, 4);
    check_kept_weights(QUANT_NF4, true, 16);
    check_kept_weights(QUANT_NONE, true, 4);
    check_kept_weights(QUANT_NONE, true, 128);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pressure_32bit), cmocka_unit_test(test_pressure_8bit),
        cmocka_unit_test(test_streaming),      cmocka_unit_test(test_weights),
        cmocka_unit_test(test_serialized),     cmocka_unit_test(test_kept_weights),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
