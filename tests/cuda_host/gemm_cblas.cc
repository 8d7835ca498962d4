/* The matrix product of the CUDA backend for runs on the host: as cuBLAS would, on the compute stream, operands
 * widened to fp32, one rounding at the end. */
#include "cuda/gemm.h"

#include <cblas.h>
#include <vector>

/* What enters the product, dense and row-major. */
static std::vector<float> widened(const gemm_operand_t &x, size_t rows, size_t cols) {
    std::vector<float> out(rows * cols);
    for (size_t i = 0; i < rows; i++)
        for (size_t j = 0; j < cols; j++) {
            const void *p = operand_at(&x, i, j);
            out[i * cols + j] = x.type == DT_BF16 ? bf16_to_f32(*(const bf16_t *)p) : *(const float *)p;
        }
    return out;
}

/* The scratch that is cuBLAS's own holds nothing that an op may need later: NaN at both ends. */
static void spoil(void *scratch) {
    const size_t some = 4096;
    memset(scratch, 0xff, some);
    memset((unsigned char *)scratch + CUDA_BLAS_BYTES - some, 0xff, some);
}

static void product(size_t M, size_t N, size_t K, float alpha, const gemm_operand_t &a, const gemm_operand_t &b,
                    float beta, void *C, dtype_t c_type, size_t ldc) {
    std::vector<float> wa = widened(a, M, K), wb = widened(b, K, N), sums(M * N);
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (int)M, (int)N, (int)K, alpha, wa.data(), (int)K, wb.data(),
                (int)N, 0, sums.data(), (int)N);
    for (size_t i = 0; i < M; i++)
        for (size_t j = 0; j < N; j++) {
            float *f = (float *)C + i * ldc + j, sum = sums[i * N + j];
            bf16_t *h = (bf16_t *)C + i * ldc + j;
            if (beta != 0) sum += beta * (c_type == DT_BF16 ? bf16_to_f32(*h) : *f);
            if (c_type == DT_BF16) *h = bf16_from_f32(sum);
            else *f = sum;
        }
}

void cuda_gemm(backend_t *be, size_t M, size_t N, size_t K, float alpha, gemm_operand_t a, gemm_operand_t b, float beta,
               void *C, dtype_t c_type, size_t ldc) {
    CHECK(M && N && K && a.type == b.type && (c_type == a.type || c_type == DT_F32));
    void *scratch = be->workspace ? compute_scratch(be, CUDA_BLAS_BYTES) : NULL;
    cuda_host::enqueue(compute_stream(be), [=] {
        if (scratch) spoil(scratch);
        product(M, N, K, alpha, a, b, beta, C, c_type, ldc);
    });
}

int cuda_gemm_open(cuda_impl_t *impl, err_t *err) {
    (void)impl;
    (void)err;
    return 0;
}

void cuda_gemm_close(cuda_impl_t *impl) {
    (void)impl;
}
