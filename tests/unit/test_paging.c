/* Pages of optimizer state and of frozen weights: a run forced to page ends in the bytes of one that never does, moves
 * what its plan says, and takes no other memory of the device. */
#include "testing.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/mem.h"
#include "paged_run.h"

/* ---- the optimizer's pages ------------------------------------------------------------------------------ */

static void check_pressure(optim_t optim, bool bf16) {
    paged_run_t a = {.optim = optim, .bf16 = bf16, .checkpointing = TRI_FALSE};
    paged_end_t free_run = paged_run(&a);
    size_t bytes = paged_run_bytes(&a), pages = free_run.plan.bytes[POOL_OPTIMIZER];
    size_t all = free_run.plan.total, acts = free_run.plan.bytes[POOL_ACTIVATIONS];
    assert_int_equal(free_run.moved[0], 0);
    assert_true(acts > pages); /* else there is nothing for the activations to push out */
    size_t before = 0;
    for (int percent = 25; percent <= 100; percent += 25) {
        a.limit = all - pages * (size_t)percent / 100;
        if (percent == 100) a.limit = free_run.plan.top;
        for (int known = 0; known < 2; known++) {
            a.known_next = known;
            paged_end_t e = paged_run_same(&free_run, &a, bytes);
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
    paged_run_t a = {.optim = optim, .checkpointing = TRI_FALSE, .rank = rank, .tokens = 14};
    paged_end_t free_run = paged_run(&a);
    size_t bytes = paged_run_bytes(&a), pages = free_run.plan.bytes[POOL_OPTIMIZER], before = SIZE_MAX;
    assert_true(free_run.plan.bytes[POOL_ACTIVATIONS] < pages);
    for (size_t sixteenths = 4; sixteenths <= 12; sixteenths += 4) {
        a.limit = free_run.plan.total - pages * sixteenths / 16;
        a.known_next = !a.known_next;
        paged_end_t e = paged_run_same(&free_run, &a, bytes);
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
    paged_run_t a = {.optim = OPTIM_PAGED_ADAMW_32BIT, .checkpointing = TRI_FALSE};
    paged_end_t free_run = paged_run(&a);
    size_t bytes = paged_run_bytes(&a);
    a.limit = free_run.plan.top;
    a.spill = test_tmpdir();
    paged_run_same(&free_run, &a, bytes);
    a.spill = NULL;
    a.no_pinned = true;
    paged_run_same(&free_run, &a, bytes);
    free(free_run.master);
}

static void test_unpaged_is_refused(void **state) {
    (void)state;
    err_t err = {0};
    run_t run;
    paged_run_t a = {.optim = OPTIM_ADAMW_32BIT, .checkpointing = TRI_FALSE};
    paged_end_t free_run = paged_run(&a);
    a.limit = free_run.plan.total - 1;
    assert_error(paged_run_start(&run, &a, &err), err, ERR_USAGE,
                 "it would fit with training.gradient_checkpointing auto, or a paged training.optim");
    run_close(&run);
    free(free_run.master);
}

/* ---- the weights' pages ----------------------------------------------------------------------------------- */

static void test_weights(void **state) {
    (void)state;
    paged_run_t a = {.optim = OPTIM_PAGED_ADAMW_32BIT, .checkpointing = TRI_TRUE};
    paged_end_t free_run = paged_run(&a);
    size_t bytes = paged_run_bytes(&a);
    size_t weights = free_run.plan.bytes[POOL_WEIGHTS] + free_run.plan.bytes[POOL_CONSTANTS];
    size_t one = weights / PAGED_RUN_LAYERS;
    a.page_weights = true;
    size_t with_pages_away = free_run.plan.total - free_run.plan.bytes[POOL_OPTIMIZER];
    /* From the first layer that must go to the last. */
    for (size_t n = 1; n + PAGER_SLOTS <= PAGED_RUN_LAYERS; n++) {
        a.limit = with_pages_away + 8192 - n * one;
        paged_end_t e = paged_run_same(&free_run, &a, bytes);
        assert_int_equal(e.plan.layout.n_paged, n + PAGER_SLOTS);
        assert_true(e.plan.weights_step_bytes > 0 && e.plan.host_weights >= (n + PAGER_SLOTS) * one - 8192);
    }
    a.spill = test_tmpdir();
    paged_run_same(&free_run, &a, bytes);
    a.spill = NULL;
    a.page_weights = false;
    err_t err = {0};
    run_t run;
    assert_error(paged_run_start(&run, &a, &err), err, ERR_USAGE, "device.page_weights auto");
    run_close(&run);
    free(free_run.master);
}

/* Several micro-batches a step, an evaluation between: each pass moves what the plan says. */
static void test_passes(void **state) {
    (void)state;
    err_t err = {0};
    paged_run_t a = {.optim = OPTIM_PAGED_ADAMW_32BIT, .checkpointing = TRI_TRUE, .micro_batches = 3};
    paged_end_t free_run = paged_run(&a);
    size_t bytes = paged_run_bytes(&a);
    a.page_weights = true;
    a.limit = free_run.plan.total - free_run.plan.bytes[POOL_OPTIMIZER] -
              4 * (free_run.plan.bytes[POOL_WEIGHTS] + free_run.plan.bytes[POOL_CONSTANTS]) / PAGED_RUN_LAYERS;
    paged_run_same(&free_run, &a, bytes);

    run_t run;
    assert_ok(paged_run_start(&run, &a, &err), err);
    for (size_t step = 0; step < PAGED_RUN_STEPS; step++) {
        batch_t b = paged_run_batch(paged_run_tokens(&a, 0), 77);
        double loss;
        model_loss(&run.model, run_acts(&run, PASS_LOSS, b.T), &b, &loss, NULL);
        batch_free(&b);
        run_settle(&run);
        run.model.pager.moved = 0;
        paged_run_step(&run, &a, step);
        assert_int_equal(run.model.pager.moved, run.plan.weights_step_bytes);
    }
    assert_memory_equal(run.lora.master, free_run.master, run.lora.count * sizeof(float));
    run_close(&run);
    free(free_run.master);
}

/* Augmented weights that are kept take what is left over, a layer at a time, and change nothing. */
static void test_cached_weights(void **state) {
    (void)state;
    paged_run_t a = {.optim = OPTIM_PAGED_ADAMW_32BIT, .bf16 = true, .checkpointing = TRI_FALSE};
    paged_end_t free_run = paged_run(&a);
    size_t bytes = paged_run_bytes(&a), one = 0, L = PAGED_RUN_LAYERS;
    const size_t rows[] = {96 + 32 + 32, 96, 200 + 200, 96}, cols[] = {96, 96, 96, 200}, layers[] = {3, 1, 2, 1};
    for (int s = 0; s < SITE_COUNT; s++) {
        size_t width = layers[s] * 4; /* rank 4 */
        one += pool_round((rows[s] + width) * linear_ld(cols[s], width) * 2);
    }
    a.cache_weights = true;
    for (size_t n = 0; n <= L + 1; n += 3) {
        a.limit = free_run.plan.total + n * one + one / 2;
        paged_end_t e = paged_run_same(&free_run, &a, bytes);
        assert_int_equal(e.plan.layout.n_cached, n < L ? n : L);
        assert_int_equal(e.plan.bytes[POOL_CACHE], e.plan.layout.n_cached * one);
        assert_int_equal(e.plan.optimizer_step_bytes, 0);
    }
    /* Never instead of something else. */
    a.limit = free_run.plan.total - 1;
    paged_end_t e = paged_run_same(&free_run, &a, bytes);
    assert_int_equal(e.plan.layout.n_cached, 0);
    /* Also where blocks are recomputed though there is room for them. */
    a.checkpointing = TRI_TRUE;
    a.limit = free_run.plan.total_recompute_all + one + one / 2;
    e = paged_run_same(&free_run, &a, bytes);
    assert_true(e.plan.layout.n_kept == 0 && e.plan.layout.n_cached == 1);
    /* And not where they are for want of it. */
    a.checkpointing = TRI_AUTO;
    e = paged_run_same(&free_run, &a, bytes);
    assert_int_equal(e.plan.layout.n_cached, 0);
    free(free_run.master);
}

/* ---- faults ----------------------------------------------------------------------------------------------- */

static void test_no_room_to_spill(void **state) {
    (void)state;
    err_t err = {0};
    run_t run;
    paged_run_t a = {.optim = OPTIM_PAGED_ADAMW_32BIT, .checkpointing = TRI_FALSE};
    paged_end_t free_run = paged_run(&a);
    a.limit = free_run.plan.top;
    a.spill = "/nonexistent/directory";
    assert_error(paged_run_start(&run, &a, &err), err, ERR_USAGE,
                 "device.spill: /nonexistent/directory: expected a directory");
    run_close(&run);

    /* A file that cannot grow, as on a full disk. */
    struct rlimit old, small;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small = (struct rlimit){.rlim_cur = 4096, .rlim_max = old.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    a.spill = test_tmpdir();
    int rc = paged_run_start(&run, &a, &err);
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
        cmocka_unit_test(test_pressure_32bit), cmocka_unit_test(test_pressure_8bit),
        cmocka_unit_test(test_pressure_bf16),  cmocka_unit_test(test_streaming),
        cmocka_unit_test(test_other_memory),   cmocka_unit_test(test_unpaged_is_refused),
        cmocka_unit_test(test_weights),        cmocka_unit_test(test_passes),
        cmocka_unit_test(test_cached_weights), cmocka_unit_test(test_no_room_to_spill),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
