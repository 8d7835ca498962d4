#include "cuda/attention_workspace.h"

#include "base/minmax.h"

/* The backward has two floats for each query row and head: attn_stats_t in attention.h. */
size_t cuda_attention_bytes(const workspace_need_t *need) {
    return max_size(need->max_tokens * need->attn.Hq * 2 * sizeof(float),
                    cuda_token_bytes(need->attn.Hq, need->attn.D, need->max_kv));
}

size_t cuda_attention_max_channels(void) {
    const size_t shared = (size_t)99 << 10,
                 row = cuda_plain_bytes(PLAIN_MAX_ARRAYS, 1) - cuda_plain_bytes(PLAIN_MAX_ARRAYS, 0);
    return (shared - cuda_plain_bytes(PLAIN_MAX_ARRAYS, 0)) / row;
}
