/* What attention needs of the workspace. Plain C, like workspace.c, which counts it. */
#ifndef CUDA_ATTENTION_WORKSPACE_H
#define CUDA_ATTENTION_WORKSPACE_H

#include "model/backend/backend.h"

/* Of the backward; the forward needs none. */
size_t cuda_attention_bytes(const workspace_need_t *need);

#endif
