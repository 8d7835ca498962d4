/* Sums of matrix products, C = alpha (A1 B1 + A2 B2 + ...) + bias + beta C: every product of the CPU but attention's.
 * Operands may be of either type, transposed, columns of wider matrices, or frozen weights, which are decoded straight
 * into the panels that they are multiplied from (cpu/kernels/tiles.h). Values are the same for any number of threads. */
#ifndef CPU_PRODUCT_H
#define CPU_PRODUCT_H

#include "cpu/ops.h"

/* A [M, K] times B [K, N]. */
typedef struct {
    size_t K;
    matrix_t a;
    const qweight_t *w; /* B is this weight; NULL: it is b */
    matrix_t b;
    bool ta, tb; /* as stored, A is [K, M], B [N, K] */
    /* Values of a (not transposed) or b (not transposed) that are dropped, rows being tokens; what is kept is not
     * scaled. NULL: none. */
    const dropout_t *drop_a, *drop_b;
} term_t;

enum { PRODUCT_TERMS = LINEAR_MAX + 1, PRODUCTS_MAX = 2 * LINEAR_MAX };
typedef struct {
    size_t M, N;
    size_t n; /* terms */
    term_t term[PRODUCT_TERMS];
    const dropout_t *mask; /* of the first term, A1 B1 [tokens, N]: dropped, what is kept scaled by 1/(1-p) */
    float alpha, beta;     /* beta 0 does not read C */
    const float *bias;     /* [N]; NULL: none */
    matrix_t c;            /* [M, N] */
    bool tc;               /* as stored, C is [N, M] */
} product_t;

/* n products at once; none writes what another one reads. Scratch is the workspace. */
void products(const backend_t *be, const product_t *p, size_t n);

/* Floats of workspace that it uses. */
size_t product_floats(const backend_t *be);

#endif
