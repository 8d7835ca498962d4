/* Sums over the GPUs of the processes that train together, by NCCL.
 *
 * NCCL only moves the summands; they are added here, in the order of ranks: each rank is sent its share of the elements by
 * all, adds it up, and sends the sums to all. A rank sends and receives as much as in an all-reduce by a ring, twice
 * (ranks - 1) / ranks of the data. ncclAllReduce() would not do: it "leaves identical copies of the result" on all ranks
 * (NCCL user guide, Collective Operations), but promises nothing from run to run. The order in which it adds follows
 * from how it finds the ranks connected (NVIDIA/nccl issues 157 and 1461), so the same job on other nodes has other
 * bits, and through NVLink SHARP the bits differ from call to call (issue 1497). What is copied has the same bits
 * whichever way it takes, so nothing has to be set in NCCL. */
#include "cuda/nccl.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <time.h>

static_assert(sizeof(ncclUniqueId) == JOIN_ID_BYTES, "an id of NCCL is what ranks are told");

/* Elements are summed in pieces of this size, through as much memory. */
#ifndef JOIN_PIECE /* tests on the host take less, see cuda/workspace.h */
#define JOIN_PIECE ((size_t)32 << 20)
#define JOIN_LEAVE_SECONDS 10 /* that a rank which closes waits for the others of its host to close */
#endif
enum { CHECK_SECONDS = 1, SHARE_STEP = 4 /* elements of a share are a multiple: 16 bytes */ };

/* The library is there once for the process, whatever is opened. */
static nccl_t lib;

typedef struct cuda_join {
    ncclComm_t comm;
    int device, rank, ranks;
    float *room; /* on the device: what has come from all ranks */
    size_t room_floats;

    /* The thread that looks for errors, and leaves. */
    pthread_t watcher;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool leave, left;
} join_t;

/* ---- errors -------------------------------------------------------------------------------------------- */

[[noreturn]] static void end_process(ncclResult_t result, const char *what, ncclComm_t comm) {
    fprintf(stderr, "NCCL: %s: %s (%s)\n", what, lib.ncclGetErrorString(result), lib.ncclGetLastError(comm));
    fflush(stderr);
    _Exit(ERR_FAILED); /* as cuda_check() */
}

/* With NCCL_COMM_BLOCKING=0 in the environment calls return before they are done. */
static ncclResult_t settled(ncclComm_t comm, ncclResult_t result) {
    while (result == ncclInProgress)
        if (ncclResult_t e = lib.ncclCommGetAsyncError(comm, &result)) return e;
    return result;
}

#define NCCL_CHECK(join, call) nccl_check((join)->comm, lib.call, #call)
static void nccl_check(ncclComm_t comm, ncclResult_t result, const char *what) {
    result = settled(comm, result);
    if (result != ncclSuccess) end_process(result, what, comm);
}

static int nccl_error(const char *what, ncclResult_t result, err_t *err) {
    return err_set(err, ERR_FAILED, "NCCL: %s: %s (%s)", what, lib.ncclGetErrorString(result),
                   lib.ncclGetLastError(NULL));
}

/* ---- the sum -------------------------------------------------------------------------------------------- */

/* out[n] = the sum of in[k * stride ..], k < ranks, in that order; in double and rounded once, as ranks_sum_f32() adds up
 * in host memory: the same bits. */
enum { THREADS = 256 };
__global__ void __launch_bounds__(THREADS)
    add_ranks_kernel(float *out, const float *in, size_t stride, int ranks, size_t n) {
    size_t i = (size_t)blockIdx.x * THREADS + threadIdx.x;
    if (i >= n) return;
    double sum = in[i];
    for (int k = 1; k < ranks; k++) sum += in[(size_t)k * stride + i];
    out[i] = (float)sum;
}

static void add_ranks(const join_t *j, cudaStream_t s, float *out, size_t n) {
    LAUNCH(add_ranks_kernel, grid_for(n, THREADS), THREADS, 0, s, out, j->room, n, j->ranks, n);
}

