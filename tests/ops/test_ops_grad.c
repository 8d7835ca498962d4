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
#include "model/backend/element.h"
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

enum { T = 7, C = 33, EPS_INV = 100000, F = 29, ROWS = 5, VOCAB = 41, H = 3, D = 16 };

enum { GROUPS = 3, GROUP = 11, NORM_LD = C + 4 };

/* Of whole rows, or of groups of them. */
static norm_t norm_of(rig_t *r, bool grouped) {
    float w[C];
    rig_normal(77, w, C, 1);
    return (norm_t){rig_upload(r, w, sizeof w), grouped ? GROUPS : 1, grouped ? GROUP : C, 1.0f / EPS_INV};
}

static void normed_fwd(backend_t *be, rig_t *r, float *const *x, float *y, bool grouped) {
    const norm_t norm = norm_of(r, grouped);
    float *rstd = rig_alloc(r, T * GROUPS * sizeof(float));
    be->rmsnorm_fwd(be, (mat_t){y, C}, rstd, (mat_t){x[0], C}, &norm, T);
}

/* In place of dy where dx is not added to. */
static void normed_bwd(backend_t *be, rig_t *r, float *const *x, const float *dy, float *const *dx, bool grouped) {
    const norm_t norm = norm_of(r, grouped);
    float *y = rig_alloc(r, T * C * sizeof(float)), *rstd = rig_alloc(r, T * GROUPS * sizeof(float));
    float *strided = rig_alloc(r, T * NORM_LD * sizeof(float));
    be->rmsnorm_fwd(be, (mat_t){y, C}, rstd, (mat_t){x[0], C}, &norm, T);
    be->copy_rows(be, (mat_t){strided, NORM_LD}, (mat_t){(float *)dy, C}, T, C);
    be->zero(be, dx[0], T * C * sizeof(float));
    mat_t in_place = {strided, NORM_LD}, added = {dx[0], C};
    be->rmsnorm_bwd(be, grouped ? in_place : added, !grouped, in_place, (mat_t){x[0], C}, &norm, rstd, T);
    if (grouped) be->copy_rows(be, added, in_place, T, C);
}

static void norm_fwd(backend_t *be, rig_t *r, float *const *x, float *y) { normed_fwd(be, r, x, y, false); }
static void norm_bwd(backend_t *be, rig_t *r, float *const *x, const float *dy, float *const *dx) {
    normed_bwd(be, r, x, dy, dx, false);
}
static void groups_fwd(backend_t *be, rig_t *r, float *const *x, float *y) { normed_fwd(be, r, x, y, true); }
static void groups_bwd(backend_t *be, rig_t *r, float *const *x, const float *dy, float *const *dx) {
    normed_bwd(be, r, x, dy, dx, true);
}

static void gate_bwd(backend_t *be, act_fn_t fn, float *const *x, const float *dy, float *const *dx) {
    be->copy(be, dx[0], x[0], sizeof(float) * T * 2 * F); /* in place */
    be->glu_bwd(be, fn, (mat_t){dx[0], 2 * F}, (void *)(uintptr_t)dy, false, T, F);
}

static void silu_glu_fwd(backend_t *be, rig_t *r, float *const *x, float *y) {
    (void)r;
    be->glu_fwd(be, ACT_SILU, (mat_t){y, F}, (mat_t){x[0], 2 * F}, T, F);
}
static void silu_glu_bwd(backend_t *be, rig_t *r, float *const *x, const float *dy, float *const *dx) {
    (void)r;
    gate_bwd(be, ACT_SILU, x, dy, dx);
}
static void gelu_glu_fwd(backend_t *be, rig_t *r, float *const *x, float *y) {
    (void)r;
    be->glu_fwd(be, ACT_GELU_TANH, (mat_t){y, F}, (mat_t){x[0], 2 * F}, T, F);
}
static void gelu_glu_bwd(backend_t *be, rig_t *r, float *const *x, const float *dy, float *const *dx) {
    (void)r;
    gate_bwd(be, ACT_GELU_TANH, x, dy, dx);
}

static void rotate(backend_t *be, rig_t *r, const float *x, float *y, size_t R, bool interleaved, int sign) {
    float table[T * D];
    int32_t pos[T];
    for (size_t t = 0; t < T; t++) {
        pos[t] = (int32_t)(t * 3 % T);
        for (size_t i = 0; i < R / 2; i++) {
            table[t * R + 2 * i] = cosf((float)(t + 1) / (float)(i + 1));
            table[t * R + 2 * i + 1] = sinf((float)(t + 1) / (float)(i + 1));
        }
    }
    const rope_t rope = {rig_upload(r, table, sizeof table), D, R, interleaved};
    be->copy(be, y, x, sizeof(float) * T * H * D);
    be->rope(be, (mat_t){y, H * D}, &rope, rig_upload(r, pos, sizeof pos), T, H, sign);
}

