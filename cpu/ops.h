/* The tuned ops: threads, tiles and scratch around the kernels. Each function below puts its ops
 * into the table, over those of the reference.
 *
 * Threads split the work at places that do not depend on their number wherever that could change a result. */
#ifndef CPU_OPS_H
#define CPU_OPS_H

#include "cpu/kernels/kernels.h"
#include "cpu/kernels/tiles.h"
#include "model/backend/backend.h"

/* be->impl of a CPU backend. */
typedef struct {
    const cpu_kernels_t *kernels; /* NULL: reference ops only */
    const tiles_t *f32, *bf16;    /* how it multiplies; bf16 NULL: as fp32 */
    double copy_seconds;          /* in copies of paging, since stalled() was last asked */
    void *stage;                  /* what stage() gives; NULL before it is first asked */
} cpu_impl_t;

static inline const cpu_kernels_t *cpu_kernels(const backend_t *be) { return ((const cpu_impl_t *)be->impl)->kernels; }

/* How operands of a type are multiplied. Where it multiplies fp32 and the operands are BF16, these are widened first. */
static inline const tiles_t *cpu_tiles(const backend_t *be, dtype_t type) {
    const cpu_impl_t *impl = be->impl;
    return type == DT_BF16 && impl->bf16 ? impl->bf16 : impl->f32;
}

void tuned_gemm_ops(backend_t *be);   /* gemm */
void tuned_weight_ops(backend_t *be); /* quantize, dequant */
void tuned_linear_ops(backend_t *be); /* linear layers and their adapters */
void tuned_row_ops(backend_t *be);    /* embedding, element-wise, norms, RoPE, gates, loss */
void tuned_attention_ops(backend_t *be);
void tuned_optimizer_ops(backend_t *be);

/* Floats of workspace that each uses; an op starts at the beginning of the workspace. */
size_t tuned_linear_floats(const backend_t *be, const workspace_need_t *need);
size_t tuned_attention_floats(const backend_t *be, const workspace_need_t *need);

#endif