/* Rank k is sent the n elements at from + k * from_stride; what it sends comes to `to` + k * to_stride. */
static void exchange(const join_t *j, cudaStream_t s, const float *from, size_t from_stride, float *to,
                     size_t to_stride, size_t n) {
    NCCL_CHECK(j, ncclGroupStart());
    for (int k = 0; k < j->ranks; k++) {
        const float *out = from + (size_t)k * from_stride;
        float *in = to + (size_t)k * to_stride;
        if (out == in) continue; /* a rank's own, in its place */
        NCCL_CHECK(j, ncclSend(out, n, ncclFloat, k, j->comm, s));
        NCCL_CHECK(j, ncclRecv(in, n, ncclFloat, k, j->comm, s));
    }
    NCCL_CHECK(j, ncclGroupEnd());
}

/* x[ranks * share]: of each rank's share every rank sends its summands there, and it sends the sums to all. */
static void sum_shares(const join_t *j, cudaStream_t s, float *x, size_t share) {
    float *mine = x + (size_t)j->rank * share;
    exchange(j, s, x, share, j->room, share, share);
    add_ranks(j, s, mine, share);
    exchange(j, s, mine, 0, x, share, share);
}

/* The few elements that are left: each rank adds up all of them. */
static void sum_rest(const join_t *j, cudaStream_t s, float *x, size_t n) {
    exchange(j, s, x, 0, j->room, n, n);
    add_ranks(j, s, x, n);
}

static void sum_on(const join_t *j, cudaStream_t s, float *x, size_t n) {
    const size_t ranks = (size_t)j->ranks;
    while (n) {
        size_t share = min_size(n, j->room_floats) / ranks / SHARE_STEP * SHARE_STEP;
        size_t done = share ? share * ranks : n;
        if (share) sum_shares(j, s, x, share);
        else sum_rest(j, s, x, n);
        x += done;
        n -= done;
    }
}

/* A rank that has died leaves kernels of the others waiting for it, on which no call here returns any more. The program
 * then ends by a thread that watches the other processes, not by this file: see trainer/ranks/lifeline.h. */
static void sum_ranks(backend_t *be, float *x, size_t n) {
    cuda_impl_t *impl = cuda_impl(be);
    CHECK(impl->join);
    impl->weights_touched = true; /* x may be adapters */
    sum_on(impl->join, compute_stream(be), x, n);
}

/* ---- the watcher ----------------------------------------------------------------------------------------- */

static struct timespec in_seconds(int seconds) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_sec += seconds;
    return t;
}

/* Whether leave_join() asked for it, after waiting for at most CHECK_SECONDS. */
static bool asked_to_leave(join_t *j) {
    const struct timespec until = in_seconds(CHECK_SECONDS);
    pthread_mutex_lock(&j->lock);
    if (!j->leave) pthread_cond_timedwait(&j->changed, &j->lock, &until);
    bool leave = j->leave;
    pthread_mutex_unlock(&j->lock);
    return leave;
}

/* What goes wrong on the way (a link, a remote process) is told to who asks; the kernels wait for ever, and with them
 * the thread that waits for the stream. ncclCommDestroy() is this thread's too: it waits for the ranks of the same host,
 * and one that closes alone after an error must not wait for them for ever. */
static void *watch(void *join) {
    join_t *j = (join_t *)join;
    CUDA_CHECK(cudaSetDevice(j->device)); /* each thread has its own choice */
    while (!asked_to_leave(j)) {
        ncclResult_t error = ncclSuccess;
        ncclResult_t asked = lib.ncclCommGetAsyncError(j->comm, &error);
        if (asked != ncclSuccess) error = asked;
        if (error != ncclSuccess && error != ncclInProgress) end_process(error, "between the ranks", j->comm);
    }
    (void)lib.ncclCommDestroy(j->comm);
    pthread_mutex_lock(&j->lock);
    j->left = true;
    pthread_cond_signal(&j->changed);
    pthread_mutex_unlock(&j->lock);
    return NULL;
}

/* Signals are for the threads that expect them. */
static int start_watcher(join_t *j, err_t *err) {
    sigset_t all, before;
    pthread_condattr_t attributes;
    sigfillset(&all);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC); /* the date may be set meanwhile */
    pthread_cond_init(&j->changed, &attributes);
    pthread_mutex_init(&j->lock, NULL);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int e = pthread_create(&j->watcher, NULL, watch, j);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return e ? err_set(err, ERR_FAILED, "a thread that watches NCCL cannot be started: %s", strerror(e)) : 0;
}

