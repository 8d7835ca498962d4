/* LoRA adapters (Hu et al. 2021; rank-stabilised scale: Kalajdzievski 2023) of all layers in one flat buffer:
 * one tensor after another, so that clipping, the optimizer, checkpoints and all-reduce see one vector.
 *
 * Linear layers that share an input form a site (q/k/v, o, gate/up, down; the head is one of its own, the last). The A
 * matrices of a site lie one after another, [sum of the ranks, in], so that one product serves all of them; the B
 * matrices follow, [out, r] each. */
#ifndef MODEL_LORA_H
#define MODEL_LORA_H

#include <jansson.h>
#include <stdbool.h>

#include "model/arch.h"
#include "model/backend/pool.h"

/* The adapter of a linear layer. */
typedef struct {
    size_t r; /* 0: it has none */
    double alpha;
} lora_rank_t;

typedef struct {
    size_t r; /* of what no pattern names: "r" and "lora_alpha" of adapter_config.json; the table has every layer's */
    double alpha, dropout;
    bool rslora;
    bool f32;           /* compute with the fp32 masters instead of a bf16 copy; also how it is saved */
    size_t layers;      /* of the model */
    lora_rank_t *ranks; /* [layers][LINEAR_SLOTS] and the head's; see lora_rank() */
    json_t *choice;     /* what the table was chosen by, as members of adapter_config.json; NULL: not known */
} lora_spec_t;

/* The entry of a linear layer; of the head: slot LIN_HEAD, whatever the layer. */
static inline lora_rank_t *lora_rank(const lora_spec_t *spec, size_t layer, linear_slot_t slot) {
    return &spec->ranks[slot == LIN_HEAD ? spec->layers * LINEAR_SLOTS : layer * LINEAR_SLOTS + slot];
}

/* A table without adapters. */
void lora_spec_init(lora_spec_t *spec, const model_config_t *c);
void lora_spec_free(lora_spec_t *spec);
/* Adapters of spec->r and spec->alpha on these linear layers of each block, by slot: bit 1 << slot. */
void lora_spec_fill(lora_spec_t *spec, const model_config_t *c, unsigned slots);
/* Whether two tables are of the same adapters. */
bool lora_spec_equal(const lora_spec_t *a, const lora_spec_t *b);
/* "r 16, alpha 16, dropout 0.1", "r 8 to 32, ...". The caller frees. */
char *lora_spec_text(const lora_spec_t *spec);

/* Where the adapters of one site are in the flat buffer, in elements. */
typedef struct {
    size_t n;                  /* adapted linear layers of the site, 0..3 */
    size_t member[LINEAR_MAX]; /* of the linear layers of the site, ascending */
    size_t r[LINEAR_MAX];
    float scale[LINEAR_MAX]; /* alpha/r, or alpha/sqrt(r) */
    size_t a;                /* stacked A [sum of r, in] */
    size_t b[LINEAR_MAX];    /* [out, r] each */
} lora_site_t;

typedef struct {
    size_t layer; /* the head: as many as there are layers */
    linear_slot_t slot;
    bool is_b;
    size_t offset, rows, cols;
} lora_tensor_t;

typedef struct {
    lora_spec_t spec;
    const model_config_t *config; /* not owned */
    size_t layers, count;         /* parameters in all */
    lora_site_t *sites;           /* [layers][SITE_COUNT] */
    lora_site_t head;
    lora_tensor_t *tensors; /* in buffer order */
    size_t n_tensors;
    size_t width[SITE_COUNT]; /* columns of u of the site, the most of any layer */
    /* On the device. */
    float *master; /* [count] */
    float *grad;   /* [count]; NULL unless training */
    void *compute; /* what products read: master, or its bf16 copy */
    dtype_t compute_type;
    uint64_t changes; /* of compute so far */
} lora_t;

/* Lays out the tensors; no memory of the device is taken yet. Takes over what spec owns. c must outlive the adapters. */
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
/* What the product B A of a tensor's layer is multiplied by. */
float lora_scale(const lora_t *lora, size_t layer, linear_slot_t slot);
/* The name that PEFT gives a tensor: "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight". */
void lora_tensor_name(const lora_t *lora, const lora_tensor_t *t, char *buf, size_t size);

#endif
