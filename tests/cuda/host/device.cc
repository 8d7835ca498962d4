/* The simulated machine: devices, their limits, attributes of kernels, errors. */
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <vector>

#include "control.h"
#include "cuda_host.h"
#include "graph.h"
#include "memory.h"
#include "scheduler.h"

namespace cuda_host {

enum { RUNTIME_VERSION = 13000, SHARED_DEFAULT = 48 << 10, MAX_THREADS = 1024 };

/* What a block may have of shared memory, in KiB, when it is asked for: the CUDA C++ Programming Guide's table of
 * compute capabilities. */
static const struct {
    int major, minor, kib;
} optin[] = {{7, 5, 64}, {8, 0, 163}, {8, 6, 99}, {8, 7, 163}, {8, 9, 99}, {9, 0, 227}, {10, 0, 227}, {12, 0, 99}};

static int capability[2] = {9, 0}, driver_version = RUNTIME_VERSION;
static std::vector<int> *visible; /* physical numbers of the devices that the process sees; NULL: not known yet */
static std::atomic<int> chosen;   /* by the latest cudaSetDevice() */
static thread_local int current;
static cudaError_t last_error = cudaSuccess;
static std::map<const void *, int> *dynamic_limits = new std::map<const void *, int>;

static void see_devices(const char *list) {
    auto seen = new std::vector<int>;
    for (char *end; *list; list = *end == ',' ? end + 1 : end) {
        seen->push_back((int)strtol(list, &end, 10));
        if (end == list || (*end && *end != ',')) fault({}, "devices: %s; expected numbers with commas between", list);
    }
    delete visible;
    visible = seen;
}

static const std::vector<int> &devices() {
    const char *list = getenv("CUDA_HOST_DEVICES");
    if (!visible) see_devices(list ? list : "0");
    return *visible;
}

int physical_device() { return devices().at((size_t)chosen); }

void check_device() {
    if (current != chosen) fault({}, "a thread on device %d, where the process has chosen %d", current, (int)chosen);
}

cudaError_t device_error(cudaError_t e) {
    if (e != cudaSuccess) last_error = e;
    return e;
}

static size_t shared_optin() {
    for (const auto &o : optin)
        if (o.major == capability[0] && o.minor == capability[1]) return (size_t)o.kib << 10;
    fault({}, "the shared memory of compute capability %d.%d is not known here", capability[0], capability[1]);
}

cudaError_t function_set_attribute(const void *function, cudaFuncAttribute attribute, int value) {
    if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize) return cudaSuccess;
    if (value < 0 || (size_t)value > shared_optin()) return device_error(cudaErrorInvalidValue);
    (*dynamic_limits)[function] = value;
    return cudaSuccess;
}

static bool asked_for_more(const void *function) { return dynamic_limits->count(function) != 0; }

static size_t dynamic_limit(const void *function) {
    return asked_for_more(function) ? (size_t)dynamic_limits->at(function) : (size_t)SHARED_DEFAULT;
}

void shared_check(const grid_t *g, size_t in_arrays) {
    if (in_arrays > SHARED_DEFAULT)
        fault({}, "%s: %zu bytes of static shared memory; a block has %d", g->kernel, in_arrays, SHARED_DEFAULT);
    size_t limit = asked_for_more(g->function) ? shared_optin() : (size_t)SHARED_DEFAULT;
    if (in_arrays + g->dynamic > limit)
        fault({}, "%s: %zu bytes of static and %zu of dynamic shared memory; a block has %zu %s", g->kernel, in_arrays,
              g->dynamic, limit, asked_for_more(g->function) ? "on this device" : "without cudaFuncSetAttribute()");
}

cudaError_t function_attributes(cudaFuncAttributes *a, const void *function) {
    *a = {};
    a->maxThreadsPerBlock = MAX_THREADS;
    a->maxDynamicSharedSizeBytes = (int)dynamic_limit(function);
    return cudaSuccess;
}