/* False: the other ranks have not left, and the thread that waits for them keeps what it needs. */
static bool leave_join(join_t *j) {
    const struct timespec until = in_seconds(JOIN_LEAVE_SECONDS);
    pthread_mutex_lock(&j->lock);
    j->leave = true;
    pthread_cond_signal(&j->changed);
    for (int e = 0; !j->left && e == 0;) e = pthread_cond_timedwait(&j->changed, &j->lock, &until);
    bool left = j->left;
    pthread_mutex_unlock(&j->lock);
    if (left) pthread_join(j->watcher, NULL);
    else pthread_detach(j->watcher);
    return left;
}

/* ---- joining --------------------------------------------------------------------------------------------- */

static int join_id(backend_t *be, join_id_t *id, err_t *err) {
    (void)be;
    ncclUniqueId made;
    ncclResult_t result = lib.ncclGetUniqueId(&made);
    if (result != ncclSuccess) return nccl_error("ncclGetUniqueId", result, err);
    memcpy(id->bytes, &made, sizeof made);
    return 0;
}

/* NCCL connects a pair of ranks when they first have something to say to each other, and takes memory for it: now, not
 * when all memory has been given out. So the first sum is made here, and it tells whether the ranks can add up. */
static int try_sum(join_t *j, cudaStream_t s, err_t *err) {
    const size_t n = (size_t)j->ranks * SHARE_STEP;
    float *host = (float *)xmalloc(n * sizeof *host), *x;
    int rc = CUDA_TRY(cudaMalloc(&x, n * sizeof *x), err);
    for (size_t i = 0; i < n; i++) host[i] = (float)(j->rank + 1);
    if (rc == 0) {
        CUDA_CHECK(cudaMemcpyAsync(x, host, n * sizeof *x, cudaMemcpyHostToDevice, s));
        sum_on(j, s, x, n);
        CUDA_CHECK(cudaMemcpyAsync(host, x, n * sizeof *x, cudaMemcpyDeviceToHost, s));
        CUDA_CHECK(cudaStreamSynchronize(s));
        CUDA_CHECK(cudaFree(x));
    }
    const float want = (float)j->ranks * (float)(j->ranks + 1) / 2;
    for (size_t i = 0; rc == 0 && i < n; i++)
        if (host[i] != want)
            rc = err_set(err, ERR_FAILED, "NCCL adds up wrongly on this machine: %d ranks gave %g; expected %g",
                         j->ranks, (double)host[i], (double)want);
    free(host);
    return rc;
}

static int open_join(join_t *j, const join_id_t *id, err_t *err) {
    ncclUniqueId unique;
    memcpy(&unique, id->bytes, sizeof unique);
    ncclResult_t result = lib.ncclCommInitRank(&j->comm, j->ranks, unique, j->rank);
    result = settled(j->comm, result);
    if (result != ncclSuccess) return nccl_error("ncclCommInitRank", result, err);
    return start_watcher(j, err);
}

static int join(backend_t *be, const join_id_t *id, int rank, int ranks, err_t *err) {
    cuda_impl_t *impl = cuda_impl(be);
    CHECK(!impl->join && rank >= 0 && rank < ranks);
    join_t *j = (join_t *)xcalloc(1, sizeof *j);
    j->device = impl->device;
    j->rank = rank;
    j->ranks = ranks;
    const size_t least = (size_t)ranks * (size_t)ranks * SHARE_STEP; /* the rest of each rank */
    j->room_floats = max_size(JOIN_PIECE / sizeof(float), least);
    if (CUDA_TRY(cudaMalloc(&j->room, j->room_floats * sizeof(float)), err)) {
        free(j);
        return err->code;
    }
    if (open_join(j, id, err)) {
        CUDA_CHECK(cudaFree(j->room));
        free(j);
        return err->code;
    }
    impl->join = j;
    return try_sum(j, compute_stream(be), err);
}

void cuda_join_close(cuda_impl_t *impl) {
    join_t *j = impl->join;
    if (!j) return;
    CUDA_CHECK(cudaStreamSynchronize(impl->lane[LANE_COMPUTE].stream));
    CUDA_CHECK(cudaFree(j->room));
    if (leave_join(j)) free(j);
    impl->join = NULL;
}

void cuda_join_ops(backend_t *be) {
    err_t err = {};
    if (nccl_load(&lib, &err)) {
        snprintf(be->no_join, sizeof be->no_join, "%.*s", (int)sizeof be->no_join - 1, err.msg);
        return;
    }
    be->join_id = join_id;
    be->join = join;
    be->sum_ranks = sum_ranks;
}