static void rope_fwd(backend_t *be, rig_t *r, float *const *x, float *y) { rotate(be, r, x[0], y, D, false, 1); }
static void rope_bwd(backend_t *be, rig_t *r, float *const *x, const float *dy, float *const *dx) {
    (void)x;
    rotate(be, r, dy, dx[0], D, false, -1);
}
static void partial_rope_fwd(backend_t *be, rig_t *r, float *const *x, float *y) {
    rotate(be, r, x[0], y, D / 2, true, 1);
}
static void partial_rope_bwd(backend_t *be, rig_t *r, float *const *x, const float *dy, float *const *dx) {
    (void)x;
    rotate(be, r, dy, dx[0], D / 2, true, -1);
}

/* The gradient of the loss is for equal weights of the rows: y is their sum, dy its factor. */
static void loss(backend_t *be, rig_t *r, const float *x, logit_map_t map, float *losses, float *grad, float factor) {
    int32_t labels[ROWS] = {0, VOCAB - 1, 7, 8, 7};
    float *logits = grad ? grad : rig_alloc(r, ROWS * VOCAB * sizeof(float));
    be->copy(be, logits, x, ROWS * VOCAB * sizeof(float));
    be->ce_loss(be, (mat_t){logits, VOCAB}, losses, rig_upload(r, labels, sizeof labels), ROWS, VOCAB, map,
                grad != NULL, factor);
}

static void loss_fwd(backend_t *be, rig_t *r, const float *x, logit_map_t map, float *y) {
    float losses[ROWS];
    loss(be, r, x, map, losses, NULL, 0);
    double sum = 0;
    for (int i = 0; i < ROWS; i++) sum += losses[i];
    y[0] = (float)sum;
}

static const logit_map_t plain_logits = {1, 0}, mapped_logits = {0.75f, 3};

static void ce_fwd(backend_t *be, rig_t *r, float *const *x, float *y) { loss_fwd(be, r, x[0], plain_logits, y); }
static void ce_bwd(backend_t *be, rig_t *r, float *const *x, const float *dy, float *const *dx) {
    float losses[ROWS];
    loss(be, r, x[0], plain_logits, losses, dx[0], dy[0]);
}
static void mapped_ce_fwd(backend_t *be, rig_t *r, float *const *x, float *y) {
    loss_fwd(be, r, x[0], mapped_logits, y);
}
static void mapped_ce_bwd(backend_t *be, rig_t *r, float *const *x, const float *dy, float *const *dx) {
    float losses[ROWS];
    loss(be, r, x[0], mapped_logits, losses, dx[0], dy[0]);
}

/* A site of three layers, the second without an adapter, each quantized another way; ranks, scales and biases differ. */
enum {
    COLS = 37,
    RANK_0 = 3,
    RANK_2 = 5,
    WIDTH = RANK_0 + RANK_2,
    ROWS_0 = 23,
    ROWS_1 = 8,
    ROWS_2 = 15,
    B_SIZE = ROWS_0 * RANK_0 + ROWS_2 * RANK_2,
    OUT = ROWS_0 + ROWS_1 + ROWS_2,
    LD_X = COLS + WIDTH,
    LD_Y = OUT + WIDTH
};

typedef struct {
    qweight_t w[3];
    linear_t l;
    dropout_t key;
    const dropout_t *drop;
} site_t;

