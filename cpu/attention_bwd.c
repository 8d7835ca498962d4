/* The backward of attention. Queries and keys of a segment are cut into blocks, and a task is a block of keys of one
 * head with a block of queries of all heads that share them: it adds to dq of the one and to dk and dv of the other.
 * Tasks that are as far from the diagonal as one another have neither in common and run side by side; one distance
 * follows another, so every sum has its order. Products are of keys with queries (s^T = k q^T), whose rows are what dk
 * and dv sum up; dq is summed up transposed (dq^T = k^T ds^T), so that nothing is transposed but k and, at the end, dq. */
#include <omp.h>
#include <string.h>

#include "cpu/attention.h"

enum {
    BLOCK = 256,   /* rows of a block at most */
    TILE = 128,    /* of queries and of keys: a multiple of ATTN_STEP */
    FEW_TASKS = 8, /* so few at one distance: blocks are half as long, though each costs a tenth more */
};

typedef struct {
    void *dq, *dk, *dv;
    const void *dout, *q, *k, *v, *o;
    const float *lse;
    const attn_segments_t *seg;
    size_t block; /* rows of each but a segment's last */
    float *sums;  /* [Hq + 2 Hkv, tokens, wide]: dq, dk, dv of segments of several blocks, between two tasks */
    size_t tokens;
} bwd_t;

typedef struct {
    void *k, *v, *q;                /* rows that are not used where they lie */
    void *kt;                       /* [D, BLOCK], k transposed */
    void *q_columns, *dout_columns; /* panels, of one head at a time */
    void *q_rows, *dout_rows;       /* the same by rows, TILE of them after another */
    float *lse, *delta;             /* [BLOCK]; delta = dout . o */
    float *s, *dp;                  /* [rows of a tile, TILE]: keys with queries */
    void *p, *ds;                   /* [rows of a tile, TILE], [TILE, TILE] */
    void *panel;                    /* of ds, for dq */
    float *dqt, *dq;                /* [D, BLOCK], [BLOCK, wide], of one head with the keys of a block */
    float *dk, *dv;                 /* [BLOCK, wide], of a segment of one block */
} bwd_scratch_t;

/* Gives where it ends. */
static uintptr_t lay_out(const attn_t *a, uintptr_t at, bwd_scratch_t *b) {
    size_t size = dtype_size(a->t->type), row = a->copies ? size * a->padded : 0,
           sums = BLOCK * a->wide * sizeof(float);
    void **copies[] = {&b->k, &b->v, &b->q};
    for (int i = 0; i < 3; i++) *copies[i] = attn_take(&at, BLOCK * row);
    b->kt = attn_take(&at, a->shape.D * BLOCK * size);
    b->q_columns = attn_take(&at, attn_columns_bytes(a, BLOCK));
    b->dout_columns = attn_take(&at, attn_columns_bytes(a, BLOCK));
    b->q_rows = attn_take(&at, BLOCK / TILE * attn_rows_bytes(a, TILE));
    b->dout_rows = attn_take(&at, BLOCK / TILE * attn_rows_bytes(a, TILE));
    b->lse = attn_take(&at, BLOCK * sizeof(float));
    b->delta = attn_take(&at, BLOCK * sizeof(float));
    b->s = attn_take(&at, a->t->rows * TILE * sizeof(float));
    b->dp = attn_take(&at, a->t->rows * TILE * sizeof(float));
    b->p = attn_take(&at, a->t->rows * TILE * size);
    b->ds = attn_take(&at, TILE * TILE * size);
    b->panel = attn_take(&at, tiles_panel_bytes(a->t, TILE));
    b->dqt = attn_take(&at, a->shape.D * BLOCK * sizeof(float));
    b->dq = attn_take(&at, sums);
    b->dk = attn_take(&at, sums);
    b->dv = attn_take(&at, sums);
    return at;
}

size_t attn_bwd_bytes(const attn_t *a) {
    bwd_scratch_t b;
    return lay_out(a, 0, &b);
}

size_t attn_bwd_shared_bytes(const attn_t *a, size_t tokens, size_t max_kv) {
    size_t heads = a->shape.Hq + 2 * a->shape.Hkv;
    return max_kv > BLOCK ? heads * tokens * a->wide * sizeof(float) : 0;
}

/* Shapes alone decide, as the order of sums depends on it. */
static size_t block_rows(const attn_shape_t *shape, const attn_segments_t *seg) {
    size_t tasks = seg->n * shape->Hkv * ((seg->max_q + BLOCK - 1) / BLOCK);
    return seg->max_q > BLOCK && tasks < FEW_TASKS ? BLOCK / 2 : BLOCK;
}

