/* The copies that several ranks train, for tests/cluster/train_ranks.sh: that all begin as rank 0's, gradients add up on
 * every way, and a copy that is another is found. Started by mpirun; rank 0 says "as expected". */
#include <math.h>
#include <string.h>

#include "paged_run.h"
#include "testing.h"

#include "base/log.h"
#include "base/mem.h"
#include "trainer/ranks/ranks.h"
#include "trainer/run/replicas.h"

/* How gradients are added up. */
typedef enum { BY_PIECES, BY_PROCESSES, BY_DEVICES, WAYS } way_t;

static float value(size_t i, int rank) {
    return (float)((i * 2654435761u % 1000003) + 1) * (rank ? 1.1f * (float)rank : -3);
}

/* ---- a device that adds up by itself ------------------------------------------------------------------------- */

static int joins, sums;

static int make_id(backend_t *be, join_id_t *id, err_t *err) {
    (void)be, (void)err;
    CHECK(ranks_first());
    memset(id->bytes, 7, sizeof id->bytes);
    return 0;
}

static int join(backend_t *be, const join_id_t *id, int rank, int ranks, err_t *err) {
    (void)be, (void)err;
    CHECK(id->bytes[0] == 7 && id->bytes[JOIN_ID_BYTES - 1] == 7 && rank == ranks_rank() && ranks == ranks_size());
    joins++;
    return 0;
}

static void sum_ranks(backend_t *be, float *x, size_t n) {
    (void)be;
    sums++;
    ranks_sum_f32(x, n);
}

/* ---- checks -------------------------------------------------------------------------------------------------- */

static void fill(run_t *run, int rank) {
    size_t n = run->lora.count, elem = dtype_size(run->opt.arrays[STATE_M].dtype);
    float *x = xmalloc(n * sizeof *x);
    for (size_t i = 0; i < n; i++) x[i] = value(i, rank);
    run->be->upload(run->be, run->lora.grad, x, n * sizeof *x);
    for (size_t i = 0; i < n; i++) x[i] *= 0.5f;
    run->be->upload(run->be, run->lora.master, x, n * sizeof *x);
    memset(x, 3 + rank, n * elem);
    optimizer_write(&run->opt, STATE_V, 0, n, x);
    free(x);
}

static void check_sum(run_t *run) {
    size_t n = run->lora.count;
    float *x = xmalloc(n * sizeof *x);
    run->be->download(run->be, x, run->lora.grad, n * sizeof *x);
    for (size_t i = 0; i < n; i++) {
        double want = 0;
        for (int k = 0; k < ranks_size(); k++) want += value(i, k);
        CHECK(x[i] == (float)want);
    }
    free(x);
}

static void check_copies(run_t *run) {
    size_t n = run->lora.count, elem = dtype_size(run->opt.arrays[STATE_V].dtype);
    float *x = xmalloc(n * sizeof *x);
    run->be->download(run->be, x, run->lora.master, n * sizeof *x);
    for (size_t i = 0; i < n; i++) CHECK(x[i] == value(i, 0) * 0.5f);
    optimizer_read(&run->opt, STATE_V, 0, n, x);
    for (size_t i = 0; i < n * elem; i++) CHECK(((unsigned char *)x)[i] == 3);
    free(x);
}

/* One bit of the last parameter. */
static void spoil(run_t *run) {
    uint32_t bits;
    float *last = run->lora.master + run->lora.count - 1;
    run->be->download(run->be, &bits, last, sizeof bits);
    bits ^= 1;
    run->be->upload(run->be, last, &bits, sizeof bits);
}

static void check_compare(run_t *run) {
    err_t err = {0};
    const int other = ranks_size() - 1;
    CHECK(replicas_compare(&run->replicas, 41, &err) == 0);
    if (ranks_rank() == other) spoil(run);
    CHECK(replicas_compare(&run->replicas, 42, &err) == ERR_FAILED);
    CHECK(strstr(err.msg, ranks_name(other)) == err.msg && strstr(err.msg, "after step 42"));
}

static void check(way_t way, optim_t optim) {
    run_t run;
    err_t err = {0};
    const paged_run_t asked = {.rank = 512, .optim = optim}; /* several pieces */
    train_state_t state = {.step = 10 + (size_t)ranks_rank(), .adam_t = 20 + (size_t)ranks_rank()};
    if (paged_run_start(&run, &asked, &err)) log_error("%s", err.msg);
    CHECK(!err.code);
    run.be->unified = way == BY_PROCESSES;
    if (way == BY_DEVICES) {
        run.be->join_id = make_id;
        run.be->join = join;
        run.be->sum_ranks = sum_ranks;
    }
    CHECK(replicas_join(&run.replicas, run.be, &err) == 0);
    fill(&run, ranks_rank());
    replicas_open(&run.replicas, &run.lora, &run.opt, &state);
    CHECK(state.step == 10 && state.adam_t == 20 && run.opt.t == 20);
    check_copies(&run);
    replicas_sum(&run.replicas);
    check_sum(&run);
    CHECK(joins == (way == BY_DEVICES) && sums == joins);
    check_compare(&run);
    run_close(&run);
}

int main(void) {
    err_t err = {0};
    if (ranks_open(&err)) log_error("%s", err.msg);
    CHECK(!err.code && ranks_size() > 1);
    check(BY_PIECES, OPTIM_ADAMW_32BIT);
    check(BY_PROCESSES, OPTIM_ADAMW_8BIT);
    check(BY_DEVICES, OPTIM_ADAMW_32BIT);
    log_info("as expected");
    ranks_close();
    return 0;
}
