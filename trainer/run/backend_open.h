/* Which backends are built in: the one place that knows. */
#ifndef TRAINER_RUN_BACKEND_OPEN_H
#define TRAINER_RUN_BACKEND_OPEN_H

#include "base/host.h"
#include "model/backend/backend.h"

/* Opens what a config names: "auto", "cpu" or "cuda" (auto: CUDA where there is a usable GPU, else the CPU).
 * compute DT_COUNT: the backend's own default. threads 0: as many as the share has processors. On a host
 * with several GPUs the share's index is the GPU's. */
int backend_open(const char *name, dtype_t compute, int threads, host_share_t share, backend_t **be, err_t *err);
bool backend_has_cuda(void);

/* What its own default is, whatever it computes in. */
dtype_t backend_auto_type(const backend_t *be);
/* What it computes in, as quantization.compute_dtype has it: "f32" or "bf16". */
const char *backend_type_name(const backend_t *be);

#endif
