/* Times the CPU ops on the shapes of SmolLM2-135M, the tuned ones next to the reference and to bare products.
 *
 *   bench_ops [--reference] [repetitions]      (target bench_ops; not a test)
 *
 * A line: op, shape, best and median milliseconds, GFLOP/s or GB/s at best, and what the op adds up to, at best,
 * in a training step of 1024 tokens (4 rows of 256; 30 layers). On a machine that others use too the best is
 * what can be reproduced; on a quiet one both are the same. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "cpu/ops.h"
#include "ops_rig.h"

enum {
    T = 1024,
    C = 576,
    F = 1536,
    HQ = 9,
    HKV = 3,
    D = 64,
    V = 49152,
    LAYERS = 30,
    ROWS = 256,
    RANK = 16,
    HEADS = HQ + HKV
};
enum { MAX_REPETITIONS = 101 };

static int repetitions = 15;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* What is timed: an op with its arguments bound. */
typedef struct {
    rig_t *r;
    const void *p[9];
    qweight_t w[LINEAR_MAX];
    linear_t l;
    dropout_t key;
    const dropout_t *drop;
    size_t n[4];
    bool flag;
    attn_shape_t shape;
    attn_segments_t seg;
} call_t;

typedef struct {
    double best, median; /* seconds */
} timing_t;

static timing_t measure(void (*f)(const call_t *), const call_t *c) {
    double t[MAX_REPETITIONS];
    f(c);
    for (int i = 0; i < repetitions; i++) {
        double start = now();
        f(c);
        t[i] = now() - start;
    }
    qsort(t, (size_t)repetitions, sizeof *t, by_value);
    return (timing_t){t[0], t[repetitions / 2]};
}

/* work: FLOP (unit "GFLOP/s") or bytes ("GB/s") of one call. per_step: calls in a training step. */
static void report(const char *name, const char *shape, timing_t t, double work, const char *unit, int per_step) {
    printf("%-18s %-22s %9.3f %9.3f ms %8.1f %-8s", name, shape, 1e3 * t.best, 1e3 * t.median, 1e-9 * work / t.best,
           unit);
    if (per_step) printf(" %7.1f ms a step", 1e3 * t.best * per_step);
    printf("\n");
    fflush(stdout);
}

static void time_op(const char *name, const char *shape, void (*f)(const call_t *), const call_t *c, double work,
                    const char *unit, int per_step) {
    report(name, shape, measure(f, c), work, unit, per_step);
}

/* q, k and v are columns of one matrix, and so are their gradients. */
enum { LD_QKV = (HQ + 2 * HKV) * D };

static attn_shape_t attention_shape(void) {
    return (attn_shape_t){.Hq = HQ,
                          .Hkv = HKV,
                          .D = D,
                          .scale = 0.125f,
                          .ld_q = LD_QKV,
                          .ld_k = LD_QKV,
                          .ld_v = LD_QKV,
                          .ld_o = HQ * D,
                          .ld_dout = HQ * D,
                          .ld_dqkv = LD_QKV};
}

static void open_rig(rig_t *r, backend_t *be) {
    const workspace_need_t need = {.max_tokens = T,
                                   .max_weight = (size_t)V * C,
                                   .max_augmented = (2 * F + 2 * RANK) * linear_ld(C, 2 * RANK),
                                   .max_width = linear_ld(2 * F, 2 * RANK),
                                   .max_kv = T,
                                   .attn = attention_shape()};
    rig_init(r, be, 1);
    rig_workspace(r, &need);
}

/* ---- weights ----------------------------------------------------------------------------------------- */

static mat_t dense(const void *p, size_t ld) { return (mat_t){(void *)p, ld}; }

static void call_weight(const call_t *c) {
    backend_t *be = c->r->be;
    mat_t of_rows = dense(c->p[c->flag], c->w[0].rows), of_cols = dense(c->p[!c->flag], c->w[0].cols);
    if (c->flag) be->linear_fwd(be, c->n[0], of_cols, &c->l, of_rows);
    else be->linear_bwd(be, c->n[0], of_rows, &c->l, NULL, of_cols);
}

