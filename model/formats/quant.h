/* Block-wise quantized weights: the formats of the QLoRA paper (Dettmers et al. 2023, sections 2 and 3)
 * with the exact rules of bitsandbytes, so that codes and constants agree with it bit for bit.
 *
 * A weight [rows, cols] is taken as one flat row-major sequence, cut in blocks of 64 values (a block may
 * cross rows; the last may be short). Value = table[code] * absmax[block].
 * Double quantization: absmax[i] = dynamic_map[absmax_q[i]] * nested_absmax[i / 256] + nested_offset, with
 * nested_offset the mean of absmax. 4 + 8/64 + 32/(64*256) = 4.127 bits a parameter.
 *
 * INT8_ZEROPOINT is asymmetric, as LLM.int8() describes it (Dettmers et al. 2022, section 2.1), a block of 64 at a time:
 * value = scale * (code - zero), codes and zero from 0 to 255. lo = min(0, least value), hi = max(0, greatest),
 * scale = (hi - lo) / 255, zero = round(-lo / scale), code = round(x / scale) + zero. The range holds 0, which the code
 * `zero` gives exactly. Both constants are one word in absmax: quant_zeropoint() below. */
#ifndef MODEL_FORMATS_QUANT_H
#define MODEL_FORMATS_QUANT_H

#include <stdbool.h>

#include "base/dtype.h"
#include "base/error.h"

#define QUANT_BLOCK ((size_t)64)
#define QUANT_NESTED_BLOCK ((size_t)256)

typedef enum {
    QUANT_NF4,  /* 4-bit NormalFloat */
    QUANT_FP4,  /* E2M1 as bitsandbytes orders it */
    QUANT_INT4, /* absmax, -7..7 stored as code 1..15 of table[code] = (code - 8)/7; code 0 is never written */
    QUANT_INT8, /* absmax, -127..127, one two's-complement byte a value */
    QUANT_INT8_ZEROPOINT, /* 0..255 between a block's least and greatest value; constants in one level only */
    QUANT_NONE,           /* BF16 values, no constants */
    QUANT_F16 /* F16 values, no constants: what is held unquantized of an F16 model; not a quant_type of a config */
} quant_type_t;

/* The name in a config: "nf4", ..., "none". */
const char *quant_type_name(quant_type_t type);

/* A weight on a backend's device, or on the host when a codec function below made it. The struct does not
 * own what it points to. */
typedef struct {
    quant_type_t type;
    bool double_quant;    /* constants in absmax_q/nested_absmax/nested_offset instead of absmax */
    size_t rows, cols;    /* [out, in] of a linear layer */
    uint8_t *codes;       /* 4-bit: (n+1)/2 bytes, first value in the high nibble; 8-bit: n; NONE and F16: 2n */
    float *absmax;        /* [quant_blocks(n)], or NULL */
    uint8_t *absmax_q;    /* [quant_blocks(n)], or NULL */
    float *nested_absmax; /* [quant_nested_blocks(n)], or NULL */
    float nested_offset;
} qweight_t;

/* Whether values are held as they are, without codes and constants. */
static inline bool quant_is_plain(quant_type_t type) { return type == QUANT_NONE || type == QUANT_F16; }

/* Whether a second level of constants is possible: a constant that holds a zero point is no number to quantize. */
static inline bool quant_can_nest(quant_type_t type) { return type <= QUANT_INT8; }

static inline size_t qweight_count(const qweight_t *w) { return w->rows * w->cols; }
static inline size_t quant_blocks(size_t n) { return (n + QUANT_BLOCK - 1) / QUANT_BLOCK; }
static inline size_t quant_nested_blocks(size_t n) {
    return (quant_blocks(n) + QUANT_NESTED_BLOCK - 1) / QUANT_NESTED_BLOCK;
}
/* Bytes of the codes alone, and of everything: the exact accounting that plans and reports use. */
size_t quant_code_bytes(quant_type_t type, size_t n);
size_t quant_constant_bytes(quant_type_t type, bool double_quant, size_t n);

/* The 16 values of a 4-bit type by code (NF4: the paper's appendix E). */
extern const float quant_table_nf4[16], quant_table_fp4[16], quant_table_int4[16];
const float *quant_table(quant_type_t type); /* a 4-bit type */

/* What a 4-bit type writes. The code of x, an element over its block's absmax, is ascending[n] with n the number of
 * midpoints below x: the nearest value, ties go down. */
typedef struct {
    float mid[15];         /* between neighbours in ascending order; infinite where a type writes fewer codes */
    uint8_t ascending[16]; /* codes by their value */
} quant_order_t;
quant_order_t quant_order(quant_type_t type); /* a 4-bit type */

/* An absmax below this divides as this, as in bitsandbytes, so that a block of zeros stays one. */
#define QUANT_ABSMAX_MIN 1e-38f

/* How a block of INT8_ZEROPOINT is held in its 32-bit word: the bits of the scale, an fp32 rounded up to a multiple of 256
 * in its bits, so that the range is never too short, and the zero point in the 8 bits that this frees.
 * quant_zeropoint_make() and quant_zeropoint() in model/backend/element.h. */
typedef struct {
    float scale;
    float zero; /* 0..255, an integer */
} quant_zeropoint_t;

/* The 8-bit dynamic maps (Dettmers et al. 2022, "8-bit optimizers"): 256 values from -1 or 0 to 1, and which is
 * nearest, as a table over 16 bits; dynamic_code() in model/backend/element.h looks it up. */
typedef struct {
    float value[256];       /* ascending */
    uint8_t nearest[65536]; /* [s]: the code of 2 s / 65535 - 1 */
} dynamic_map_t;
const dynamic_map_t *quant_dynamic_signed(void);
const dynamic_map_t *quant_dynamic_unsigned(void);

/* The codec on the host: the oracle of the backends' quantize and dequant ops, and what writes checkpoints.
 *
 * quant_encode: `n` values (BF16, F16 or F32) that start a block -> codes (from their first byte) and absmax per block.
 * Call it for consecutive pieces of a tensor whose sizes are multiples of 64, except the last. */
void quant_encode(quant_type_t type, const void *x, dtype_t x_type, size_t n, uint8_t *codes, float *absmax);
/* Second level over all `n_blocks` constants of one tensor: fills absmax_q, nested_absmax, *offset. */
void quant_encode_constants(const float *absmax, size_t n_blocks, uint8_t *absmax_q, float *nested_absmax,
                            float *offset);
/* The constant of one block, through the second level where there is one. w on the host; not INT8_ZEROPOINT. */
float quant_absmax(const qweight_t *w, size_t block);
/* Values [first, first+n) of a weight on the host, in fp32 (table * absmax, or scale * (code - zero), not rounded). */
void quant_decode(const qweight_t *w, size_t first, size_t n, float *out);

#endif
