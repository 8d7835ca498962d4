/* Linear layers of a few tokens, as in generation: memory is read in codes, and nothing is decoded to it. */
#ifndef CUDA_FEW_TOKENS_H
#define CUDA_FEW_TOKENS_H

#include "cuda/cuda_impl.h"

/* linear_fwd() where reading codes is less than what else there is to do: of at most FEW_TOKENS tokens, with anything to
 * decode or to put beside a weight. false: nothing is done. */
enum { FEW_TOKENS = 4 };
bool few_tokens_fwd(backend_t *be, size_t T, mat_t x, const linear_t *l, mat_t y);

#endif
