/* How this processor multiplies: which tables of tiles.h are taken for operands of fp32 and of BF16, what `auto`
 * computes in, and how that is reported. */
#ifndef CPU_TILES_CHOICE_H
#define CPU_TILES_CHOICE_H

#include "cpu/features.h"
#include "cpu/kernels/tiles.h"

/* The best tables for such a processor, of those that this build has; of BF16 NULL: none. */
const tiles_t *tiles_f32_of(const cpu_features_t *has);
const tiles_t *tiles_bf16_of(const cpu_features_t *has);

typedef struct {
    const tiles_t *f32;
    const tiles_t *bf16;    /* NULL: operands of BF16 are widened and multiplied as fp32 */
    const tiles_t *refused; /* a table of BF16 that is not taken: it is wrong, or too slow; NULL: none */
    bool wrong;
    double ratio; /* how many times as fast as fp32 that of BF16 is, taken or not; 0: there is none, or it is wrong */
} tiles_choice_t;

/* Seconds that a table takes for a product of a certain size, measured once. */
typedef double tiles_timer_t(const tiles_t *t);
/* Whether a table gives the right products. */
typedef bool tiles_proof_t(const tiles_t *t);

/* A table of BF16 is taken where it is at least 1.15 times as fast as fp32: on the first processors that had
 * AVX512-BF16 it takes twice as long, and no feature tells. */
tiles_choice_t tiles_choose(const cpu_features_t *has, tiles_timer_t *seconds, tiles_proof_t *right);

/* For this processor, found when it is first asked for: that takes about 2 ms. */
const tiles_choice_t *tiles_choice(void);

/* Multiplies small integers, whose sums are exact in any order, and compares. */
bool tiles_right(const tiles_t *t);

/* BF16 where it is multiplied faster than fp32. */
dtype_t tiles_auto_type(const tiles_choice_t *c);
/* Why that is so: "bf16 products by AVX512-BF16 are 1.9 times as fast as f32". */
void tiles_auto_reason(const tiles_choice_t *c, char *out, size_t size);
/* "AVX-512, bf16 products by AVX512-BF16". */
void tiles_describe(const char *isa, const tiles_t *bf16, char *out, size_t size);

#endif
