/* Generation with a cache, of every family of golden/arch: pieces of a prompt and single tokens see what the whole
 * sequence at once sees, through windows, caps, norms and positions. */
#include "testing.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/mem.h"
#include "tiny.h"

/* Prompts of `piece` tokens at a time, `alone` tokens one by one behind them. */
static void check(tiny_t *t, const float *want, size_t piece, size_t alone) {
    err_t err = {0};
    size_t V = t->model.config.vocab, S = t->batch.max_seg;
    float *got = xmalloc(V * sizeof *got);
    pool_t pool;
    kv_cache_t cache;
    acts_t a = {.blocks = xcalloc(t->model.config.layers, sizeof(block_acts_t))};
    assert_ok(pool_open(&pool, t->be, 8 << 20, &err), err);
    kv_cache_place(&cache, &t->model, S, &pool);
    acts_place(&a, &t->model, &(acts_spec_t){PASS_GENERATE, piece, 0, 1, 0}, &pool);
    for (size_t at = 0; at < S;) {
        size_t left = S - alone > at ? S - alone - at : 1, n = left < piece ? left : piece;
        model_extend(&t->model, &a, &cache, t->batch.ids + at, n, got);
        at += n;
        double e = nmse(got, want + (at - 1) * V, V);
        if (!(e < 1e-8)) fail_msg("pieces of %zu: NMSE %.2g of the logits at token %zu", piece, e, at);
    }
    free(a.blocks);
    free(got);
    kv_cache_free(&cache);
    pool_close(&pool);
}

static void test_cache(void **state) {
    (void)state;
    const char *top = test_path("golden/arch");
    DIR *d = opendir(top);
    assert_non_null(d);
    size_t families = 0;
    for (struct dirent *e; (e = readdir(d));) {
        char *dir = path_join(top, e->d_name), *expected = path_join(dir, "expected.safetensors");
        if (path_exists(expected)) {
            tiny_t t;
            size_t n;
            tiny_open(&t,
                      &(tiny_spec_t){
                          .arch = dir, .quant = QUANT_NF4, .double_quant = true, .act = DT_F32, .n_kept = SIZE_MAX});
            float *want = tiny_expected(&t, "nf4.logits", &n);
            print_message("%s\n", e->d_name);
            check(&t, want, 16, 3);
            check(&t, want, 5, 9);
            check(&t, want, 1, 0);
            check(&t, want, t.batch.max_seg, 0);
            free(want);
            tiny_close(&t);
            families++;
        }
        free(dir);
        free(expected);
    }
    closedir(d);
    assert_true(families >= 30);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_cache)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
