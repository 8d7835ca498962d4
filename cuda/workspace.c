#include "cuda/workspace.h"

#include "cuda/attention_workspace.h"

static size_t round_up(size_t n) { return (n + 255) / 256 * 256; }

cuda_workspace_t cuda_workspace_layout(dtype_t act, const workspace_need_t *need) {
    size_t attention = cuda_attention_bytes(need), least = cuda_scratch_min(act);
    cuda_workspace_t w = {.scratch = round_up(attention > least ? attention : least),
                          .weight = round_up(need->max_augmented * dtype_size(act))};
    w.total = 256 + w.scratch + 2 * w.weight; /* the first: the pool aligns to less */
    return w;
}

size_t cuda_workspace_bytes(dtype_t act, const workspace_need_t *need) {
    return cuda_workspace_layout(act, need).total;
}
