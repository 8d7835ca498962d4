/* The CUDA backend: which GPU, whether it will do, and the table of ops. */
#include "cuda/cuda_impl.h"

#include <stdio.h>

#include "cuda/gemm.h"

enum { MIN_MAJOR = 8 }; /* compute capability 8.0 (Ampere): bf16 in tensor cores, asynchronous copies */

void cuda_check(cudaError_t status, const char *what, const char *file, int line) {
    if (status == cudaSuccess || cuda_record_fails(status)) return;
    fprintf(stderr, "%s:%d: CUDA: %s: %s\n", file, line, what, cudaGetErrorString(status));
    fflush(stderr);
    _Exit(ERR_FAILED); /* no handlers: those of the CUDA library may wait for a device that is gone */
}

int cuda_try(cudaError_t status, const char *what, err_t *err) {
    if (status == cudaSuccess) return 0;
    (void)cudaGetLastError();
    return err_set(err, ERR_FAILED, "%s: %s", what, cudaGetErrorString(status));
}

/* Driver and runtime versions are 1000 * major + 10 * minor. */
static int driver_error(err_t *err) {
    int driver = 0, runtime = 0;
    (void)cudaDriverGetVersion(&driver);
    (void)cudaRuntimeGetVersion(&runtime);
    (void)cudaGetLastError();
    if (driver == 0)
        return err_set(err, ERR_USAGE, "no NVIDIA driver on this machine; expected one for CUDA %d.%d or newer",
                       runtime / 1000, runtime % 1000 / 10);
    return err_set(err, ERR_USAGE, "the NVIDIA driver is for CUDA %d.%d; expected one for %d.%d or newer",
                   driver / 1000, driver % 1000 / 10, runtime / 1000, runtime % 1000 / 10);
}

static int count_devices(int *count, err_t *err) {
    *count = 0;
    cudaError_t e = cudaGetDeviceCount(count);
    if (e == cudaErrorInsufficientDriver) return driver_error(err);
    if (e != cudaErrorNoDevice && (e != cudaSuccess || *count > 0)) return CUDA_TRY(e, err);
    (void)cudaGetLastError();
    return err_set(err, ERR_USAGE, "no NVIDIA GPU here, or CUDA_VISIBLE_DEVICES hides it");
}

/* Of those that the process sees. Launchers give each process either all GPUs of the host or its own only. */
static int choose_device(host_share_t share, int *device, err_t *err) {
    int count;
    if (count_devices(&count, err)) return err->code;
    *device = count == 1 ? 0 : share.index;
    if (*device < count) return 0;
    return err_set(err, ERR_USAGE,
                   "process %d of %d on this host (counted from 0) sees %d GPUs; expected one for each: start %d "
                   "processes here, or let them see more (CUDA_VISIBLE_DEVICES, srun --gpus-per-node)",
                   share.index, share.count, count, count);
}

/* Makes it the thread's device before anything else is asked of CUDA, which would make a context on another. */
static int find_device(host_share_t share, int *device, cudaDeviceProp *p, err_t *err) {
    if (choose_device(share, device, err) || CUDA_TRY(cudaGetDeviceProperties(p, *device), err)) return err->code;
    if (p->major < MIN_MAJOR)
        return err_set(err, ERR_USAGE, "%s has compute capability %d.%d; expected %d.0 or higher", p->name, p->major,
                       p->minor, MIN_MAJOR);
    return CUDA_TRY(cudaSetDevice(*device), err);
}

static void write_device_id(char *out, size_t size, const cudaUUID_t *uuid) {
    int n = snprintf(out, size, "GPU-");
    for (int i = 0; i < 16; i++)
        n += snprintf(out + n, size - (size_t)n, "%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "",
                      (unsigned char)uuid->bytes[i]);
}

static void cuda_close(backend_t *be) {
    cuda_impl_t *impl = cuda_impl(be);
#ifdef QLORA_NCCL
    cuda_join_close(impl);
#endif
    cuda_records_close(impl);
    cuda_gemm_close(impl);
    cuda_memory_close(impl);
    cuda_lanes_close(impl);
    free(impl);
    free(be);
}

static int open_parts(cuda_impl_t *impl, err_t *err) {
    cuda_records_open(impl);
    if (cuda_lanes_open(impl, err) || cuda_memory_open(impl, err)) return err->code;
    return cuda_gemm_open(impl, err);
}

extern "C" int backend_open_cuda(dtype_t act, host_share_t share, backend_t **out, err_t *err) {
    cudaDeviceProp p;
    int device = 0;
    if (act != DT_F32 && act != DT_BF16) return err_set(err, ERR_USAGE, "the CUDA backend computes in bf16 or f32");
    if (find_device(share, &device, &p, err)) return err->code;

    backend_t *be = (backend_t *)xcalloc(1, sizeof *be);
    be->name = "cuda";
    be->act = act;
    be->threads = 1;
    be->impl = xcalloc(1, sizeof(cuda_impl_t));
    cuda_impl(be)->device = device;
    be->close = cuda_close;
    snprintf(be->device, sizeof be->device, "%.80s, %.1f GiB, compute capability %d.%d", p.name,
             (double)p.totalGlobalMem / (1 << 30), p.major, p.minor);
    write_device_id(be->device_id, sizeof be->device_id, &p.uuid);
    if (open_parts(cuda_impl(be), err)) {
        be->close(be);
        return err->code;
    }
    cuda_memory_ops(be);
    cuda_lane_ops(be);
    cuda_gemm_ops(be);
    cuda_quant_ops(be);
    cuda_linear_ops(be);
    cuda_row_ops(be);
    cuda_norm_ops(be);
    cuda_rope_ops(be);
    cuda_glu_ops(be);
    cuda_loss_ops(be);
    cuda_optimizer_ops(be);
    cuda_attention_ops(be);
    cuda_record_ops(be);
#ifdef QLORA_NCCL
    cuda_join_ops(be);
#else
    snprintf(be->no_join, sizeof be->no_join, "this build found no nccl.h");
#endif
    *out = be;
    return 0;
}
