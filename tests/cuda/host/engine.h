/* Between the surface that kernels see and the runtime behind it. The threads of a block are fibers on one OS thread
 * and change hands at synchronisation only; blocks run one after another, in shuffled order. */
#ifndef CUDA_HOST_ENGINE_H
#define CUDA_HOST_ENGINE_H

#include <cstddef>
#include <cstdint>

#include "kernel_types.h"

namespace cuda_host {

struct site_t {
    const char *file;
    int line;
};

/* As the default argument of a function: where that is called. */
constexpr site_t site_here(const char *file = __builtin_FILE(), int line = __builtin_LINE()) { return {file, line}; }

struct place_t {
    uint3 thread;
};
extern place_t *self; /* of the thread that runs; NULL outside a kernel */
extern uint3 block_index;
extern dim3 block_size, grid_size;

enum op_t {
    OP_BARRIER,
    OP_BARRIER_COUNT,
    OP_BARRIER_OR,
    OP_BARRIER_AND,
    OP_SYNCWARP,
    OP_SHFL,
    OP_SHFL_XOR,
    OP_SHFL_DOWN,
    OP_SHFL_UP,
    OP_BALLOT,
    OP_ANY,
    OP_ALL,
    OP_REDUCE_ADD,
    OP_REDUCE_MIN,
    OP_REDUCE_MIN_SIGNED,
    OP_REDUCE_MAX,
    OP_REDUCE_MAX_SIGNED,
    OP_REDUCE_OR,
    OP_REDUCE_AND,
    OP_MMA,
    OP_LDMATRIX,
    OP_LDMATRIX_TRANS
};

/* Says what is wrong, where, in which kernel, block and thread and under which seed; ends the process with status
 * 99: after a fault nothing is worth computing. */
[[noreturn]] void fault(site_t at, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* ---- launches ------------------------------------------------------------------------------------ */
struct grid_t {
    const char *kernel;         /* its name, for messages */
    const void *function;       /* its identity: attributes are kept by it */
    void (*body)(const void *); /* calls the kernel with its arguments */
    dim3 grid, block;
    size_t dynamic; /* bytes of dynamic shared memory */
};
void grid_check(const grid_t *g, site_t at);          /* the launch limits of a device; faults */
void shared_check(const grid_t *g, size_t in_arrays); /* that so much static shared memory beside the dynamic fits */
void grid_run(const grid_t *g, const void *args);

/* ---- shared memory: heap blocks of the exact size, all NaN at the start of each block -------------- */
struct shared_t {
    void *memory;
    size_t bytes;
    uint64_t block; /* the last block that used it */
};
void *shared_memory(shared_t *s, size_t bytes);
void *dynamic_shared();

template <class T> static inline T *aligned(T *p, const char *what, site_t at) {
    if ((uintptr_t)p % alignof(T)) fault(at, "%s is not aligned to %zu bytes", what, alignof(T));
    return p;
}
template <class T> static inline T *aligned(void *p, const char *what, site_t at) {
    return aligned(static_cast<T *>(p), what, at);
}
template <class T> static inline const T *aligned(const void *p, const char *what, site_t at) {
    return aligned(static_cast<const T *>(p), what, at);
}

/* ---- synchronisation ----------------------------------------------------------------------------- */
struct met_t {
    int count, threads; /* threads whose predicate held, and threads that met */
};
met_t block_barrier(op_t op, int predicate, site_t at);
void warp_barrier(uint32_t mask, site_t at);
uint64_t warp_shuffle(op_t op, size_t size, uint32_t mask, uint64_t value, int operand, int width, site_t at);
uint32_t warp_ballot(op_t op, uint32_t mask, int predicate, site_t at);
uint32_t warp_reduce(op_t op, uint32_t mask, uint32_t value, site_t at);
void warp_mma(float d[4], const uint32_t a[4], const uint32_t b[2], site_t at);
void warp_ldmatrix(op_t op, uint32_t r[4], const uint32_t row[4], site_t at);

/* ---- asynchronous copies of 16 bytes; source NULL: zeros -------------------------------------------- */
void copy_issue(void *shared, const void *global);
void copy_commit();
void copy_wait(unsigned pending);

template <size_t bytes> struct bits_of;
template <> struct bits_of<4> { using type = uint32_t; };
template <> struct bits_of<8> { using type = uint64_t; };
/* An argument that takes no part in deducing T, so that atomicAdd(&a_size_t, 1) works as it does in CUDA. */
template <class T> struct same_t { using type = T; };

} // namespace cuda_host

#endif
