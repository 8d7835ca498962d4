/* Every op of every backend against the reference ops, over shapes and types, by normalized mean square error. */
#include "testing.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "cpu/ops.h"
#include "model/backend/element.h"
#include "ops_cases.h"
#include "trainer/run/backend_open.h"
#include "turns.h"

static workspace_need_t need(void) {
    return (workspace_need_t){.max_tokens = 600,
                              .max_weight = (size_t)1 << 21,
                              .max_augmented = (size_t)1 << 21,
                              .max_width = 2560,
                              .max_kv = 9000,
                              .attn = {.Hq = 8, .Hkv = 8, .D = 256, .scale = 1}};
}

static void run_case(rig_t *r, backend_t *be, const op_t *op, size_t i) {
    rig_init(r, be, 1000 * (uint64_t)i + 1);
    workspace_need_t n = need();
    rig_workspace(r, &n);
    op->run(r, &op->cases[i]);
}

/* A column of the table: a backend to compare with the reference. */
typedef struct {
    int isa, threads;    /* kernels_nth(isa), and tiles_nth(isa) for fp32: one for each instruction set */
    const tiles_t *bf16; /* NULL: widened */
} column_t;

static backend_t *open_cpu(dtype_t act, const column_t *column) {
    backend_t *be;
    err_t err = {0};
    assert_ok(backend_open_cpu(act, column ? column->threads : 1, column == NULL, &be, &err), err);
    if (!column) return be;
    cpu_impl_t *impl = be->impl;
    impl->kernels = kernels_nth(column->isa);
    impl->f32 = tiles_nth(column->isa);
    impl->bf16 = column->bf16;
    assert_int_equal(impl->f32->type, DT_F32);
    return be;
}

extern const tiles_t tiles_bf16_emulated;
enum { MAX_COLUMNS = 24 };

/* Every instruction set with one and three threads; and with the best, every way to multiply BF16, AMX's on tiles in
 * plain C too. */
static size_t list_columns(dtype_t act, column_t *columns) {
    size_t n = 0;
    int isa = 0;
    for (; kernels_nth(isa); isa++)
        for (int threads = 1; threads <= 3; threads += 2) columns[n++] = (column_t){isa, threads, NULL};
    if (act == DT_F32) return n;
    const tiles_t *t;
    for (int i = isa; (t = tiles_nth(i)); i++)
        for (int threads = 1; threads <= 3; threads += 2) columns[n++] = (column_t){isa - 1, threads, t};
    columns[n++] = (column_t){isa - 1, 2, &tiles_bf16_emulated};
    assert_true(n <= MAX_COLUMNS);
    return n;
}

/* A BF16 value near the middle of two may round either way: a few in a thousand differ, by 2^-8 of themselves;
 * in attention the probabilities and, in the backward, the gradients of the scores are rounded to BF16 for the products
 * that follow, as on GPUs, and the output of the forward, which differs so, is an input of the backward.
 * F32: where the compiler uses no vector lanes (-O1), the 4104 squares under a norm are added one after another in
 * fp32, and the sum's rounding was 3.2e-6 of it (1.05e-11 as NMSE). */
static const double tolerance[] = {[DT_F32] = 2e-11, [DT_BF16] = 2e-5};

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
    if (got->trodden || want->trodden)
        fail_msg("%s, case %zu, %s: writes %zu elements that it was not given, the reference %zu", op->name, i,
                 got->be->device, got->trodden, want->trodden);
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

/* Under ThreadSanitizer what one thread does alone is of no interest. */
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define RACES_ONLY true
#endif
#endif
#ifndef RACES_ONLY
#define RACES_ONLY false
#endif