void grid_check(const grid_t *g, site_t at) {
    dim3 b = g->block, n = g->grid;
    uint64_t threads = (uint64_t)b.x * b.y * b.z;
    if (threads == 0 || threads > MAX_THREADS || b.z > 64)
        fault(at, "launch of %s: block of (%u,%u,%u) threads; a block has 1 to %d", g->kernel, b.x, b.y, b.z,
              MAX_THREADS);
    if (n.x == 0 || n.y == 0 || n.z == 0 || n.x > 0x7fffffffu || n.y > 65535 || n.z > 65535)
        fault(at, "launch of %s: grid of (%u,%u,%u) blocks; x is 1 to 2^31-1, y and z are 1 to 65535", g->kernel, n.x,
              n.y, n.z);
    size_t limit = dynamic_limit(g->function);
    if (g->dynamic > limit)
        fault(at, "launch of %s: %zu bytes of dynamic shared memory; cudaFuncSetAttribute() allowed %zu", g->kernel,
              g->dynamic, limit);
    shared_check(g, 0);
}

void launch_check(stream_t *s, const char *kernel, site_t at) {
    cudaError_t left = cudaGetLastError();
    if (left != cudaSuccess && capture_status(s) == cudaSuccess)
        fault(at, "launch of %s: nobody has taken the error of an earlier call: %s", kernel, cudaGetErrorName(left));
}

void check_argument(const void *p, const char *kernel, int index, site_t at) {
    size_t left;
    if (p && memory_kind(p, &left) == MEMORY_PAGEABLE)
        fault(at, "launch of %s: argument %d is %p, which is host memory", kernel, index, p);
}

} // namespace cuda_host

using namespace cuda_host;

cudaError_t cudaGetDeviceCount(int *count) {
    *count = 0;
    if (driver_version < RUNTIME_VERSION) return device_error(cudaErrorInsufficientDriver);
    if (devices().empty()) return device_error(cudaErrorNoDevice);
    *count = (int)devices().size();
    return cudaSuccess;
}

static cudaError_t known_device(int device) {
    int n;
    cudaError_t e = cudaGetDeviceCount(&n);
    if (e != cudaSuccess) return e;
    return device >= 0 && device < n ? cudaSuccess : device_error(cudaErrorInvalidDevice);
}

cudaError_t cudaSetDevice(int device) {
    cudaError_t e = known_device(device);
    if (e == cudaSuccess) current = chosen = device;
    return e;
}

cudaError_t cudaGetDevice(int *device) {
    *device = current;
    return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp *p, int device) {
    cudaError_t e = known_device(device);
    if (e != cudaSuccess) return e;
    size_t free_bytes;
    *p = {};
    snprintf(p->name, sizeof p->name, "emulated GPU");
    snprintf(p->uuid.bytes, sizeof p->uuid.bytes, "emulated %d", devices()[(size_t)device]);
    cudaMemGetInfo(&free_bytes, &p->totalGlobalMem);
    p->sharedMemPerBlock = SHARED_DEFAULT;
    p->sharedMemPerBlockOptin = shared_optin();
    p->sharedMemPerMultiprocessor = shared_optin() + 1024;
    p->major = capability[0];
    p->minor = capability[1];
    p->multiProcessorCount = 4; /* few: grids sized by it stay small, and their loops run more than once */
    p->warpSize = 32;
    p->maxThreadsPerBlock = MAX_THREADS;
    p->maxThreadsPerMultiProcessor = 2048;
    p->regsPerBlock = p->regsPerMultiprocessor = 65536;
    p->l2CacheSize = 50 << 20;
    p->asyncEngineCount = 3;
    p->memoryBusWidth = 5120;
    return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr attribute, int device) {
    cudaDeviceProp p;
    cudaError_t e = cudaGetDeviceProperties(&p, device);
    if (e != cudaSuccess) return e;
    switch (attribute) {
    case cudaDevAttrMaxThreadsPerBlock: *value = p.maxThreadsPerBlock; break;
    case cudaDevAttrMultiProcessorCount: *value = p.multiProcessorCount; break;
    case cudaDevAttrL2CacheSize: *value = p.l2CacheSize; break;
    case cudaDevAttrMaxThreadsPerMultiProcessor: *value = p.maxThreadsPerMultiProcessor; break;
    case cudaDevAttrComputeCapabilityMajor: *value = p.major; break;
    case cudaDevAttrComputeCapabilityMinor: *value = p.minor; break;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor: *value = (int)p.sharedMemPerMultiprocessor; break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin: *value = (int)p.sharedMemPerBlockOptin; break;
    default: return device_error(cudaErrorInvalidValue);
    }
    return cudaSuccess;
}

