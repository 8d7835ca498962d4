/* One device allocation for everything that a run keeps or computes with. Places are handed out in order from
 * the front: first what stays (weights, adapters, gradients, workspace), then, above a mark, what a micro-batch
 * needs (activations), which the next micro-batch overwrites. The optimizer's pages have their places at the far
 * end; activations may reach over them, once the pages there have left (model/backend/pager.h).
 *
 * A pool without memory only counts: the plan runs the very code that lays a run out, on a counting pool, and
 * so says to the byte what the run will take. */
#ifndef MODEL_BACKEND_POOL_H
#define MODEL_BACKEND_POOL_H

#include <stddef.h>

#include "model/backend/backend.h"

typedef enum {
    POOL_WEIGHTS,    /* codes of the quantized linear layers */
    POOL_CONSTANTS,  /* their block constants */
    POOL_CACHE,      /* augmented weights of some of these layers, dequantized once */
    POOL_EMBEDDINGS, /* embedding, head, norms, RoPE table */
    POOL_ADAPTERS,   /* LoRA masters and compute copies */
    POOL_GRADIENTS,
    POOL_OPTIMIZER,
    POOL_WORKSPACE,   /* scratch of the backend's ops */
    POOL_ACTIVATIONS, /* of the micro-batch at hand, its indices, and the key/value cache */
    POOL_CLASSES
} pool_class_t;
const char *pool_class_name(pool_class_t c);

typedef struct {
    backend_t *be;
    unsigned char *base;        /* NULL: counting only */
    size_t size;                /* bytes of the allocation; unlimited while counting */
    size_t used;                /* from the front */
    size_t back;                /* at the far end */
    size_t peak;                /* the most of both; where they overlap it is the size */
    size_t bytes[POOL_CLASSES]; /* in use now, by class, alignment included */
    size_t peak_activations;
} pool_t;

#define POOL_ALIGN ((size_t)256) /* of every place: what CUDA's own allocator gives */
size_t pool_round(size_t bytes); /* up to POOL_ALIGN */

pool_t pool_counting(backend_t *be);
/* Allocates `size` bytes on the device. ERR_FAILED when the device has not got them. */
int pool_open(pool_t *p, backend_t *be, size_t size, err_t *err);
void pool_close(pool_t *p);

/* A place of `bytes` bytes (rounded up to POOL_ALIGN), contents undefined. While counting: NULL.
 * Running over the size is a bug of the plan and CHECKed. */
void *pool_take(pool_t *p, pool_class_t c, size_t bytes);

/* The same at the far end: the distance of its first byte from the end of the pool. */
size_t pool_take_back(pool_t *p, pool_class_t c, size_t bytes);

/* Everything taken from the front after the mark is given back by the reset. */
typedef struct {
    size_t used;
    size_t bytes[POOL_CLASSES];
} pool_mark_t;
pool_mark_t pool_mark(const pool_t *p);
void pool_reset(pool_t *p, const pool_mark_t *m);

#endif
