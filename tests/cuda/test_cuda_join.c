/* GPUs of several processes that add up among themselves: each rank is a process of its own with a backend on the emulated
 * GPU, and NCCL goes through a file that they share. test_cuda_join_device does the same with NCCL on GPUs. */
#define _DEFAULT_SOURCE /* MAP_ANONYMOUS, usleep() */
#include "testing.h"

#include <math.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/rng.h"
#include "host/control.h"
#include "ops_rig.h"

enum { SEEDS = 8, MAX_RANKS = 4 };

/* ---- processes ------------------------------------------------------------------------------------------- */

/* What the ranks of a case share; they are forked, so it lies at one place. */
typedef struct {
    _Atomic int opened, compared, made, closed;
    _Atomic int no_gpus; /* there are fewer than ranks */
    char device[MAX_RANKS][48];
    join_id_t id;
    char said[MAX_RANKS][1100]; /* what was not as it should be; empty: all was */
} meeting_t;

typedef struct {
    meeting_t *meeting;
    int rank, ranks;
    unsigned seed;
    backend_t *be;
} rank_t;

#define SAY(r, ...) snprintf((r)->meeting->said[(r)->rank], sizeof(r)->meeting->said[0], __VA_ARGS__)

typedef void body_t(rank_t *r);

static bool open_rank(rank_t *r, const char *sees, err_t *err) {
    cuda_host_seed(r->seed * 100 + (unsigned)r->rank); /* each at its own pace */
    cuda_host_see_devices(sees);
    return backend_open_cuda(DT_F32, (host_share_t){r->rank, r->ranks, 0}, &r->be, err) == 0;
}

/* Rank 0 makes the id, as it must be with NCCL: that process then brings the others together. */
static bool join_rank(rank_t *r, err_t *err) {
    meeting_t *m = r->meeting;
    if (r->rank == 0) {
        if (r->be->join_id(r->be, &m->id, err)) return false;
        m->made = 1;
    }
    while (!m->made) usleep(100);
    return r->be->join(r->be, &m->id, r->rank, r->ranks, err) == 0;
}