/* Keys from k0 on with queries from q0 on, counted from the segment's first row, t0. */
typedef struct {
    size_t t0, length;
    size_t kv_head, k0, nk, q0, nq;
    rows_t k, v;
    float *dk, *dv;
    bool first; /* for its keys and for its queries */
} block_t;

/* ---- a tile ------------------------------------------------------------------------------------------ */

/* Queries and keys counted from the block's first. */
typedef struct {
    size_t key, nk, query, nq;
} tile_t;

static const void *tile_panels(const attn_t *a, const void *panels, size_t row) {
    return (const char *)panels + row / TILE * attn_rows_bytes(a, TILE);
}

/* The products of m keys from `key` on with the queries `of` the tile. */
static void scores(const attn_t *a, const bwd_scratch_t *w, const block_t *b, const tile_t *x, size_t key, size_t m,
                   range_t of) {
    const tiles_t *t = a->t;
    size_t bytes = tiles_panel_bytes(t, a->shape.D), D = a->shape.D;
    for (size_t i = of.first; i < of.end; i += t->cols) {
        size_t n = min_size(t->cols, x->nq - i), panel = (x->query + i) / t->cols * bytes;
        t->multiply(m, n, D, attn_row(a, b->k, key), b->k.ld, (char *)w->q_columns + panel, w->s + i, TILE, false);
        t->multiply(m, n, D, attn_row(a, b->v, key), b->v.ld, (char *)w->dout_columns + panel, w->dp + i, TILE, false);
    }
}

static void clear(void *row, dtype_t type, size_t first, size_t end) {
    memset(act_at(row, type, first), 0, (end - first) * dtype_size(type));
}

/* p and ds of one key with the queries `of` the tile are 0 but in those that see it; ds in all others of the tile, as
 * dq sums it over keys. */
static void mask(const attn_t *a, void *p, void *ds, range_t of, range_t seen) {
    const dtype_t type = a->t->type;
    if (seen.first > 0) {
        clear(p, type, of.first, seen.first);
        clear(ds, type, 0, seen.first);
    }
    if (seen.end < TILE) {
        clear(p, type, seen.end, of.end);
        clear(ds, type, seen.end, TILE);
    }
}

/* p and ds of m keys with the queries `of` the tile. */
static void key_grads(const attn_t *a, const bwd_scratch_t *w, const tile_t *x, void *ds, size_t m, range_t of) {
    const dtype_t type = a->t->type;
    const float *s = w->s + of.first, *dp = w->dp + of.first;
    const float *lse = w->lse + x->query + of.first, *delta = w->delta + x->query + of.first;
    void *p = act_at(w->p, type, of.first);
    float scale = a->shape.scale, cap = a->shape.softcap;
    ds = act_at(ds, type, of.first);
    if (cap > 0) a->k->capped_grads(p, ds, type, s, dp, TILE, lse, delta, m, of.end - of.first, scale, cap);
    else a->k->score_grads(p, ds, type, s, dp, TILE, lse, delta, m, of.end - of.first, scale);
}

/* m keys, from the r-th of the tile on: their part of dk and dv, and ds. */
static void keys_bwd(const attn_t *a, const bwd_scratch_t *w, const block_t *b, const tile_t *x, size_t r, size_t m) {
    const dtype_t type = a->t->type;
    size_t key = x->key + r, first_query = b->q0 + x->query;
    range_t any = range_within(attn_queries_of(&a->shape, b->length, b->k0 + key, m), first_query, x->nq);
    if (any.first == any.end) {
        memset(act_at(w->ds, type, r * TILE), 0, m * TILE * dtype_size(type));
        return;
    }
    range_t of = range_of_steps(any);
    scores(a, w, b, x, key, m, (range_t){of.first, any.end});
    key_grads(a, w, x, act_at(w->ds, type, r * TILE), m, of);
    for (size_t i = 0; i < m; i++) {
        range_t seen = range_within(attn_queries_of(&a->shape, b->length, b->k0 + key + i, 1), first_query, x->nq);
        mask(a, act_at(w->p, type, i * TILE), act_at(w->ds, type, (r + i) * TILE), of, seen);
    }
    size_t first = any.first / a->t->depth * a->t->depth, n = any.end - first;
    attn_times_rows(a, m, n, act_at(w->p, type, first), TILE, tile_panels(a, w->dout_rows, x->query), first, TILE,
                    b->dv + key * a->wide, true);
    attn_times_rows(a, m, n, act_at(w->ds, type, r * TILE + first), TILE, tile_panels(a, w->q_rows, x->query), first,
                    TILE, b->dk + key * a->wide, true);
}

