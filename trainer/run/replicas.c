#include "trainer/run/replicas.h"

#include <stdlib.h>
#include <xxhash.h>

#include "base/mem.h"
#include "base/minmax.h"
#include "base/rng.h"
#include "trainer/ranks/ranks.h"

#define PIECE ((size_t)16 << 20) /* bytes; a multiple of every element's */

/* ---- adding up ------------------------------------------------------------------------------------------ */

int replicas_join(replicas_t *c, backend_t *be, err_t *err) {
    join_id_t id;
    double able = be->join != NULL;
    if (ranks_size() == 1) return 0;
    c->be = be;
    ranks_sum(&able, 1);
    if (able < ranks_size()) return 0;
    if (ranks_first()) be->join_id(be, &id, err);
    if (ranks_agree(err)) return err->code;
    ranks_broadcast(&id, sizeof id);
    be->join(be, &id, ranks_rank(), ranks_size(), err);
    c->joined = true;
    return ranks_agree(err);
}

static void sum_in_pieces(replicas_t *c) {
    backend_t *be = c->be;
    float *piece = (float *)c->piece;
    for (size_t at = 0, n; at < c->lora->count; at += n) {
        n = min_size(PIECE / sizeof *piece, c->lora->count - at);
        be->download(be, piece, c->lora->grad + at, n * sizeof *piece);
        ranks_sum_f32(piece, n);
        be->upload(be, c->lora->grad + at, piece, n * sizeof *piece);
    }
}

void replicas_sum(replicas_t *c) {
    if (ranks_size() == 1) return;
    if (c->joined) {
        c->be->sum_ranks(c->be, c->lora->grad, c->lora->count);
    } else if (c->be->unified) {
        c->be->sync(c->be);
        ranks_sum_f32(c->lora->grad, c->lora->count);
    } else {
        sum_in_pieces(c);
    }
}

/* ---- one beginning -------------------------------------------------------------------------------------- */

static void follow_masters(replicas_t *c) {
    float *piece = (float *)c->piece;
    for (size_t at = 0, n; at < c->lora->count; at += n) {
        n = min_size(PIECE / sizeof *piece, c->lora->count - at);
        if (ranks_first()) c->be->download(c->be, piece, c->lora->master + at, n * sizeof *piece);
        ranks_broadcast(piece, n * sizeof *piece);
        if (!ranks_first()) c->be->upload(c->be, c->lora->master + at, piece, n * sizeof *piece);
    }
}

static void follow_moments(replicas_t *c, state_array_t array) {
    const optimizer_array_t *a = &c->opt->arrays[array];
    size_t elem = dtype_size(a->dtype);
    for (size_t at = 0, n; at < a->count; at += n) {
        n = min_size(PIECE / elem, a->count - at);
        if (ranks_first()) optimizer_read(c->opt, array, at, n, c->piece);
        ranks_broadcast(c->piece, n * elem);
        if (!ranks_first()) optimizer_write(c->opt, array, at, n, c->piece);
    }
}

void replicas_open(replicas_t *c, lora_t *lora, optimizer_t *opt, train_state_t *state) {
    if (ranks_size() == 1) return;
    c->lora = lora;
    c->opt = opt;
    c->piece = xmalloc(min_size(PIECE, lora->count * sizeof(float))); /* no array is longer than the masters */
    ranks_broadcast(state, sizeof *state);
    follow_masters(c);
    for (size_t i = 0; i < opt->n_arrays; i++) follow_moments(c, (state_array_t)i);
    opt->t = state->adam_t;
    lora_refresh(lora, c->be);
}

void replicas_close(replicas_t *c) {
    free(c->piece);
    *c = (replicas_t){0};
}

/* ---- one course ------------------------------------------------------------------------------------------ */

static uint64_t masters_hash(const replicas_t *c) {
    uint64_t hash = 0;
    float *piece = (float *)c->piece;
    for (size_t at = 0, n; at < c->lora->count; at += n) {
        n = min_size(PIECE / sizeof *piece, c->lora->count - at);
        c->be->download(c->be, piece, c->lora->master + at, n * sizeof *piece);
        hash = rng_fold(hash, XXH3_64bits(piece, n * sizeof *piece));
    }
    return hash;
}

int replicas_compare(const replicas_t *c, size_t step, err_t *err) {
    if (ranks_size() == 1) return 0;
    uint64_t mine = masters_hash(c), *all = xmalloc((size_t)ranks_size() * sizeof *all);
    ranks_gather(&mine, sizeof mine, all);
    for (int k = 1; k < ranks_size() && !err->code; k++)
        if (all[k] != all[0])
            err_set(err, ERR_FAILED,
                    "%s: its adapter after step %zu is not rank 0's, as its processor, memory or network has made an "
                    "error; leave that host out and run the same command, which goes on from the last checkpoint",
                    ranks_name(k), step);
    free(all);
    return err->code;
}
