/* What the sanitizers must be told about fibers and about memory that changes its meaning. Empty without them.
 * CUDA_HOST_TSAN is defined for the build whose kernels, but not this runtime, are compiled with
 * -fsanitize=thread: a fiber is a thread of ThreadSanitizer, and a race is two accesses that no barrier orders. */
#ifndef CUDA_HOST_SANITIZER_H
#define CUDA_HOST_SANITIZER_H

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/common_interface_defs.h>
#define CUDA_HOST_ASAN 1
#else
#define CUDA_HOST_ASAN 0
#endif

#ifdef CUDA_HOST_TSAN
#include <sanitizer/tsan_interface.h>
extern "C" {
void AnnotateIgnoreReadsBegin(const char *file, int line);
void AnnotateIgnoreReadsEnd(const char *file, int line);
void AnnotateIgnoreWritesBegin(const char *file, int line);
void AnnotateIgnoreWritesEnd(const char *file, int line);
void __tsan_read16(void *p);
void __tsan_write16(void *p);
}
#endif

namespace cuda_host {

/* In its scope allocations and writes are the emulator's, not a thread's. */
struct unseen_t {
#ifdef CUDA_HOST_TSAN
    unseen_t() {
        AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
        AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
    }
    ~unseen_t() {
        AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
        AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
    }
#else
    unseen_t() {}
    ~unseen_t() {}
#endif
    unseen_t(const unseen_t &) = delete;
    unseen_t &operator=(const unseen_t &) = delete;
};

#ifdef CUDA_HOST_TSAN
static inline void order_release(void *tag) { __tsan_release(tag); }
static inline void order_acquire(void *tag) { __tsan_acquire(tag); }
/* A copy of 16 bytes that is the running thread's. */
static inline void seen_read16(const void *p) { __tsan_read16(const_cast<void *>(p)); }
static inline void seen_write16(void *p) { __tsan_write16(p); }
#else
static inline void seen_read16(const void *) {}
static inline void seen_write16(void *) {}
static inline void order_release(void *) {}
static inline void order_acquire(void *) {}
#endif

} // namespace cuda_host

#endif
