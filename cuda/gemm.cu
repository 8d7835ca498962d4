/* The contract's matrix product. Operands of one type go to cuda_gemm() as they are. Mixed ones happen where LoRA or
 * activations are fp32 and the other is not: the BF16 operand is widened to F32, a piece of the scratch at a time, and
 * a BF16 result is rounded from F32 sums. */
#include "cuda/gemm.h"
#include "cuda/vec.h"

/* The scratch beyond cuBLAS's own holds a piece of the widened operand, and sums in F32. */
static const size_t WIDE_FLOATS = CUDA_MIXED_BYTES / 2 / sizeof(float); /* of each */

enum { THREADS = 256 };
static const size_t MAX_GRID_Y = 65535;

static dim3 grid_over(size_t rows, size_t cols) {
    return dim3(grid_for(cols, THREADS), (unsigned)(rows < MAX_GRID_Y ? rows : MAX_GRID_Y));
}

/* ---- kernels ------------------------------------------------------------------------------------------- */

static __global__ void __launch_bounds__(THREADS)
    widen_kernel(float *out, const bf16_t *x, size_t ld, size_t rows, size_t cols) {
    size_t c = (size_t)blockIdx.x * THREADS + threadIdx.x;
    if (c >= cols) return;
    for (size_t r = blockIdx.y; r < rows; r += gridDim.y) out[r * cols + c] = bf16_to_f32(x[r * ld + c]);
}

/* C = sums + beta * C; without sums, which are dense, C = beta * C. */
template <typename T> static __global__ void __launch_bounds__(THREADS)
    finish_kernel(T *C, size_t ldc, size_t rows, size_t cols, const float *sums, float beta) {
    size_t c = (size_t)blockIdx.x * THREADS + threadIdx.x;
    if (c >= cols) return;
    for (size_t r = blockIdx.y; r < rows; r += gridDim.y) {
        float sum = sums ? sums[r * cols + c] : 0;
        if (beta != 0) sum += beta * element_load(&C[r * ldc + c]);
        element_store(&C[r * ldc + c], sum);
    }
}

/* ---- launchers ----------------------------------------------------------------------------------------- */

static void finish(backend_t *be, matrix_t C, size_t rows, size_t cols, const float *sums, float beta) {
    cudaStream_t s = compute_stream(be);
    dim3 grid = grid_over(rows, cols);
    if (C.type == DT_F32)
        LAUNCH((finish_kernel<float>), grid, THREADS, 0, s, (float *)C.p, C.ld, rows, cols, sums, beta);
    else LAUNCH((finish_kernel<bf16_t>), grid, THREADS, 0, s, (bf16_t *)C.p, C.ld, rows, cols, sums, beta);
}

/* As many rows of `cols` floats as the scratch holds; many are a multiple of 64, for the alignment of what follows. */
static size_t rows_that_fit(size_t cols) {
    size_t n = WIDE_FLOATS / cols;
    CHECK(n > 0);
    return n < 64 ? n : n / 64 * 64;
}

/* From element (i, j) on. */
static matrix_t inner(matrix_t m, size_t i, size_t j) {
    return {(unsigned char *)m.p + (i * m.ld + j) * dtype_size(m.type), m.type, m.ld};
}

/* C = alpha * a b + beta * C in fp32, where at most one of a and b is BF16. It is widened by rows as stored: pieces of
 * K add up in C, pieces of M or N are rows or columns of C. */
static void gemm_to_f32(backend_t *be, float *wide, size_t M, size_t N, size_t K, float alpha, gemm_operand_t a,
                        gemm_operand_t b, float beta, matrix_t C) {
    if (a.type == b.type) {
        cuda_gemm(be, M, N, K, alpha, a, b, beta, C);
        return;
    }
    bool is_a = a.type == DT_BF16, along_k = is_a ? a.transposed : !b.transposed;
    size_t across = is_a ? M : N, rows = along_k ? K : across, cols = along_k ? across : K;
    size_t step = rows_that_fit(cols);
    for (size_t i = 0; i < rows; i += step) {
        size_t n = min_size(step, rows - i);
        const gemm_operand_t *narrow = is_a ? &a : &b;
        const bf16_t *from = (const bf16_t *)narrow->p + i * narrow->ld;
        LAUNCH(widen_kernel, grid_over(n, cols), THREADS, 0, compute_stream(be), wide, from, narrow->ld, n, cols);
        gemm_operand_t piece = {wide, DT_F32, cols, narrow->transposed};
        gemm_operand_t pa = is_a ? piece : a, pb = is_a ? b : piece;
        matrix_t pc = C;
        if (along_k && is_a) pb.p = operand_at(&b, i, 0);
        else if (along_k) pa.p = operand_at(&a, 0, i);
        else pc = is_a ? inner(C, i, 0) : inner(C, 0, i);
        cuda_gemm(be, !along_k && is_a ? n : M, !along_k && !is_a ? n : N, along_k ? n : K, alpha, pa, pb,
                  along_k && i > 0 ? 1 : beta, pc);
    }
}

static void gemm_mixed(backend_t *be, size_t M, size_t N, size_t K, float alpha, gemm_operand_t a, gemm_operand_t b,
                       float beta, matrix_t C) {
    unsigned char *scratch = (unsigned char *)compute_scratch(be, cuda_scratch_min(be->act)) + CUDA_BLAS_BYTES;
    float *wide = (float *)scratch, *sums = wide + WIDE_FLOATS;
    if (C.type == DT_F32) {
        gemm_to_f32(be, wide, M, N, K, alpha, a, b, beta, C);
        return;
    }
    size_t step = rows_that_fit(N);
    for (size_t i = 0; i < M; i += step) {
        size_t m = min_size(step, M - i);
        gemm_operand_t rows = a;
        rows.p = operand_at(&a, i, 0);
        gemm_to_f32(be, wide, m, N, K, alpha, rows, b, 0, {sums, DT_F32, N});
        finish(be, inner(C, i, 0), m, N, sums, beta);
    }
}

static void gemm(backend_t *be, bool ta, bool tb, size_t M, size_t N, size_t K, float alpha, matrix_t A, matrix_t B,
                 float beta, matrix_t C) {
    CHECK(A.ld >= (ta ? M : K) && B.ld >= (tb ? K : N) && C.ld >= N);
    gemm_operand_t a = {A.p, A.type, A.ld, ta}, b = {B.p, B.type, B.ld, tb};
    if (M == 0 || N == 0) return;
    if (K == 0) finish(be, C, M, N, NULL, beta);
    else if (A.type == B.type && (C.type == A.type || C.type == DT_F32)) cuda_gemm(be, M, N, K, alpha, a, b, beta, C);
    else gemm_mixed(be, M, N, K, alpha, a, b, beta, C);
}

void cuda_gemm_ops(backend_t *be) {
    be->tile_rows = CUDA_TILE_ROWS;
    be->gemm = gemm;
}