/* Runs `body` in `ranks` processes. Returns what they said; the exit statuses are in status[ranks]. */
static meeting_t *run_ranks(int ranks, unsigned seed, body_t *body, int *status) {
    meeting_t *m = mmap(NULL, sizeof *m, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t pid[MAX_RANKS];
    assert_true(m != MAP_FAILED);
    fflush(NULL);
    for (int k = 0; k < ranks; k++) {
        pid[k] = fork();
        assert_true(pid[k] >= 0);
        if (pid[k] == 0) {
            rank_t r = {m, k, ranks, seed, NULL};
            alarm(120); /* no process outlives the test by much */
            body(&r);
            fflush(NULL);
            _exit(0);
        }
    }
    for (int k = 0; k < ranks; k++) assert_int_equal(waitpid(pid[k], &status[k], 0), pid[k]);
    return m;
}

/* False: here are not as many GPUs. */
static bool check_ranks(int ranks, unsigned seed, body_t *body) {
    int status[MAX_RANKS];
    meeting_t *m = run_ranks(ranks, seed, body, status);
    for (int k = 0; k < ranks; k++)
        if (status[k] || *m->said[k])
            fail_msg("rank %d of %d under seed %u: status %x; it said: %s", k, ranks, seed, (unsigned)status[k],
                     m->said[k]);
    bool ran = !m->no_gpus;
    munmap(m, sizeof *m);
    return ran;
}

/* With a body that ends by closing what it opened. */
static void close_rank(rank_t *r) {
    r->be->close(r->be);
    if (cuda_host_used_memory()) SAY(r, "%zu bytes were left on the device", cuda_host_used_memory());
}

/* On a machine with GPUs: whether each rank has one. */
static bool enough_gpus(rank_t *r, bool opened) {
    meeting_t *m = r->meeting;
    if (cuda_host_emulated()) return true;
    if (opened) memcpy(m->device[r->rank], r->be->device_id, sizeof m->device[0]);
    else m->no_gpus = 1;
    for (m->opened++; m->opened < r->ranks;) usleep(100);
    for (int k = 0; k < r->rank; k++)
        if (strcmp(m->device[k], m->device[r->rank]) == 0) m->no_gpus = 1;
    for (m->compared++; m->compared < r->ranks;) usleep(100);
    return !m->no_gpus;
}

static void opened_and_joined(rank_t *r) {
    err_t err = {0};
    bool opened = open_rank(r, "0,1,2,3", &err);
    if (!enough_gpus(r, opened)) _exit(0);
    if (opened && join_rank(r, &err)) return;
    SAY(r, "%s", err.msg);
    fflush(NULL);
    _exit(1);
}

/* ---- sums ------------------------------------------------------------------------------------------------ */

/* Elements around those that are shared out unevenly, and around the 1,024 of a piece here. */
static const size_t sizes[] = {1, 3, 8, 15, 16, 17, 1000, 1023, 1024, 1040, 5000, 10007};
enum { N_SIZES = sizeof sizes / sizeof *sizes };

/* The values of a rank, of very different sizes: another order of the sum, also in double, gives other bits. */
static float *values(int rank, unsigned seed, size_t i) {
    float *x = xmalloc(sizes[i] * sizeof *x);
    rig_normal(rng_fold(seed, 100 * i + (size_t)rank), x, sizes[i], 1);
    for (size_t j = 0; j < sizes[i]; j++) x[j] = ldexpf(x[j], (int)((j * 7 + (size_t)rank * 13) % 60));
    return x;
}

/* 2 x of each rank, added in their order in double and rounded once; then twice that. */
static float *expected(int ranks, unsigned seed, size_t i) {
    double *sum = xcalloc(sizes[i], sizeof *sum);
    float *out = xmalloc(sizes[i] * sizeof *out);
    for (int k = 0; k < ranks; k++) {
        float *x = values(k, seed, i);
        for (size_t j = 0; j < sizes[i]; j++) sum[j] += 2 * x[j];
        free(x);
    }
    for (size_t j = 0; j < sizes[i]; j++) out[j] = 2 * (float)sum[j];
    free(sum);
    return out;
}

/* Sums between two ops, one after another, without a wait between them. What the op behind made leaves through another
 * lane. */
static void sum_between_ops(rank_t *r) {
    float *x[N_SIZES], *out[N_SIZES];
    opened_and_joined(r);
    backend_t *be = r->be;
    for (size_t i = 0; i < N_SIZES; i++) {
        const size_t bytes = sizes[i] * sizeof(float);
        float *mine = values(r->rank, r->seed, i);
        x[i] = be->alloc(be, bytes, MEM_DEVICE);
        out[i] = be->alloc(be, bytes, MEM_PINNED);
        be->upload(be, x[i], mine, bytes);
        be->add(be, x[i], x[i], x[i], sizes[i]);
        be->sum_ranks(be, x[i], sizes[i]);
        be->add(be, x[i], x[i], x[i], sizes[i]);
        be->wait(be, LANE_OUT, be->mark(be, LANE_COMPUTE));
        be->copy_out(be, out[i], x[i], bytes);
        free(mine);
    }
    be->sync(be);
    for (size_t i = 0; i < N_SIZES; i++) {
        float *want = expected(r->ranks, r->seed, i);
        for (size_t j = 0; j < sizes[i] && !*r->meeting->said[r->rank]; j++)
            if (memcmp(&out[i][j], &want[j], sizeof *want))
                SAY(r, "element %zu of %zu: %.9g; expected %.9g", j, sizes[i], (double)out[i][j], (double)want[j]);
        free(want);
        be->free(be, x[i], MEM_DEVICE);
        be->free(be, out[i], MEM_PINNED);
    }
    close_rank(r);
}

static void test_sums_on_gpus(void **state) {
    (void)state;
    for (int ranks = 1; ranks <= MAX_RANKS; ranks++) {
        if (check_ranks(ranks, 1, sum_between_ops)) continue;
        print_message("skip: fewer than %d GPUs here\n", ranks);
        skip();
    }
}

static void test_sums(void **state) {
    (void)state;
    for (unsigned seed = 1; seed <= SEEDS; seed++) {
        check_ranks(2, seed, sum_between_ops);
        check_ranks(4, seed, sum_between_ops);
    }
    check_ranks(1, 1, sum_between_ops);
    check_ranks(3, 1, sum_between_ops);
}

/* One rank, in the test's own process, where AddressSanitizer looks for what is not freed. */
static void test_one_rank(void **state) {
    (void)state;
    enum { N = 3000 };
    float x[N], back[N];
    join_id_t id;
    backend_t *be;
    err_t err = {0};
    rig_normal(1, x, N, 1);
    assert_ok(backend_open_cuda(DT_F32, HOST_ALONE, &be, &err), err);
    assert_ok(be->join_id(be, &id, &err), err);
    assert_ok(be->join(be, &id, 0, 1, &err), err);
    float *sum = be->alloc(be, sizeof x, MEM_DEVICE);
    be->upload(be, sum, x, sizeof x);
    be->sum_ranks(be, sum, N);
    be->download(be, back, sum, sizeof x);
    assert_memory_equal(back, x, sizeof x);
    be->free(be, sum, MEM_DEVICE);
    be->close(be);
    assert_int_equal(cuda_host_used_memory(), 0);
}

/* ---- what goes wrong --------------------------------------------------------------------------------------- */

/* All on device 0: NCCL refuses, and nothing stays behind. */
static void join_on_one_gpu(rank_t *r) {
    err_t err = {0};
    if (!open_rank(r, "0", &err)) SAY(r, "%s", err.msg);
    else if (join_rank(r, &err)) SAY(r, "two ranks joined on one GPU");
    else if (err.code != ERR_FAILED ||
             !strstr(err.msg, "NCCL: ncclCommInitRank: invalid usage (Duplicate GPU detected"))
        SAY(r, "the error is: %s", err.msg);
    else close_rank(r);
}

static void test_one_gpu(void **state) {
    (void)state;
    check_ranks(2, 1, join_on_one_gpu);
}

/* Rank 1 closes alone, as after an error that the others do not know of: it does not wait for them for ever. */
static void close_alone(rank_t *r) {
    opened_and_joined(r);
    if (r->rank == 0) {
        while (!r->meeting->closed) usleep(10000);
        return;
    }
    time_t before = time(NULL);
    close_rank(r);
    if (time(NULL) - before > 30) SAY(r, "closing took %ld seconds", (long)(time(NULL) - before));
    r->meeting->closed = 1;
}

static void test_close_alone(void **state) {
    (void)state;
    check_ranks(2, 1, close_alone);
}

/* A connection is lost while rank 0 waits for a sum, on which nothing returns. */
static void lose_connection(rank_t *r) {
    opened_and_joined(r);
    cuda_host_break_nccl();
    sleep(20);
    SAY(r, "the process went on");
}

static void test_lost_connection(void **state) {
    (void)state;
    int status;
    meeting_t *m;
    FILE *err = tmpfile();
    char line[300] = "";
    int before = dup(STDERR_FILENO);
    assert_true(err && before >= 0);
    dup2(fileno(err), STDERR_FILENO);
    m = run_ranks(1, 1, lose_connection, &status);
    dup2(before, STDERR_FILENO);
    close(before);
    rewind(err);
    assert_non_null(fgets(line, sizeof line, err));
    fclose(err);
    assert_string_equal(m->said[0], "");
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == ERR_FAILED);
    assert_string_equal(line, "NCCL: between the ranks: remote process exited or there was a network error ()\n");
    munmap(m, sizeof *m);
}

