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
                                                "SwiGLU",
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

static void upload(backend_t *be, void *dst, const void *src, size_t bytes) {
    double t;
    backend_t *real = begin(be, &t);
    real->upload(real, dst, src, bytes);
    end(be, FAMILY_COPIES, t);
}

static void download(backend_t *be, void *dst, const void *src, size_t bytes) {
    double t;
    backend_t *real = begin(be, &t);
    real->download(real, dst, src, bytes);
    end(be, FAMILY_COPIES, t);
}

static void copy(backend_t *be, void *dst, const void *src, size_t bytes) {
    double t;
    backend_t *real = begin(be, &t);
    real->copy(real, dst, src, bytes);
    end(be, FAMILY_COPIES, t);
}

static void zero(backend_t *be, void *dst, size_t bytes) {
    double t;
    backend_t *real = begin(be, &t);
    real->zero(real, dst, bytes);
    end(be, FAMILY_COPIES, t);
}

static void gemm(backend_t *be, bool ta, bool tb, size_t M, size_t N, size_t K, float alpha, const void *A,
                 dtype_t a_type, size_t lda, const void *B, dtype_t b_type, size_t ldb, float beta, void *C,
                 dtype_t c_type, size_t ldc) {
    double t;
    backend_t *real = begin(be, &t);
    real->gemm(real, ta, tb, M, N, K, alpha, A, a_type, lda, B, b_type, ldb, beta, C, c_type, ldc);
    end(be, FAMILY_LOW_RANK, t);
}

static bench_family_t family_of(const backend_t *be, const linear_t *l) {
    return l->w[0] == ((const profile_t *)be)->head ? FAMILY_HEAD : FAMILY_LINEAR;
}

static void linear_fwd(backend_t *be, size_t T, const void *x, size_t ldx, const linear_t *l, void *y, size_t ldy) {
    double t;
    backend_t *real = begin(be, &t);
    real->linear_fwd(real, T, x, ldx, l, y, ldy);
    end(be, family_of(be, l), t);
}

static void linear_bwd(backend_t *be, size_t T, const void *dy, size_t lddy, const linear_t *l, const dropout_t *drop,
                       void *dx, size_t lddx) {
    double t;
    backend_t *real = begin(be, &t);
    real->linear_bwd(real, T, dy, lddy, l, drop, dx, lddx);
    end(be, family_of(be, l), t);
}

static void linear_cache(backend_t *be, const linear_t *l, bool frozen) {
    double t;
    backend_t *real = begin(be, &t);
    real->linear_cache(real, l, frozen);
    end(be, FAMILY_LINEAR, t);
}

static void adapter_fwd(backend_t *be, size_t T, const void *x, size_t ldx, const linear_t *l, float scale,
                        const dropout_t *drop, void *u, size_t ldu) {
    double t;
    backend_t *real = begin(be, &t);
    real->adapter_fwd(real, T, x, ldx, l, scale, drop, u, ldu);
    end(be, FAMILY_LOW_RANK, t);
}

static void adapter_grad(backend_t *be, size_t T, const void *du, size_t lddu, const void *x, size_t ldx,
                         const linear_t *l, const dropout_t *drop, float *dA) {
    double t;
    backend_t *real = begin(be, &t);
    real->adapter_grad(real, T, du, lddu, x, ldx, l, drop, dA);
    end(be, FAMILY_LOW_RANK, t);
}

static void embed(backend_t *be, void *y, const qweight_t *E, const int32_t *ids, size_t T) {
    double t;
    backend_t *real = begin(be, &t);
    real->embed(real, y, E, ids, T);
    end(be, FAMILY_EMBEDDING, t);
}

static void add(backend_t *be, void *y, const void *a, const void *b, size_t n) {
    double t;
    backend_t *real = begin(be, &t);
    real->add(real, y, a, b, n);
    end(be, FAMILY_ADD, t);
}

/* Only adapters are cast, after an update. */
static void cast(backend_t *be, void *dst, dtype_t dst_type, const void *src, dtype_t src_type, size_t n) {
    double t;
    backend_t *real = begin(be, &t);
    real->cast(real, dst, dst_type, src, src_type, n);
    end(be, FAMILY_OPTIMIZER, t);
}

static void gather_rows(backend_t *be, void *y, size_t ldy, const void *x, size_t ldx, const int32_t *idx, size_t n,
                        size_t C) {
    double t;
    backend_t *real = begin(be, &t);
    real->gather_rows(real, y, ldy, x, ldx, idx, n, C);
    end(be, FAMILY_EMBEDDING, t);
}

static void scatter_rows(backend_t *be, void *y, size_t ldy, const void *x, size_t ldx, const int32_t *idx, size_t n,
                         size_t C) {
    double t;
    backend_t *real = begin(be, &t);
    real->scatter_rows(real, y, ldy, x, ldx, idx, n, C);
    end(be, FAMILY_EMBEDDING, t);
}

/* Only u is copied. */
static void copy_rows(backend_t *be, void *y, size_t ldy, const void *x, size_t ldx, size_t T, size_t C) {
    double t;
    backend_t *real = begin(be, &t);
    real->copy_rows(real, y, ldy, x, ldx, T, C);
    end(be, FAMILY_LOW_RANK, t);
}

