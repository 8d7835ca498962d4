/* The functions of NCCL that the backend uses, loaded like cuBLAS (cublas.h). Only builds that found nccl.h have this
 * file and join.cu. */
#ifndef CUDA_NCCL_H
#define CUDA_NCCL_H

#include "cuda/cuda_impl.h"

#include <nccl.h>

#if NCCL_VERSION_CODE < NCCL_VERSION(2, 14, 3)
#error "nccl.h is too old; expected NCCL 2.14 or newer, or -DNCCL_INCLUDE_DIR=OFF to build without it"
#endif

#define NCCL_FUNCTIONS(F) \
    F(ncclCommDestroy) \
    F(ncclCommGetAsyncError) \
    F(ncclCommInitRank) \
    F(ncclGetErrorString) \
    F(ncclGetLastError) \
    F(ncclGetUniqueId) \
    F(ncclGroupEnd) \
    F(ncclGroupStart) \
    F(ncclRecv) \
    F(ncclSend)

typedef struct {
#define NCCL_MEMBER(name) decltype(&::name) name;
    NCCL_FUNCTIONS(NCCL_MEMBER)
#undef NCCL_MEMBER
} nccl_t;

/* Fills *lib; ERR_USAGE where the library cannot be loaded or lacks one of the functions. */
int nccl_load(nccl_t *lib, err_t *err);

#endif
