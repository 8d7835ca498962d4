/* The forward of attention. A task is a tile of queries of some heads that share their keys: these are packed once for
 * all of them, a tile of keys at a time, and the softmax runs along. */
#include <math.h>
#include <omp.h>
#include <string.h>

#include "cpu/attention.h"

enum {
    TASK_HEADS = 4,
    TASK_ROWS = 256, /* queries times heads of a task at most */
    MIN_QUERIES = 32,
    TILE_KEYS = 256, /* a multiple of ATTN_STEP */
};

typedef struct {
    void *o;
    float *lse;
    const void *q, *k, *v;
    const attn_segments_t *seg;
} fwd_t;

typedef struct {
    void *q, *copies; /* rows that are not used where they lie */
    void *k, *v;      /* panels: keys are columns of the one, rows of the other */
    float *s;         /* [rows of a tile, TILE_KEYS] scores */
    void *p;          /* the same, probabilities relative to `max` */
    float *out;       /* [TASK_ROWS, wide] not yet divided by the sum */
    softmax_t state[TASK_ROWS];
} fwd_scratch_t;

/* Gives where it ends. */
static uintptr_t lay_out(const attn_t *a, uintptr_t at, fwd_scratch_t *f) {
    size_t size = dtype_size(a->t->type), row = a->copies ? size * a->padded : 0;
    f->q = attn_take(&at, TASK_ROWS * row);
    f->copies = attn_take(&at, TILE_KEYS * row);
    f->k = attn_take(&at, attn_columns_bytes(a, TILE_KEYS));
    f->v = attn_take(&at, attn_rows_bytes(a, TILE_KEYS));
    f->s = attn_take(&at, a->t->rows * TILE_KEYS * sizeof(float));
    f->p = attn_take(&at, a->t->rows * TILE_KEYS * size);
    f->out = attn_take(&at, TASK_ROWS * a->wide * sizeof(float));
    return at;
}

size_t attn_fwd_bytes(const attn_t *a) {
    fwd_scratch_t f;
    return lay_out(a, 0, &f);
}

/* Queries [q0, q0+n) of heads [head, head+heads) of segment s. */
typedef struct {
    size_t s, head, heads, kv_head, q0, n;
    size_t t0, kv0; /* rows of the first of these queries, and of the segment's first key */
    size_t past;    /* keys more than queries */
} fwd_task_t;

static float exp_scale(const attn_t *a) { return a->shape.softcap > 0 ? 1 : a->shape.scale; }

/* Scores of m queries from `query` of the segment on with the keys `of` the tile at k0 become probabilities. add: their
 * output has begun. */
static void softmax(const attn_t *a, fwd_scratch_t *f, const fwd_task_t *task, size_t query, size_t m, size_t row,
                    size_t k0, range_t of, bool add) {
    const attn_shape_t *shape = &a->shape;
    size_t n = of.end - of.first;
    for (size_t i = 0; i < m; i++) {
        float *s = f->s + i * TILE_KEYS + of.first;
        range_t seen = range_within(attn_keys_of(shape, task->past, query + i, 1), k0 + of.first, n);
        if (shape->softcap > 0) a->k->softcap(s, n, shape->scale, shape->softcap);
        for (size_t j = 0; j < seen.first; j++) s[j] = -INFINITY;
        for (size_t j = seen.end; j < n; j++) s[j] = -INFINITY;
    }
    a->k->softmax_rows(act_at(f->p, a->t->type, of.first), a->t->type, f->s + of.first, TILE_KEYS, m, n, exp_scale(a),
                       f->state + row);
    for (size_t i = 0; add && i < m; i++)
        if (f->state[row + i].shrink != 1.0f)
            a->k->scale(f->out + (row + i) * a->wide, shape->D, f->state[row + i].shrink);
}

static void store_row(const attn_t *a, const fwd_t *f, size_t t, size_t head, const float *out,
                      const softmax_t *state) {
    void *o = act_at(f->o, a->act, attn_at(a, t, a->shape.ld_o, head));
    a->t->store(o, a->act, a->shape.ld_o, out, a->wide, 1, a->shape.D, 1.0f / state->sum, 0, NULL);
    if (f->lse) f->lse[t * a->shape.Hq + head] = state->max + logf(state->sum);
}