static void test_table(dtype_t act) {
    column_t columns[MAX_COLUMNS];
    const size_t n_columns = list_columns(act, columns);
    backend_t *ref = open_cpu(act, NULL);
    for (size_t k = 0; ops_nth(k); k++) {
        const op_t *op = ops_nth(k);
        double worst = 0;
        size_t runs = 0;
        for (size_t i = 0; i < op->n_cases; i++) {
            rig_t want;
            run_case(&want, ref, op, i);
            for (size_t c = 0; c < n_columns; c++) {
                if (!takes_turn(i, c, 3) || (RACES_ONLY && columns[c].threads == 1)) continue;
                runs++;
                backend_t *be = open_cpu(act, &columns[c]);
                rig_t got;
                run_case(&got, be, op, i);
                worst = fmax(worst, compare(&got, &want, op, i));
                rig_free(&got);
                be->close(be);
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

static void assert_same_outputs(const rig_t *a, const rig_t *b, const op_t *op, size_t i) {
    for (size_t o = 0; o < a->n_out; o++)
        if (memcmp(a->out[o], b->out[o], a->out_len[o] * sizeof(float)) != 0)
            fail_msg("%s, case %zu, output %zu, %s: other bits by %d threads than by %d", op->name, i, o, a->be->device,
                     b->be->threads, a->be->threads);
}

/* The same bits again, and by another number of threads: one of three for each case, at times far more than there are
 * tasks. */
static void check_repeatable(dtype_t act, const tiles_t *bf16) {
    static const int others[] = {1, 3, 31};
    int best = 0;
    while (kernels_nth(best + 1)) best++;
    for (size_t k = 0; ops_nth(k); k++) {
        const op_t *op = ops_nth(k);
        for (size_t i = 0; i < op->n_cases; i++) {
            if (!takes_turn(i, k, 4)) continue;
            const column_t columns[] = {{best, 2, bf16}, {best, 2, bf16}, {best, others[i % 3], bf16}};
            backend_t *be[3];
            rig_t run[3];
            for (size_t c = 0; c < 3; c++) {
                be[c] = open_cpu(act, &columns[c]);
                run_case(&run[c], be[c], op, i);
                assert_same_outputs(&run[0], &run[c], op, i);
            }
            for (size_t c = 0; c < 3; c++) {
                rig_free(&run[c]);
                be[c]->close(be[c]);
            }
        }
    }
}

static void test_repeatable(void **state) {
    (void)state;
    check_repeatable(DT_F32, NULL);
    const tiles_t *t;
    for (int i = 0; (t = tiles_nth(i)); i++)
        if (t->type == DT_BF16) check_repeatable(DT_BF16, t);
}

/* ---- linear layers ------------------------------------------------------------------------------------- */

enum { MASK_T = 1100, MASK_C = 72 };

/* One layer [1, MASK_C] of zeros with an adapter whose A is the identity, so that every product is one of the values
 * that go in. row and pos are those of a micro-batch. */
typedef struct {
    rig_t r;
    float zeros[MASK_C];
    qweight_t w;
    linear_t l;
    int32_t row[MASK_T], pos[MASK_T];
    dropout_t key;
    float *x; /* [MASK_T, 2 MASK_C] */
} mask_t;

static void mask_open(mask_t *m, backend_t *be) {
    memset(m, 0, sizeof *m);
    const workspace_need_t small = {.max_tokens = MASK_T,
                                    .max_weight = MASK_C,
                                    .max_width = 2 * MASK_C,
                                    .max_augmented = (1 + MASK_C) * linear_ld(MASK_C, MASK_C)};
    rig_init(&m->r, be, 1);
    rig_workspace(&m->r, &small);
    m->x = xcalloc(MASK_T * 2 * MASK_C, sizeof *m->x);
    for (size_t i = 0; i < MASK_C; i++) m->x[i * MASK_C + i] = 1;
    m->w = (qweight_t){.type = QUANT_NONE, .rows = 1, .cols = MASK_C, .codes = (uint8_t *)m->zeros};
    m->l = (linear_t){.n = 1, .ab_type = be->act};
    m->l.part[0] = (linear_part_t){
        .w = &m->w, .r = MASK_C, .scale = 1, .a = rig_values(&m->r, be->act, m->x, MASK_C * MASK_C), .b = m->zeros};
    for (int t = 0; t < MASK_T; t++) m->row[t] = t / 16, m->pos[t] = t % 16;
    m->key = (dropout_t){.seed = 1, .step = 2, .layer = 3, .site = 1, .p = 0.25f, .row = m->row, .pos = m->pos};
}

static void mask_close(mask_t *m) {
    free(m->x);
    rig_free(&m->r);
}

/* Kept by the mask of model/backend/element.h. */
static bool is_kept(const dropout_t *d, size_t t, size_t c) {
    return dropout_keep(dropout_row_key(d->seed, d->step, d->row[t], d->pos[t], d->layer, d->site), c, d->p);
}

/* The next output is drop(1). The share of zeros is p. */
static void mask_expect(mask_t *m, const void *p) {
    float kept = m->r.be->act == DT_BF16 ? bf16_round(1 / 0.75f) : 1 / 0.75f;
    rig_output(&m->r, p, m->r.be->act, MASK_T * MASK_C);
    const float *y = m->r.out[m->r.n_out - 1];
    size_t zeros = 0;
    for (size_t i = 0; i < MASK_T * MASK_C; i++) {
        assert_true(y[i] == (is_kept(&m->key, i / MASK_C, i % MASK_C) ? kept : 0));
        zeros += y[i] == 0;
    }
    /* Standard deviation of the share: sqrt(0.25 * 0.75 / 79200) = 0.0015. */
    assert_float_equal((double)zeros / (MASK_T * MASK_C), 0.25, 0.006);
}

/* u = drop(x) A^T, and dx = dy W + drop(du A) behind a dy of zero. */
static void check_mask(mask_t *m) {
    backend_t *be = m->r.be;
    size_t ld = 1 + MASK_C;
    for (size_t i = 0; i < MASK_T * ld; i++) m->x[i] = i % ld != 0;
    void *ones = rig_values(&m->r, be->act, m->x, MASK_T * ld), *y = rig_random(&m->r, be->act, MASK_T * MASK_C, 1);
    be->adapter_fwd(be, MASK_T, (mat_t){rig_act_at(&m->r, ones, 1), ld}, &m->l, &m->key, (mat_t){y, MASK_C});
    mask_expect(m, y);
    y = rig_random(&m->r, be->act, MASK_T * MASK_C, 1);
    be->linear_bwd(be, MASK_T, (mat_t){ones, ld}, &m->l, &m->key, (mat_t){y, MASK_C});
    mask_expect(m, y);
}

/* dA = du^T drop(x): row k of dA sums the rows t = k, k + C, k + 2C ... of x, which hold 1, 2, 4 ...: its bits are
 * their masks. */
static void check_mask_of_grad(mask_t *m) {
    backend_t *be = m->r.be;
    m->key.p = 0.5f;
    for (size_t i = 0; i < MASK_T * MASK_C; i++) m->x[i] = (float)(1 << i / MASK_C / MASK_C);
    void *x = rig_values(&m->r, be->act, m->x, MASK_T * MASK_C);
    for (size_t i = 0; i < MASK_T * MASK_C; i++) m->x[i] = i / MASK_C % MASK_C == i % MASK_C;
    void *du = rig_values(&m->r, be->act, m->x, MASK_T * MASK_C);
    float *dA = rig_alloc(&m->r, MASK_C * MASK_C * sizeof *dA);
    be->zero(be, dA, MASK_C * MASK_C * sizeof *dA);
    be->adapter_grad(be, MASK_T, (mat_t){du, MASK_C}, (mat_t){x, MASK_C}, &m->l, &m->key, dA);
    for (size_t t = 0; t < MASK_T; t++)
        for (size_t c = 0; c < MASK_C; c++)
            assert_int_equal((long)(dA[t % MASK_C * MASK_C + c] / 2) >> t / MASK_C & 1, is_kept(&m->key, t, c));
}

/* Every row has the mask of model/backend/element.h, in each of the ops that know dropout, however they cut the rows. */
static void test_dropout_mask(void **state) {
    (void)state;
    for (int isa = -1; isa < 0 || kernels_nth(isa); isa++) {
        for (int act = 0; act < 2; act++) {
            const column_t column = {isa, 2, NULL};
            backend_t *be = open_cpu(act ? DT_BF16 : DT_F32, isa < 0 ? NULL : &column);
            mask_t *m = xmalloc(sizeof *m);
            mask_open(m, be);
            check_mask(m);
            check_mask_of_grad(m);
            mask_close(m);
            free(m);
            be->close(be);
        }
    }
}

/* Columns of a row by themselves: of every instruction set, and where channels are beyond those that are mixed once. */
static void test_dropout_columns(void **state) {
    (void)state;
    enum { N = 301 };
    static const size_t firsts[] = {0, 5, 8000, 1u << 20};
    float x[N], y[N];
    bf16_t h[N];
    for (size_t i = 0; i < N; i++) h[i] = bf16_from_f32(x[i] = (float)(i + 1));
    for (size_t f = 0; f < 4; f++) {
        for (int isa = 0; kernels_nth(isa); isa++) {
            bf16_t out[N];
            kernels_nth(isa)->dropout_row(y, x, firsts[f], N, 77, 0.3f, DT_F32);
            kernels_nth(isa)->dropout_row(out, h, firsts[f], N, 77, 0.3f, DT_BF16);
            for (size_t i = 0; i < N; i++) {
                bool kept = dropout_keep(77, firsts[f] + i, 0.3f);
                assert_true(y[i] == (kept ? x[i] : 0) && out[i] == (kept ? h[i] : 0));
            }
        }
    }
}

/* What lies around halves, denormal, infinite or NaN, in whole registers and in what is left of one. */
static void test_cast_to_bf16(void **state) {
    (void)state;
    static const uint32_t low[] = {0, 1, 0x7fff, 0x8000, 0x8001, 0xffff};
    enum { N = 65536 * 6 + 5 };
    float *x = xmalloc(N * sizeof *x);
    bf16_t *y = xmalloc(N * sizeof *y);
    for (uint32_t i = 0; i < N; i++) x[i] = f32_from_bits(i / 6 << 16 | low[i % 6]);
    for (int isa = 0; kernels_nth(isa); isa++) {
        kernels_nth(isa)->cast(y, DT_BF16, x, DT_F32, N);
        for (size_t i = 0; i < N; i++) assert_int_equal(y[i], bf16_from_f32(x[i]));
    }
    free(x);
    free(y);
}

enum { DEF_T = 9, DEF_COLS = 7, DEF_R = 2, DEF_R2 = 3, DEF_ROWS = 5 + 4 + 6, DEF_WIDTH = DEF_R + DEF_R2 };

/* A site of three layers, the second without an adapter, the third without a bias, as the comment of linear_t has it. */
typedef struct {
    rig_t r;
    qweight_t w[3];
    linear_t l;
    dropout_t key;
    float *W, *A, *B, *B2, *bias; /* bias [DEF_ROWS] */
} def_t;

static void def_open(def_t *d, backend_t *be) {
    static const size_t rows[] = {5, 4, 6};
    const workspace_need_t small = {.max_tokens = DEF_T,
                                    .max_weight = 6 * DEF_COLS,
                                    .max_width = 64,
                                    .max_augmented = (DEF_ROWS + DEF_WIDTH) * linear_ld(DEF_COLS, DEF_WIDTH)};
    rig_init(&d->r, be, 3);
    rig_workspace(&d->r, &small);
    d->W = rig_alloc(&d->r, DEF_ROWS * DEF_COLS * sizeof(float));
    d->A = rig_random(&d->r, DT_F32, DEF_WIDTH * DEF_COLS, 1);
    d->B = rig_random(&d->r, DT_F32, 5 * DEF_R, 1);
    d->B2 = rig_random(&d->r, DT_F32, 6 * DEF_R2, 1);
    d->bias = rig_random(&d->r, DT_F32, DEF_ROWS, 1);
    memset(d->bias + 9, 0, 6 * sizeof *d->bias);
    d->l = (linear_t){.n = 3, .ab_type = DT_F32};
    d->l.part[0] = (linear_part_t){.bias = d->bias, .r = DEF_R, .scale = 0.5f, .a = d->A, .b = d->B};
    d->l.part[1] = (linear_part_t){.bias = d->bias + 5};
    d->l.part[2] = (linear_part_t){.r = DEF_R2, .scale = 0.75f, .a = d->A + DEF_R * DEF_COLS, .b = d->B2};
    for (size_t i = 0, first = 0; i < 3; first += rows[i++]) {
        d->w[i] = rig_weight(&d->r, i == 1 ? QUANT_NONE : QUANT_NF4, true, rows[i], DEF_COLS);
        d->l.part[i].w = &d->w[i];
        be->dequant(be, &d->w[i], 0, rows[i] * DEF_COLS, d->W + first * DEF_COLS, DT_F32);
    }
    d->key = (dropout_t){
        .seed = 5, .p = 0.3f, .row = rig_indices(&d->r, DEF_T, 4), .pos = rig_indices(&d->r, DEF_T, 100)};
}

/* B[o, k] of the k-th u of the site: zero if that u is another layer's. */
static double def_b(const def_t *d, size_t o, size_t k) {
    if (o < 5 && k < DEF_R) return d->B[o * DEF_R + k];
    return o >= 9 && k >= DEF_R ? d->B2[(o - 9) * DEF_R2 + k - DEF_R] : 0;
}

/* 0.3 is 19661 of 65536. */
static double def_mask(const def_t *d, size_t t, size_t c) {
    return is_kept(&d->key, t, c) ? 65536 / (65536 - 19661.0) : 0;
}

/* The reference ops, which all others are compared with, by the formulas. */
static void test_linear_by_definition(void **state) {
    (void)state;
    enum { LDX = DEF_COLS + DEF_WIDTH, LDY = DEF_ROWS + DEF_WIDTH };
    backend_t *be = open_cpu(DT_F32, NULL);
    def_t d;
    def_open(&d, be);
    float *x = rig_random(&d.r, DT_F32, DEF_T * LDX, 1), *y = rig_random(&d.r, DT_F32, DEF_T * LDY, 1);
    float *dx = rig_random(&d.r, DT_F32, DEF_T * DEF_COLS, 1), *dA = rig_random(&d.r, DT_F32, DEF_WIDTH * DEF_COLS, 1);
    const mat_t xu = {x, LDX}, dyu = {y, LDY};
    float dA_before[DEF_WIDTH * DEF_COLS];
    memcpy(dA_before, dA, sizeof dA_before);
    be->linear_bwd(be, DEF_T, dyu, &d.l, &d.key, (mat_t){dx, DEF_COLS});
    be->adapter_grad(be, DEF_T, (mat_t){y + DEF_ROWS, LDY}, xu, &d.l, &d.key, dA);
    for (size_t c = 0; c < DEF_COLS; c++) {
        double grad[DEF_WIDTH];
        for (size_t k = 0; k < DEF_WIDTH; k++) grad[k] = dA_before[k * DEF_COLS + c];
        for (size_t t = 0; t < DEF_T; t++) {
            const float *dy = y + t * LDY, *du = dy + DEF_ROWS;
            double sum = 0, m = def_mask(&d, t, c);
            for (size_t o = 0; o < DEF_ROWS; o++) sum += (double)dy[o] * d.W[o * DEF_COLS + c];
            for (size_t k = 0; k < DEF_WIDTH; k++) sum += m * du[k] * d.A[k * DEF_COLS + c];
            for (size_t k = 0; k < DEF_WIDTH; k++) grad[k] += m * du[k] * x[t * LDX + c];
            assert_float_equal(dx[t * DEF_COLS + c], sum, 1e-5);
        }
        for (size_t k = 0; k < DEF_WIDTH; k++) assert_float_equal(dA[k * DEF_COLS + c], grad[k], 1e-5);
    }
    be->adapter_fwd(be, DEF_T, xu, &d.l, &d.key, (mat_t){x + DEF_COLS, LDX});
    be->linear_fwd(be, DEF_T, xu, &d.l, dyu);
    for (size_t t = 0; t < DEF_T; t++) {
        const float *xt = x + t * LDX;
        for (size_t k = 0; k < DEF_WIDTH; k++) {
            double u = 0, s = k < DEF_R ? 0.5 : 0.75;
            for (size_t c = 0; c < DEF_COLS; c++) u += s * def_mask(&d, t, c) * xt[c] * d.A[k * DEF_COLS + c];
            assert_float_equal(xt[DEF_COLS + k], u, 1e-5);
        }
        for (size_t o = 0; o < DEF_ROWS; o++) {
            double sum = d.bias[o];
            for (size_t c = 0; c < DEF_COLS; c++) sum += (double)xt[c] * d.W[o * DEF_COLS + c];
            for (size_t k = 0; k < DEF_WIDTH; k++) sum += xt[DEF_COLS + k] * def_b(&d, o, k);
            assert_float_equal(y[t * LDY + o], sum, 1e-5);
        }
    }
    rig_free(&d.r);
    be->close(be);
}

/* ---- the rest ------------------------------------------------------------------------------------------ */

/* Every F16 there is, by every kernel. */
static void test_f16_values(void **state) {
    (void)state;
    enum { ALL = 65536 };
    uint16_t *codes = xmalloc(ALL * sizeof *codes);
    float *x = xmalloc(ALL * sizeof *x);
    for (size_t i = 0; i < ALL; i++) codes[i] = (uint16_t)i;
    const qweight_t w = {.type = QUANT_F16, .rows = 1, .cols = ALL, .codes = (uint8_t *)codes};
    for (int isa = 0; kernels_nth(isa); isa++) {
        kernels_nth(isa)->dequant(&w, 0, ALL, x, DT_F32, false);
        for (size_t i = 0; i < ALL; i++) {
            float want = f16_to_f32(codes[i]);
            assert_true(isnan(want) ? isnan(x[i]) : f32_to_bits(x[i]) == f32_to_bits(want));
        }
    }
    free(codes);
    free(x);
}

/* NaN and infinity reach the sum, whatever their place: a step with them must be seen. */
static void test_sumsq_not_finite(void **state) {
    (void)state;
    const column_t column = {0, 2, NULL};
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
    assert_ok(backend_open("auto", DT_COUNT, 0, HOST_ALONE, &be, &err), err);
    assert_string_equal(be->name, "cpu");
    assert_int_equal(be->act, backend_auto_type(be));
    assert_true(be->threads >= 1);
    size_t free_bytes, total;
    be->mem_info(be, &free_bytes, &total);
    assert_true(free_bytes > 0 && free_bytes <= total);
    print_message("%s; %d threads\n", be->device, be->threads);
    be->close(be);
    assert_error(backend_open("tpu", DT_COUNT, 0, HOST_ALONE, &be, &err), err, ERR_USAGE, "expected auto, cpu or cuda");
    assert_error(backend_open("cpu", DT_F16, 0, HOST_ALONE, &be, &err), err, ERR_USAGE, "f32 or bf16");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_open),
        cmocka_unit_test(test_f32),
        cmocka_unit_test(test_bf16),
        cmocka_unit_test(test_repeatable),
        cmocka_unit_test(test_dropout_mask),
        cmocka_unit_test(test_linear_by_definition),
        cmocka_unit_test(test_f16_values),
        cmocka_unit_test(test_sumsq_not_finite),
        cmocka_unit_test(test_dropout_columns),
        cmocka_unit_test(test_cast_to_bf16),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
