/* The emulator's controls, for tests and for the environment. Usable from C. */
#ifndef CUDA_HOST_CONTROL_H
#define CUDA_HOST_CONTROL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* False in a test program that is linked with the real CUDA backend: there all of the following does nothing. */
bool cuda_host_emulated(void);

/* All that is drawn at random follows from this: the order of blocks and threads, when copies land, how far streams
 * run ahead. Without a call: the environment variable CUDA_HOST_SEED, or 1. Faults name the seed. */
void cuda_host_seed(uint64_t seed);

/* The simulated device's memory, for allocations from now on. Without a call: CUDA_HOST_MEMORY (bytes), or 1 GiB. */
void cuda_host_set_memory(size_t bytes);
size_t cuda_host_used_memory(void);

/* The n-th allocation of device memory from now on fails (1: the next one); 0: none. */
void cuda_host_fail_allocation(unsigned n);

/* The simulated machine: how many devices, which compute capability, which CUDA the driver is for (13000 for 13.0).
 * A block's shared memory is what a card of that capability has. Without a call: one device of capability 9.0, driver
 * 13.0. */
void cuda_host_set_device(int count, int major, int minor, int driver);

/* Which devices of the machine the process sees, "0,2" say: to CUDA these are 0 and 1. Without a call:
 * CUDA_HOST_DEVICES, or all that were set. */
void cuda_host_see_devices(const char *list);

/* The library that is loaded as cuBLASLt; NULL: this program, which has it (cublas.cc). Without a call:
 * CUDA_HOST_CUBLAS, or this program. */
void cuda_host_set_cublas(const char *name);
const char *cuda_host_cublas(void);

/* Whether cuBLASLt has algorithms that add the parts of a sum in fp32 alone. Without a call it has. */
void cuda_host_exact_sums(bool has);

/* The same for NCCL (nccl.cc): CUDA_HOST_NCCL. */
void cuda_host_set_nccl(const char *name);
const char *cuda_host_nccl(void);

/* From now on NCCL, when asked, tells of a connection that was lost. */
void cuda_host_break_nccl(void);

/* Host code that follows a device pointer ends with a message. Without a call: when CUDA_HOST_GUARD is in the
 * environment. Not under the sanitizers, whose allocator has no such pages. */
void cuda_host_guard(bool on);

/* Makes device memory what it is after an allocation: NaN. */
void cuda_host_forget(void *p, size_t bytes);

/* From now on the device does one piece of work at a time, whatever stream it is of, as a kernel that fills the machine
 * makes it: streams take their turns in an order that is drawn with the schedule. overtaken: how often a piece could
 * have run that was given before the one that did. */
void cuda_host_serialize(bool on);
uint64_t cuda_host_overtaken(void);

/* The next call of this name fails: a function of graphs or captures, or "a node", which a capture is given. */
void cuda_host_fail_call(const char *name);

/* Executable graphs so far, and those there are. */
typedef struct {
    uint64_t instantiated, updated, launched, alive;
} cuda_host_graphs_t;
cuda_host_graphs_t cuda_host_graphs(void);

/* What the host has handed to streams so far: launches, copies and the like, and whole graphs. */
uint64_t cuda_host_submissions(void);

/* Kernels run so far, for tests that must know that something ran. */
uint64_t cuda_host_launches(void);

#ifdef __cplusplus
}
#endif

#endif
