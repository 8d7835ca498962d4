#include "trainer/run/replicas.h"

#include <stdlib.h>
#include <xxhash.h>

#include "base/mem.h"
#include "base/minmax.h"
#include "base/rng.h"
#include "trainer/ranks/ranks.h"

#define PIECE ((size_t)16 << 20) /* bytes; a multiple of every element's */

/* ---- adding up ------------------------------------------------------------------------------------------ */

int replicas_join(replicas_t *r, backend_t *be, err_t *err) {
    join_id_t id;
    double able = be->join != NULL;
    if (ranks_size() == 1) return 0;
    r->be = be;
    ranks_sum(&able, 1);
    if (able < ranks_size()) return 0;
    if (ranks_first()) be->join_id(be, &id, err);
    if (ranks_agree(err)) return err->code;
    ranks_broadcast(&id, sizeof id);
    be->join(be, &id, ranks_rank(), ranks_size(), err);
    r->joined = true;
    return ranks_agree(err);
}

static void sum_in_pieces(replicas_t *r) {
    backend_t *be = r->be;
    float *piece = r->piece;
    for (size_t at = 0, n; at < r->lora->count; at += n) {
        n = min_size(PIECE / sizeof *piece, r->lora->count - at);
        be->download(be, piece, r->lora->grad + at, n * sizeof *piece);
        ranks_sum_f32(piece, n);
        be->upload(be, r->lora->grad + at, piece, n * sizeof *piece);
    }
}

void replicas_sum(replicas_t *r) {
    if (ranks_size() == 1) return;
    if (r->joined) {
        r->be->sum_ranks(r->be, r->lora->grad, r->lora->count);
    } else if (r->be->unified) {
        r->be->sync(r->be);
        ranks_sum_f32(r->lora->grad, r->lora->count);
    } else {
        sum_in_pieces(r);
    }
}

/* ---- one beginning -------------------------------------------------------------------------------------- */

static void follow_masters(replicas_t *r) {
    float *piece = r->piece;
    for (size_t at = 0, n; at < r->lora->count; at += n) {
        n = min_size(PIECE / sizeof *piece, r->lora->count - at);
        if (ranks_first()) r->be->download(r->be, piece, r->lora->master + at, n * sizeof *piece);
        ranks_broadcast(piece, n * sizeof *piece);
        if (!ranks_first()) r->be->upload(r->be, r->lora->master + at, piece, n * sizeof *piece);
    }
}

static void follow_moments(replicas_t *r, state_array_t array) {
    const optimizer_array_t *a = &r->opt->arrays[array];
    size_t elem = dtype_size(a->dtype);
    for (size_t at = 0, n; at < a->count; at += n) {
        n = min_size(PIECE / elem, a->count - at);
        if (ranks_first()) optimizer_read(r->opt, array, at, n, r->piece);
        ranks_broadcast(r->piece, n * elem);
        if (!ranks_first()) optimizer_write(r->opt, array, at, n, r->piece);
    }
}

void replicas_open(replicas_t *r, lora_t *lora, optimizer_t *opt, train_state_t *state) {
    if (ranks_size() == 1) return;
    r->lora = lora;
    r->opt = opt;
    r->piece = xmalloc(min_size(PIECE, lora->count * sizeof(float))); /* no array is longer than the masters */
    ranks_broadcast(state, sizeof *state);
    follow_masters(r);
    for (size_t i = 0; i < opt->n_arrays; i++) follow_moments(r, (state_array_t)i);
    opt->t = state->adam_t;
    lora_refresh(lora, r->be);
}

void replicas_close(replicas_t *r) {
    free(r->piece);
    *r = (replicas_t){0};
}

/* ---- one course ------------------------------------------------------------------------------------------ */

static uint64_t masters_hash(const replicas_t *r) {
    uint64_t hash = 0;
    float *piece = r->piece;
    for (size_t at = 0, n; at < r->lora->count; at += n) {
        n = min_size(PIECE / sizeof *piece, r->lora->count - at);
        r->be->download(r->be, piece, r->lora->master + at, n * sizeof *piece);
        hash = rng_fold(hash, XXH3_64bits(piece, n * sizeof *piece));
    }
    return hash;
}

int replicas_compare(const replicas_t *r, size_t step, err_t *err) {
    if (ranks_size() == 1) return 0;
    uint64_t mine = masters_hash(r), *all = xmalloc((size_t)ranks_size() * sizeof *all);
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
