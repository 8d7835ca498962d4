/* One transformer block, forward and backward (block.c has the formulas). */
#ifndef MODEL_BLOCK_H
#define MODEL_BLOCK_H

#include "model/acts.h"

/* acts->x -> a->h, its norm: what block_fwd() begins with. */
void block_enter(const block_ctx_t *ctx, size_t layer, block_acts_t *acts);
/* acts->x and a->h -> next->x and a->h, entering the next block; or -> a->x_out where next is NULL. */
void block_fwd(const block_ctx_t *ctx, size_t layer, block_acts_t *acts, block_acts_t *next);
/* acts->x -> everything else in acts that block_bwd() reads, once more: all of the forward but the last product. */
void block_refwd(const block_ctx_t *ctx, size_t layer, block_acts_t *acts);
/* a->dx: gradient of the block's output -> of its input (not computed for layer 0, which has none to pass it
 * to). Overwrites acts->gate_up. recomputed: block_refwd() was the last to run, and what it left in the scratch is used
 * as it is. */
void block_bwd(const block_ctx_t *ctx, size_t layer, block_acts_t *acts, bool recomputed);

#endif
