/* What attention needs of the workspace. Plain C, like workspace.c, which counts it. */
#ifndef CUDA_ATTENTION_WORKSPACE_H
#define CUDA_ATTENTION_WORKSPACE_H

#include "model/backend/backend.h"

/* Of the backward; the forward needs none. */
size_t cuda_attention_bytes(const workspace_need_t *need);

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
