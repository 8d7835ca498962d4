/* Every op of every backend against the reference ops, over shapes and types, by normalized mean square error. */
#include "testing.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "cpu/ops.h"
#include "model/element.h"
#include "ops_cases.h"

static workspace_need_t need(void) {
    return (workspace_need_t){.max_tokens = 600, .max_weight = (size_t)1 << 21, .max_quantized = (size_t)1 << 21,
                              .max_width = 2560, .max_kv = 333, .logit_rows = 16, .vocab = 50000,
                              .attn = {8, 8, 256, 0, 1}};
}

static void run_case(rig_t *r, backend_t *be, const op_t *op, size_t i) {
    rig_init(r, be, 1000 * (uint64_t)i + 1);
    workspace_need_t n = need();
    rig_workspace(r, &n);
    op->run(r, &op->cases[i]);
}

/* A column of the table: a backend to compare with the reference. */
typedef struct {
    int isa, threads; /* kernels_nth(isa) */
} column_t;

static backend_t *open_cpu(dtype_t act, const column_t *column) {
    backend_t *be;
    err_t err = {0};
    assert_ok(backend_open_cpu(act, column ? column->threads : 1, column == NULL, &be, &err), err);
    if (column) ((cpu_impl_t *)be->impl)->kernels = kernels_nth(column->isa);
    return be;
}

/* A BF16 value near the middle of two may round either way: a few in a thousand differ, by 2^-8 of themselves;
 * in attn_bwd the output of the forward, which differs so, is an input.
 * F32: where the compiler uses no vector lanes (-O1), the 4104 squares under a norm are added one after another in
 * fp32, and the sum's rounding was 3.2e-6 of it (1.05e-11 as NMSE). */
static const double tolerance[] = {[DT_F32] = 2e-11, [DT_BF16] = 1e-5};

static double mean_square(const float *x, size_t n) {
    double s = 0;
    for (size_t i = 0; i < n; i++) s += (double)x[i] * x[i];
    return n ? s / (double)n : 0;
}

/* Where the exact answer is 0 (dq of a query that sees one key) only rounding is left, of inputs of order one. */
static double error(const float *got, const float *want, size_t n) {
    const double noise = 1e-12;
    bool zero = mean_square(want, n) < noise && mean_square(got, n) < noise;
    return zero ? 0 : nmse(got, want, n);
}

/* The worst NMSE over the outputs. */
static double compare(const rig_t *got, const rig_t *want, const op_t *op, size_t i) {
    double worst = 0;
    assert_int_equal(got->n_out, want->n_out);
    for (size_t o = 0; o < want->n_out; o++) {
        assert_int_equal(got->out_len[o], want->out_len[o]);
        double e = error(got->out[o], want->out[o], want->out_len[o]);
        bool same = memcmp(got->out[o], want->out[o], want->out_len[o] * sizeof(float)) == 0;
        if ((op->agreement == SAME_BITS && !same) || !(e <= tolerance[want->out_type[o]]))
            fail_msg("%s, case %zu, output %zu, %s, %d threads: NMSE %.2e", op->name, i, o, got->be->device,
                     got->be->threads, e);
        worst = fmax(worst, e);
    }
    return worst;
}

static void test_table(dtype_t act) {
    static const int threads[] = {1, 2, 3};
    backend_t *ref = open_cpu(act, NULL);
    for (size_t k = 0; k < n_ops; k++) {
        const op_t *op = &ops[k];
        double worst = 0;
        size_t runs = 0;
        for (size_t i = 0; i < op->n_cases; i++) {
            rig_t want;
            run_case(&want, ref, op, i);
            for (int isa = 0; kernels_nth(isa); isa++) {
                for (size_t t = 0; t < sizeof threads / sizeof *threads; t++, runs++) {
                    const column_t column = {isa, threads[t]};
                    backend_t *be = open_cpu(act, &column);
                    rig_t got;
                    run_case(&got, be, op, i);
                    worst = fmax(worst, compare(&got, &want, op, i));
                    rig_free(&got);
                    be->close(be);
                }
            }
            rig_free(&want);
        }
        print_message("  %-12s %4zu runs of %3zu cases  worst NMSE %.1e%s\n", op->name, runs, op->n_cases, worst,
                      op->agreement == SAME_BITS ? "  (equal bits)" : "");
    }
    ref->close(ref);
}

static void test_f32(void **state) {
    (void)state;
    test_table(DT_F32);
}

static void test_bf16(void **state) {
    (void)state;
    test_table(DT_BF16);
}

