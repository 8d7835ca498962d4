/* Every op of the CUDA backend against the reference ops, for both types of activations. On the emulated GPU under
 * several schedules, all of which must give the same bytes; on a real one (test_cuda_ops_device) once.
 * Arguments name the ops to run; none: all. */
#include "testing.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/control.h"
#include "ops_cases.h"
#include "turns.h"

/* Sanitizers see a fault without its showing in a result, and take long. */
#if defined(__SANITIZE_ADDRESS__) || defined(CUDA_HOST_TSAN)
enum { N_SCHEDULES = 1 };
#else
enum { N_SCHEDULES = 3 };
#endif

static int n_chosen;
static char **chosen;

/* What rounding lets two right answers differ by, as NMSE.
 * F32: sums in another order, and functions that are off by some 2^-22 on a GPU.
 * BF16: an output near the middle of two values may round either way: a few in a thousand differ, by 2^-8 of
 * themselves, which gives some 1e-7. */
static const double tolerance[] = {[DT_F32] = 1e-11, [DT_BF16] = 1e-5};

/* Where the inputs of the last product are themselves rounded to BF16 for the tensor cores, each of them is off by up
 * to 2^-9, uniformly: (2^-9)^2 / 3 = 1.3e-6 of the output for each rounded factor; and in the gradients the sum of
 * such terms is smaller than its parts.
 * Where the workspace has room for one layer at a time, dx of three layers is rounded after each, and before that under
 * dropout: 5 times with what the reference rounds, by 2.2e-6 each ((2^-7)^2 / 12 over 7/3, mantissas' mean square).
 * A bias is rounded before it is added, by half a step at most: a quarter of the outputs that it is most of are the next
 * value, 6.5e-6 ((2^-7)^2 / 4 over 7/3), and more of those that are less than it. */
static const struct {
    const char *op;
    double bf16;
} rounded_often[] = {{"attn_fwd", 1e-5}, {"attn_bwd", 4e-5}, {"linear_fwd", 3e-5}, {"linear_bwd", 2e-5}};

static double limit(const op_t *op, dtype_t type) {
    for (size_t i = 0; type == DT_BF16 && i < sizeof rounded_often / sizeof *rounded_often; i++)
        if (strcmp(op->name, rounded_often[i].op) == 0) return rounded_often[i].bf16;
    return tolerance[type];
}

static bool is_chosen(const char *name) {
    for (int i = 0; i < n_chosen; i++)
        if (strcmp(name, chosen[i]) == 0) return true;
    return n_chosen == 0;
}

static const dtype_t acts[2] = {DT_F32, DT_BF16};
static struct {
    backend_t *be; /* NULL: no GPU */
    void *workspace;
    size_t workspace_size;
} gpu[2]; /* one for each type of activations */

static size_t set_need(backend_t *be) {
    const workspace_need_t need = {.max_tokens = 600,
                                   .max_weight = (size_t)1 << 21,
                                   .max_augmented = (size_t)1 << 21,
                                   .max_width = 2560,
                                   .max_kv = 9000,
                                   .attn = {.Hq = 8, .Hkv = 8, .D = 256, .scale = 1}};
    return be->workspace_bytes(be, &need);
}

static int open_gpu(void **state) {
    (void)state;
    err_t err = {0};
    for (size_t i = 0; i < 2; i++) {
        backend_t *be;
        if (backend_open_cuda(acts[i], HOST_ALONE, &be, &err)) {
            if (cuda_host_emulated()) fail_msg("%s", err.msg);
            printf("skip: no GPU to run on: %s\n", err.msg);
            return 0;
        }
        gpu[i].be = be;
        gpu[i].workspace_size = set_need(be);
        gpu[i].workspace = be->alloc(be, gpu[i].workspace_size, MEM_DEVICE);
        assert_non_null(gpu[i].workspace);
    }
    return 0;
}

static int close_gpu(void **state) {
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        if (!gpu[i].be) continue;
        gpu[i].be->free(gpu[i].be, gpu[i].workspace, MEM_DEVICE);
        gpu[i].be->close(gpu[i].be);
    }
    return cuda_host_emulated() && cuda_host_used_memory() != 0; /* nothing is left allocated */
}

static void run_reference(rig_t *r, backend_t *be, const op_t *op, size_t i) {
    rig_init(r, be, 1000 * (uint64_t)i + 1);
    be->workspace_size = set_need(be);
    be->workspace = rig_alloc(r, be->workspace_size);
    op->run(r, &op->cases[i]);
}

