/* The simulated memories. Under the sanitizers an allocation is a heap block of the exact size; otherwise pages, its end
 * rounded up to 256 bytes before a guard page. */
#ifndef CUDA_HOST_MEMORY_H
#define CUDA_HOST_MEMORY_H

#include <cstddef>

namespace cuda_host {

enum memory_kind_t { MEMORY_PAGEABLE, MEMORY_DEVICE, MEMORY_PINNED };

/* What p points into; its end belongs to an allocation too. *left: bytes up to the end (0 for pageable memory). */
memory_kind_t memory_kind(const void *p, size_t *left);

/* Whether host code may not touch device memory. Opening and closing it takes long; so streams then run only when they
 * are waited for. */
bool device_guarded();

/* Device work begins and ends; may nest. */
void device_enter();
void device_leave();

} // namespace cuda_host

#endif
