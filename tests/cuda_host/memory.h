/* The simulated memories. Device memory can be touched only while device work runs: outside, host code that follows a
 * device pointer ends with a message (but under the sanitizers, where allocations are heap blocks of the exact size
 * instead, which find what these, rounded up to 256 bytes before a guard page, let pass). */
#ifndef CUDA_HOST_MEMORY_H
#define CUDA_HOST_MEMORY_H

#include <cstddef>

namespace cuda_host {

enum memory_kind_t { MEMORY_PAGEABLE, MEMORY_DEVICE, MEMORY_PINNED };

/* What p points into; its end belongs to an allocation too. *left: bytes up to the end (0 for pageable memory). */
memory_kind_t memory_kind(const void *p, size_t *left);

/* Device work begins and ends; may nest. */
void device_enter();
void device_leave();

} // namespace cuda_host

#endif