/* The same with a weight that is decoded already. */
static void call_gemm(const call_t *c) {
    size_t rows = c->w[0].rows, cols = c->w[0].cols, in = c->flag ? cols : rows, out = c->flag ? rows : cols;
    const matrix_t x = {(void *)c->p[0], DT_F32, in}, w = {(void *)c->p[2], DT_F32, cols};
    c->r->be->gemm(c->r->be, false, c->flag, c->n[0], out, in, 1, x, w, 0, (matrix_t){(void *)c->p[1], DT_F32, out});
}

static void call_dequant(const call_t *c) {
    backend_t *be = c->r->be;
    be->dequant(be, &c->w[0], 0, qweight_count(&c->w[0]), (void *)c->p[2], DT_F32);
}

static void bench_weight(backend_t *be, quant_type_t type, size_t rows, size_t cols, size_t tokens, int per_step) {
    char shape[64];
    rig_t r;
    open_rig(&r, be);
    size_t widest = rows > cols ? rows : cols, n = rows * cols;
    call_t c = {.r = &r, .n = {tokens}, .w = {rig_weight(&r, type, true, rows, cols)}};
    c.l = (linear_t){.n = 1, .part = {{.w = &c.w[0]}}};
    c.p[0] = rig_random(&r, DT_F32, tokens * widest, 1);
    c.p[1] = rig_random(&r, DT_F32, tokens * widest, 1);
    c.p[2] = rig_random(&r, DT_F32, n, 1);
    snprintf(shape, sizeof shape, "[%zu,%zu] T=%zu", rows, cols, tokens);
    for (int transpose = 1; transpose >= (tokens > 8 ? 0 : 1); transpose--) {
        c.flag = transpose;
        timing_t with = measure(call_weight, &c), bare = measure(call_gemm, &c);
        char name[64];
        snprintf(name, sizeof name, "%s %s %+.0f%%", quant_type_name(type), transpose ? "fwd" : "bwd",
                 100 * (with.best / bare.best - 1));
        report("  gemm", shape, bare, 2.0 * (double)(n * tokens), "GFLOP/s", 0);
        report(name, shape, with, 2.0 * (double)(n * tokens), "GFLOP/s", per_step);
    }
    if (tokens == T) time_op("  dequant", shape, call_dequant, &c, 4.0 * (double)n, "GB/s", 0);
    rig_free(&r);
}

/* ---- sites with adapters ------------------------------------------------------------------------------- */

/* p: [x | u], [dy | du], the gradients of A and of one B after another, dx. */
static mat_t x_of(const call_t *c) { return dense(c->p[0], linear_ld(c->w[0].cols, linear_width(&c->l))); }
static mat_t dy_of(const call_t *c) { return dense(c->p[1], linear_ld(linear_rows_of(&c->l), linear_width(&c->l))); }
static mat_t columns_from(const call_t *c, mat_t m, size_t first) {
    return (mat_t){rig_act_at(c->r, m.p, first), m.ld};
}
static mat_t u_of(const call_t *c) { return columns_from(c, x_of(c), c->w[0].cols); }
static mat_t du_of(const call_t *c) { return columns_from(c, dy_of(c), linear_rows_of(&c->l)); }

static void call_adapter_fwd(const call_t *c) { c->r->be->adapter_fwd(c->r->be, T, x_of(c), &c->l, c->drop, u_of(c)); }
static void call_linear_fwd(const call_t *c) { c->r->be->linear_fwd(c->r->be, T, x_of(c), &c->l, dy_of(c)); }
static void call_linear_bwd(const call_t *c) {
    c->r->be->linear_bwd(c->r->be, T, dy_of(c), &c->l, c->drop, dense(c->p[4], c->w[0].cols));
}
static void call_adapter_grad(const call_t *c) {
    c->r->be->adapter_grad(c->r->be, T, du_of(c), x_of(c), &c->l, c->drop, (void *)c->p[2]);
}

static void call_adapter_bwd(const call_t *c) {
    float *dB[LINEAR_MAX] = {NULL}, *all = (void *)c->p[3];
    for (size_t i = 0, first = 0; i < c->l.n; first += c->w[i++].rows) dB[i] = all + first * RANK;
    c->r->be->adapter_bwd(c->r->be, T, dy_of(c), u_of(c), &c->l, du_of(c), dB);
}

