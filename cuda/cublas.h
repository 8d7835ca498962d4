/* The functions of cuBLASLt that the backend uses. The library is loaded when the backend is opened, not linked: every
 * start would map its half gigabyte, and no start would succeed where it is missing. */
#ifndef CUDA_CUBLAS_H
#define CUDA_CUBLAS_H

#include "cuda/cuda_impl.h"

#include <cublasLt.h>

/* The library's own names. The two that end in _internal are behind inline functions of cublasLt.h, which add only the
 * size of what is initialized. */
#define CUBLAS_FUNCTIONS(F) \
    F(cublasLtCreate) \
    F(cublasLtDestroy) \
    F(cublasLtGetStatusString) \
    F(cublasLtMatmul) \
    F(cublasLtMatmulAlgoGetHeuristic) \
    F(cublasLtMatmulDescInit_internal) \
    F(cublasLtMatmulDescSetAttribute) \
    F(cublasLtMatmulPreferenceCreate) \
    F(cublasLtMatmulPreferenceDestroy) \
    F(cublasLtMatmulPreferenceSetAttribute) \
    F(cublasLtMatrixLayoutInit_internal)

typedef struct {
#define CUBLAS_MEMBER(name) decltype(&::name) name;
    CUBLAS_FUNCTIONS(CUBLAS_MEMBER)
#undef CUBLAS_MEMBER
} cublas_t;

/* Fills *lib; ERR_USAGE where the library cannot be loaded or lacks one of the functions. */
int cublas_load(cublas_t *lib, err_t *err);

#endif
