/* Matrix products are sgemm. BF16 operands are widened into scratch, block by block. */
#include "base/minmax.h"
#include "cpu/act.h"
#include "cpu/blas.h"
#include "cpu/ops.h"

enum {
    BLOCK_K = 1024,            /* of a product with widened operands */
    BLOCK_FLOATS = 512 * 1024, /* of each widened operand */
    SLAB_ROWS = 32,
    SLAB_MAX_COLS = 32
};

size_t tuned_gemm_floats(void) { return 3 * BLOCK_FLOATS; }

typedef struct {
    bool ta, tb;
    float alpha, beta;
    size_t lda, ldb, ldc;
} sgemm_t;

static void sgemm(const sgemm_t *g, size_t M, size_t N, size_t K, const float *A, const float *B, float *C) {
    blas_sgemm(g->ta, g->tb, M, N, K, g->alpha, A, g->lda, B, g->ldb, g->beta, C, g->ldc);
}

/* The low-rank side of LoRA, many rows and few columns, is where OpenBLAS threads badly: slabs of rows instead. */
static void sgemm_threads(const backend_t *be, const sgemm_t *g, size_t M, size_t N, size_t K, const float *A,
                          const float *B, float *C) {
    if (N > SLAB_MAX_COLS || M < 2 * SLAB_ROWS) {
        sgemm(g, M, N, K, A, B, C);
        return;
    }
#pragma omp parallel for schedule(static) num_threads(be->threads)
    for (size_t i = 0; i < M; i += SLAB_ROWS) {
        size_t rows = M - i < SLAB_ROWS ? M - i : SLAB_ROWS;
        sgemm(g, rows, N, K, g->ta ? A + i : A + i * g->lda, B, C + i * g->ldc);
    }
}

/* rows x cols values at `src` (ld between rows), converted into `dst`. */
static void convert(const backend_t *be, void *dst, dtype_t dst_type, size_t dst_ld, const void *src, dtype_t src_type,
                    size_t src_ld, size_t rows, size_t cols) {
    const cpu_kernels_t *k = cpu_kernels(be);
#pragma omp parallel for schedule(static) num_threads(be->threads) if (rows * cols > 32768)
    for (size_t r = 0; r < rows; r++)
        k->cast(act_at(dst, dst_type, r * dst_ld), dst_type, act_at_const(src, src_type, r * src_ld), src_type, cols);
}

/* A factor: op(X) has `major` rows of `minor` values as stored; widened blocks lie in `scratch`. */
typedef struct {
    matrix_t m;
    float *scratch;
} factor_t;

/* Block [r, r+rows) x [c, c+cols) as stored, in fp32; *ld is its stride. */
static const float *block(const backend_t *be, const factor_t *x, size_t r, size_t c, size_t rows, size_t cols,
                          size_t *ld) {
    const matrix_t *m = &x->m;
    const void *p = act_at_const(m->p, m->type, r * m->ld + c);
    *ld = m->type == DT_F32 ? m->ld : cols;
    if (m->type == DT_F32) return p;
    convert(be, x->scratch, DT_F32, cols, p, m->type, m->ld, rows, cols);
    return x->scratch;
}

void tuned_gemm_at(backend_t *be, float *scratch, bool ta, bool tb, size_t M, size_t N, size_t K, float alpha,
                   matrix_t A, matrix_t B, float beta, matrix_t C) {
    if (M == 0 || N == 0) return;
    bool wide_a = A.type != DT_F32, wide_b = B.type != DT_F32, wide_c = C.type != DT_F32;
    CHECK((!wide_a && !wide_b && !wide_c) ||
          (size_t)((char *)(scratch + tuned_gemm_floats()) - (char *)be->workspace) <= be->workspace_size);
    const factor_t a = {A, scratch}, b = {B, scratch + BLOCK_FLOATS};
    float *c_block = scratch + 2 * BLOCK_FLOATS;
    size_t KB = wide_a || wide_b ? min_size(K, BLOCK_K) : K;
    size_t MB = wide_a ? min_size(M, BLOCK_FLOATS / (KB ? KB : 1)) : M;
    size_t NB = wide_b ? min_size(N, BLOCK_FLOATS / (KB ? KB : 1)) : N;
    if (wide_c) MB = min_size(MB, 512), NB = min_size(NB, BLOCK_FLOATS / 512);

    for (size_t m = 0; m < M; m += MB) {
        for (size_t n = 0; n < N; n += NB) {
            size_t rows = min_size(MB, M - m), cols = min_size(NB, N - n);
            void *c = act_at(C.p, C.type, m * C.ld + n);
            sgemm_t g = {ta, tb, alpha, beta, A.ld, B.ld, wide_c ? cols : C.ld};
            if (wide_c && beta != 0) convert(be, c_block, DT_F32, cols, c, C.type, C.ld, rows, cols);
            size_t k = 0;
            do { /* once even for K = 0, where C = beta * C */
                size_t depth = min_size(KB, K - k);
                const float *pa = ta ? block(be, &a, k, m, depth, rows, &g.lda)
                                     : block(be, &a, m, k, rows, depth, &g.lda);
                const float *pb = tb ? block(be, &b, n, k, cols, depth, &g.ldb)
                                     : block(be, &b, k, n, depth, cols, &g.ldb);
                sgemm_threads(be, &g, rows, cols, depth, pa, pb, wide_c ? c_block : c);
                g.beta = 1;
                k += depth;
            } while (k < K);
            if (wide_c) convert(be, c, C.type, C.ld, c_block, DT_F32, cols, rows, cols);
        }
    }
}

static void gemm(backend_t *be, bool ta, bool tb, size_t M, size_t N, size_t K, float alpha, matrix_t A, matrix_t B,
                 float beta, matrix_t C) {
    tuned_gemm_at(be, be->workspace, ta, tb, M, N, K, alpha, A, B, beta, C);
}

void tuned_gemm_ops(backend_t *be) { be->gemm = gemm; }
