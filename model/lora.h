/* LoRA adapters (Hu et al. 2021; rank-stabilised scale: Kalajdzievski 2023) of all layers in one flat buffer:
 * one tensor after another, so that clipping, the optimizer, checkpoints and all-reduce see one vector.
 *
 * Linear layers that share an input form a site (q/k/v, o, gate/up, down). The A matrices of a site lie one
 * after another, [n*r, in], so that one product serves all of them; the B matrices follow, [out, r] each. */
#ifndef MODEL_LORA_H
#define MODEL_LORA_H

#include <stdbool.h>

#include "model/arch.h"
#include "model/backend/pool.h"

typedef struct {
    size_t r;
    double alpha, dropout;
    bool rslora;
    bool f32;                           /* compute with the fp32 masters instead of a bf16 copy; also how it is saved */
    unsigned targets;                   /* linear layers of each block, by slot: bit 1 << slot */
    const unsigned char *layer_targets; /* [layers] those of each block, where they are not the same: as targets; NULL:
                                         * they are. Not owned. */
} lora_spec_t;

/* Where the adapters of one site are in the flat buffer, in elements. */
typedef struct {
    size_t n;                  /* adapted linear layers of the site, 0..3 */
    size_t member[LINEAR_MAX]; /* of the linear layers of the site, ascending */
    size_t a;                  /* stacked A [n*r, in] */
    size_t b[LINEAR_MAX];      /* [out, r] each */
} lora_site_t;

typedef struct {
    size_t layer;
    linear_slot_t slot;
    bool is_b;
    size_t offset, rows, cols;
} lora_tensor_t;

typedef struct {
    lora_spec_t spec;
    const model_config_t *config; /* not owned */
    float scale;                  /* alpha/r, or alpha/sqrt(r) */
    size_t layers, count;         /* parameters in all */
    lora_site_t *sites;           /* [layers][SITE_COUNT] */
    lora_tensor_t *tensors;       /* in buffer order */
    size_t n_tensors;
    size_t width[SITE_COUNT]; /* columns of u of the site, the most of any layer */
    /* On the device. */
    float *master; /* [count] */
    float *grad;   /* [count]; NULL unless training */
    void *compute; /* what products read: master, or its bf16 copy */
    dtype_t compute_type;
    uint64_t changes; /* of compute so far */
} lora_t;

/* Lays out the tensors; no memory of the device is taken yet. c must outlive the adapters. */
void lora_init(lora_t *lora, const model_config_t *c, const lora_spec_t *spec);
void lora_free(lora_t *lora);
/* Takes masters, compute copies and (training) gradients from the pool. */
void lora_place(lora_t *lora, pool_t *pool, bool training);

/* Fills the masters with fresh adapters: A uniform in +-1/sqrt(in) (Kaiming uniform, a = sqrt 5), B zero; a
 * pure function of (seed, layer, slot). */
void lora_fill(lora_t *lora, backend_t *be, uint64_t seed);
/* Masters from the host, [count]. */
void lora_upload(lora_t *lora, backend_t *be, const float *master);
/* Brings the compute copy up to date with the masters; after each change of them. */
void lora_refresh(lora_t *lora, backend_t *be);

const lora_site_t *lora_site(const lora_t *lora, size_t layer, site_t site);
/* The name that PEFT gives a tensor: "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight". */
void lora_tensor_name(const lora_t *lora, const lora_tensor_t *t, char *buf, size_t size);

#endif
