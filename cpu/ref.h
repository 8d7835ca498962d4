/* The reference ops: each op of model/backend/backend.h as plain loops, one thread, sums in double. They are what the
 * other implementations are tested against, so they follow the definitions and nothing else. Each function
 * below puts its ops into the table. */
#ifndef CPU_REF_H
#define CPU_REF_H

#include "model/backend/backend.h"

void ref_matrix_ops(backend_t *be); /* quantize, dequant, gemm */
void ref_linear_ops(backend_t *be); /* linear layers and their adapters */
void ref_row_ops(backend_t *be);    /* embedding, element-wise, norms, RoPE, gates, loss */
void ref_attention_ops(backend_t *be);
void ref_optimizer_ops(backend_t *be);

/* Bytes of workspace that these ops use. */
size_t ref_workspace_bytes(backend_t *be, const workspace_need_t *need);

#endif
