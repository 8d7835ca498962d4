/* Decoding of GGUF's tensor types, compiled once per instruction set and chosen at run time by gguf_dequant.c.
 * Every set gives the same bits: values are computed in fp32, in the order of the reference (a sub-block's scale
 * times the block's, times the code, less the minimum). */
#ifndef MODEL_FORMATS_KERNELS_GGUF_KERNELS_H
#define MODEL_FORMATS_KERNELS_GGUF_KERNELS_H

#include "model/formats/gguf.h"

enum { GGUF_TYPES = 42 }; /* one more than the largest number that has a name */

typedef void gguf_decode_fn(const uint8_t *in, size_t n_blocks, float *out);
/* False: a value is NaN, or infinite once it is rounded; then `out` is of no use. */
typedef bool gguf_round_fn(const float *x, size_t n, bf16_t *out);

typedef struct {
    const char *isa;                    /* for reports */
    gguf_decode_fn *decode[GGUF_TYPES]; /* by ggml_type_t; NULL: not read here */
    gguf_round_fn *round_bf16;
} gguf_kernels_t;

extern const gguf_kernels_t gguf_kernels_base;
#if defined(__x86_64__)
extern const gguf_kernels_t gguf_kernels_avx2;
extern const gguf_kernels_t gguf_kernels_avx512;
#endif

/* The sets that this processor runs, from the plainest to the best; NULL after the last. */
const gguf_kernels_t *gguf_kernels_nth(int i);

#endif
