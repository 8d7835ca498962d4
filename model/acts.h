/* The values of a pass: where they lie, and what a block is handed. */
#ifndef MODEL_ACTS_H
#define MODEL_ACTS_H

#include "model/state.h"

/* What a block's forward leaves for its backward. w: columns of a site's adapters. */
typedef struct {
    void *x;                       /* [T,C] the block's input (residual stream) */
    float *rstd[NORM_FFN_OUT + 1]; /* [T] of the norms of that many slots; NULL: none */
    mat_t qkv;           /* [T, Hq*D + 2*Hkv*D] queries, keys and values; the first two after RoPE, or where they
                                * have norms as these take them */
    mat_t attn;          /* [T, Hq*D | w] attention output, u */
    float *lse;          /* [T,Hq] */
    void *attn_out;      /* [T,C] what o gives, where it has a norm */
    void *x_mid;         /* [T,C] residual after attention */
    mat_t gate_up;       /* [T, 2F | w] in the backward their gradients, du */
    void *ffn_out;       /* [T,C] what down gives, where it has a norm */
    mat_t u[SITE_COUNT]; /* [T, w] u of each site, for the gradient of B; that of o lies in attn */
} block_acts_t;

typedef struct {
    size_t T;
    block_acts_t *blocks; /* [layers]; those of a recomputed block share one place but for x */
    void *x_out;          /* [T,C] output of the last block */
    size_t n_kept;        /* blocks [0, layers - n_kept) are recomputed in the backward */
    mat_t dx;             /* [T, C | w] gradient of the residual stream, du */
    mat_t dt;             /* [T, C | w] gradient of what o and down give, du, where that is not dx: p NULL */
    /* scratch, by width; what follows is only alive while a block runs */
    mat_t h;                /* [T, C | w] normalised input, u; in a forward handed on to the next block */
    mat_t qk;               /* [T, Hq*D + Hkv*D] queries and keys after their norms and RoPE, where they have norms */
    float *rstd_q, *rstd_k; /* [T, groups] of those */
    void *t;                /* [T,C] a site's output */
    mat_t ff;               /* [T, F | w] act(gate) * up, u */
    /* backward */
    void *dff;   /* [T,F] */
    void *dh;    /* [T,C] */
    void *dattn; /* [T,Hq*D] */
    mat_t dqkv;  /* [T, Hq*D + 2*Hkv*D | w] */
    /* only alive while the loss is computed; in the place of the scratch above */
    size_t chunk, tile; /* rows of a logits chunk at most; where there are several, each but the last has a multiple of
                           * these */
    void *hx, *hdn, *hdx; /* [chunk,C] */
    mat_t hn;             /* [chunk, C | w] normalised rows, u */
    float *hrstd;         /* [chunk] */
    mat_t logits;         /* [chunk, V | w] in the backward their gradient, du */
    /* the micro-batch on the device, and its losses */
    float *row_loss; /* [T] */
    int32_t *ids, *pos, *row, *row_pos, *seg_off, *seg_len, *target_idx, *target;
    int32_t *target_row, *target_pos; /* [T] row and row_pos of target_idx, where an adapter of the head is trained */
} acts_t;

typedef enum { PASS_TRAIN, PASS_LOSS, PASS_GENERATE } pass_t;
typedef struct {
    pass_t pass;
    size_t T;      /* tokens */
    size_t n_kept; /* PASS_TRAIN: blocks whose activations are kept; the others are recomputed */
    size_t chunk;  /* rows of a logits chunk */
    size_t tile;   /* > 0: the chunk has a multiple of these, and more of them where that takes no more memory */
} acts_spec_t;
/* Takes everything that a pass needs from the pool. a->blocks is the caller's array of m->config.layers. */
void acts_place(acts_t *a, const model_t *m, const acts_spec_t *spec, pool_t *pool);

/* The most elements between two rows of the matrices that attention takes, here and in the backward. */
size_t acts_attention_ld(const model_t *m);

/* Keys and values of the tokens so far, for generation. */
typedef struct {
    size_t cap;    /* positions */
    size_t len;    /* filled */
    void **k, **v; /* [layers] of [cap, Hkv*D] */
} kv_cache_t;

void kv_cache_place(kv_cache_t *cache, const model_t *m, size_t positions, pool_t *pool);
void kv_cache_free(kv_cache_t *cache);

/* What a pass carries through the blocks. */
typedef struct {
    model_t *m;
    acts_t *a;
    size_t T;
    attn_segments_t seg;
    const dropout_t *dropout; /* layer and site are filled in by the block; NULL: none */
    const neftune_t *noise;   /* of the embeddings; NULL: none */
    kv_cache_t *cache;        /* NULL unless generating */
} block_ctx_t;

#endif