cudaError_t cudaDriverGetVersion(int *version) {
    *version = driver_version;
    return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int *version) {
    *version = RUNTIME_VERSION;
    return cudaSuccess;
}

cudaError_t cudaPeekAtLastError() { return last_error; }

cudaError_t cudaGetLastError() {
    cudaError_t e = last_error;
    last_error = cudaSuccess;
    return e;
}

static const struct {
    cudaError_t error;
    const char *name, *text;
} errors[] = {
    {cudaSuccess, "cudaSuccess", "no error"},
    {cudaErrorInvalidValue, "cudaErrorInvalidValue", "invalid argument"},
    {cudaErrorMemoryAllocation, "cudaErrorMemoryAllocation", "out of memory"},
    {cudaErrorInsufficientDriver, "cudaErrorInsufficientDriver",
     "CUDA driver version is insufficient for CUDA runtime version"},
    {cudaErrorNoDevice, "cudaErrorNoDevice", "no CUDA-capable device is detected"},
    {cudaErrorInvalidDevice, "cudaErrorInvalidDevice", "invalid device ordinal"},
    {cudaErrorInvalidResourceHandle, "cudaErrorInvalidResourceHandle", "invalid resource handle"},
    {cudaErrorIllegalState, "cudaErrorIllegalState", "the operation cannot be performed in the present state"},
    {cudaErrorNotReady, "cudaErrorNotReady", "device not ready"},
    {cudaErrorStreamCaptureUnsupported, "cudaErrorStreamCaptureUnsupported",
     "operation not permitted when stream is capturing"},
    {cudaErrorStreamCaptureInvalidated, "cudaErrorStreamCaptureInvalidated",
     "operation failed due to a previous error during capture"},
    {cudaErrorStreamCaptureUnmatched, "cudaErrorStreamCaptureUnmatched",
     "capture was not ended in the same stream as it began"},
    {cudaErrorStreamCaptureUnjoined, "cudaErrorStreamCaptureUnjoined", "capturing stream has unjoined work"},
    {cudaErrorStreamCaptureIsolation, "cudaErrorStreamCaptureIsolation",
     "dependency created on uncaptured work in another stream"},
    {cudaErrorCapturedEvent, "cudaErrorCapturedEvent",
     "operation not permitted on an event last recorded in a capturing stream"},
    {cudaErrorGraphExecUpdateFailure, "cudaErrorGraphExecUpdateFailure",
     "the graph update was not performed because it included changes which violated constraints specific to "
     "instantiated graph update"},
    {cudaErrorUnknown, "cudaErrorUnknown", "unknown error"},
};

const char *cudaGetErrorString(cudaError_t e) {
    for (const auto &x : errors)
        if (x.error == e) return x.text;
    return "unrecognized error code";
}

const char *cudaGetErrorName(cudaError_t e) {
    for (const auto &x : errors)
        if (x.error == e) return x.name;
    return "unrecognized error code";
}

bool cuda_host_emulated(void) { return true; }

void cuda_host_see_devices(const char *list) { see_devices(list); }

void cuda_host_set_device(int count, int major, int minor, int driver) {
    delete visible;
    visible = new std::vector<int>;
    for (int i = 0; i < count; i++) visible->push_back(i);
    capability[0] = major;
    capability[1] = minor;
    driver_version = driver;
}
