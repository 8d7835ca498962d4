/* The part of the CUDA runtime API that the backend uses. Streams are queues that run late: as far as their seed lets
 * them run by themselves, or as far as a call waits for. So a missing wait shows as a wrong result.
 * What would be undefined or an invalid argument on a device (a host pointer given as a device pointer, say) ends the
 * process with a message instead of returning an error. */
#ifndef CUDA_HOST_RUNTIME_API_H
#define CUDA_HOST_RUNTIME_API_H

#include <functional>
#include <tuple>
#include <type_traits>
#include <utility>

#include "engine.h"

namespace cuda_host {
struct stream_t;
struct event_t;
struct graph_t;
struct graph_exec_t;
struct node_t;
} // namespace cuda_host

typedef cuda_host::stream_t *cudaStream_t; /* NULL: the legacy default stream */
typedef cuda_host::event_t *cudaEvent_t;
typedef cuda_host::graph_t *cudaGraph_t;
typedef cuda_host::graph_exec_t *cudaGraphExec_t;
typedef cuda_host::node_t *cudaGraphNode_t;
typedef void (*cudaHostFn_t)(void *);

enum cudaError_t {
    cudaSuccess = 0,
    cudaErrorInvalidValue = 1,
    cudaErrorMemoryAllocation = 2,
    cudaErrorInsufficientDriver = 35,
    cudaErrorNoDevice = 100,
    cudaErrorInvalidDevice = 101,
    cudaErrorInvalidResourceHandle = 400,
    cudaErrorIllegalState = 401,
    cudaErrorNotReady = 600,
    cudaErrorStreamCaptureUnsupported = 900,
    cudaErrorStreamCaptureInvalidated = 901,
    cudaErrorStreamCaptureUnmatched = 903,
    cudaErrorStreamCaptureUnjoined = 904,
    cudaErrorStreamCaptureIsolation = 905,
    cudaErrorCapturedEvent = 907,
    cudaErrorGraphExecUpdateFailure = 910,
    cudaErrorUnknown = 999
};
typedef cudaError_t cudaError;
enum cudaMemcpyKind {
    cudaMemcpyHostToHost,
    cudaMemcpyHostToDevice,
    cudaMemcpyDeviceToHost,
    cudaMemcpyDeviceToDevice,
    cudaMemcpyDefault
};
enum {
    cudaStreamDefault = 0,
    cudaStreamNonBlocking = 1,
    cudaEventDefault = 0,
    cudaEventBlockingSync = 1,
    cudaEventDisableTiming = 2,
    cudaHostAllocDefault = 0,
    cudaHostAllocPortable = 1,
    cudaHostAllocMapped = 2,
    cudaHostAllocWriteCombined = 4
};
enum cudaStreamCaptureMode {
    cudaStreamCaptureModeGlobal,
    cudaStreamCaptureModeThreadLocal,
    cudaStreamCaptureModeRelaxed
};
enum { cudaGraphInstantiateFlagUseNodePriority = 8 };
enum cudaGraphNodeType {
    cudaGraphNodeTypeKernel,
    cudaGraphNodeTypeMemcpy,
    cudaGraphNodeTypeMemset,
    cudaGraphNodeTypeHost
};
enum cudaLaunchAttributeID { cudaLaunchAttributeClusterDimension = 4 };
struct cudaLaunchAttributeValue {
    struct {
        unsigned x, y, z;
    } clusterDim;
};
enum cudaGraphExecUpdateResult { cudaGraphExecUpdateSuccess = 0, cudaGraphExecUpdateErrorTopologyChanged = 2 };
struct cudaGraphExecUpdateResultInfo {
    cudaGraphExecUpdateResult result;
};
enum cudaFuncAttribute {
    cudaFuncAttributeMaxDynamicSharedMemorySize = 8,
    cudaFuncAttributePreferredSharedMemoryCarveout = 9
};
enum cudaDeviceAttr {
    cudaDevAttrMaxThreadsPerBlock = 1,
    cudaDevAttrMultiProcessorCount = 16,
    cudaDevAttrL2CacheSize = 38,
    cudaDevAttrMaxThreadsPerMultiProcessor = 39,
    cudaDevAttrComputeCapabilityMajor = 75,
    cudaDevAttrComputeCapabilityMinor = 76,
    cudaDevAttrMaxSharedMemoryPerMultiprocessor = 81,
    cudaDevAttrMaxSharedMemoryPerBlockOptin = 97
};

