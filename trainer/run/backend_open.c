#include "trainer/run/backend_open.h"

#include <omp.h>
#include <stdio.h>
#include <string.h>

static int open_cpu(dtype_t compute, int threads, backend_t **be, err_t *err) {
    return backend_open_cpu(compute == DT_COUNT ? DT_F32 : compute, threads, false, be, err);
}

#ifdef QLORA_CUDA
bool backend_has_cuda(void) { return true; }

/* The host's threads read and convert weights. */
static int open_cuda(dtype_t compute, int threads, backend_t **be, err_t *err) {
    if (backend_open_cuda(compute == DT_COUNT ? DT_BF16 : compute, be, err)) return err->code;
    if (threads > 0) omp_set_num_threads(threads);
    (*be)->threads = omp_get_max_threads();
    return 0;
}

static int open_auto(dtype_t compute, int threads, backend_t **be, err_t *err) {
    err_t no_gpu = {0};
    if (open_cuda(compute, threads, be, &no_gpu) == 0) return 0;
    if (open_cpu(compute, threads, be, err)) return err->code;
    snprintf((*be)->no_gpu, sizeof(*be)->no_gpu, "%.*s", (int)sizeof(*be)->no_gpu - 1, no_gpu.msg);
    return 0;
}
#else
bool backend_has_cuda(void) { return false; }

static int open_cuda(dtype_t compute, int threads, backend_t **be, err_t *err) {
    (void)compute, (void)threads, (void)be;
    return err_set(err, ERR_USAGE, "not part of this build, which found no CUDA toolkit; expected cpu or auto");
}

static int open_auto(dtype_t compute, int threads, backend_t **be, err_t *err) {
    return open_cpu(compute, threads, be, err);
}
#endif

int backend_open(const char *name, dtype_t compute, int threads, backend_t **be, err_t *err) {
    if (strcmp(name, "auto") == 0) return open_auto(compute, threads, be, err);
    if (strcmp(name, "cpu") == 0) return open_cpu(compute, threads, be, err);
    if (strcmp(name, "cuda") == 0)
        return open_cuda(compute, threads, be, err) ? err_prefix(err, "device.backend: cuda") : 0;
    return err_set(err, ERR_USAGE, "device.backend: \"%s\"; expected auto, cpu or cuda", name);
}
