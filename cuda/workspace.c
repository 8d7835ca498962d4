#include "cuda/workspace.h"

#include "base/minmax.h"
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

bool cuda_exceeds(const workspace_need_t *need, limit_t *limit) {
    const limit_t limits[] = {
        {LIMIT_CHANNELS, cuda_attention_max_channels()},
        {LIMIT_SEGMENT, min_size(UINT32_MAX / max_size(need->attn_ld, 1), CUDA_ATTENTION_MAX_KEYS)},
        {LIMIT_TOKENS, INT32_MAX / max_size(need->attn.Hq, 1)}, /* times heads: norms, statistics, blocks of a grid */
        {LIMIT_WEIGHT, UINT32_MAX - CUDA_DEQUANT_AHEAD},
    };
    const size_t is[] = {need->attn.D, need->max_kv, need->max_tokens, need->max_augmented};
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        *limit = limits[i];
        if (is[i] > limit->most) return true;
    }
    return false;
}