struct cudaUUID_t {
    char bytes[16];
};
struct cudaDeviceProp {
    char name[256];
    cudaUUID_t uuid;
    size_t totalGlobalMem, sharedMemPerBlock, sharedMemPerBlockOptin, sharedMemPerMultiprocessor;
    int major, minor, multiProcessorCount, warpSize, maxThreadsPerBlock, maxThreadsPerMultiProcessor;
    int regsPerBlock, regsPerMultiprocessor, l2CacheSize, asyncEngineCount, ECCEnabled, memoryBusWidth;
};
struct cudaFuncAttributes {
    size_t sharedSizeBytes, constSizeBytes, localSizeBytes;
    int maxThreadsPerBlock, numRegs, ptxVersion, binaryVersion, maxDynamicSharedSizeBytes;
};

/* ---- devices and errors (device.cc) ---------------------------------------------------------------- */
cudaError_t cudaGetDeviceCount(int *count);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaGetDevice(int *device);
cudaError_t cudaGetDeviceProperties(cudaDeviceProp *p, int device);
cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr attribute, int device);
cudaError_t cudaDriverGetVersion(int *version);
cudaError_t cudaRuntimeGetVersion(int *version);
cudaError_t cudaGetLastError();
cudaError_t cudaPeekAtLastError();
const char *cudaGetErrorString(cudaError_t e);
const char *cudaGetErrorName(cudaError_t e);

/* ---- memory (memory.cc) ------------------------------------------------------------------------------ */
cudaError_t cudaMalloc(void **p, size_t bytes);
cudaError_t cudaFree(void *p);
cudaError_t cudaMallocHost(void **p, size_t bytes, unsigned flags = 0);
cudaError_t cudaHostAlloc(void **p, size_t bytes, unsigned flags);
cudaError_t cudaFreeHost(void *p);
cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total_bytes);
template <class T> static inline cudaError_t cudaMalloc(T **p, size_t bytes) {
    return cudaMalloc(reinterpret_cast<void **>(p), bytes);
}
template <class T> static inline cudaError_t cudaMallocHost(T **p, size_t bytes, unsigned flags = 0) {
    return cudaMallocHost(reinterpret_cast<void **>(p), bytes, flags);
}
template <class T> static inline cudaError_t cudaHostAlloc(T **p, size_t bytes, unsigned flags) {
    return cudaHostAlloc(reinterpret_cast<void **>(p), bytes, flags);
}

/* ---- streams, events and copies (stream.cc) ------------------------------------------------------------ */
cudaError_t cudaStreamCreate(cudaStream_t *s);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *s, unsigned flags);
cudaError_t cudaStreamCreateWithPriority(cudaStream_t *s, unsigned flags, int priority);
cudaError_t cudaDeviceGetStreamPriorityRange(int *least, int *greatest);
cudaError_t cudaStreamDestroy(cudaStream_t s);
cudaError_t cudaStreamSynchronize(cudaStream_t s);
cudaError_t cudaStreamQuery(cudaStream_t s);
cudaError_t cudaStreamWaitEvent(cudaStream_t s, cudaEvent_t e, unsigned flags = 0);
cudaError_t cudaDeviceSynchronize();
cudaError_t cudaEventCreate(cudaEvent_t *e);
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *e, unsigned flags);
cudaError_t cudaEventDestroy(cudaEvent_t e);
cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t s = nullptr);
cudaError_t cudaEventSynchronize(cudaEvent_t e);
cudaError_t cudaEventQuery(cudaEvent_t e);
cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t from, cudaEvent_t to);
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind, cudaStream_t s = nullptr);
cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, cudaMemcpyKind kind);
cudaError_t cudaMemcpy2DAsync(void *to, size_t to_pitch, const void *from, size_t from_pitch, size_t width,
                              size_t height, cudaMemcpyKind kind, cudaStream_t s = nullptr);
cudaError_t cudaMemsetAsync(void *p, int byte, size_t bytes, cudaStream_t s = nullptr);
cudaError_t cudaMemset(void *p, int byte, size_t bytes);
cudaError_t cudaLaunchHostFunc(cudaStream_t s, cudaHostFn_t f, void *argument);