static void rmsnorm_fwd(backend_t *be, void *y, size_t ldy, float *rstd, const void *x, const float *w, size_t T,
                        size_t C, float eps) {
    double t;
    backend_t *real = begin(be, &t);
    real->rmsnorm_fwd(real, y, ldy, rstd, x, w, T, C, eps);
    end(be, FAMILY_NORM, t);
}

static void add_rmsnorm_fwd(backend_t *be, void *sum, void *y, size_t ldy, float *rstd, const void *a, const void *b,
                            const float *w, size_t T, size_t C, float eps) {
    double t;
    backend_t *real = begin(be, &t);
    real->add_rmsnorm_fwd(real, sum, y, ldy, rstd, a, b, w, T, C, eps);
    end(be, FAMILY_NORM, t);
}

static void rmsnorm_bwd(backend_t *be, void *dx, size_t lddx, const void *dy, const void *x, const float *w,
                        const float *rstd, size_t T, size_t C) {
    double t;
    backend_t *real = begin(be, &t);
    real->rmsnorm_bwd(real, dx, lddx, dy, x, w, rstd, T, C);
    end(be, FAMILY_NORM, t);
}

static void rope(backend_t *be, void *x, size_t ldx, const float *table, const int32_t *pos, size_t T, size_t H,
                 size_t D, int sign) {
    double t;
    backend_t *real = begin(be, &t);
    real->rope(real, x, ldx, table, pos, T, H, D, sign);
    end(be, FAMILY_ROPE, t);
}

static void swiglu_fwd(backend_t *be, void *y, size_t ldy, const void *gate_up, size_t ld, size_t T, size_t F) {
    double t;
    backend_t *real = begin(be, &t);
    real->swiglu_fwd(real, y, ldy, gate_up, ld, T, F);
    end(be, FAMILY_SWIGLU, t);
}

static void swiglu_bwd(backend_t *be, void *gate_up, size_t ld, const void *dy, size_t T, size_t F) {
    double t;
    backend_t *real = begin(be, &t);
    real->swiglu_bwd(real, gate_up, ld, dy, T, F);
    end(be, FAMILY_SWIGLU, t);
}

static void attn_fwd(backend_t *be, void *o, float *lse, const void *q, const void *k, const void *v,
                     const attn_shape_t *shape, const attn_segments_t *seg) {
    double t;
    backend_t *real = begin(be, &t);
    real->attn_fwd(real, o, lse, q, k, v, shape, seg);
    end(be, FAMILY_ATTENTION_FWD, t);
}

static void attn_bwd(backend_t *be, void *dq, void *dk, void *dv, const void *dout, const void *q, const void *k,
                     const void *v, const void *o, const float *lse, const attn_shape_t *shape,
                     const attn_segments_t *seg) {
    double t;
    backend_t *real = begin(be, &t);
    real->attn_bwd(real, dq, dk, dv, dout, q, k, v, o, lse, shape, seg);
    end(be, FAMILY_ATTENTION_BWD, t);
}

static void ce_loss(backend_t *be, void *logits, float *row_loss, const int32_t *labels, size_t R, size_t V,
                    bool want_grad, float grad_scale) {
    double t;
    backend_t *real = begin(be, &t);
    real->ce_loss(real, logits, row_loss, labels, R, V, want_grad, grad_scale);
    end(be, FAMILY_LOSS, t);
}

static void sumsq(backend_t *be, double *out, const float *x, size_t n) {
    double t;
    backend_t *real = begin(be, &t);
    real->sumsq(real, out, x, n);
    end(be, FAMILY_OPTIMIZER, t);
}

static void adamw(backend_t *be, float *p, const float *g, float *m, float *v, size_t n, const adamw_t *h) {
    double t;
    backend_t *real = begin(be, &t);
    real->adamw(real, p, g, m, v, n, h);
    end(be, FAMILY_OPTIMIZER, t);
}

bench_step_t bench_profile_step(bench_model_t *b, size_t step, double seconds[]) {
    backend_t *real = b->model.be;
    profile_t p = {.be = *real, .real = real, .head = &b->model.head, .seconds = seconds};
    for (int f = 0; f < FAMILIES; f++) seconds[f] = 0;
    p.be.upload = upload;
    p.be.download = download;
    p.be.copy = copy;
    p.be.zero = zero;
    p.be.gemm = gemm;
    p.be.linear_fwd = linear_fwd;
    p.be.linear_bwd = linear_bwd;
    p.be.linear_cache = linear_cache;
    p.be.adapter_fwd = adapter_fwd;
    p.be.adapter_grad = adapter_grad;
    p.be.embed = embed;
    p.be.add = add;
    p.be.cast = cast;
    p.be.gather_rows = gather_rows;
    p.be.scatter_rows = scatter_rows;
    p.be.copy_rows = copy_rows;
    p.be.rmsnorm_fwd = rmsnorm_fwd;
    p.be.add_rmsnorm_fwd = add_rmsnorm_fwd;
    p.be.rmsnorm_bwd = rmsnorm_bwd;
    p.be.rope = rope;
    p.be.swiglu_fwd = swiglu_fwd;
    p.be.swiglu_bwd = swiglu_bwd;
    p.be.attn_fwd = attn_fwd;
    p.be.attn_bwd = attn_bwd;
    p.be.ce_loss = ce_loss;
    p.be.sumsq = sumsq;
    p.be.adamw = adamw;
    b->model.be = &p.be;
    bench_step_t s = bench_model_step(b, step);
    b->model.be = real;
    return s;
}
