#include "memory.h"

#include <csignal>
#include <cstdlib>
#include <cstring>
#include <map>
#include <sys/mman.h>
#include <unistd.h>

#include "control.h"
#include "cuda_host.h"
#include "graph.h"
#include "sanitizer.h"
#include "scheduler.h"

namespace cuda_host {

#if CUDA_HOST_ASAN || defined(CUDA_HOST_TSAN)
enum { ON_HEAP = 1 };
#else
enum { ON_HEAP = 0 };
#endif
enum { PAGE = 4096, ALIGNMENT = 256, GRANULE = 512 };

struct block_t {
    memory_kind_t kind;
    size_t bytes, charged;
    char *mapped; /* pages, with a guard page behind them; NULL: on the heap */
    size_t mapped_bytes;
};

static std::map<const char *, block_t> *blocks = new std::map<const char *, block_t>;
static size_t device_bytes, used_bytes;
static unsigned fail_after;
static int depth;        /* of device work */
static int guarded = -1; /* not known yet */

static size_t memory_size() {
    if (device_bytes == 0) {
        const char *s = getenv("CUDA_HOST_MEMORY");
        device_bytes = s ? strtoull(s, nullptr, 0) : (size_t)1 << 30;
    }
    return device_bytes;
}

memory_kind_t memory_kind(const void *p, size_t *left) {
    auto next = blocks->upper_bound((const char *)p);
    *left = 0;
    if (next == blocks->begin()) return MEMORY_PAGEABLE;
    auto &[start, b] = *--next;
    size_t at = (size_t)((const char *)p - start);
    if (at > b.bytes) return MEMORY_PAGEABLE;
    *left = b.bytes - at;
    return b.kind;
}

/* ---- who may touch device memory ---------------------------------------------------------------------- */
static void protect(int protection) {
    for (auto &[start, b] : *blocks)
        if (b.mapped && mprotect(b.mapped, b.mapped_bytes, protection)) abort();
}

bool device_guarded() {
    if (guarded < 0) guarded = getenv("CUDA_HOST_GUARD") != nullptr;
    return guarded && !ON_HEAP;
}

void device_enter() {
    if (depth++ == 0 && device_guarded()) protect(PROT_READ | PROT_WRITE);
}

void device_leave() {
    if (--depth == 0 && device_guarded()) protect(PROT_NONE);
}

static void explain_segv(int, siginfo_t *info, void *) {
    const char *p = (const char *)info->si_addr;
    for (auto &[start, b] : *blocks) {
        if (!b.mapped || p < b.mapped || p >= b.mapped + b.mapped_bytes + PAGE) continue;
        if (!depth) fault({}, "host code touched device memory, at byte %td of %zu", p - start, b.bytes);
        /* The latest synchronisation of the thread is the best place that is known. */
        fault(self ? thread_running()->at : site_t{}, "access to byte %td of a device allocation of %zu", p - start,
              b.bytes);
    }
    signal(SIGSEGV, SIG_DFL); /* not ours: the access faults again */
}

static void watch_segv() {
    static char stack[64 << 10];
    static bool watched;
    if (watched || ON_HEAP) return;
    watched = true;
    stack_t on = {};
    on.ss_sp = stack;
    on.ss_size = sizeof stack;
    sigaltstack(&on, nullptr);
    struct sigaction a = {};
    a.sa_sigaction = explain_segv;
    a.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
    sigaction(SIGSEGV, &a, nullptr);
}

/* ---- allocation ------------------------------------------------------------------------------------------- */
static char *map_block(block_t *b) {
    size_t data = (b->bytes + ALIGNMENT - 1) & ~(size_t)(ALIGNMENT - 1);
    b->mapped_bytes = (data + PAGE - 1) & ~(size_t)(PAGE - 1);
    void *m = mmap(nullptr, b->mapped_bytes + PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (m == MAP_FAILED || mprotect(m, b->mapped_bytes, PROT_READ | PROT_WRITE)) return nullptr;
    b->mapped = (char *)m;
    return b->mapped + b->mapped_bytes - data;
}

static char *heap_block(size_t bytes) {
    void *p = nullptr;
    return posix_memalign(&p, ALIGNMENT, bytes ? bytes : 1) ? nullptr : (char *)p;
}

static cudaError_t add_block(void **p, size_t bytes, memory_kind_t kind, size_t charged) {
    unseen_t unseen;
    block_t b = {kind, bytes, charged, nullptr, 0};
    bool map = kind == MEMORY_DEVICE && !ON_HEAP;
    char *start = map ? map_block(&b) : heap_block(bytes);
    if (!start) return cudaErrorMemoryAllocation;
    memset(start, 0xff, bytes); /* NaN, as fp32 and as bf16 */
    if (map && depth == 0 && device_guarded() && mprotect(b.mapped, b.mapped_bytes, PROT_NONE)) abort();
    (*blocks)[start] = b;
    used_bytes += charged;
    *p = start;
    return cudaSuccess;
}

static cudaError_t remove_block(void *p, memory_kind_t kind) {
    if (!p) return cudaSuccess;
    check_device();
    cudaError_t e = cudaDeviceSynchronize(); /* as the driver does */
    if (e != cudaSuccess) return e;
    auto it = blocks->find((const char *)p);
    if (it == blocks->end() || it->second.kind != kind)
        fault({}, "cudaFree: %p is not the start of such an allocation", p);
    unseen_t unseen;
    block_t b = it->second;
    blocks->erase(it);
    used_bytes -= b.charged;
    if (b.mapped) munmap(b.mapped, b.mapped_bytes + PAGE);
    else free(p);
    return cudaSuccess;
}

} // namespace cuda_host

using namespace cuda_host;

cudaError_t cudaMalloc(void **p, size_t bytes) {
    size_t charged = (bytes + GRANULE - 1) / GRANULE * GRANULE;
    check_device();
    watch_segv();
    *p = nullptr;
    cudaError_t e = capture_forbids();
    if (e != cudaSuccess) return e;
    bool fails = fail_after && --fail_after == 0;
    if (fails || charged < bytes || charged > memory_size() - used_bytes)
        return device_error(cudaErrorMemoryAllocation);
    return device_error(add_block(p, bytes, MEMORY_DEVICE, charged));
}

cudaError_t cudaFree(void *p) { return remove_block(p, MEMORY_DEVICE); }

cudaError_t cudaMallocHost(void **p, size_t bytes, unsigned) {
    check_device();
    *p = nullptr;
    cudaError_t e = capture_forbids();
    return e != cudaSuccess ? e : device_error(add_block(p, bytes, MEMORY_PINNED, 0));
}

cudaError_t cudaHostAlloc(void **p, size_t bytes, unsigned flags) { return cudaMallocHost(p, bytes, flags); }
cudaError_t cudaFreeHost(void *p) { return remove_block(p, MEMORY_PINNED); }

cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total_bytes) {
    check_device();
    *total_bytes = memory_size();
    *free_bytes = *total_bytes - used_bytes;
    return cudaSuccess;
}

void cuda_host_guard(bool on) {
    protect(PROT_READ | PROT_WRITE);
    guarded = on;
    if (device_guarded() && depth == 0) protect(PROT_NONE);
}

void cuda_host_forget(void *p, size_t bytes) {
    cudaDeviceSynchronize();
    device_enter();
    memset(p, 0xff, bytes);
    device_leave();
}

void cuda_host_set_memory(size_t bytes) { device_bytes = bytes; }
size_t cuda_host_used_memory(void) { return used_bytes; }
void cuda_host_fail_allocation(unsigned n) { fail_after = n; }
