/* The passes over a whole model: a training step, the loss alone, generation. */
#ifndef MODEL_MODEL_H
#define MODEL_MODEL_H

#include "model/acts.h"
#include "model/batch.h"
#include "model/weights.h"

/* What bounds the scratch of the backend's ops for such passes; max_seg: longest segment or cache. */
workspace_need_t model_workspace_need(const model_t *m, size_t max_tokens, size_t max_seg);

/* Of the dropout and the noise of a training pass. */
typedef struct {
    uint64_t seed, step;
} pass_seed_t;

/* Forward and backward of one micro-batch. Adds to lora->grad the gradient of (sum of losses) * grad_scale;
 * *loss_sum: the sum over trained tokens. `a` was placed for at least b->T tokens of PASS_TRAIN. */
void model_train(model_t *m, acts_t *a, const batch_t *b, pass_seed_t seed, float grad_scale, double *loss_sum);
/* Forward only; no dropout. token_loss (may be NULL): host array of b->n_labels. */
void model_loss(model_t *m, acts_t *a, const batch_t *b, double *loss_sum, float *token_loss);
/* Logits fp32 of every position, [T,V] on the host: for tests and tools, on small inputs. */
void model_logits(model_t *m, acts_t *a, const batch_t *b, float *logits);
/* Appends n tokens (n <= a->T) to the cache and gives the logits, [V] on the host, after the last. */
void model_extend(model_t *m, acts_t *a, kv_cache_t *cache, const int32_t *ids, size_t n, float *logits);

#endif