/* dq^T [D, BLOCK] += k^T ds^T. */
static void queries_bwd(const attn_t *a, const bwd_scratch_t *w, const block_t *b, const tile_t *x) {
    const tiles_t *t = a->t;
    size_t m = attn_tile_rows(a, a->shape.D);
    for (size_t i = 0; i < x->nq; i += t->cols) {
        size_t n = min_size(t->cols, x->nq - i), query = x->query + i;
        range_t seen = range_within(attn_keys_of(&a->shape, 0, b->q0 + query, n), b->k0 + x->key, x->nk);
        if (seen.first == seen.end) continue;
        size_t first = range_of_steps(seen).first, keys = seen.end - first;
        t->pack_rows(w->panel, act_at(w->ds, t->type, first * TILE + i), TILE, keys, n);
        for (size_t d = 0; d < a->shape.D; d += m)
            t->multiply(min_size(m, a->shape.D - d), n, keys, act_at(w->kt, t->type, d * BLOCK + x->key + first), BLOCK,
                        w->panel, w->dqt + d * BLOCK + query, BLOCK, true);
    }
}

static void tile_bwd(const attn_t *a, const bwd_scratch_t *w, const block_t *b, const tile_t *x) {
    size_t m = attn_tile_rows(a, x->nk);
    for (size_t r = 0; r < x->nk; r += m) keys_bwd(a, w, b, x, r, min_size(m, x->nk - r));
    queries_bwd(a, w, b, x);
}

/* ---- a block ----------------------------------------------------------------------------------------- */

/* Sums that go on from what the last task left, in their shared place if the segment has several blocks. */
static float *sums_begin(const attn_t *a, const bwd_t *f, const block_t *b, size_t column, size_t row, size_t n,
                         float *own) {
    float *sums = b->length > f->block ? f->sums + (column * f->tokens + b->t0 + row) * a->wide : own;
    if (b->first) memset(sums, 0, n * a->wide * sizeof(float));
    return sums;
}

static void sums_store(const attn_t *a, const block_t *b, void *y, size_t head, size_t row, size_t n, const float *sums,
                       float alpha) {
    size_t ld = a->shape.ld_dqkv;
    a->t->store(act_at(y, a->act, attn_at(a, b->t0 + row, ld, head)), a->act, ld, sums, a->wide, n, a->shape.D, alpha,
                0, NULL);
}

/* n rows as panels of TILE rows each. */
static void pack_rows(const attn_t *a, void *panels, rows_t x, size_t n) {
    for (size_t i = 0; i < n; i += TILE)
        attn_pack_rows(a, (void *)tile_panels(a, panels, i), (rows_t){attn_row(a, x, i), x.ld}, min_size(TILE, n - i),
                       TILE);
}

/* The block's rows of a head of x as columns and as rows. */
static void pack_queries(const attn_t *a, const block_t *b, void *columns, void *rows, const void *x, size_t first,
                         size_t ld, void *copies) {
    rows_t of = attn_rows(a, x, first, ld, b->nq, copies);
    attn_pack_columns(a, columns, of, b->nq);
    pack_rows(a, rows, of, b->nq);
}

static void head_begin(const attn_t *a, const bwd_t *f, const block_t *b, size_t head, const bwd_scratch_t *w) {
    const attn_shape_t *shape = &a->shape;
    size_t t = b->t0 + b->q0, dout = attn_at(a, t, shape->ld_dout, head), o = attn_at(a, t, shape->ld_o, head);
    pack_queries(a, b, w->q_columns, w->q_rows, f->q, attn_at(a, t, shape->ld_q, head), shape->ld_q, w->q);
    pack_queries(a, b, w->dout_columns, w->dout_rows, f->dout, dout, shape->ld_dout, w->q);
    a->k->dots(w->delta, act_at_const(f->dout, a->act, dout), shape->ld_dout, act_at_const(f->o, a->act, o),
               shape->ld_o, b->nq, shape->D, a->act);
    for (size_t i = 0; i < b->nq; i++) w->lse[i] = f->lse[(t + i) * shape->Hq + head];
    for (size_t i = b->nq; i < BLOCK; i++) w->lse[i] = w->delta[i] = 0;
}

static void head_bwd(const attn_t *a, const bwd_scratch_t *w, const block_t *b) {
    memset(w->dqt, 0, a->shape.D * BLOCK * sizeof(float));
    for (size_t key = 0; key < b->nk; key += TILE) {
        tile_t x = {.key = key, .nk = min_size(TILE, b->nk - key)};
        range_t by = range_within(attn_queries_of(&a->shape, b->length, b->k0 + key, x.nk), b->q0, b->nq);
        for (x.query = by.first / TILE * TILE; x.query < by.end; x.query += TILE) {
            x.nq = min_size(TILE, b->nq - x.query);
            tile_bwd(a, w, b, &x);
        }
    }
}

