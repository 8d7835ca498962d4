#include "trainer/optimizer.h"

#include <math.h>

void optimizer_place(optimizer_t *o, pool_t *pool, size_t count) {
    *o = (optimizer_t){.count = count};
    o->m = pool_take(pool, POOL_OPTIMIZER, count * sizeof(float));
    o->v = pool_take(pool, POOL_OPTIMIZER, count * sizeof(float));
    o->sumsq = pool_take(pool, POOL_OPTIMIZER, sizeof(double));
}

void optimizer_reset(optimizer_t *o, backend_t *be) {
    be->zero(be, o->m, o->count * sizeof(float));
    be->zero(be, o->v, o->count * sizeof(float));
    o->t = 0;
}

bool optimizer_step(optimizer_t *o, lora_t *lora, backend_t *be, const optimizer_hyper_t *h, double *grad_norm) {
    double sumsq;
    be->sumsq(be, o->sumsq, lora->grad, o->count);
    be->download(be, &sumsq, o->sumsq, sizeof sumsq);
    *grad_norm = sqrt(sumsq);
    if (!isfinite(sumsq)) return false;

    /* As torch.nn.utils.clip_grad_norm_: the small constant keeps a zero norm harmless. */
    double clip = h->max_grad_norm > 0 ? h->max_grad_norm / (*grad_norm + 1e-6) : 1.0;
    o->t++;
    adamw_t step = {.lr = h->lr, .beta1 = h->beta1, .beta2 = h->beta2, .eps = h->eps,
                    .weight_decay = h->weight_decay,
                    .c1 = (float)(1.0 - pow(h->beta1, (double)o->t)),
                    .c2 = (float)(1.0 - pow(h->beta2, (double)o->t)),
                    .grad_scale = (float)(clip < 1.0 ? clip : 1.0)};
    be->adamw(be, lora->master, lora->grad, o->m, o->v, o->count, &step);
    lora_refresh(lora, be);
    return true;
}
