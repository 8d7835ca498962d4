/* A model in memory: frozen, quantized weights on a backend, and the LoRA adapters on them.
 *
 * Shapes in all of model/: T tokens of a micro-batch, C hidden, F ffn, Hq/Hkv heads of D, V vocabulary, r LoRA rank.
 * Activation matrices are [T, width] of be->act. */
#ifndef MODEL_STATE_H
#define MODEL_STATE_H

#include "model/backend/pager.h"
#include "model/lora.h"

typedef struct {
    qweight_t w[LINEAR_SLOTS];   /* rows 0: the family has no such layer */
    float *bias[LINEAR_SLOTS];   /* [rows]; NULL: none */
    norm_t norm[NORM_SLOTS];     /* w NULL: none */
    void *augmented[SITE_COUNT]; /* see linear_t, if the layer is one of model_t.n_cached */
} layer_t;

typedef struct {
    model_config_t config;
    backend_t *be;
    quant_type_t quant;
    bool double_quant;
    qweight_t embed, head; /* [V,C] in 16 bits; the same place when tied */
    norm_t final_norm;
    float *rope[MODEL_KINDS], *rope_q[MODEL_KINDS]; /* tables for keys and for queries, mostly the same:
                                                     * [rope_len, rotated/2, 2] */
    size_t rope_len;
    layer_t *layers;
    size_t n_paged;     /* layers whose quantized weights stay in host memory, spread evenly; */
    pager_t pager;      /* a page each: codes and constants */
    size_t n_cached;    /* the first layers keep their augmented weights, dequantized once; */
    uint64_t cached;    /* 0: not yet; else lora->changes + 1 of the adapters in them */
    lora_t *lora;       /* NULL: the base model alone. Not owned. */
    double noise_alpha; /* of NEFTune, on the embeddings of training passes; 0: none */
    bool base_alone;    /* passes leave the adapters out, for as long as it is set */
} model_t;

/* Columns of a matrix of act values from i on. A matrix [T, n | m] has n columns of its own, and room for the m of
 * adapters behind them (see linear_t). */
static inline void *mat_column(const backend_t *be, mat_t m, size_t i) {
    return (unsigned char *)m.p + i * dtype_size(be->act);
}

#endif
