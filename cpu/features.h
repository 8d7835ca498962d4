/* What this processor can run and what the system lets it, as far as kernels are chosen by it. */
#ifndef CPU_FEATURES_H
#define CPU_FEATURES_H

#include <stdbool.h>
#include <stddef.h>

typedef struct {
    /* Of the processor. */
    bool avx2;        /* with FMA and F16C; only where the system saves its registers too */
    bool avx512;      /* F, BW, VL and DQ */
    bool avx512_bf16; /* products of BF16 by vectors */
    bool amx_bf16;    /* by tiles */
    /* Of the system. */
    bool saves_avx512; /* keeps their registers apart for each process (XCR0) */
    bool saves_tiles;
    bool grants_tiles; /* to this process, which has asked */
} cpu_features_t;

/* Found once, before there are threads: Linux is then asked for the tiles of AMX. */
cpu_features_t cpu_features(void);

bool cpu_runs_avx512(const cpu_features_t *has);
bool cpu_runs_avx512_bf16(const cpu_features_t *has);
bool cpu_runs_amx(const cpu_features_t *has);

/* Which kernels this build has, beside those of SSE2, AVX2 and AVX-512: those that its compiler knew. */
typedef struct {
    bool avx512_bf16, amx_bf16;
} cpu_build_t;
cpu_build_t cpu_build(void);

/* Where what will run is far below what the processor has: what it has, what runs instead, and what to do; else "".
 * bf16: products of BF16 matter. */
void cpu_shortfall(const cpu_features_t *has, const cpu_build_t *built, bool bf16, char *out, size_t size);

#endif
