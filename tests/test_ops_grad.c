/* Every backward op against central differences of its forward.
 *
 * For a forward y = f(x), random r and a random direction u: (<r, f(x + h u)> - <r, f(x - h u)>) / 2h must be
 * <df(r), u>. The forward is the reference (sums in double); the backward is that of the backend under test.
 * The forward's fp32 outputs limit the quotient to about 1e-4 of itself. */
#include "testing.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rng.h"
#include "model/element.h"
#include "ops_rig.h"

#define STEP 1e-2
#define TOLERANCE 1e-3
enum { MAX_INPUTS = 3, DIRECTIONS = 4 };

/* A differentiable op on fp32 arrays. */
typedef struct {
    const char *name;
    size_t n_inputs, n_in[MAX_INPUTS], n_out;
    float scale; /* of the inputs */
    void (*fwd)(backend_t *be, rig_t *r, float *const *x, float *y);
    /* dx[i] for each input from r = dL/dy */
    void (*bwd)(backend_t *be, rig_t *r, float *const *x, const float *dy, float *const *dx);
} grad_op_t;

/* ---- the ops ------------------------------------------------------------------------------------------ */

enum { T = 7, C = 33, EPS_INV = 100000, FLAT = 200, ROWS = 5, VOCAB = 41, H = 3, D = 16 };

static float *norm_weight(rig_t *r) {
    float w[C];
    rig_normal(77, w, C, 1);
    return rig_upload(r, w, sizeof w);
}

static void norm_fwd(backend_t *be, rig_t *r, float *const *x, float *y) {
    be->rmsnorm_fwd(be, y, rig_alloc(r, T * sizeof(float)), x[0], norm_weight(r), T, C, 1.0f / EPS_INV);
}

static void norm_bwd(backend_t *be, rig_t *r, float *const *x, const float *dy, float *const *dx) {
    float *y = rig_alloc(r, T * C * sizeof(float)), *rstd = rig_alloc(r, T * sizeof(float)), *w = norm_weight(r);
    be->rmsnorm_fwd(be, y, rstd, x[0], w, T, C, 1.0f / EPS_INV);
    be->zero(be, dx[0], T * C * sizeof(float)); /* the op adds */
    be->rmsnorm_bwd(be, dx[0], dy, x[0], w, rstd, T, C);
}

static void swiglu_fwd(backend_t *be, rig_t *r, float *const *x, float *y) {
    (void)r;
    be->swiglu_fwd(be, y, x[0], x[1], FLAT);
}

static void swiglu_bwd(backend_t *be, rig_t *r, float *const *x, const float *dy, float *const *dx) {
    (void)r;
    be->swiglu_bwd(be, dx[0], dx[1], dy, x[0], x[1], FLAT);
}

static void rotate(backend_t *be, rig_t *r, const float *x, float *y, int sign) {
    float table[T * D];
    int32_t pos[T];
    for (int t = 0; t < T; t++) {
        pos[t] = (t * 3) % T;
        for (int i = 0; i < D / 2; i++) {
            table[t * D + 2 * i] = cosf((float)(t + 1) / (float)(i + 1));
            table[t * D + 2 * i + 1] = sinf((float)(t + 1) / (float)(i + 1));
        }
    }
    be->copy(be, y, x, sizeof(float) * T * H * D);
    be->rope(be, y, rig_upload(r, table, sizeof table), rig_upload(r, pos, sizeof pos), T, H, D, sign);
}

static void rope_fwd(backend_t *be, rig_t *r, float *const *x, float *y) {
    rotate(be, r, x[0], y, 1);
}

static void rope_bwd(backend_t *be, rig_t *r, float *const *x, const float *dy, float *const *dx) {
    (void)x;
    rotate(be, r, dy, dx[0], -1);
}

static void dropped(backend_t *be, rig_t *r, const float *x, float *y) {
    int32_t row[T] = {0, 0, 1, 1, 2, 2, 3}, pos[T] = {0, 1, 0, 1, 0, 1, 9};
    const dropout_t key = {.seed = 5, .p = 0.3f, .row = rig_upload(r, row, sizeof row),
                           .pos = rig_upload(r, pos, sizeof pos)};
    be->dropout(be, y, x, T, C, &key);
}

static void dropout_fwd(backend_t *be, rig_t *r, float *const *x, float *y) {
    dropped(be, r, x[0], y);
}

static void dropout_bwd(backend_t *be, rig_t *r, float *const *x, const float *dy, float *const *dx) {
    (void)x;
    dropped(be, r, dy, dx[0]);
}

