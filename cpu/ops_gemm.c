/* Matrix products are cblas_sgemm. BF16 operands are widened into scratch, block by block. */
#include <cblas.h>
#include <limits.h>

#include "cpu/act.h"
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
    CHECK(M <= INT_MAX && N <= INT_MAX && K <= INT_MAX && g->lda <= INT_MAX && g->ldb <= INT_MAX && g->ldc <= INT_MAX);
    cblas_sgemm(CblasRowMajor, g->ta ? CblasTrans : CblasNoTrans, g->tb ? CblasTrans : CblasNoTrans, (int)M, (int)N,
                (int)K, g->alpha, A, (int)g->lda, B, (int)g->ldb, g->beta, C, (int)g->ldc);
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

/* An operand: op(X) has `major` rows of `minor` values as stored; widened blocks lie in `scratch`. */
typedef struct {
    const void *p;
    dtype_t type;
    size_t ld;
    float *scratch;
} operand_t;

/* Block [r, r+rows) x [c, c+cols) as stored, in fp32; *ld is its stride. */
static const float *block(const backend_t *be, const operand_t *x, size_t r, size_t c, size_t rows, size_t cols,
                          size_t *ld) {
    const void *p = act_at_const(x->p, x->type, r * x->ld + c);
    *ld = x->type == DT_F32 ? x->ld : cols;
    if (x->type == DT_F32) return p;
    convert(be, x->scratch, DT_F32, cols, p, x->type, x->ld, rows, cols);
    return x->scratch;
}

static size_t min(size_t a, size_t b) { return a < b ? a : b; }

void tuned_gemm_at(backend_t *be, float *scratch, bool ta, bool tb, size_t M, size_t N, size_t K, float alpha,
                   const void *A, dtype_t a_type, size_t lda, const void *B, dtype_t b_type, size_t ldb, float beta,
                   void *C, dtype_t c_type, size_t ldc) {
    if (M == 0 || N == 0) return;
    bool wide_a = a_type != DT_F32, wide_b = b_type != DT_F32, wide_c = c_type != DT_F32;
    CHECK((!wide_a && !wide_b && !wide_c) ||
          (size_t)((char *)(scratch + tuned_gemm_floats()) - (char *)be->workspace) <= be->workspace_size);
    operand_t a = {A, a_type, lda, scratch}, b = {B, b_type, ldb, scratch + BLOCK_FLOATS};
    float *c_block = scratch + 2 * BLOCK_FLOATS;
    size_t KB = wide_a || wide_b ? min(K, BLOCK_K) : K;
    size_t MB = wide_a ? min(M, BLOCK_FLOATS / (KB ? KB : 1)) : M;
    size_t NB = wide_b ? min(N, BLOCK_FLOATS / (KB ? KB : 1)) : N;
    if (wide_c) MB = min(MB, 512), NB = min(NB, BLOCK_FLOATS / 512);

    for (size_t m = 0; m < M; m += MB) {
        for (size_t n = 0; n < N; n += NB) {
            size_t rows = min(MB, M - m), cols = min(NB, N - n);
            void *c = act_at(C, c_type, m * ldc + n);
            sgemm_t g = {ta, tb, alpha, beta, lda, ldb, wide_c ? cols : ldc};
            if (wide_c && beta != 0) convert(be, c_block, DT_F32, cols, c, c_type, ldc, rows, cols);
            size_t k = 0;
            do { /* once even for K = 0, where C = beta * C */
                size_t depth = min(KB, K - k);
                const float *pa = ta ? block(be, &a, k, m, depth, rows, &g.lda)
                                     : block(be, &a, m, k, rows, depth, &g.lda);
                const float *pb = tb ? block(be, &b, n, k, cols, depth, &g.ldb)
                                     : block(be, &b, k, n, depth, cols, &g.ldb);
                sgemm_threads(be, &g, rows, cols, depth, pa, pb, wide_c ? c_block : c);
                g.beta = 1;
                k += depth;
            } while (k < K);
            if (wide_c) convert(be, c, c_type, ldc, c_block, DT_F32, cols, rows, cols);
        }
    }
}

static void gemm(backend_t *be, bool ta, bool tb, size_t M, size_t N, size_t K, float alpha, const void *A,
                 dtype_t a_type, size_t lda, const void *B, dtype_t b_type, size_t ldb, float beta, void *C,
                 dtype_t c_type, size_t ldc) {
    tuned_gemm_at(be, be->workspace, ta, tb, M, N, K, alpha, A, a_type, lda, B, b_type, ldb, beta, C, c_type, ldc);
}

void tuned_gemm_ops(backend_t *be) { be->gemm = gemm; }