/* Cards that the kernels are built for, as they differ in a block's shared memory: 8.9 and 12.0 have that of 8.6, 10.0
 * that of 9.0. Each schedule is another card's. */
static void set_card(unsigned seed) {
    static const int cards[3][2] = {{8, 6}, {8, 0}, {9, 0}};
    const int *c = cards[(seed - 1) % 3];
    cuda_host_set_device(1, c[0], c[1], 13000);
    cuda_host_seed(seed);
}

/* The workspace is one for all cases that do not make their own: it is large. Its size is asked for again, since it is
 * the last answer that counts. */
static void run_gpu(rig_t *r, size_t act, const op_t *op, size_t i, unsigned seed) {
    backend_t *be = gpu[act].be;
    set_card(seed);
    rig_init(r, be, 1000 * (uint64_t)i + 1);
    be->workspace = gpu[act].workspace;
    be->workspace_size = set_need(be);
    op->run(r, &op->cases[i]);
}

static double mean_square(const float *x, size_t n) {
    double s = 0;
    for (size_t i = 0; i < n; i++) s += (double)x[i] * x[i];
    return n ? s / (double)n : 0;
}

/* Where the exact answer is 0 (dq of a query that sees one key) only rounding is left, of inputs of order one. */
static double error(const float *got, const float *want, size_t n, dtype_t act) {
    const double noise = act == DT_F32 ? 1e-12 : 1e-5;
    bool zero = mean_square(want, n) < noise && mean_square(got, n) < noise;
    return zero ? 0 : nmse(got, want, n);
}

static double compare(const rig_t *got, const rig_t *want, const op_t *op, size_t i) {
    double worst = 0;
    if (got->trodden) fail_msg("%s, case %zu: writes %zu elements that it was not given", op->name, i, got->trodden);
    assert_int_equal(got->n_out, want->n_out);
    for (size_t o = 0; o < want->n_out; o++) {
        assert_int_equal(got->out_len[o], want->out_len[o]);
        double e = error(got->out[o], want->out[o], want->out_len[o], got->be->act);
        bool same = memcmp(got->out[o], want->out[o], want->out_len[o] * sizeof(float)) == 0;
        if ((op->agreement == SAME_BITS && !same) || !(e <= limit(op, want->out_type[o])))
            fail_msg("%s, case %zu, output %zu: NMSE %.2e", op->name, i, o, e);
        worst = fmax(worst, e);
    }
    return worst;
}

static void assert_same_bytes(const rig_t *a, const rig_t *b, const op_t *op, size_t i, unsigned seed) {
    for (size_t o = 0; o < a->n_out; o++)
        if (memcmp(a->out[o], b->out[o], a->out_len[o] * sizeof(float)))
            fail_msg("%s, case %zu, output %zu: other bytes under schedule seed %u than under 1", op->name, i, o, seed);
}

/* The worst NMSE of a case, under every schedule. */
static double test_case(backend_t *ref, size_t act, const op_t *op, size_t i, unsigned n_seeds) {
    rig_t want, first, again;
    run_reference(&want, ref, op, i);
    cuda_host_forget(gpu[act].workspace, gpu[act].workspace_size);
    run_gpu(&first, act, op, i, 1);
    double e = compare(&first, &want, op, i);
    for (unsigned seed = 2; seed <= n_seeds; seed++) {
        run_gpu(&again, act, op, i, seed);
        assert_same_bytes(&first, &again, op, i, seed);
        rig_free(&again);
    }
    rig_free(&first);
    rig_free(&want);
    return e;
}

static void test_table(size_t act) {
    unsigned n_seeds = cuda_host_emulated() ? N_SCHEDULES : 2;
    size_t cases = 0;
    backend_t *ref;
    err_t err = {0};
    if (!gpu[act].be) skip();
    assert_ok(backend_open_cpu(acts[act], 1, true, &ref, &err), err);
    printf("%s, schedule seeds 1 to %u\n", gpu[act].be->device, n_seeds);
    for (size_t k = 0; ops_nth(k); k++) {
        const op_t *op = ops_nth(k);
        double worst = 0;
        if (!is_chosen(op->name)) continue;
        for (size_t i = 0; i < op->n_cases; i++) {
            if (n_seeds == 1 && op->cases[i].flags & CASE_IS_LONG) continue;
            if (!takes_turn(i, act, 2)) continue;
            worst = fmax(worst, test_case(ref, act, op, i, n_seeds));
            cases++;
        }
        print_message("  %-12s %3zu cases  worst NMSE %.1e%s\n", op->name, op->n_cases, worst,
                      op->agreement == SAME_BITS ? "  (equal bits)" : "");
    }
    print_message("  %zu cases, each under %u schedules\n", cases, n_seeds);
    ref->close(ref);
}

