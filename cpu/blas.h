/* OpenBLAS, loaded when it is first needed rather than with the program: it chooses its kernels while it is loaded, by
 * the processor's model, and takes those of processors of 2008 for a model that it does not know. We choose by what
 * the processor can run, unless the user has (OPENBLAS_CORETYPE), and tell it before. */
#ifndef CPU_BLAS_H
#define CPU_BLAS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "cpu/features.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The kernels for such a processor, as OPENBLAS_CORETYPE names them; NULL: OpenBLAS may choose. */
const char *blas_core_type(const cpu_features_t *has);

/* Once it has succeeded, so does every other call. ERR_FAILED where there is no OpenBLAS. */
int blas_load(err_t *err);

/* What follows needs blas_load(). */
void blas_set_threads(int n);
/* The kernels that OpenBLAS uses, in its words: "SkylakeX". */
const char *blas_core_name(void);
/* Row-major C[M,N] = alpha * op(A) * op(B) + beta * C, as gemm of model/backend/backend.h; beta = 0 does not read C. */
void blas_sgemm(bool ta, bool tb, size_t M, size_t N, size_t K, float alpha, const float *A, size_t lda, const float *B,
                size_t ldb, float beta, float *C, size_t ldc);

/* "OpenBLAS 0.3.21, SkylakeX", or why it cannot be loaded. */
const char *blas_description(void);

#ifdef __cplusplus
}
#endif

#endif
