/* What the two passes of attention share. Both go through tiles of queries and keys (FlashAttention-2, Dao 2023), so
 * that memory does not grow with the square of the sequence, and both multiply by the processor's table of inner
 * products (cpu/kernels/tiles.h): rows that lie in memory as they are on one side, packed panels on the other. What is
 * summed in which order depends on shapes alone, so no result depends on the number of threads. */
#ifndef CPU_ATTENTION_H
#define CPU_ATTENTION_H

#include "base/minmax.h"
#include "cpu/act.h"
#include "cpu/ops.h"

typedef struct {
    const tiles_t *t, *f32; /* of what is multiplied; of fp32 */
    const cpu_kernels_t *k;
    dtype_t act;
    attn_shape_t shape;
    size_t padded; /* channels of a head, as products sum over them */
    size_t wide;   /* and as whole panels */
    bool copies;   /* rows of a head are not multiplied where they lie: they are widened, or padded */
} attn_t;

attn_t attn_init(const backend_t *be, const attn_shape_t *shape);

/* ---- scratch ----------------------------------------------------------------------------------------- */

/* Takes memory from `*at` on, 64-byte aligned; begun at 0, it counts. */
static inline void *attn_take(uintptr_t *at, size_t bytes) {
    void *p = (void *)*at;
    *at += (bytes + 63) / 64 * 64;
    return p;
}

/* Bytes of one thread in each pass, and of what the threads of a backward share. */
size_t attn_fwd_bytes(const attn_t *a);
size_t attn_bwd_bytes(const attn_t *a);
size_t attn_bwd_shared_bytes(const attn_t *a, size_t tokens, size_t max_kv);

void attn_fwd(backend_t *be, void *o, float *lse, const void *q, const void *k, const void *v,
              const attn_shape_t *shape, const attn_segments_t *seg);
void attn_bwd(backend_t *be, void *dq, void *dk, void *dv, const void *dout, const void *q, const void *k,
              const void *v, const void *o, const float *lse, const attn_shape_t *shape, const attn_segments_t *seg);

/* ---- operands ---------------------------------------------------------------------------------------- */

/* Where head `head` of row t begins; rows lie ld apart. */
static inline size_t attn_at(const attn_t *a, size_t t, size_t ld, size_t head) { return t * ld + head * a->shape.D; }

/* n rows, ld apart, from element `first` of x: where they lie, or copied into scratch [n, padded]. */
rows_t attn_rows(const attn_t *a, const void *x, size_t first, size_t ld, size_t n, void *scratch);

static inline const void *attn_row(const attn_t *a, rows_t x, size_t i) {
    return act_at_const(x.p, a->t->type, i * x.ld);
}

/* Panels whose columns are n rows x. */
void attn_pack_columns(const attn_t *a, void *panels, rows_t x, size_t n);
/* Panels whose rows are n rows x; panels for `most` rows lie where those of as many would. */
void attn_pack_rows(const attn_t *a, void *panels, rows_t x, size_t n, size_t most);

static inline size_t attn_columns_bytes(const attn_t *a, size_t n) {
    return (n + a->t->cols - 1) / a->t->cols * tiles_panel_bytes(a->t, a->shape.D);
}
static inline size_t attn_rows_bytes(const attn_t *a, size_t most) {
    return a->wide / a->t->cols * tiles_panel_bytes(a->t, most);
}

/* c [m, D] (add: +=) = x [m, n] times rows `first` .. of those that attn_pack_rows() packed. */
void attn_times_rows(const attn_t *a, size_t m, size_t n, const void *x, size_t ldx, const void *panels, size_t first,
                     size_t most, float *c, bool add);

/* Rows of the tiles that n rows are cut into: as many in each. */
static inline size_t attn_tile_rows(const attn_t *a, size_t n) {
    size_t tiles = (n + a->t->rows - 1) / a->t->rows;
    return (n + tiles - 1) / tiles;
}

/* ---- what is seen ------------------------------------------------------------------------------------ */

typedef struct {
    size_t first, end;
} range_t;

/* The part of `r` in the n places from `at` on, counted from there; empty where they do not meet. */
static inline range_t range_within(range_t r, size_t at, size_t n) {
    size_t first = r.first > at ? min_size(r.first - at, n) : 0, end = r.end > at ? min_size(r.end - at, n) : 0;
    return (range_t){first, max_size(first, end)};
}

/* Scores of a row are gone through in multiples of this, which is one of every panel's columns. */
enum { ATTN_STEP = 32 };

static inline range_t range_of_steps(range_t r) {
    return (range_t){r.first / ATTN_STEP * ATTN_STEP, (r.end + ATTN_STEP - 1) / ATTN_STEP * ATTN_STEP};
}

/* The keys that n queries from `query` on see together, in a segment with `past` more keys than queries. */
static inline range_t attn_keys_of(const attn_shape_t *shape, size_t past, size_t query, size_t n) {
    size_t end = past + query + 1;
    return (range_t){shape->window && end > shape->window ? end - shape->window : 0, end + n - 1};
}

/* The queries of a segment of as many keys and queries that see some of n keys from `key` on. */
static inline range_t attn_queries_of(const attn_shape_t *shape, size_t length, size_t key, size_t n) {
    return (range_t){key, shape->window ? min_size(length, key + n - 1 + shape->window) : length};
}

#endif
