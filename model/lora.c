#include "model/lora.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/rng.h"

static size_t add_tensor(lora_t *lora, size_t layer, linear_slot_t slot, bool is_b, size_t rows, size_t cols) {
    size_t offset = lora->count;
    lora->tensors[lora->n_tensors++] = (lora_tensor_t){layer, slot, is_b, offset, rows, cols};
    lora->count += rows * cols;
    return offset;
}

static void lay_out_site(lora_t *lora, size_t layer, site_t s) {
    const model_config_t *c = lora->config;
    lora_site_t *site = &lora->sites[layer * SITE_COUNT + (size_t)s];
    linear_slot_t slots[LINEAR_MAX];
    size_t n = arch_site(c->arch, s, slots), r = lora->spec.r;
    unsigned targets = lora->spec.layer_targets ? lora->spec.layer_targets[layer] : lora->spec.targets;
    for (size_t i = 0; i < n; i++)
        if (targets >> slots[i] & 1) site->member[site->n++] = i;
    site->a = lora->count;
    for (size_t i = 0; i < site->n; i++) {
        linear_slot_t slot = slots[site->member[i]];
        add_tensor(lora, layer, slot, false, r, linear_cols(c, slot));
    }
    for (size_t i = 0; i < site->n; i++) {
        linear_slot_t slot = slots[site->member[i]];
        site->b[i] = add_tensor(lora, layer, slot, true, linear_rows(c, slot), r);
    }
    if (site->n * r > lora->width[s]) lora->width[s] = site->n * r;
}

_Static_assert(LINEAR_SLOTS <= 8, "a set of slots is a byte in layer_targets");

void lora_init(lora_t *lora, const model_config_t *c, const lora_spec_t *spec) {
    *lora = (lora_t){.spec = *spec, .config = c, .layers = c->layers};
    lora->scale = (float)(spec->rslora ? spec->alpha / sqrt((double)spec->r) : spec->alpha / (double)spec->r);
    lora->sites = xcalloc(c->layers * SITE_COUNT, sizeof *lora->sites);
    lora->tensors = xcalloc(c->layers * LINEAR_SLOTS * 2, sizeof *lora->tensors);
    for (size_t l = 0; l < c->layers; l++)
        for (int s = 0; s < SITE_COUNT; s++) lay_out_site(lora, l, (site_t)s);
    lora->spec.layer_targets = NULL; /* the caller's */
}

void lora_free(lora_t *lora) {
    free(lora->sites);
    free(lora->tensors);
    lora->sites = NULL;
    lora->tensors = NULL;
}

void lora_place(lora_t *lora, pool_t *pool, bool training) {
    lora->master = pool_take(pool, POOL_ADAPTERS, lora->count * sizeof(float));
    /* A bf16 backend multiplies bf16 matrices whatever the masters are. */
    lora->compute_type = lora->spec.f32 && pool->be->act == DT_F32 ? DT_F32 : DT_BF16;
    lora->compute = lora->compute_type == DT_F32 ? (void *)lora->master
                                                 : pool_take(pool, POOL_ADAPTERS, lora->count * sizeof(bf16_t));
    lora->grad = training ? pool_take(pool, POOL_GRADIENTS, lora->count * sizeof(float)) : NULL;
}

void lora_upload(lora_t *lora, backend_t *be, const float *master) {
    be->upload(be, lora->master, master, lora->count * sizeof(float));
    lora_refresh(lora, be);
}

void lora_fill(lora_t *lora, backend_t *be, uint64_t seed) {
    float *host = xcalloc(lora->count, sizeof(float));
    uint64_t key = rng_mix(seed ^ 0x6c6f7261u); /* "lora" */
    for (size_t i = 0; i < lora->n_tensors; i++) {
        const lora_tensor_t *t = &lora->tensors[i];
        if (t->is_b) continue;
        uint64_t tensor_key = rng_fold(key, t->layer * LINEAR_SLOTS + t->slot);
        float bound = 1.0f / sqrtf((float)t->cols);
        for (size_t j = 0; j < t->rows * t->cols; j++)
            host[t->offset + j] = (2.0f * rng_uniform(tensor_key, j) - 1.0f) * bound;
    }
    lora_upload(lora, be, host);
    free(host);
}

void lora_refresh(lora_t *lora, backend_t *be) {
    if (lora->compute != lora->master)
        be->cast(be, lora->compute, lora->compute_type, lora->master, DT_F32, lora->count);
    lora->changes++;
}

const lora_site_t *lora_site(const lora_t *lora, size_t layer, site_t site) {
    return &lora->sites[layer * SITE_COUNT + (size_t)site];
}

void lora_tensor_name(const lora_t *lora, const lora_tensor_t *t, char *buf, size_t size) {
    char module[128];
    model_module_name(lora->config, t->layer, t->slot, module, sizeof module);
    snprintf(buf, size, "base_model.model.%s.lora_%c.weight", module, t->is_b ? 'B' : 'A');
}