/* dq of a head; last: no other keys are seen by these queries. */
static void head_end(const attn_t *a, const bwd_t *f, const block_t *b, size_t head, const bwd_scratch_t *w,
                     bool last) {
    a->f32->transpose(w->dq, a->wide, w->dqt, BLOCK, a->shape.D, b->nq);
    float *dq = w->dq;
    if (b->length > f->block) {
        dq = sums_begin(a, f, b, head, b->q0, b->nq, NULL);
        for (size_t i = 0; i < b->nq; i++)
            a->k->add(dq + i * a->wide, dq + i * a->wide, w->dq + i * a->wide, a->shape.D, DT_F32);
    }
    if (last) sums_store(a, b, f->dq, head, b->q0, b->nq, dq, a->shape.scale);
}

/* The block of keys `block` with that of queries that is `distance` further on, of `furthest`. */
static void block_bwd(const attn_t *a, const bwd_t *f, size_t s, size_t kv_head, size_t block, size_t distance,
                      size_t furthest, const bwd_scratch_t *w) {
    const attn_shape_t *shape = &a->shape;
    size_t group = shape->Hq / shape->Hkv;
    block_t b = {.t0 = (size_t)f->seg->q_off[s], .kv_head = kv_head, .k0 = block * f->block, .first = distance == 0};
    b.q0 = (block + distance) * f->block;
    b.length = (size_t)f->seg->q_off[s + 1] - b.t0;
    if (b.q0 >= b.length) return;
    b.nq = min_size(f->block, b.length - b.q0);
    b.nk = min_size(f->block, b.length - b.k0);
    size_t t = b.t0 + b.k0;
    b.k = attn_rows(a, f->k, attn_at(a, t, shape->ld_k, kv_head), shape->ld_k, b.nk, w->k);
    b.v = attn_rows(a, f->v, attn_at(a, t, shape->ld_v, kv_head), shape->ld_v, b.nk, w->v);
    a->t->transpose(w->kt, BLOCK, b.k.p, b.k.ld, b.nk, shape->D);
    b.dk = sums_begin(a, f, &b, shape->Hq + kv_head, b.k0, b.nk, w->dk);
    b.dv = sums_begin(a, f, &b, shape->Hq + shape->Hkv + kv_head, b.k0, b.nk, w->dv);
    for (size_t head = kv_head * group; head < (kv_head + 1) * group; head++) {
        head_begin(a, f, &b, head, w);
        head_bwd(a, w, &b);
        head_end(a, f, &b, head, w, block == 0 || distance == furthest);
    }
    if (b.q0 + b.nq < b.length && distance < furthest) return;
    sums_store(a, &b, f->dk, kv_head, b.k0, b.nk, b.dk, shape->scale);
    sums_store(a, &b, f->dv, kv_head, b.k0, b.nk, b.dv, 1);
}

void attn_bwd(backend_t *be, void *dq, void *dk, void *dv, const void *dout, const void *q, const void *k,
              const void *v, const void *o, const float *lse, const attn_shape_t *shape, const attn_segments_t *seg) {
    const attn_t a = attn_init(be, shape);
    size_t tokens = (size_t)seg->q_off[seg->n], block = block_rows(shape, seg);
    size_t blocks = (seg->max_q + block - 1) / block;
    size_t bytes = attn_bwd_bytes(&a), own = bytes * (size_t)be->threads;
    CHECK(be->workspace_size >= own + attn_bwd_shared_bytes(&a, tokens, seg->max_q));
    for (size_t s = 0; s < seg->n; s++)
        CHECK(seg->kv_off[s] == seg->q_off[s] && seg->kv_len[s] == seg->q_off[s + 1] - seg->q_off[s]);
    if (tokens == 0) return;
    const bwd_t f = {dq, dk, dv, dout, q, k, v, o, lse, seg, block, (float *)((char *)be->workspace + own), tokens};
    size_t furthest = blocks - 1;
    /* Beyond the window no query sees a key. */
    if (shape->window) furthest = min_size(furthest, (shape->window + block - 2) / block);
#pragma omp parallel num_threads(be->threads)
    {
        bwd_scratch_t scratch;
        lay_out(&a, (uintptr_t)be->workspace + bytes * (size_t)omp_get_thread_num(), &scratch);
        for (size_t distance = 0; distance <= furthest; distance++) {
            size_t columns = blocks - distance;
#pragma omp for schedule(dynamic)
            for (size_t i = 0; i < seg->n * shape->Hkv * columns; i++)
                block_bwd(&a, &f, i / columns / shape->Hkv, i / columns % shape->Hkv, i % columns, distance, furthest,
                          &scratch);
        }
    }
}