/* x: the input, A, and the B of those that have one, one after another. */
static void site_open(site_t *s, rig_t *r, float *const *x, bool drop) {
    static const quant_type_t type[] = {QUANT_NF4, QUANT_F16, QUANT_INT8};
    static const size_t rows[] = {ROWS_0, ROWS_1, ROWS_2};
    static const int32_t row[T] = {0, 0, 1, 1, 2, 2, 3}, pos[T] = {0, 1, 0, 1, 0, 1, 9};
    r->key = 9;
    s->l = (linear_t){.n = 3, .ab_type = DT_F32};
    s->l.part[0] = (linear_part_t){.r = RANK_0, .scale = 0.7f, .a = x[1], .b = x[2]};
    s->l.part[1] = (linear_part_t){.bias = rig_random(r, DT_F32, ROWS_1, 1)};
    s->l.part[2] = (linear_part_t){.bias = rig_random(r, DT_F32, ROWS_2, 1),
                                   .r = RANK_2,
                                   .scale = 1.3f,
                                   .a = x[1] + RANK_0 * COLS,
                                   .b = x[2] + ROWS_0 * RANK_0};
    for (size_t i = 0; i < 3; i++) {
        s->w[i] = rig_weight(r, type[i], true, rows[i], COLS);
        s->l.part[i].w = &s->w[i];
    }
    s->key = (dropout_t){
        .seed = 5, .p = 0.3f, .row = rig_upload(r, row, sizeof row), .pos = rig_upload(r, pos, sizeof pos)};
    s->drop = drop ? &s->key : NULL;
}

/* [x | u] */
static mat_t with_u(backend_t *be, rig_t *r, const site_t *s, float *x) {
    float *xu = rig_alloc(r, sizeof(float) * T * LD_X);
    be->copy_rows(be, (mat_t){xu, LD_X}, (mat_t){x, COLS}, T, COLS);
    be->adapter_fwd(be, T, (mat_t){xu, LD_X}, &s->l, s->drop, (mat_t){xu + COLS, LD_X});
    return (mat_t){xu, LD_X};
}

static void site_fwd(backend_t *be, rig_t *r, float *const *x, float *y, bool drop) {
    site_t s;
    site_open(&s, r, x, drop);
    be->linear_fwd(be, T, with_u(be, r, &s, x[0]), &s.l, (mat_t){y, OUT});
}

static void site_bwd(backend_t *be, rig_t *r, float *const *x, const float *dy, float *const *dx, bool drop) {
    site_t s;
    site_open(&s, r, x, drop);
    mat_t xu = with_u(be, r, &s, x[0]);
    float *u = (float *)xu.p + COLS, *dyu = rig_alloc(r, sizeof(float) * T * LD_Y), *du = dyu + OUT;
    be->copy_rows(be, (mat_t){dyu, LD_Y}, (mat_t){(float *)dy, OUT}, T, OUT);
    be->zero(be, dx[1], sizeof(float) * WIDTH * COLS); /* these are added to */
    be->zero(be, dx[2], sizeof(float) * B_SIZE);
    float *const dB[LINEAR_MAX] = {dx[2], NULL, dx[2] + ROWS_0 * RANK_0};
    be->adapter_bwd(be, T, (mat_t){dyu, LD_Y}, (mat_t){u, LD_X}, &s.l, (mat_t){du, LD_Y}, dB);
    be->adapter_grad(be, T, (mat_t){du, LD_Y}, xu, &s.l, s.drop, dx[1]);
    be->linear_bwd(be, T, (mat_t){dyu, LD_Y}, &s.l, s.drop, (mat_t){dx[0], COLS});
}

static void linear_fwd(backend_t *be, rig_t *r, float *const *x, float *y) { site_fwd(be, r, x, y, false); }
static void linear_bwd(backend_t *be, rig_t *r, float *const *x, const float *dy, float *const *dx) {
    site_bwd(be, r, x, dy, dx, false);
}
static void dropped_fwd(backend_t *be, rig_t *r, float *const *x, float *y) { site_fwd(be, r, x, y, true); }
static void dropped_bwd(backend_t *be, rig_t *r, float *const *x, const float *dy, float *const *dx) {
    site_bwd(be, r, x, dy, dx, true);
}

/* Three segments, grouped heads; with and without a window and a cap. */
enum { HQ = 4, HKV = 2, TOKENS = 1 + 70 + 9, WINDOW = 5 };
#define CAP 1.5f
static const int32_t lengths[] = {1, 70, 9};

static attn_shape_t attention_shape(size_t window, float softcap) {
    /* dq, dk and dv have arrays of their own and one distance between rows: that of dq. */
    return (attn_shape_t){.Hq = HQ,
                          .Hkv = HKV,
                          .D = D,
                          .window = window,
                          .scale = 0.25f,
                          .softcap = softcap,
                          .ld_q = HQ * D,
                          .ld_k = HKV * D,
                          .ld_v = HKV * D,
                          .ld_o = HQ * D,
                          .ld_dout = HQ * D,
                          .ld_dqkv = HQ * D};
}