/* The gradient of the loss is for equal weights of the rows: y is their sum, dy its factor. */
static void loss(backend_t *be, rig_t *r, const float *x, float *losses, float *grad, float factor) {
    int32_t labels[ROWS] = {0, VOCAB - 1, 7, 8, 7};
    float *logits = grad ? grad : rig_alloc(r, ROWS * VOCAB * sizeof(float));
    be->copy(be, logits, x, ROWS * VOCAB * sizeof(float));
    be->ce_loss(be, logits, losses, rig_upload(r, labels, sizeof labels), ROWS, VOCAB, grad != NULL, factor);
}

static void ce_fwd(backend_t *be, rig_t *r, float *const *x, float *y) {
    float losses[ROWS];
    loss(be, r, x[0], losses, NULL, 0);
    double sum = 0;
    for (int i = 0; i < ROWS; i++) sum += losses[i];
    y[0] = (float)sum;
}

static void ce_bwd(backend_t *be, rig_t *r, float *const *x, const float *dy, float *const *dx) {
    float losses[ROWS];
    loss(be, r, x[0], losses, dx[0], dy[0]);
}

enum { W_ROWS = 23, W_COLS = 37 };

static void linear_fwd(backend_t *be, rig_t *r, float *const *x, float *y) {
    r->key = 9;
    qweight_t w = rig_weight(r, QUANT_NF4, true, W_ROWS, W_COLS);
    be->gemm_weight(be, true, T, x[0], &w, 0, y);
}

static void linear_bwd(backend_t *be, rig_t *r, float *const *x, const float *dy, float *const *dx) {
    (void)x;
    r->key = 9;
    qweight_t w = rig_weight(r, QUANT_NF4, true, W_ROWS, W_COLS);
    be->gemm_weight(be, false, T, dy, &w, 0, dx[0]);
}

/* Three segments, grouped heads; with and without a window. */
enum { HQ = 4, HKV = 2, TOKENS = 1 + 70 + 9, WINDOW = 5 };
static const int32_t lengths[] = {1, 70, 9};

static void attention_fwd(backend_t *be, rig_t *r, float *const *x, float *y, size_t window, float *lse) {
    attn_segments_t seg = rig_segments(r, 3, lengths, lengths);
    const attn_shape_t shape = {HQ, HKV, D, window, 0.25f};
    be->attn_fwd(be, y, lse, x[0], x[1], x[2], &shape, &seg);
}

static void attention_bwd(backend_t *be, rig_t *r, float *const *x, const float *dy, float *const *dx, size_t window) {
    attn_segments_t seg = rig_segments(r, 3, lengths, lengths);
    const attn_shape_t shape = {HQ, HKV, D, window, 0.25f};
    float *o = rig_alloc(r, sizeof(float) * TOKENS * HQ * D), *lse = rig_alloc(r, sizeof(float) * TOKENS * HQ);
    attention_fwd(be, r, x, o, window, lse);
    be->attn_bwd(be, dx[0], dx[1], dx[2], dy, x[0], x[1], x[2], o, lse, &shape, &seg);
}

static void full_fwd(backend_t *be, rig_t *r, float *const *x, float *y) {
    attention_fwd(be, r, x, y, 0, NULL);
}
static void full_bwd(backend_t *be, rig_t *r, float *const *x, const float *dy, float *const *dx) {
    attention_bwd(be, r, x, dy, dx, 0);
}
static void window_fwd(backend_t *be, rig_t *r, float *const *x, float *y) {
    attention_fwd(be, r, x, y, WINDOW, NULL);
}
static void window_bwd(backend_t *be, rig_t *r, float *const *x, const float *dy, float *const *dx) {
    attention_bwd(be, r, x, dy, dx, WINDOW);
}

#define ATTENTION_SIZES 3, {TOKENS * HQ * D, TOKENS * HKV * D, TOKENS * HKV * D}, TOKENS * HQ * D, 1
static const grad_op_t ops[] = {
    {"rmsnorm", 1, {T * C}, T * C, 1, norm_fwd, norm_bwd},
    {"swiglu", 2, {FLAT, FLAT}, FLAT, 1, swiglu_fwd, swiglu_bwd},
    {"rope", 1, {T * H * D}, T * H * D, 1, rope_fwd, rope_bwd},
    {"dropout", 1, {T * C}, T * C, 1, dropout_fwd, dropout_bwd},
    {"ce_loss", 1, {ROWS * VOCAB}, 1, 2, ce_fwd, ce_bwd},
    {"gemm_weight", 1, {T * W_COLS}, T * W_ROWS, 1, linear_fwd, linear_bwd},
    {"attention", ATTENTION_SIZES, full_fwd, full_bwd},
    {"attention, window", ATTENTION_SIZES, window_fwd, window_bwd},
};

