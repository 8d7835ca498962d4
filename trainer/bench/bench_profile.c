/* Where a step's time goes: the step runs over a copy of the backend's table whose entries time the real ones.
 * The device is idle before and after each op, so nothing overlaps: the shares are of the sum of the ops, and the step
 * takes longer than one that is left alone. */
#include "base/clock.h"
#include "trainer/bench/bench.h"

typedef struct {
    backend_t be; /* first: the ops get it as their backend */
    backend_t *real;
    const qweight_t *head;
    double *seconds; /* [FAMILIES] */
} profile_t;

const char *bench_family_name(bench_family_t f) {
    static const char *const names[FAMILIES] = {"linear layers",
                                                "low-rank products",
                                                "attention forward",
                                                "attention backward",
                                                "norms (and adds)",
                                                "RoPE",
                                                "gated activation",
                                                "residual adds",
                                                "head",
                                                "loss",
                                                "embedding, rows",
                                                "optimizer",
                                                "copies"};
    return names[f];
}

static backend_t *begin(backend_t *be, double *start) {
    backend_t *real = ((profile_t *)be)->real;
    real->sync(real);
    *start = clock_seconds();
    return real;
}

static void end(backend_t *be, bench_family_t f, double start) {
    profile_t *p = (profile_t *)be;
    p->real->sync(p->real);
    p->seconds[f] += clock_seconds() - start;
}

/* ---- the ops, as the contract lists them ---------------------------------------------------------------- */

static bench_family_t family_of(const backend_t *be, const linear_t *l) {
    return l->part[0].w == ((const profile_t *)be)->head ? FAMILY_HEAD : FAMILY_LINEAR;
}

/* Every op of a step: name, family, parameters, arguments. Casts are of adapters after an update, copied rows mostly
 * u. */
