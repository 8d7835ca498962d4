/* Encoding of values in blocks, compiled once per instruction set and chosen at run time by quant.c. Every set gives the
 * same bits. */
#ifndef MODEL_FORMATS_KERNELS_QUANT_KERNELS_H
#define MODEL_FORMATS_KERNELS_QUANT_KERNELS_H

#include "model/formats/quant.h"

/* As quant_encode(). */
typedef void quant_encode_fn(quant_type_t type, const void *x, dtype_t x_type, size_t n, uint8_t *codes, float *absmax);

extern quant_encode_fn quant_encode_base;
#if defined(__x86_64__)
extern quant_encode_fn quant_encode_avx2;
extern quant_encode_fn quant_encode_avx512;
#endif

/* That of set i that this processor runs, the plainest first; NULL after the last. */
quant_encode_fn *quant_encode_nth(int i);

#endif
