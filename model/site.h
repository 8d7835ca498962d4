/* The linear layers of a block that share an input, with their adapters (site.c has the formulas). */
#ifndef MODEL_SITE_H
#define MODEL_SITE_H

#include "model/acts.h"

/* The linear layers of a site, with their adapters if the model has any. */
linear_t site_linear(const model_t *m, size_t layer, site_t site);
/* The head, with its adapter if it has one. */
linear_t head_linear(const model_t *m);
/* Brings the augmented weights of the n_cached layers up to date; before a forward. */
void model_cache_augmented(model_t *m);
/* x [T, in | w]: leaves u behind x and, where it is wanted for a backward (u.p not NULL), in u. */
void site_adapters_fwd(const block_ctx_t *ctx, size_t layer, site_t site, mat_t x, mat_t u);
/* The same, and x -> y [T, out]: all linear layers of the site side by side. */
void site_fwd(const block_ctx_t *ctx, size_t layer, site_t site, mat_t x, mat_t u, mat_t y);
/* dy [T, out | w] -> dx [T, in] (overwritten; dx.p NULL: not wanted) and the gradients of A and B (added). x and u as
 * in the forward. Leaves du behind dy. */
void site_bwd(const block_ctx_t *ctx, size_t layer, site_t site, mat_t x, mat_t u, mat_t dy, mat_t dx);
/* The same in two halves, for an x that is there only after dx is: all but the gradient of A, and that. */
void site_bwd_dx(const block_ctx_t *ctx, size_t layer, site_t site, mat_t u, mat_t dy, mat_t dx);
void site_bwd_a(const block_ctx_t *ctx, size_t layer, site_t site, mat_t x, mat_t dy);
/* The adapters' part of it, which `l` must have: du behind dy, and the gradients of A and B. */
void adapters_bwd(const model_t *m, size_t T, const lora_site_t *ls, const linear_t *l, mat_t x, mat_t u, mat_t dy,
                  const dropout_t *drop);

#endif
