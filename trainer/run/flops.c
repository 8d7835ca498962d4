#include "trainer/run/flops.h"

flops_t flops_of(const model_config_t *c, const flops_work_t *w) {
    model_params_t p = model_count_params(c);
    /* 2 a weight forward, 2 for the gradient of the input; adapters have a gradient of their own. */
    double linear = (double)p.linear, lora = (double)w->lora;
    double attention = 4.0 * w->keys * (double)(c->heads * c->head_dim) * (double)c->layers;
    double forward = 2 * linear + 2 * lora + attention, backward = 2 * linear + 4 * lora + 2.5 * attention;
    double again = forward - 2.0 * (double)c->hidden * (double)c->ffn * (double)c->layers; /* but the last product */
    double head = 4.0 * (double)c->vocab * (double)c->hidden;                              /* half of it forward */
    return (flops_t){.needed = (forward + backward) * w->tokens + head * w->labels,
                     .forward = forward * w->tokens + head / 2 * w->labels,
                     .recomputed = again * w->tokens * (double)w->recomputed / (double)c->layers};
}
