/* What every kernel file needs: names with the suffix of the instruction set it is being compiled for (ISA, from
 * CMake), and functions of `type` that become two loops, one per type. */
#ifndef CPU_KERNELS_ISA_H
#define CPU_KERNELS_ISA_H

#include "cpu/act.h"
#include "cpu/kernels/kernels.h"

#define ISA_JOIN_(name, isa) name##_##isa
#define ISA_JOIN(name, isa) ISA_JOIN_(name, isa)
#define ISA_NAME(name) ISA_JOIN(name, ISA)

/* Inlined into a call with a constant type, where the branches on it vanish and the loop vectorizes. */
#define BODY static inline __attribute__((always_inline))
#define BY_TYPE(type, call_f32, call_bf16) ((type) == DT_BF16 ? (call_bf16) : (call_f32))

/* The parts of a table that each file fills. */
void ISA_NAME(kernels_exact)(cpu_kernels_t *k);
void ISA_NAME(kernels_rows)(cpu_kernels_t *k);
void ISA_NAME(kernels_attention)(cpu_kernels_t *k);

#endif