/* All that a training step does with the n layers of a site, NF4 and LoRA of rank 16 on each; per_step: sites. */
static void bench_site(backend_t *be, size_t n, const size_t *rows, size_t cols, int per_step) {
    rig_t r;
    open_rig(&r, be);
    call_t c = {.r = &r, .l = {.n = n, .ab_type = DT_BF16}};
    float *bias = rig_random(&r, DT_F32, F, 1);
    bf16_t *a = rig_random(&r, DT_BF16, n * RANK * cols, 0.1f);
    for (size_t i = 0; i < n; i++) {
        c.w[i] = rig_weight(&r, QUANT_NF4, true, rows[i], cols);
        c.l.part[i] = (linear_part_t){.w = &c.w[i],
                                      .r = RANK,
                                      .scale = 1,
                                      .a = a + i * RANK * cols,
                                      .b = rig_random(&r, DT_BF16, rows[i] * RANK, 0.1f)};
    }
    size_t width = linear_width(&c.l), out = linear_rows_of(&c.l);
    c.p[0] = rig_random(&r, DT_F32, T * x_of(&c).ld, 1);
    c.p[1] = rig_random(&r, DT_F32, T * dy_of(&c).ld, 1);
    c.p[2] = rig_random(&r, DT_F32, width * cols, 1);
    c.p[3] = rig_random(&r, DT_F32, out * RANK, 1);
    c.p[4] = rig_random(&r, DT_F32, T * cols, 1);
    c.key = (dropout_t){.seed = 1, .p = 0.1f, .row = rig_indices(&r, T, T), .pos = rig_indices(&r, T, T)};
    /* K: what each output sums; du and dB, as much work each, are of all layers. */
    const struct {
        const char *name;
        void (*f)(const call_t *);
        size_t M, N, K;
        bool drop, bias;
        int calls; /* in a step, of each site: the forward runs twice */
    } ops[] = {
        {"adapter_fwd", call_adapter_fwd, T, width, cols, false, false, 2},
        {"  with dropout", call_adapter_fwd, T, width, cols, true, false, 0},
        {"linear_fwd", call_linear_fwd, T, out, cols + RANK, false, false, 2},
        {"  with biases", call_linear_fwd, T, out, cols + RANK, false, true, 0},
        {"adapter_bwd", call_adapter_bwd, 2 * T, RANK, out, false, false, 1},
        {"adapter_grad", call_adapter_grad, width, cols, T, false, false, 1},
        {"  with dropout", call_adapter_grad, width, cols, T, true, false, 0},
        {"linear_bwd", call_linear_bwd, T, cols, out + width, false, false, 1},
        {"  with dropout", call_linear_bwd, T, cols, out + width, true, false, 0},
    };
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++) {
        char shape[64];
        c.drop = ops[i].drop ? &c.key : NULL;
        for (size_t k = 0; k < n; k++) c.l.part[k].bias = ops[i].bias ? bias : NULL;
        snprintf(shape, sizeof shape, "[%zu,%zu] K=%zu", ops[i].M, ops[i].N, ops[i].K);
        time_op(ops[i].name, shape, ops[i].f, &c, 2.0 * (double)(ops[i].M * ops[i].N * ops[i].K), "GFLOP/s",
                ops[i].calls * per_step);
    }
    rig_free(&r);
}

/* ---- attention --------------------------------------------------------------------------------------- */

static void call_attn_fwd(const call_t *c) {
    backend_t *be = c->r->be;
    be->attn_fwd(be, (void *)c->p[3], (void *)c->p[4], c->p[0], c->p[1], c->p[2], &c->shape, &c->seg);
}

static void call_attn_bwd(const call_t *c) {
    backend_t *be = c->r->be;
    be->attn_bwd(be, (void *)c->p[5], (void *)c->p[6], (void *)c->p[7], c->p[8], c->p[0], c->p[1], c->p[2], c->p[3],
                 c->p[4], &c->shape, &c->seg);
}

