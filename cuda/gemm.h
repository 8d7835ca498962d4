/* The one matrix product of the CUDA backend, on cuBLASLt. */
#ifndef CUDA_GEMM_H
#define CUDA_GEMM_H

#include "cuda/cuda_impl.h"

/* A matrix as stored: row-major, `ld` elements between rows. transposed: what enters the product is its transpose. */
typedef struct {
    const void *p; /* device */
    dtype_t type;
    size_t ld;
    bool transposed;
} gemm_operand_t;

/* Element (i, j) of what enters the product. */
static inline const void *operand_at(const gemm_operand_t *x, size_t i, size_t j) {
    size_t n = x->transposed ? j * x->ld + i : i * x->ld + j;
    return (const unsigned char *)x->p + n * dtype_size(x->type);
}

/* C[M,N] = alpha * a[M,K] b[K,N] + beta * C on LANE_COMPUTE, sums in fp32; beta 0 does not read C. M, N and K are at
 * least 1. a and b have the same type, C that or F32. Uses the first CUDA_BLAS_BYTES of the scratch, where
 * be->workspace is set. */
void cuda_gemm(backend_t *be, size_t M, size_t N, size_t K, float alpha, gemm_operand_t a, gemm_operand_t b, float beta,
               matrix_t C);

/* State in impl->gemm. */
int cuda_gemm_open(cuda_impl_t *impl, err_t *err);
void cuda_gemm_close(cuda_impl_t *impl);

#endif
