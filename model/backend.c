#include "model/backend.h"

#include <string.h>

#include "cuda/workspace.h"

static int open_cpu(dtype_t compute, int threads, backend_t **be, err_t *err) {
    return backend_open_cpu(compute == DT_COUNT ? DT_F32 : compute, threads, false, be, err);
}

#ifdef QLORA_CUDA
static int open_cuda(dtype_t compute, backend_t **be, err_t *err) {
    return backend_open_cuda(compute == DT_COUNT ? DT_BF16 : compute, be, err);
}

static int open_auto(dtype_t compute, int threads, backend_t **be, err_t *err) {
    err_t no_gpu = {0};
    return open_cuda(compute, be, &no_gpu) == 0 ? 0 : open_cpu(compute, threads, be, err);
}
#else
static int open_cuda(dtype_t compute, backend_t **be, err_t *err) {
    (void)compute, (void)be;
    return err_set(err, ERR_USAGE,
                   "device.backend: cuda is not part of this build, which found no CUDA toolkit; expected cpu or auto");
}

static int open_auto(dtype_t compute, int threads, backend_t **be, err_t *err) {
    return open_cpu(compute, threads, be, err);
}
#endif

int backend_open(const char *name, dtype_t compute, int threads, backend_t **be, err_t *err) {
    if (strcmp(name, "auto") == 0) return open_auto(compute, threads, be, err);
    if (strcmp(name, "cpu") == 0) return open_cpu(compute, threads, be, err);
    if (strcmp(name, "cuda") == 0) return open_cuda(compute, be, err);
    return err_set(err, ERR_USAGE, "device.backend: \"%s\"; expected auto, cpu or cuda", name);
}

static size_t outline_workspace(backend_t *be, const workspace_need_t *need) {
    return cuda_workspace_bytes(be->act, need);
}

backend_t backend_outline_cuda(dtype_t act) {
    return (backend_t){.name = "cuda", .act = act, .workspace_bytes = outline_workspace};
}
