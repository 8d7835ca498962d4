/* Weights from a source to their places on the device, quantized on the way. */
#ifndef MODEL_WEIGHTS_H
#define MODEL_WEIGHTS_H

#include "model/source.h"
#include "model/state.h"

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

#endif