/* ---- graphs (graph.cc) ----------------------------------------------------------------------------------- */
cudaError_t cudaStreamBeginCapture(cudaStream_t s, cudaStreamCaptureMode mode);
cudaError_t cudaStreamEndCapture(cudaStream_t s, cudaGraph_t *graph);
cudaError_t cudaGraphDestroy(cudaGraph_t graph);
cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t *nodes, size_t *n);
cudaError_t cudaGraphNodeGetType(cudaGraphNode_t node, cudaGraphNodeType *type);
cudaError_t cudaGraphKernelNodeGetAttribute(cudaGraphNode_t node, cudaLaunchAttributeID id,
                                            cudaLaunchAttributeValue *value);
cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph, unsigned long long flags = 0);
cudaError_t cudaGraphExecUpdate(cudaGraphExec_t exec, cudaGraph_t graph, cudaGraphExecUpdateResultInfo *info);
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t s);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec);

/* ---- launches (device.cc, stream.cc) ---------------------------------------------------------------------------------- */
namespace cuda_host {
cudaError_t function_set_attribute(const void *function, cudaFuncAttribute attribute, int value);
cudaError_t function_attributes(cudaFuncAttributes *a, const void *function);
cudaError_t device_error(cudaError_t e); /* keeps it for cudaGetLastError(), and returns it */
int physical_device();                   /* the number on this machine of the device that is used */

/* A process of this program uses one device: a thread that has not chosen it gets what it asks for on another. */
void check_device();

/* Queues host code that stands for a device library's kernel (the GEMM): it may touch device memory. cluster: blocks of a
 * cluster of that kernel, 0 where it has none. */
enum work_kind_t { WORK_KERNEL, WORK_COPY, WORK_SET, WORK_HOST };
void enqueue(stream_t *s, std::function<void()> work, work_kind_t kind = WORK_KERNEL, unsigned cluster = 0);

/* The launch's own error, which is asked for behind it, is not the one that an earlier call has left. */
void launch_check(stream_t *s, const char *kernel, site_t at);

/* A pointer that a kernel is given must be one that a device can follow. */
void check_argument(const void *p, const char *kernel, int index, site_t at);
template <class T> static inline void check_one(const T &, const char *, int, site_t) {}
template <class T> static inline void check_one(T *p, const char *kernel, int index, site_t at) {
    check_argument((const void *)p, kernel, index, at);
}

template <class... P> struct launched_t {
    void (*kernel)(P...);
    std::tuple<std::decay_t<P>...> arguments;
    static void body(const void *l) {
        auto self = static_cast<const launched_t *>(l);
        std::apply(self->kernel, self->arguments);
    }
};

template <class... P, class... A> static inline void launch(const char *name, void (*kernel)(P...), dim3 grid,
                                                            dim3 block, size_t dynamic, stream_t *s, site_t at,
                                                            A &&...arguments) {
    static_assert((std::is_trivially_copyable_v<std::decay_t<P>> && ...), "kernel arguments are copied as bytes");
    static_assert((sizeof(std::decay_t<P>) + ... + 0) <= 4096, "at most 4 KiB of kernel arguments");
    launched_t<P...> l = {kernel, {std::forward<A>(arguments)...}};
    grid_t g = {name, (const void *)kernel, launched_t<P...>::body, grid, block, dynamic};
    grid_check(&g, at);
    launch_check(s, name, at);
    int index = 0;
    std::apply([&](const auto &...a) { (check_one(a, name, ++index, at), ...); }, l.arguments);
    enqueue(s, [g, l] { grid_run(&g, &l); });
}
} // namespace cuda_host

#define LAUNCH(kernel, grid, block, smem, stream, ...) \
    ::cuda_host::launch(#kernel, kernel, grid, block, smem, stream, ::cuda_host::site_t{__FILE__, __LINE__}, \
                        __VA_ARGS__)

template <class... P>
static inline cudaError_t cudaFuncSetAttribute(void (*kernel)(P...), cudaFuncAttribute attribute, int value) {
    return cuda_host::function_set_attribute((const void *)kernel, attribute, value);
}
template <class... P> static inline cudaError_t cudaFuncGetAttributes(cudaFuncAttributes *a, void (*kernel)(P...)) {
    return cuda_host::function_attributes(a, (const void *)kernel);
}
template <class... P> static inline cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks,
                                                                                              void (*)(P...),
                                                                                              int threads, size_t) {
    *blocks = 2048 / threads;
    return cudaSuccess;
}

#endif