static void bench_segments(backend_t *be, int32_t length, size_t window, float softcap, int per_step) {
    rig_t r;
    open_rig(&r, be);
    int32_t lengths[T / 128];
    size_t n = (size_t)(T / length);
    for (size_t i = 0; i < n; i++) lengths[i] = length;
    call_t c = {.r = &r, .shape = attention_shape(), .seg = rig_segments(&r, n, lengths, lengths)};
    c.shape.window = window;
    c.shape.softcap = softcap;
    static const size_t sizes[] = {T * LD_QKV, 0, 0, T * HQ * D, T * HQ, T * LD_QKV, 0, 0, T * HQ * D};
    for (int i = 0; i < 9; i++)
        if (sizes[i]) c.p[i] = rig_random(&r, i == 4 ? DT_F32 : be->act, sizes[i], 1); /* 4: lse */
    for (int i = 0; i < 6; i += 5) {                                                   /* q, k, v; dq, dk, dv */
        c.p[i + 1] = rig_act_at(&r, c.p[i], HQ * D);
        c.p[i + 2] = rig_act_at(&r, c.p[i + 1], HKV * D);
    }
    char shape[64];
    snprintf(shape, sizeof shape, "%s %zu x %d, %d/%d%s%s", be->act == DT_BF16 ? "bf16" : "f32", n, length, HQ, HKV,
             window ? ", window" : "", softcap > 0 ? ", cap" : "");
    double flop = 2.0 * T * length * HQ * D; /* two products, half of them masked; a window not counted */
    time_op("attn_fwd", shape, call_attn_fwd, &c, flop, "GFLOP/s", per_step);
    time_op("attn_bwd", shape, call_attn_bwd, &c, 2.5 * flop, "GFLOP/s", per_step);
    rig_free(&r);
}

static void bench_attention(backend_t *be) {
    bench_segments(be, 256, 0, 0, LAYERS);
    bench_segments(be, 1024, 0, 0, 0);
    bench_segments(be, 1024, 128, 0, 0);
    bench_segments(be, 1024, 0, 50, 0);
}

/* ---- rows and elements ------------------------------------------------------------------------------- */

static norm_t norm_of(const call_t *c) { return (norm_t){c->p[3], 1, C, 1e-5f}; }

static void call_norm_fwd(const call_t *c) {
    const norm_t norm = norm_of(c);
    c->r->be->rmsnorm_fwd(c->r->be, dense(c->p[1], C), (void *)c->p[2], dense(c->p[0], C), &norm, T);
}
static void call_head_norm(const call_t *c) {
    const norm_t norm = {c->p[3], HQ, D, 1e-5f};
    c->r->be->rmsnorm_fwd(c->r->be, dense(c->p[1], C), (void *)c->p[2], dense(c->p[0], C), &norm, T);
}
static void call_add_norm(const call_t *c) {
    const norm_t norm = norm_of(c);
    c->r->be->add_rmsnorm_fwd(c->r->be, (void *)c->p[1], dense(c->p[4], C), (void *)c->p[2], c->p[0], c->p[5], &norm,
                              T);
}
static void call_norm_bwd(const call_t *c) {
    const norm_t norm = norm_of(c);
    c->r->be->rmsnorm_bwd(c->r->be, dense(c->p[1], C), true, dense(c->p[4], C), dense(c->p[0], C), &norm, c->p[2], T);
}
static void call_glu_fwd(const call_t *c) {
    c->r->be->glu_fwd(c->r->be, c->flag ? ACT_GELU_TANH : ACT_SILU, dense(c->p[1], F), dense(c->p[0], 2 * F), T, F);
}
static void call_glu_bwd(const call_t *c) {
    c->r->be->glu_bwd(c->r->be, c->flag ? ACT_GELU_TANH : ACT_SILU, dense(c->p[0], 2 * F), c->p[1], false, T, F);
}
static void call_rope(const call_t *c) {
    const rope_t rope = {c->p[1], D, D, c->flag};
    c->r->be->rope(c->r->be, dense(c->p[0], (HQ + HKV) * D), &rope, c->p[2], T, HQ + HKV, 1);
}
static void call_add(const call_t *c) { c->r->be->add(c->r->be, (void *)c->p[2], c->p[0], c->p[1], T * C); }
static void call_copy_rows(const call_t *c) {
    c->r->be->copy_rows(c->r->be, dense(c->p[1], C), dense(c->p[0], LD_QKV), T, C);
}
static void call_loss(const call_t *c) {
    const logit_map_t map = {1, c->flag ? 30 : 0};
    c->r->be->ce_loss(c->r->be, (mat_t){(void *)c->p[0], V}, (void *)c->p[1], c->p[2], ROWS, V, map, true, 1);
}
static void call_adamw(const call_t *c) {
    const adamw_t h = {1e-4f, 0.9, 0.999, 1e-8f, 0.01f, 0.1f, 0.001f, 1};
    c->r->be->adamw(c->r->be, (void *)c->p[0], c->p[1], (void *)c->p[2], (void *)c->p[3], c->n[0], &h);
}
/* p: parameters, gradient, codes of both moments, their constants, where blocks begin. */
static void call_adamw_8bit(const call_t *c) {
    const adamw_t h = {1e-4f, 0.9, 0.999, 1e-8f, 0.01f, 0.1f, 0.001f, 1};
    uint8_t *codes = (void *)c->p[2];
    float *absmax = (void *)c->p[3];
    size_t blocks = c->n[0] / ADAMW_8BIT_BLOCK;
    const adamw_8bit_state_t s = {codes, codes + c->n[0], absmax, absmax + blocks, c->p[4]};
    c->r->be->adamw_8bit(c->r->be, (void *)c->p[0], c->p[1], &s, blocks, &h);
}
static void call_sumsq(const call_t *c) {
    double sum;
    c->r->be->sumsq(c->r->be, &sum, c->p[1], c->n[0]);
}