/* Same machine, same thread count: same bytes. And where the split does not depend on the number of threads, any. */
static void test_repeatable(void **state) {
    (void)state;
    int best = 0;
    while (kernels_nth(best + 1)) best++;
    const column_t columns[] = {{best, 2}, {best, 1}, {best, 3}};
    for (size_t k = 0; k < n_ops; k++) {
        const op_t *op = &ops[k];
        backend_t *be = open_cpu(DT_F32, &columns[0]);
        for (size_t i = 0; i < op->n_cases; i++) {
            rig_t a, b;
            run_case(&a, be, op, i);
            run_case(&b, be, op, i);
            for (size_t o = 0; o < a.n_out; o++)
                assert_memory_equal(a.out[o], b.out[o], a.out_len[o] * sizeof(float));
            rig_free(&b);
            for (size_t t = 1; op->agreement != BY_SGEMM && t < 3; t++) {
                backend_t *other = open_cpu(DT_F32, &columns[t]);
                run_case(&b, other, op, i);
                for (size_t o = 0; o < a.n_out; o++)
                    assert_memory_equal(a.out[o], b.out[o], a.out_len[o] * sizeof(float));
                rig_free(&b);
                other->close(other);
            }
            rig_free(&a);
        }
        be->close(be);
    }
}

/* The share of zeros is p, kept values are scaled, and the mask is the one of model/element.h. */
static void test_dropout_mask(void **state) {
    (void)state;
    const column_t column = {0, 2};
    backend_t *be = open_cpu(DT_F32, &column);
    enum { T = 64, C = 1024 };
    float *x = xmalloc(sizeof(float) * T * C), *y = xmalloc(sizeof(float) * T * C);
    int32_t row[T], pos[T];
    for (int i = 0; i < T * C; i++) x[i] = 1;
    for (int t = 0; t < T; t++) row[t] = t / 16, pos[t] = t % 16;
    const dropout_t key = {.seed = 1, .step = 2, .layer = 3, .site = 1, .p = 0.25f, .row = row, .pos = pos};
    be->dropout(be, y, x, T, C, &key);
    size_t zeros = 0;
    for (int i = 0; i < T * C; i++) {
        uint64_t k = dropout_row_key(1, 2, row[i / C], pos[i / C], 3, 1);
        float want = dropout_keep(k, (size_t)(i % C), 0.25f) ? 1 / 0.75f : 0;
        assert_true(y[i] == want);
        zeros += y[i] == 0;
    }
    /* Standard deviation of the share: sqrt(0.25 * 0.75 / 65536) = 0.0017. */
    assert_float_equal((double)zeros / (T * C), 0.25, 0.007);
    free(x);
    free(y);
    be->close(be);
}

/* NaN and infinity reach the sum, whatever their place: a step with them must be seen. */
static void test_sumsq_not_finite(void **state) {
    (void)state;
    const column_t column = {0, 2};
    backend_t *be = open_cpu(DT_F32, &column);
    float *x = xcalloc(70000, sizeof *x);
    static const size_t at[] = {0, 1, 35000, 69999};
    for (size_t i = 0; i < 4; i++) {
        double sum;
        x[at[i]] = NAN;
        be->sumsq(be, &sum, x, 70000);
        assert_true(isnan(sum));
        x[at[i]] = INFINITY;
        be->sumsq(be, &sum, x, 70000);
        assert_true(isinf(sum));
        x[at[i]] = 0;
    }
    free(x);
    be->close(be);
}

static void test_open(void **state) {
    (void)state;
    backend_t *be;
    err_t err = {0};
    assert_ok(backend_open("auto", DT_COUNT, 0, &be, &err), err);
    assert_string_equal(be->name, "cpu");
    assert_int_equal(be->act, DT_F32);
    assert_true(be->threads >= 1);
    size_t free_bytes, total;
    be->mem_info(be, &free_bytes, &total);
    assert_true(free_bytes > 0 && free_bytes <= total);
    print_message("%s; %d threads\n", be->device, be->threads);
    be->close(be);
    assert_error(backend_open("tpu", DT_COUNT, 0, &be, &err), err, ERR_USAGE, "expected auto, cpu or cuda");
    assert_error(backend_open("cpu", DT_F16, 0, &be, &err), err, ERR_USAGE, "f32 or bf16");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_open),          cmocka_unit_test(test_f32),
        cmocka_unit_test(test_bf16),          cmocka_unit_test(test_repeatable),
        cmocka_unit_test(test_dropout_mask),  cmocka_unit_test(test_sumsq_not_finite),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
