/* Runs drawn at random, each under a limit drawn between the least that its plan accepts and all that it wants, with
 * copies that come late: they end in the bytes of the run that has all, and take and move what the plan says. */
#include "testing.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/rng.h"
#include "paged_run.h"

enum { RUNS = 30 };

static size_t draw(uint64_t key, uint64_t *drawn, size_t below) { return (size_t)(rng_fold(key, (*drawn)++) % below); }

static paged_run_t draw_run(uint64_t key, uint64_t *drawn) {
    static const size_t layers[] = {3, 4, 5, 8}, ranks[] = {1, 4, 48}, tokens[] = {14, 60, 160};
    static const quant_type_t quants[] = {QUANT_NF4, QUANT_NF4, QUANT_INT8, QUANT_NONE};
    static const tristate_t checkpointing[] = {TRI_AUTO, TRI_FALSE, TRI_TRUE};
    paged_run_t a = {.layers = layers[draw(key, drawn, 4)],
                     .rank = ranks[draw(key, drawn, 3)],
                     .tokens = tokens[draw(key, drawn, 3)],
                     .quant = quants[draw(key, drawn, 4)],
                     .checkpointing = checkpointing[draw(key, drawn, 3)],
                     .micro_batches = draw(key, drawn, 2) ? 3 : 1};
    a.optim = draw(key, drawn, 2) ? OPTIM_PAGED_ADAMW_8BIT : OPTIM_PAGED_ADAMW_32BIT;
    a.eval_tokens = a.tokens * draw(key, drawn, 5) / 2;
    a.bf16 = draw(key, drawn, 3) == 0;
    a.page_weights = draw(key, drawn, 3) != 0;
    a.known_next = draw(key, drawn, 2) != 0;
    a.cache_weights = draw(key, drawn, 2) != 0;
    return a;
}

static bool fits(const paged_run_t *asked, size_t limit) {
    paged_run_t a = *asked;
    a.limit = limit;
    run_t run;
    err_t err = {0};
    int rc = paged_run_plan(&run, &a, &err);
    if (rc) assert_int_equal(rc, ERR_USAGE);
    run_close(&run);
    return rc == 0;
}

/* The least limit that the plan accepts, to the byte. */
static size_t least_limit(const paged_run_t *asked, size_t enough) {
    size_t low = 0;
    while (enough - low > 1) {
        size_t mid = low + (enough - low) / 2;
        if (fits(asked, mid)) enough = mid;
        else low = mid;
    }
    return enough;
}

/* A byte less is refused, and the message has the least. */
static void expect_refusal(const paged_run_t *asked, size_t least) {
    paged_run_t a = *asked;
    a.limit = least - 1;
    run_t run;
    err_t err = {0};
    char want[80];
    snprintf(want, sizeof want, "%.1f MiB with all the paging that the config allows",
             (double)least / (1 << 20) + 0.05);
    assert_error(paged_run_plan(&run, &a, &err), err, ERR_USAGE, want);
    run_close(&run);
}

static void test_random_runs(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= RUNS; seed++) {
        uint64_t key = rng_mix(seed), drawn = 0;
        paged_run_t a = draw_run(key, &drawn);
        paged_end_t all = paged_run(&a);
        size_t bytes = paged_run_bytes(&a), least = least_limit(&a, all.plan.total);
        const size_t limits[] = {least, least + draw(key, &drawn, all.plan.total - least + 1), all.plan.total - 1};
        expect_refusal(&a, least);
        print_message("run %2d: %zu layers, rank %zu, %zu x %zu tokens, %zu to evaluate, quantization %d, optimizer "
                      "%d\n",
                      (int)seed, a.layers, a.rank, a.micro_batches, a.tokens, a.eval_tokens, a.quant, a.optim);
        for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
            a.limit = limits[i];
            a.late = seed * 8 + i + 1;
            if (a.limit < least) continue;
            paged_end_t e = paged_run_same(&all, &a, bytes);
            assert_true(e.plan.total <= a.limit);
        }
        free(all.master);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_random_runs)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