/* m queries from `query` of the task on, of its h-th head, with the tile of keys at k0. */
static void rows_tile(const attn_t *a, const fwd_t *fwd, fwd_scratch_t *f, const fwd_task_t *task, size_t h, rows_t q,
                      size_t query, size_t m, size_t k0, size_t keys) {
    const tiles_t *t = a->t;
    size_t first_query = task->q0 + query, row = h * task->n + query;
    range_t all = attn_keys_of(&a->shape, task->past, first_query, m), seen = range_within(all, k0, keys);
    if (seen.first == seen.end) return;
    range_t of = range_of_steps(seen);
    bool add = all.first < k0;
    for (size_t i = of.first; i < seen.end; i += t->cols)
        t->multiply(m, min_size(t->cols, seen.end - i), a->shape.D, attn_row(a, q, query), q.ld,
                    (char *)f->k + i / t->cols * tiles_panel_bytes(t, a->shape.D), f->s + i, TILE_KEYS, false);
    softmax(a, f, task, first_query, m, row, k0, of, add);
    attn_times_rows(a, m, seen.end - of.first, act_at(f->p, t->type, of.first), TILE_KEYS, f->v, of.first, TILE_KEYS,
                    f->out + row * a->wide, add);
    if (all.end > k0 + keys) return;
    for (size_t i = 0; i < m; i++)
        store_row(a, fwd, task->t0 + query + i, task->head + h, f->out + (row + i) * a->wide, &f->state[row + i]);
}

static void tiled_task(const attn_t *a, const fwd_t *f, const fwd_task_t *task, fwd_scratch_t *scratch) {
    const attn_shape_t *shape = &a->shape;
    size_t m = attn_tile_rows(a, task->n);
    rows_t q[TASK_HEADS];
    for (size_t h = 0; h < task->heads; h++)
        q[h] = attn_rows(a, f->q, attn_at(a, task->t0, shape->ld_q, task->head + h), shape->ld_q, task->n,
                         act_at(scratch->q, a->t->type, h * task->n * a->padded));
    for (size_t i = 0; i < task->heads * task->n; i++) scratch->state[i] = (softmax_t){.max = -INFINITY};
    range_t all = attn_keys_of(shape, task->past, task->q0, task->n);
    for (size_t k0 = all.first / TILE_KEYS * TILE_KEYS; k0 < all.end; k0 += TILE_KEYS) {
        size_t keys = min_size(TILE_KEYS, all.end - k0), row = task->kv0 + k0;
        attn_pack_columns(
            a, scratch->k,
            attn_rows(a, f->k, attn_at(a, row, shape->ld_k, task->kv_head), shape->ld_k, keys, scratch->copies), keys);
        attn_pack_rows(
            a, scratch->v,
            attn_rows(a, f->v, attn_at(a, row, shape->ld_v, task->kv_head), shape->ld_v, keys, scratch->copies), keys,
            TILE_KEYS);
        for (size_t h = 0; h < task->heads; h++)
            for (size_t i = 0; i < task->n; i += m)
                rows_tile(a, f, scratch, task, h, q[h], i, min_size(m, task->n - i), k0, keys);
    }
}

/* One head of a single query with n keys from k0 on, read where they lie. */
static void head_keys(const attn_t *a, const fwd_t *f, const fwd_task_t *task, size_t h, size_t k0, size_t n,
                      fwd_scratch_t *scratch) {
    const attn_shape_t *shape = &a->shape;
    size_t row = task->kv0 + k0, end = range_of_steps((range_t){0, n}).end;
    float *out = scratch->out + h * a->wide, *s = scratch->s, *p = s + TILE_KEYS;
    softmax_t *state = &scratch->state[h];
    const void *q = act_at_const(f->q, a->act, attn_at(a, task->t0, shape->ld_q, task->head + h));
    const void *k = act_at_const(f->k, a->act, attn_at(a, row, shape->ld_k, task->kv_head));
    const void *v = act_at_const(f->v, a->act, attn_at(a, row, shape->ld_v, task->kv_head));
    a->k->dots(s, q, 0, k, shape->ld_k, n, shape->D, a->act);
    if (shape->softcap > 0) a->k->softcap(s, n, shape->scale, shape->softcap);
    for (size_t i = n; i < end; i++) s[i] = -INFINITY;
    a->k->softmax_rows(p, DT_F32, s, TILE_KEYS, 1, end, exp_scale(a), state);
    if (state->shrink != 1.0f) a->k->scale(out, shape->D, state->shrink);
    a->k->add_rows(out, p, v, shape->ld_v, n, shape->D, a->act);
}

