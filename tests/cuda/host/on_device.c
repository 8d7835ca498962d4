/* In place of the emulator, for test programs that run on a real GPU. */
#include "control.h"

bool cuda_host_emulated(void) { return false; }

void cuda_host_seed(uint64_t seed) { (void)seed; }

void cuda_host_set_device(int count, int major, int minor, int driver) {
    (void)count, (void)major, (void)minor, (void)driver;
}

size_t cuda_host_used_memory(void) { return 0; }

void cuda_host_see_devices(const char *list) { (void)list; }

void cuda_host_set_nccl(const char *name) { (void)name; }

void cuda_host_break_nccl(void) {}

void cuda_host_forget(void *p, size_t bytes) { (void)p, (void)bytes; }