/* ---- the check ---------------------------------------------------------------------------------------- */

static backend_t *open_cpu(bool reference) {
    backend_t *be;
    err_t err = {0};
    assert_ok(backend_open_cpu(DT_F32, 2, reference, &be, &err), err);
    return be;
}

static void rig_open(rig_t *r, backend_t *be) {
    const workspace_need_t need = {.max_tokens = TOKENS, .max_weight = W_ROWS * W_COLS,
                                   .max_quantized = W_ROWS * W_COLS, .max_width = 64, .max_kv = TOKENS,
                                   .logit_rows = ROWS, .vocab = VOCAB, .attn = {HQ, HKV, D, 0, 1}};
    rig_init(r, be, 1);
    rig_workspace(r, &need);
}

/* <r, f(x + step * u)> with u a direction in input `which`. */
static double projected(backend_t *ref, const grad_op_t *op, float *const *x, size_t which, const float *u, double step,
                        const float *weights) {
    rig_t r;
    rig_open(&r, ref);
    float *moved[MAX_INPUTS];
    memcpy(moved, x, sizeof moved);
    moved[which] = xmalloc(op->n_in[which] * sizeof(float));
    for (size_t i = 0; i < op->n_in[which]; i++) moved[which][i] = (float)(x[which][i] + step * u[i]);
    float *y = xcalloc(op->n_out, sizeof *y);
    op->fwd(ref, &r, moved, y);
    double sum = 0;
    for (size_t i = 0; i < op->n_out; i++) sum += (double)weights[i] * y[i];
    free(y);
    free(moved[which]);
    rig_free(&r);
    return sum;
}

/* The worst difference between quotient and gradient, relative to the size that the quotient can have. */
static double check_op(backend_t *be, backend_t *ref, const grad_op_t *op) {
    float *x[MAX_INPUTS] = {0}, *dx[MAX_INPUTS] = {0}, *weights = xmalloc(op->n_out * sizeof *weights);
    rig_normal(11, weights, op->n_out, 1);
    for (size_t i = 0; i < op->n_inputs; i++) {
        x[i] = xmalloc(op->n_in[i] * sizeof(float));
        dx[i] = xcalloc(op->n_in[i], sizeof(float));
        rig_normal(20 + i, x[i], op->n_in[i], op->scale);
    }
    rig_t r;
    rig_open(&r, be);
    op->bwd(be, &r, x, weights, dx);
    rig_free(&r);
    double worst = 0;
    for (size_t i = 0; i < op->n_inputs; i++) {
        float *u = xmalloc(op->n_in[i] * sizeof *u);
        for (uint64_t d = 0; d < DIRECTIONS; d++) {
            rig_normal(rng_fold(30 + i, d), u, op->n_in[i], 1);
            double along = 0, norm = 0;
            for (size_t j = 0; j < op->n_in[i]; j++) {
                along += (double)dx[i][j] * u[j];
                norm += (double)dx[i][j] * dx[i][j];
            }
            double rise = projected(ref, op, x, i, u, STEP, weights) - projected(ref, op, x, i, u, -STEP, weights);
            worst = fmax(worst, fabs(rise / (2 * STEP) - along) / sqrt(norm));
        }
        free(u);
    }
    for (size_t i = 0; i < op->n_inputs; i++) {
        free(x[i]);
        free(dx[i]);
    }
    free(weights);
    return worst;
}

static void check_all(bool reference) {
    backend_t *ref = open_cpu(true), *be = open_cpu(reference);
    for (size_t k = 0; k < sizeof ops / sizeof *ops; k++) {
        double worst = check_op(be, ref, &ops[k]);
        print_message("  %-18s worst relative difference %.1e\n", ops[k].name, worst);
        if (!(worst <= TOLERANCE)) fail_msg("%s: the backward is not the gradient of the forward", ops[k].name);
    }
    be->close(be);
    ref->close(ref);
}

static void test_reference(void **state) {
    (void)state;
    check_all(true);
}

static void test_tuned(void **state) {
    (void)state;
    check_all(false);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_reference), cmocka_unit_test(test_tuned)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