static void attention_fwd(backend_t *be, rig_t *r, float *const *x, float *y, const attn_shape_t *shape, float *lse) {
    attn_segments_t seg = rig_segments(r, 3, lengths, lengths);
    be->attn_fwd(be, y, lse, x[0], x[1], x[2], shape, &seg);
}

static void attention_bwd(backend_t *be, rig_t *r, float *const *x, const float *dy, float *const *dx,
                          const attn_shape_t *shape) {
    attn_segments_t seg = rig_segments(r, 3, lengths, lengths);
    float *o = rig_alloc(r, sizeof(float) * TOKENS * HQ * D), *lse = rig_alloc(r, sizeof(float) * TOKENS * HQ);
    attention_fwd(be, r, x, o, shape, lse);
    float *dk = rig_alloc(r, sizeof(float) * TOKENS * HQ * D), *dv = rig_alloc(r, sizeof(float) * TOKENS * HQ * D);
    be->attn_bwd(be, dx[0], dk, dv, dy, x[0], x[1], x[2], o, lse, shape, &seg);
    be->copy_rows(be, (mat_t){dx[1], HKV * D}, (mat_t){dk, HQ * D}, TOKENS, HKV * D);
    be->copy_rows(be, (mat_t){dx[2], HKV * D}, (mat_t){dv, HQ * D}, TOKENS, HKV * D);
}

#define ATTENTION(name, window, cap) \
    static void name##_fwd(backend_t *be, rig_t *r, float *const *x, float *y) { \
        const attn_shape_t shape = attention_shape(window, cap); \
        attention_fwd(be, r, x, y, &shape, NULL); \
    } \
    static void name##_bwd(backend_t *be, rig_t *r, float *const *x, const float *dy, float *const *dx) { \
        const attn_shape_t shape = attention_shape(window, cap); \
        attention_bwd(be, r, x, dy, dx, &shape); \
    }
ATTENTION(full, 0, 0)
ATTENTION(window, WINDOW, 0)
ATTENTION(capped, 0, CAP)
ATTENTION(capped_window, WINDOW, CAP)

#define LINEAR_SIZES 3, {T * COLS, WIDTH * COLS, B_SIZE}, T *OUT, 1
#define ATTENTION_SIZES 3, {TOKENS * HQ * D, TOKENS * HKV * D, TOKENS * HKV * D}, TOKENS *HQ *D, 1
static const grad_op_t ops[] = {
    {"rmsnorm", 1, {T * C}, T *C, 1, norm_fwd, norm_bwd},
    {"rmsnorm, groups", 1, {T * C}, T *C, 1, groups_fwd, groups_bwd},
    {"silu gate", 1, {T * 2 * F}, T *F, 1, silu_glu_fwd, silu_glu_bwd},
    {"gelu gate", 1, {T * 2 * F}, T *F, 1, gelu_glu_fwd, gelu_glu_bwd},
    {"rope", 1, {T * H * D}, T *H *D, 1, rope_fwd, rope_bwd},
    {"rope, partial", 1, {T * H * D}, T *H *D, 1, partial_rope_fwd, partial_rope_bwd},
    {"ce_loss", 1, {ROWS * VOCAB}, 1, 2, ce_fwd, ce_bwd},
    {"ce_loss, mapped", 1, {ROWS * VOCAB}, 1, 2, mapped_ce_fwd, mapped_ce_bwd},
    {"linear", LINEAR_SIZES, linear_fwd, linear_bwd},
    {"linear, dropout", LINEAR_SIZES, dropped_fwd, dropped_bwd},
    {"attention", ATTENTION_SIZES, full_fwd, full_bwd},
    {"attention, window", ATTENTION_SIZES, window_fwd, window_bwd},
    {"attention, cap", ATTENTION_SIZES, capped_fwd, capped_bwd},
    {"attention, both", ATTENTION_SIZES, capped_window_fwd, capped_window_bwd},
};

/* ---- the check ---------------------------------------------------------------------------------------- */

static backend_t *open_cpu(bool reference) {
    backend_t *be;
    err_t err = {0};
    assert_ok(backend_open_cpu(DT_F32, 2, reference, &be, &err), err);
    return be;
}

static void rig_open(rig_t *r, backend_t *be) {
    const workspace_need_t need = {.max_tokens = TOKENS,
                                   .max_weight = ROWS_0 * COLS,
                                   .max_augmented = (OUT + WIDTH) * linear_ld(COLS, WIDTH),
                                   .max_width = 64,
                                   .max_kv = TOKENS,
                                   .attn = attention_shape(0, 0)};
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
