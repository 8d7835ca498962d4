/* Libraries of CUDA that are loaded when the backend is opened, not linked. */
#ifndef CUDA_LIBRARY_H
#define CUDA_LIBRARY_H

#include <stddef.h>

/* The first of the names that can be loaded, with all that it needs; NULL: none, and `why` says why not the first. It
 * stays loaded until the process ends, as the driver may know code of it. */
void *library_open(const char *const *names, size_t n, char *why, size_t size);

#endif