static void test_f32(void **state) {
    (void)state;
    test_table(0);
}

static void test_bf16(void **state) {
    (void)state;
    test_table(1);
}

/* ---- attention over a long sequence ---------------------------------------------------------------------- */

/* o, dq, dk and dv of S tokens: in rows that lie `pad` columns further apart than they are long. Of an odd number the
 * tensor cores take none, so that the plain kernels have to. */
static void run_long(rig_t *r, size_t S, size_t pad) {
    enum { HEADS = 4, KV_HEADS = 2, D = 128, Q = HEADS * D, KV = KV_HEADS * D };
    backend_t *be = gpu[1].be;
    const int32_t length = (int32_t)S;
    rig_init(r, be, 4096);
    be->workspace = gpu[1].workspace;
    be->workspace_size = set_need(be);
    const columns_t of_q = rig_padded(r, S, Q, pad), of_kv = rig_padded(r, S, KV, pad), of_dq = of_q;
    const columns_t of_dkv = {DT_BF16, S, of_q.first, KV, of_q.ld};
    const attn_segments_t seg = rig_segments(r, 1, &length, &length);
    attn_shape_t shape = {.Hq = HEADS, .Hkv = KV_HEADS, .D = D, .scale = 1 / sqrtf(D)};
    shape.ld_q = shape.ld_o = shape.ld_dout = shape.ld_dqkv = of_q.ld;
    shape.ld_k = shape.ld_v = of_kv.ld;
    void *q = rig_columns(r, &of_q, 1.5f), *k = rig_columns(r, &of_kv, 1.5f), *v = rig_columns(r, &of_kv, 1);
    void *dout = rig_columns(r, &of_q, 1), *o = rig_unwritten(r, &of_q);
    void *dq = rig_unwritten(r, &of_dq), *dk = rig_unwritten(r, &of_dkv), *dv = rig_unwritten(r, &of_dkv);
    float *lse = rig_alloc(r, S * HEADS * sizeof(float));
    be->attn_fwd(be, o, lse, q, k, v, &shape, &seg);
    be->attn_bwd(be, dq, dk, dv, dout, q, k, v, o, lse, &shape, &seg);
    rig_output_columns(r, o, &of_q);
    rig_output_columns(r, dq, &of_dq);
    rig_output_columns(r, dk, &of_dkv);
    rig_output_columns(r, dv, &of_dkv);
}

/* The kernels on tensor cores against the plain ones of the same device: only a GPU is fast enough for the length that
 * they are trained at, and the emulator does what it can with the same code. */
static void test_long_attention(void **state) {
    (void)state;
    static const char *const names[] = {"o", "dq", "dk", "dv"};
    if (!gpu[1].be || !is_chosen("attn_long")) skip();
    const size_t S = !cuda_host_emulated() ? 4096 : N_SCHEDULES > 1 ? 300 : 140;
    const double limits[] = {1e-5, 4e-5, 4e-5, 4e-5}; /* as of attn_fwd and attn_bwd */
    rig_t fast, plain;
    set_card(1);
    run_long(&fast, S, 0);
    run_long(&plain, S, 1);
    assert_int_equal(fast.trodden + plain.trodden, 0);
    for (size_t o = 0; o < fast.n_out; o++) {
        assert_int_equal(fast.out_len[o], plain.out_len[o]);
        double e = error(fast.out[o], plain.out[o], fast.out_len[o], DT_BF16);
        print_message("  attention of %zu tokens, %s: NMSE %.1e\n", S, names[o], e);
        if (!(e <= limits[o])) fail_msg("%s: NMSE %.2e", names[o], e);
    }
    rig_free(&fast);
    rig_free(&plain);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_f32), cmocka_unit_test(test_bf16),
                                       cmocka_unit_test(test_long_attention)};
    n_chosen = argc - 1;
    chosen = argv + 1;
    return cmocka_run_group_tests(tests, open_gpu, close_gpu);
}
