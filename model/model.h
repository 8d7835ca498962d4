/* A llama-style model: frozen, quantized weights, LoRA adapters, and what runs over them. The three passes
 * (training step, loss alone, generation) share one forward of a block (block.c).
 *
 * Shapes: T tokens of a micro-batch, C hidden, F ffn, Hq/Hkv heads of D, V vocabulary, r LoRA rank. Activation
 * matrices are [T, width] of be->act. */
#ifndef MODEL_MODEL_H
#define MODEL_MODEL_H

#include "model/backend/pager.h"
#include "model/batch.h"
#include "model/lora.h"
#include "model/source.h"

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
    size_t n_paged;  /* layers whose quantized weights stay in host memory, spread evenly; */
    pager_t pager;   /* a page each: codes and constants */
    size_t n_cached; /* the first layers keep their augmented weights, dequantized once; */
    uint64_t cached; /* 0: not yet; else lora->changes + 1 of the adapters in them */
    lora_t *lora;    /* NULL: the base model alone. Not owned. */
    bool base_alone; /* passes leave the adapters out, for as long as it is set */
} model_t;

/* ---- weights (weights.c) ---- */
/* `positions`: the longest segment (or generated sequence) that will be run. */
void model_init(model_t *m, const model_config_t *c, backend_t *be, quant_type_t quant, bool double_quant,
                size_t positions);
/* What the source has quantized already keeps its quantization, what is held in 16 bits its type (BF16, or F16 where
 * the file has that); before model_place. In a checkpoint of which some layers are in 4 bits the others stay in 16,
 * unless quantize_rest. */
void model_take_types(model_t *m, const model_source_t *src, bool quantize_rest);
void model_free(model_t *m);
/* Takes the places of all weights, anew each time. The linear layers of n_paged of the layers get none: they are
 * fetched when a pass comes to them (PAGER_SLOTS places serve them all). n_cached layers get another one for their
 * augmented weights; not both, and only where act is BF16, which products then round to anyway. */
void model_place(model_t *m, size_t n_paged, size_t n_cached, pool_t *pool);
/* Streams every tensor from the source to its place, quantizing on the way. Host memory beside the pool: what the
 * backend stages a piece of a tensor in. On the device, the fp32 constants of the tensor at hand. */
int model_load(model_t *m, const model_source_t *src, err_t *err);
/* Only the tables of angles: for a model whose weights are made up. */
void model_load_rope(model_t *m);
/* The host memory of paged layers (a file under spill_dir if not NULL); after the pool has its memory, before
 * loading. */
int model_open_pages(model_t *m, const pool_t *pool, const char *spill_dir, err_t *err);
/* The weights of a layer on the device for ops queued between the two calls; dir: which layer comes next, 1 or -1. */
void model_acquire_layer(model_t *m, size_t layer, int dir);
void model_release_layer(model_t *m, size_t layer);
/* About as many values of a tensor are held at a time where one is streamed to a file. */
#define LOAD_PIECE ((size_t)4 << 20)

/* ---- activations of a pass (acts.c) ---- */
/* Columns of a matrix of act values from i on. A matrix [T, n | m] has n columns of its own, and room for the m of
 * adapters behind them (see linear_t). */
static inline void *mat_column(const backend_t *be, mat_t m, size_t i) {
    return (unsigned char *)m.p + i * dtype_size(be->act);
}

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
    mat_t ff;               /* [T, F | w] silu(gate) * up, u */
    /* backward */
    void *dff;   /* [T,F] */
    void *dh;    /* [T,C] */
    void *dattn; /* [T,Hq*D] */
    mat_t dqkv;  /* [T, Hq*D + 2*Hkv*D | w] */
    /* only alive while the loss is computed; in the place of the scratch above */
    size_t chunk;              /* rows of a logits chunk */
    void *hx, *hn, *hdn, *hdx; /* [chunk,C] */
    float *hrstd;              /* [chunk] */
    void *logits;              /* [chunk,V] */
    /* the micro-batch on the device, and its losses */
    float *row_loss; /* [T] */
    int32_t *ids, *pos, *row, *row_pos, *seg_off, *seg_len, *target_idx, *target;
} acts_t;

typedef enum { PASS_TRAIN, PASS_LOSS, PASS_GENERATE } pass_t;
typedef struct {
    pass_t pass;
    size_t T;      /* tokens */
    size_t n_kept; /* PASS_TRAIN: blocks whose activations are kept; the others are recomputed */
    size_t chunk;  /* rows of a logits chunk */
} acts_spec_t;
/* Takes everything that a pass needs from the pool. a->blocks is the caller's array of m->config.layers. */
void acts_place(acts_t *a, const model_t *m, const acts_spec_t *spec, pool_t *pool);
/* What bounds the scratch of the backend's ops for such passes; max_seg: longest segment or cache. */
workspace_need_t model_workspace_need(const model_t *m, size_t max_tokens, size_t max_seg);

/* ---- passes (model.c) ---- */
typedef struct {
    size_t cap;    /* positions */
    size_t len;    /* filled */
    void **k, **v; /* [layers] of [cap, Hkv*D] */
} kv_cache_t;

/* Dropout of a pass: p > 0 only in training. */
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
void kv_cache_place(kv_cache_t *cache, const model_t *m, size_t positions, pool_t *pool);
void kv_cache_free(kv_cache_t *cache);

/* ---- block (block.c), linear layers (linear.c) ---- */
typedef struct {
    model_t *m;
    acts_t *a;
    size_t T;
    attn_segments_t seg;
    const dropout_t *dropout; /* layer and site are filled in by the block; NULL: none */
    kv_cache_t *cache;        /* NULL unless generating */
} block_ctx_t;

/* acts->x -> a->h, its norm: what block_fwd() begins with. */
void block_enter(const block_ctx_t *ctx, size_t layer, block_acts_t *acts);
/* acts->x and a->h -> next->x and a->h, entering the next block; or -> a->x_out where next is NULL. */
void block_fwd(const block_ctx_t *ctx, size_t layer, block_acts_t *acts, block_acts_t *next);
/* acts->x -> everything else in acts that block_bwd() reads, once more: all of the forward but the last product. */
void block_refwd(const block_ctx_t *ctx, size_t layer, block_acts_t *acts);
/* a->dx: gradient of the block's output -> of its input (not computed for layer 0, which has none to pass it
 * to). Overwrites acts->gate_up. */
void block_bwd(const block_ctx_t *ctx, size_t layer, block_acts_t *acts);

/* The linear layers of a site, with their adapters if the model has any. */
linear_t site_linear(const model_t *m, size_t layer, site_t site);
/* Brings the augmented weights of the n_cached layers up to date; before a forward. */
void model_cache_augmented(model_t *m);
/* x [T, in | w]: leaves u behind x and, where it is wanted for a backward (u.p not NULL), in u. */
void site_adapters_fwd(const block_ctx_t *ctx, size_t layer, site_t site, mat_t x, mat_t u);
/* The same, and x -> y [T, out]: all linear layers of the site side by side. */
void site_fwd(const block_ctx_t *ctx, size_t layer, site_t site, mat_t x, mat_t u, mat_t y);
/* dy [T, out | w] -> dx [T, in] (overwritten; dx.p NULL: not wanted) and the gradients of A and B (added). x and u as
 * in the forward. Leaves du behind dy. */
void site_bwd(const block_ctx_t *ctx, size_t layer, site_t site, mat_t x, mat_t u, mat_t dy, mat_t dx);

#endif