static void bench_rows(backend_t *be) {
    const struct {
        const char *name, *shape;
        void (*f)(const call_t *);
        size_t size[6]; /* of the buffers; 0: indices */
        double bytes;
        int per_step;
        bool flag;
    } rows[] = {
        {"rmsnorm_fwd", "[1024,576]", call_norm_fwd, {T * C, T * C, T, C, 1, 1}, 8.0 * T * C, 2 * LAYERS, false},
        {"add_rmsnorm",
         "[1024,576]",
         call_add_norm,
         {T * C, T * C, T, C, T * C, T * C},
         16.0 * T * C,
         2 * LAYERS,
         false},
        {"rmsnorm_bwd", "[1024,576]", call_norm_bwd, {T * C, T * C, T, C, T * C, 1}, 16.0 * T * C, 2 * LAYERS, false},
        {"head norms", "[1024,9,64]", call_head_norm, {T * C, T * C, T * HQ, D, 1, 1}, 8.0 * T * C, 0, false},
        {"silu gate", "[1024,1536]", call_glu_fwd, {2 * T * F, T * F, 1, 1, 1, 1}, 12.0 * T * F, 2 * LAYERS, false},
        {"silu gate bwd", "[1024,1536]", call_glu_bwd, {2 * T * F, T * F, 1, 1, 1, 1}, 20.0 * T * F, LAYERS, false},
        {"gelu gate", "[1024,1536]", call_glu_fwd, {2 * T * F, T * F, 1, 1, 1, 1}, 12.0 * T * F, 0, true},
        {"gelu gate bwd", "[1024,1536]", call_glu_bwd, {2 * T * F, T * F, 1, 1, 1, 1}, 20.0 * T * F, 0, true},
        {"rope",
         "[1024,9+3,64]",
         call_rope,
         {T * HEADS * D, T * D, 0, 1, 1, 1},
         8.0 * T * HEADS * D,
         2 * LAYERS,
         false},
        {"rope interleaved",
         "[1024,9+3,64]",
         call_rope,
         {T * HEADS * D, T * D, 0, 1, 1, 1},
         8.0 * T * HEADS * D,
         0,
         true},
        {"add", "[1024,576]", call_add, {T * C, T * C, T * C, 1, 1, 1}, 12.0 * T * C, 0, false},
        {"copy_rows", "[1024,576] of 960", call_copy_rows, {T * LD_QKV, T * C, 1, 1, 1, 1}, 8.0 * T * C, 0, false},
        {"ce_loss", "[256,49152]", call_loss, {ROWS * V, ROWS, 0, 1, 1, 1}, 8.0 * ROWS * V, T / ROWS, false},
        {"ce_loss capped", "[256,49152]", call_loss, {ROWS * V, ROWS, 0, 1, 1, 1}, 8.0 * ROWS * V, 0, true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        rig_t r;
        open_rig(&r, be);
        call_t c = {.r = &r, .flag = rows[i].flag};
        for (int k = 0; k < 6; k++)
            c.p[k] = rows[i].size[k] ? rig_random(&r, DT_F32, rows[i].size[k], 1) : (void *)rig_indices(&r, T, T);
        time_op(rows[i].name, rows[i].shape, rows[i].f, &c, rows[i].bytes, "GB/s", rows[i].per_step);
        rig_free(&r);
    }
    rig_t r;
    open_rig(&r, be);
    call_t c = {.r = &r, .n = {4884480}}; /* rank 16 on all linear layers */
    for (int k = 0; k < 4; k++) { c.p[k] = rig_random(&r, DT_F32, c.n[0], 1); }
    be->zero(be, (void *)c.p[3], c.n[0] * sizeof(float));
    time_op("adamw", "4.9 M", call_adamw, &c, 28.0 * (double)c.n[0], "GB/s", 1);
    be->zero(be, (void *)c.p[2], c.n[0] * sizeof(float)); /* fp32 moments are larger than 8-bit ones */
    size_t blocks = c.n[0] / ADAMW_8BIT_BLOCK, *start = xmalloc((blocks + 1) * sizeof *start);
    for (size_t i = 0; i <= blocks; i++) start[i] = i * ADAMW_8BIT_BLOCK;
    c.p[4] = rig_upload(&r, start, (blocks + 1) * sizeof *start);
    free(start);
    time_op("adamw_8bit", "4.9 M", call_adamw_8bit, &c, 16.0 * (double)c.n[0], "GB/s", 1);
    time_op("sumsq", "4.9 M", call_sumsq, &c, 4.0 * (double)c.n[0], "GB/s", 1);
    rig_free(&r);
}

static void call_quantize(const call_t *c) {
    qweight_t w = c->w[0];
    c->r->be->quantize(c->r->be, &w, c->p[0], DT_BF16, 0, qweight_count(&w), (void *)c->p[1]);
}

static void bench_quantize(backend_t *be) {
    rig_t r;
    open_rig(&r, be);
    size_t n = (size_t)F * C * 4;
    call_t c = {.r = &r, .w = {rig_weight(&r, QUANT_NF4, false, F * 4, C)}};
    c.p[0] = rig_random(&r, DT_BF16, n, 1);
    c.p[1] = rig_alloc(&r, quant_blocks(n) * sizeof(float));
    time_op("quantize nf4", "3.5 M, values/ns", call_quantize, &c, (double)n, "G/s", 0);
    rig_free(&r);
}

int main(int argc, char **argv) {
    bool reference = false;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--reference") == 0) reference = true;
        else repetitions = atoi(argv[i]);
    }
    if (repetitions < 1 || repetitions > MAX_REPETITIONS) repetitions = MAX_REPETITIONS;
    backend_t *be;
    err_t err = {0};
    if (backend_open_cpu(DT_F32, 0, reference, &be, &err) != 0) {
        fprintf(stderr, "error: %s\n", err.msg);
        return err.code;
    }
    printf("%s, %d threads, best and median of %d\n", be->device, be->threads, repetitions);
    bench_rows(be);
    bench_attention(be);
    if (!reference) {
        backend_t *bf16;
        if (backend_open_cpu(DT_BF16, 0, false, &bf16, &err) != 0) {
            fprintf(stderr, "error: %s\n", err.msg);
            return err.code;
        }
        bench_attention(bf16);
        bf16->close(bf16);
    }
    bench_quantize(be);
    if (!reference) { /* the plain loops take minutes here */
        static const size_t qkv[] = {HQ * D, HKV * D, HKV * D}, o[] = {C}, gate_up[] = {F, F}, down[] = {C};
        bench_site(be, 3, qkv, C, LAYERS);
        bench_site(be, 1, o, HQ * D, LAYERS);
        bench_site(be, 2, gate_up, C, LAYERS);
        bench_site(be, 1, down, F, LAYERS);
        bench_weight(be, QUANT_NF4, C, C, T, 2 * LAYERS);
        bench_weight(be, QUANT_NF4, HKV * D, C, T, 2 * LAYERS);
        bench_weight(be, QUANT_NF4, F, C, T, 2 * LAYERS);
        bench_weight(be, QUANT_NF4, C, F, T, LAYERS);
        bench_weight(be, QUANT_NONE, V, C, 256, 4);
        bench_weight(be, QUANT_NONE, V, C, 512, 0);
        bench_weight(be, QUANT_F16, V, C, 256, 0);
        bench_weight(be, QUANT_NF4, F, C, 1, 0);
        bench_weight(be, QUANT_NF4, F, C, 4, 0);
        bench_weight(be, QUANT_NF4, F, C, 8, 0);
        bench_weight(be, QUANT_NONE, V, C, 1, 0);
        bench_weight(be, QUANT_F16, V, C, 1, 0);
    }
    be->close(be);
    return 0;
}
