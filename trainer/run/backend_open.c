#include "trainer/run/backend_open.h"

#include <omp.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "cpu/tiles_choice.h"

/* Once in a process: what keeps it from what the processor could do. */
static void advise(dtype_t compute) {
    static bool told;
    const cpu_features_t has = cpu_features();
    const cpu_build_t built = cpu_build();
    const tiles_choice_t *choice = tiles_choice();
    char text[400];
    if (told) return;
    told = true;
    cpu_shortfall(&has, &built, compute != DT_F32, text, sizeof text);
    if (*text) log_warn("%s", text);
    if (choice->wrong)
        log_warn("%s gives wrong products on this processor and is not used; please report this with the output of "
                 "`qlora-train --version` and the processor's name",
                 choice->refused->name);
    if (compute == DT_BF16 && !choice->bf16) {
        tiles_auto_reason(choice, text, sizeof text);
        log_warn("quantization.compute_dtype: bf16 takes less memory, but computes slower than f32 here (%s)", text);
    }
}

static int open_cpu(dtype_t compute, int threads, host_share_t share, backend_t **be, err_t *err) {
    const tiles_choice_t *choice = tiles_choice();
    dtype_t act = compute == DT_COUNT ? tiles_auto_type(choice) : compute;
    if (backend_open_cpu(act, threads ? threads : share.processors, false, be, err)) return err->code;
    if (compute == DT_COUNT) tiles_auto_reason(choice, (*be)->why_act, sizeof(*be)->why_act);
    advise(compute);
    return 0;
}

dtype_t backend_auto_type(const backend_t *be) {
    return strcmp(be->name, "cpu") == 0 ? tiles_auto_type(tiles_choice()) : DT_BF16;
}

const char *backend_type_name(const backend_t *be) { return be->act == DT_F32 ? "f32" : "bf16"; }

#ifdef QLORA_CUDA
bool backend_has_cuda(void) { return true; }

/* The host's threads read and convert weights. */
static int open_cuda(dtype_t compute, int threads, host_share_t share, backend_t **be, err_t *err) {
    if (backend_open_cuda(compute == DT_COUNT ? DT_BF16 : compute, share, be, err)) return err->code;
    if (threads == 0) threads = share.processors;
    if (threads > 0) omp_set_num_threads(threads);
    (*be)->threads = omp_get_max_threads();
    return 0;
}

static int open_auto(dtype_t compute, int threads, host_share_t share, backend_t **be, err_t *err) {
    err_t no_gpu = {0};
    if (open_cuda(compute, threads, share, be, &no_gpu) == 0) return 0;
    if (open_cpu(compute, threads, share, be, err)) return err->code;
    snprintf((*be)->no_gpu, sizeof(*be)->no_gpu, "%.*s", (int)sizeof(*be)->no_gpu - 1, no_gpu.msg);
    return 0;
}
#else
bool backend_has_cuda(void) { return false; }

static int open_cuda(dtype_t compute, int threads, host_share_t share, backend_t **be, err_t *err) {
    (void)compute, (void)threads, (void)share, (void)be;
    return err_set(err, ERR_USAGE, "not part of this build, which found no CUDA toolkit; expected cpu or auto");
}

static int open_auto(dtype_t compute, int threads, host_share_t share, backend_t **be, err_t *err) {
    return open_cpu(compute, threads, share, be, err);
}
#endif

int backend_open(const char *name, dtype_t compute, int threads, host_share_t share, backend_t **be, err_t *err) {
    if (strcmp(name, "auto") == 0) return open_auto(compute, threads, share, be, err);
    if (strcmp(name, "cpu") == 0) return open_cpu(compute, threads, share, be, err);
    if (strcmp(name, "cuda") == 0)
        return open_cuda(compute, threads, share, be, err) ? err_prefix(err, "device.backend: cuda") : 0;
    return err_set(err, ERR_USAGE, "device.backend: \"%s\"; expected auto, cpu or cuda", name);
}