/* clang-format off */
#define TIMED_OPS(X) \
    X(upload, FAMILY_COPIES, (backend_t *be, void *dst, const void *src, size_t n), (real, dst, src, n)) \
    X(download, FAMILY_COPIES, (backend_t *be, void *dst, const void *src, size_t n), (real, dst, src, n)) \
    X(copy, FAMILY_COPIES, (backend_t *be, void *dst, const void *src, size_t n), (real, dst, src, n)) \
    X(zero, FAMILY_COPIES, (backend_t *be, void *dst, size_t n), (real, dst, n)) \
    X(gemm, FAMILY_LOW_RANK, (backend_t *be, bool ta, bool tb, size_t M, size_t N, size_t K, float alpha, matrix_t A, \
                              matrix_t B, float beta, matrix_t C), (real, ta, tb, M, N, K, alpha, A, B, beta, C)) \
    X(linear_fwd, family_of(be, l), (backend_t *be, size_t T, mat_t x, const linear_t *l, mat_t y), (real, T, x, l, y)) \
    X(linear_bwd, family_of(be, l), (backend_t *be, size_t T, mat_t dy, const linear_t *l, const dropout_t *drop, \
                                     mat_t dx), (real, T, dy, l, drop, dx)) \
    X(linear_cache, FAMILY_LINEAR, (backend_t *be, const linear_t *l, bool frozen), (real, l, frozen)) \
    X(adapter_fwd, FAMILY_LOW_RANK, (backend_t *be, size_t T, mat_t x, const linear_t *l, const dropout_t *drop, \
                                     mat_t u), (real, T, x, l, drop, u)) \
    X(adapter_bwd, FAMILY_LOW_RANK, (backend_t *be, size_t T, mat_t dy, mat_t u, const linear_t *l, mat_t du, \
                                     float *const dB[LINEAR_MAX]), (real, T, dy, u, l, du, dB)) \
    X(adapter_grad, FAMILY_LOW_RANK, (backend_t *be, size_t T, mat_t du, mat_t x, const linear_t *l, \
                                      const dropout_t *drop, float *dA), (real, T, du, x, l, drop, dA)) \
    X(embed, FAMILY_EMBEDDING, (backend_t *be, void *y, const qweight_t *E, const int32_t *ids, size_t T), \
      (real, y, E, ids, T)) \
    X(add, FAMILY_ADD, (backend_t *be, void *y, const void *a, const void *b, size_t n), (real, y, a, b, n)) \
    X(scale_rows, FAMILY_ADD, (backend_t *be, mat_t y, mat_t x, float a, size_t T, size_t C), (real, y, x, a, T, C)) \
    X(add_noise, FAMILY_EMBEDDING, (backend_t *be, void *x, const neftune_t *noise, size_t T, size_t C), \
      (real, x, noise, T, C)) \
    X(cast, FAMILY_OPTIMIZER, (backend_t *be, void *dst, dtype_t dst_type, const void *src, dtype_t src_type, \
                               size_t n), (real, dst, dst_type, src, src_type, n)) \
    X(gather_rows, FAMILY_EMBEDDING, (backend_t *be, mat_t y, mat_t x, const int32_t *idx, size_t n, size_t C), \
      (real, y, x, idx, n, C)) \
    X(scatter_rows, FAMILY_EMBEDDING, (backend_t *be, mat_t y, mat_t x, const int32_t *idx, size_t n, size_t C), \
      (real, y, x, idx, n, C)) \
    X(copy_rows, FAMILY_LOW_RANK, (backend_t *be, mat_t y, mat_t x, size_t T, size_t C), (real, y, x, T, C)) \
    X(rmsnorm_fwd, FAMILY_NORM, (backend_t *be, mat_t y, float *rstd, mat_t x, const norm_t *norm, size_t T), \
      (real, y, rstd, x, norm, T)) \
    X(add_rmsnorm_fwd, FAMILY_NORM, (backend_t *be, void *sum, mat_t y, float *rstd, const void *a, const void *b, \
                                     const norm_t *norm, size_t T), (real, sum, y, rstd, a, b, norm, T)) \
    X(rmsnorm_bwd, FAMILY_NORM, (backend_t *be, mat_t dx, bool add_it, mat_t dy, mat_t x, const norm_t *norm, \
                                 const float *rstd, size_t T), (real, dx, add_it, dy, x, norm, rstd, T)) \
    X(rope, FAMILY_ROPE, (backend_t *be, mat_t x, const rope_t *r, const int32_t *pos, size_t T, size_t H, int sign), \
      (real, x, r, pos, T, H, sign)) \
    X(glu_fwd, FAMILY_GLU, (backend_t *be, act_fn_t fn, mat_t y, mat_t gate_up, size_t T, size_t F), \
      (real, fn, y, gate_up, T, F)) \
    X(glu_bwd, FAMILY_GLU, (backend_t *be, act_fn_t fn, mat_t gate_up, void *dy, bool product, size_t T, size_t F), \
      (real, fn, gate_up, dy, product, T, F)) \
    X(attn_fwd, FAMILY_ATTENTION_FWD, (backend_t *be, void *o, float *lse, const void *q, const void *k, \
                                       const void *v, const attn_shape_t *shape, const attn_segments_t *seg), \
      (real, o, lse, q, k, v, shape, seg)) \
    X(attn_bwd, FAMILY_ATTENTION_BWD, (backend_t *be, void *dq, void *dk, void *dv, const void *dout, const void *q, \
                                       const void *k, const void *v, const void *o, const float *lse, \
                                       const attn_shape_t *shape, const attn_segments_t *seg), \
      (real, dq, dk, dv, dout, q, k, v, o, lse, shape, seg)) \
    X(ce_loss, FAMILY_LOSS, (backend_t *be, mat_t logits, float *row_loss, const int32_t *labels, size_t R, size_t V, \
                             logit_map_t map, bool want_grad, float grad_scale), \
      (real, logits, row_loss, labels, R, V, map, want_grad, grad_scale)) \
    X(sumsq, FAMILY_OPTIMIZER, (backend_t *be, double *out, const float *x, size_t n), (real, out, x, n)) \
    X(adamw, FAMILY_OPTIMIZER, (backend_t *be, float *p, const float *g, float *m, float *v, size_t n, \
                                const adamw_t *h), (real, p, g, m, v, n, h))

#define DEFINE(name, family, parameters, arguments) \
    static void name parameters { \
        double start; \
        backend_t *real = begin(be, &start); \
        real->name arguments; \
        end(be, family, start); \
    }
TIMED_OPS(DEFINE)
/* clang-format on */

bench_step_t bench_profile_step(bench_model_t *b, size_t step, double seconds[]) {
    backend_t *real = b->model.be;
    profile_t p = {.be = *real, .real = real, .head = &b->model.head, .seconds = seconds};
    for (int f = 0; f < FAMILIES; f++) seconds[f] = 0;
#define SET(name, family, parameters, arguments) p.be.name = name;
    TIMED_OPS(SET)
    p.be.recorded = NULL; /* which hands over all ops of a pass at once */
#undef SET
    b->model.be = &p.be;
    bench_step_t s = bench_model_step(b, step);
    b->model.be = real;
    return s;
}