/* In generation, a single query: packing its keys would cost more than it spares. */
static void query_task(const attn_t *a, const fwd_t *f, const fwd_task_t *task, fwd_scratch_t *scratch) {
    range_t seen = attn_keys_of(&a->shape, task->past, 0, 1);
    memset(scratch->out, 0, task->heads * a->wide * sizeof(float));
    for (size_t h = 0; h < task->heads; h++) scratch->state[h] = (softmax_t){.max = -INFINITY};
    for (size_t k0 = seen.first; k0 < seen.end; k0 += TILE_KEYS)
        for (size_t h = 0; h < task->heads; h++)
            head_keys(a, f, task, h, k0, min_size(TILE_KEYS, seen.end - k0), scratch);
    for (size_t h = 0; h < task->heads; h++)
        store_row(a, f, task->t0, task->head + h, scratch->out + h * a->wide, &scratch->state[h]);
}

/* How the queries of a head are cut, and the heads that share their keys. */
typedef struct {
    size_t queries, blocks, heads, chunks;
} cut_t;

static cut_t cut_of(const attn_shape_t *shape, size_t max_q, size_t queries, size_t heads) {
    return (cut_t){queries, (max_q + queries - 1) / queries, heads, (shape->Hq / shape->Hkv + heads - 1) / heads};
}

/* Large tasks, but enough of them for all threads. No value depends on it. */
static cut_t cut_for(const backend_t *be, const attn_shape_t *shape, const attn_segments_t *seg) {
    size_t heads = min_size(shape->Hq / shape->Hkv, TASK_HEADS), queries = TASK_ROWS;
    while (heads * queries > TASK_ROWS) queries /= 2;
    cut_t cut = cut_of(shape, seg->max_q, queries, heads);
    while (seg->n * shape->Hkv * cut.blocks * cut.chunks < 4 * (size_t)be->threads) {
        if (queries > MIN_QUERIES) queries /= 2;
        else if (heads > 1) heads = (heads + 1) / 2;
        else break;
        cut = cut_of(shape, seg->max_q, queries, heads);
    }
    return cut;
}

static void run_task(const attn_t *a, const fwd_t *f, const cut_t *cut, size_t i, fwd_scratch_t *scratch) {
    const attn_segments_t *seg = f->seg;
    size_t group = a->shape.Hq / a->shape.Hkv, chunk = i % cut->chunks * cut->heads;
    fwd_task_t task = {.s = i / cut->chunks / a->shape.Hkv % seg->n, .kv_head = i / cut->chunks % a->shape.Hkv};
    /* Those that see the most keys come first. */
    task.q0 = (cut->blocks - 1 - i / cut->chunks / a->shape.Hkv / seg->n) * cut->queries;
    size_t first = (size_t)seg->q_off[task.s], n_q = (size_t)seg->q_off[task.s + 1] - first;
    size_t n_kv = (size_t)seg->kv_len[task.s];
    CHECK(n_kv >= n_q && n_q <= seg->max_q && a->shape.scale > 0);
    if (task.q0 >= n_q) return;
    task.head = task.kv_head * group + chunk;
    task.heads = min_size(cut->heads, group - chunk);
    task.n = min_size(cut->queries, n_q - task.q0);
    task.t0 = first + task.q0;
    task.kv0 = (size_t)seg->kv_off[task.s];
    task.past = n_kv - n_q;
    if (n_q == 1) query_task(a, f, &task, scratch);
    else tiled_task(a, f, &task, scratch);
}

void attn_fwd(backend_t *be, void *o, float *lse, const void *q, const void *k, const void *v,
              const attn_shape_t *shape, const attn_segments_t *seg) {
    const attn_t a = attn_init(be, shape);
    const fwd_t f = {o, lse, q, k, v, seg};
    const cut_t cut = cut_for(be, shape, seg);
    size_t bytes = attn_fwd_bytes(&a);
    CHECK(be->workspace_size >= bytes * (size_t)be->threads);
#pragma omp parallel num_threads(be->threads)
    {
        fwd_scratch_t scratch;
        lay_out(&a, (uintptr_t)be->workspace + bytes * (size_t)omp_get_thread_num(), &scratch);
#pragma omp for schedule(dynamic)
        for (size_t i = 0; i < seg->n * shape->Hkv * cut.blocks * cut.chunks; i++) run_task(&a, &f, &cut, i, &scratch);
    }
}
