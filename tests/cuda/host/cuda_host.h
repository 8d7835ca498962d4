/* CUDA on the host, for tests: kernel files compile with a C++17 compiler against this header and run, thread by
 * thread, on the CPU. What it checks, and what it cannot, is in README.md of this folder.
 * Compile kernels with -fno-strict-aliasing (a uint4 may be read as eight bf16, as nvcc allows) and
 * -Wno-unknown-pragmas (#pragma unroll). */
#ifndef CUDA_HOST_H
#define CUDA_HOST_H

#include <cstdio>
#include <cstdlib>

#include "kernel_sync.h"
#include "kernel_types.h"
#include "runtime_api.h"

#endif
