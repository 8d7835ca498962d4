/* What this processor can run, as far as kernels are chosen by it: ours, and those of OpenBLAS. */
#ifndef CPU_FEATURES_H
#define CPU_FEATURES_H

#include <stdbool.h>

typedef struct {
    bool avx2;   /* with FMA and F16C */
    bool avx512; /* F, BW, VL and DQ */
    bool avx512_bf16;
    bool amd;
} cpu_features_t;

cpu_features_t cpu_features(void);

#endif
