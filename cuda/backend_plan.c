/* A CUDA backend that nothing runs on, in every build: plans for cards that are not here. */
#include "cuda/workspace.h"

static size_t workspace_bytes(backend_t *be, const workspace_need_t *need) {
    return cuda_workspace_bytes(be->act, need);
}

backend_t backend_plan_cuda(dtype_t act) {
    return (backend_t){.name = "cuda",
                       .act = act,
                       .tile_rows = CUDA_TILE_ROWS,
                       .workspace_bytes = workspace_bytes,
                       .exceeds = cuda_exceeds};
}