/* The library is missing, or is another: the backend is there, without the three. */
static void test_no_nccl(void **state) {
    (void)state;
    static const struct {
        const char *library, *message;
    } missing[] = {
        {"/nowhere/libnccl.so.2", "NCCL cannot be loaded: /nowhere/libnccl.so.2: cannot open shared object file"},
        {"libm.so.6", "undefined symbol: ncclCommDestroy"},
    };
    for (size_t i = 0; i < sizeof missing / sizeof *missing; i++) {
        backend_t *be;
        err_t err = {0};
        cuda_host_set_nccl(missing[i].library);
        assert_ok(backend_open_cuda(DT_F32, HOST_ALONE, &be, &err), err);
        assert_null(be->join_id);
        assert_null(be->join);
        assert_null(be->sum_ranks);
        assert_non_null(strstr(be->no_join, missing[i].message));
        be->close(be);
    }
    cuda_host_set_nccl(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sums),        cmocka_unit_test(test_one_rank),        cmocka_unit_test(test_one_gpu),
        cmocka_unit_test(test_close_alone), cmocka_unit_test(test_lost_connection), cmocka_unit_test(test_no_nccl),
    };
    const struct CMUnitTest on_gpus[] = {cmocka_unit_test(test_sums_on_gpus)};
    return cuda_host_emulated() ? cmocka_run_group_tests(tests, NULL, NULL)
                                : cmocka_run_group_tests(on_gpus, NULL, NULL);
}
