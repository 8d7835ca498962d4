/* The operands of a product as tiles multiply them, for cpu/product.c alone: which parts of K make a pass, the panels of B
 * and the rows of A. Where a value comes from, who decodes, widens, drops or turns it around, ends here. */
#ifndef CPU_OPERANDS_H
#define CPU_OPERANDS_H

#include "cpu/act.h"
#include "cpu/product.h"

enum {
    PANELS_BYTES = 512 * 1024, /* of the packed panels of a task: they stay in a second-level cache */
    MAX_PIECES = 2 * PRODUCT_TERMS
};

/* ---- the parts of K ------------------------------------------------------------------------------------------- */

/* Some of the K of one term. What is no multiple of the depth is a piece of its own, so that only there A is copied. */
typedef struct {
    const term_t *term;
    size_t k, n;    /* [k, k+n) */
    bool ends_mask; /* the masked term is complete with it */
} piece_t;

/* The pieces that are multiplied before the next panels are packed. */
typedef struct {
    piece_t piece[MAX_PIECES];
    size_t n;
    size_t depth; /* of a panel: sum of the padded pieces */
} pass_t;

/* Where the next pass begins. */
typedef struct {
    size_t term, k;
} cursor_t;

/* The next pass of a product; false: there are none left. Passes do not depend on how its rows and columns are cut. */
bool operands_next_pass(const tiles_t *t, const product_t *p, cursor_t *at, pass_t *pass);

/* ---- packing -------------------------------------------------------------------------------------------------- */

/* What a task packs, and where to. */
typedef struct {
    const backend_t *be;
    const tiles_t *t;
    size_t n, N;  /* columns [n, n+N) of B */
    bool rounded; /* weights are rounded to BF16 */
    unsigned char *panels, *chunk, *a;
} packer_t;

/* Bytes of a packer's scratch, a multiple of 64; and where its parts lie there. */
size_t operands_bytes(void);
void operands_lay_out(packer_t *k, unsigned char *scratch);

/* Packs the columns of B, all of the pass. */
void operands_pack_b(const packer_t *k, const pass_t *pass);

/* The address of some value of a table's type. */
static inline unsigned char *value_at(unsigned char *p, const tiles_t *t, size_t i) {
    return p + i * dtype_size(t->type);
}

/* Panel i of what is packed, from row `depth` of it on. */
static inline unsigned char *panel_at(const packer_t *k, const pass_t *pass, size_t i, size_t depth) {
    return value_at(k->panels, k->t, (i * pass->depth + depth) * k->t->cols);
}

/* Rows [m, m+M) of A for one piece, from row `depth` of the pass on: as they lie, or packed. M is at most a tile's. */
rows_t operands_pack_a(const packer_t *k, const piece_t *piece, size_t depth, size_t m, size_t M);

/* Zeros what is dropped of channels [first, first+n) of a token. */
void operands_drop(const backend_t *be, void *y, dtype_t type, const dropout_t *d, size_t token, size_t first,
                   size_t n);

#endif
