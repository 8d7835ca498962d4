/* What attention needs of the workspace. Plain C, like workspace.c, which counts it. */
#ifndef CUDA_ATTENTION_WORKSPACE_H
#define CUDA_ATTENTION_WORKSPACE_H

#include "model/backend/backend.h"

/* Of the backward, and of the forward of one token. */
size_t cuda_attention_bytes(const workspace_need_t *need);

/* The keys of one query are split among blocks: these many of them, by so many keys that the query sees at most. They
 * depend on that alone, so a result does not depend on the GPU. */
enum { TOKEN_MIN_KEYS = 128, TOKEN_MAX_SPLITS = 64 };
static inline size_t cuda_token_keys(size_t max_keys) {
    size_t n = (max_keys + TOKEN_MAX_SPLITS - 1) / TOKEN_MAX_SPLITS;
    return n < TOKEN_MIN_KEYS ? (size_t)TOKEN_MIN_KEYS : n;
}
static inline size_t cuda_token_splits(size_t max_keys) {
    return (max_keys + cuda_token_keys(max_keys) - 1) / cuda_token_keys(max_keys);
}
/* Of one query: for each split and head the largest score, the sum of exponentials, and the weighted values. */
static inline size_t cuda_token_bytes(size_t heads, size_t channels, size_t max_keys) {
    size_t splits = cuda_token_splits(max_keys);
    return splits > 1 ? splits * heads * (channels + 2) * sizeof(float) : 0;
}

/* Rows of a block of the plain kernels, whose grid has them in its second index; and their shared memory: `arrays` of
 * these rows in fp32, a piece of 32 other rows, 32 weights for each own row. */
enum { PLAIN_ROWS = 16, PLAIN_MAX_ARRAYS = 4, PLAIN_CHUNK = 32, PLAIN_STRIDE = PLAIN_CHUNK + 1 };
#define CUDA_ATTENTION_MAX_KEYS ((size_t)65535 * PLAIN_ROWS)
static inline size_t cuda_plain_bytes(size_t arrays, size_t channels) {
    return sizeof(float) * (arrays * PLAIN_ROWS * channels + PLAIN_CHUNK * PLAIN_STRIDE + PLAIN_ROWS * PLAIN_CHUNK);
}

/* Of a head: what the plain kernels have room for on every GPU (99 KiB, of sm_86 and sm_89). */
size_t cuda_attention_max_channels(void);

#endif
