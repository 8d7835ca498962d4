#include "model/backend.h"

#include <string.h>

#include "cuda/workspace.h"

static int open_cpu(dtype_t compute, int threads, backend_t **be, err_t *err) {
    return backend_open_cpu(compute == DT_COUNT ? DT_F32 : compute, threads, false, be, err);
}

int backend_open(const char *name, dtype_t compute, int threads, backend_t **be, err_t *err) {
    if (strcmp(name, "auto") == 0 || strcmp(name, "cpu") == 0) return open_cpu(compute, threads, be, err);
    if (strcmp(name, "cuda") == 0)
        return err_set(err, ERR_USAGE,
                       "device.backend: cuda is not part of this version; expected cpu or auto");
    return err_set(err, ERR_USAGE, "device.backend: \"%s\"; expected auto, cpu or cuda", name);
}

static size_t outline_workspace(backend_t *be, const workspace_need_t *need) {
    return cuda_workspace_bytes(be->act, need);
}

backend_t backend_outline_cuda(dtype_t act) {
    return (backend_t){.name = "cuda", .act = act, .workspace_bytes = outline_workspace};
}
