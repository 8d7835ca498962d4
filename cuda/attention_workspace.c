#include "cuda/attention_workspace.h"

/* Two floats for each query row and head: attn_stats_t in attention.h. */
size_t cuda_attention_bytes(const workspace_need_t *need) {
    return need->max_tokens * need->attn.Hq * 2 * sizeof(float);
}
