/* A part of a pass as one launch. What it queues is captured as a graph each time anew, so that every value and address
 * in it is of this pass, and the executable graph that is kept of an earlier one like it takes them over. A node of a
 * graph costs the host less than a launch, of which a small model's pass has thousands that last no longer than they
 * take to be handed over; and the host captures one part while the device runs the part before it. */
#include "cuda/cuda_impl.h"

extern "C" {
#include "base/log.h"
}

/* Executable graphs that are kept; the one that was longest not used makes room. Each takes a megabyte or two of the
 * device's memory for the arguments of its nodes. A kind of training passes has nine, one of evaluation or generation
 * five: with packed samples all that a run does, and tails of other lengths. */
enum { RECORDS = 32 };

/* Tokens times width up to which a pass is worth it. The lightest kernels pass over a matrix of so many BF16 values about
 * three times; at 2^22 values that takes 8 us at the 3.3 TB/s of an H100, and a launch costs the host 2 to 3 us: the
 * host then runs ahead of the device by itself. */
static const size_t MOST_VALUES = (size_t)1 << 22;

typedef struct {
    record_key_t key;
    uint64_t last;        /* the pass that used it; 0: none */
    cudaGraphExec_t exec; /* NULL: passes of this key have only been queued op by op */
    size_t made, updated; /* how often exec was made, and how often it took over another pass */
} record_t;

/* To make an executable graph takes the host about as long as to launch its nodes one by one. So a key whose nodes change
 * as often as not is not worth it (cuBLAS takes other kernels for other numbers of trained tokens, one or two of them). */
static bool is_worth_it(const record_t *r) { return r->made < r->updated + 4; }

typedef struct cuda_records {
    record_t record[RECORDS];
    uint64_t passes;
    bool off; /* it has failed once */
} cuda_records_t;

/* ---- capture ------------------------------------------------------------------------------------------------ */

/* Of the thread that records: its first error. Others, which watch, end the process by theirs. */
static thread_local cudaError_t *failed;

bool cuda_record_fails(cudaError_t status) {
    if (!failed) return false;
    if (*failed == cudaSuccess) *failed = status;
    (void)cudaGetLastError(); /* else the next launch would report it */
    return true;
}

/* Events recorded in a capture mean nothing outside of it, and the other way round. So on either side the dequant stream
 * begins by waiting for LANE_COMPUTE, which has waited for all of the dequant stream's work. */
static void cross_border(backend_t *be) {
    cuda_impl_t *impl = cuda_impl(be);
    for (weight_slot_t &slot : impl->slot) CUDA_CHECK(cudaEventRecord(slot.read, compute_stream(be)));
    impl->slot_next = 0;
    impl->weights_touched = true;
}

/* The graph of what work() queues, none of which runs. Relaxed: cuBLAS may have to load a kernel that no pass has used
 * yet, which the other modes forbid. */
static cudaError_t capture(backend_t *be, void (*work)(void *ctx), void *ctx, cudaGraph_t *graph) {
    cudaError_t first = cudaStreamBeginCapture(compute_stream(be), cudaStreamCaptureModeRelaxed);
    if (first != cudaSuccess) return first;
    failed = &first;
    cross_border(be);
    work(ctx);
    failed = NULL;
    cudaError_t end = cudaStreamEndCapture(compute_stream(be), graph);
    return first != cudaSuccess ? first : end;
}

/* ---- executable graphs --------------------------------------------------------------------------------------- */

static void drop(record_t *r) {
    if (r->exec) CUDA_CHECK(cudaGraphExecDestroy(r->exec)); /* what is still running of it goes when it is done */
    r->exec = NULL;
}

/* Makes r->exec that of the graph: by exchanging what its nodes are given, or, where the nodes are others, anew. */
static cudaError_t make_executable(record_t *r, cudaGraph_t graph) {
    if (r->exec) {
        cudaGraphExecUpdateResultInfo info;
        cudaError_t e = cudaGraphExecUpdate(r->exec, graph, &info);
        r->updated += e == cudaSuccess;
        if (e != cudaErrorGraphExecUpdateFailure) return e;
        (void)cudaGetLastError();
        drop(r);
    }
    r->made++;
    return cudaGraphInstantiate(&r->exec, graph, cudaGraphInstantiateFlagUseNodePriority);
}

static cudaError_t run_as_graph(backend_t *be, record_t *r, void (*work)(void *ctx), void *ctx) {
    cudaGraph_t graph = NULL;
    cudaError_t e = capture(be, work, ctx, &graph);
    if (e == cudaSuccess) e = make_executable(r, graph);
    if (e == cudaSuccess) e = cudaGraphLaunch(r->exec, compute_stream(be));
    if (graph) CUDA_CHECK(cudaGraphDestroy(graph));
    return e;
}

/* ---- the contract -------------------------------------------------------------------------------------------- */

/* The record of a key; a key that has none takes over that of the longest unused. */
static record_t *record_of(cuda_records_t *all, const record_key_t *key) {
    record_t *oldest = &all->record[0];
    for (record_t &r : all->record) {
        const record_key_t *k = &r.key;
        if (r.last && k->kind == key->kind && k->part == key->part && k->pieces == key->pieces &&
            k->tokens == key->tokens)
            return &r;
        if (r.last < oldest->last) oldest = &r;
    }
    drop(oldest);
    *oldest = {*key, 0, NULL, 0, 0};
    return oldest;
}

static void give_up(cuda_records_t *all, cudaError_t why) {
    (void)cudaGetLastError();
    for (record_t &r : all->record) drop(&r);
    all->off = true;
    log_warn("CUDA graphs do not work here (%s: %s); each op is launched by itself, which a small model is slower with",
             cudaGetErrorName(why), cudaGetErrorString(why));
}

/* The first pass of a key is queued op by op: it loads the kernels, and a key that does not come again is worth no more. */
static void recorded(backend_t *be, const record_key_t *key, void (*work)(void *ctx), void *ctx) {
    cuda_records_t *all = cuda_impl(be)->records;
    if (all->off || key->tokens * key->width > MOST_VALUES) {
        work(ctx);
        return;
    }
    record_t *r = record_of(all, key);
    bool known = r->last > 0;
    r->last = ++all->passes;
    if (!known || !is_worth_it(r)) {
        work(ctx);
        return;
    }
    cudaError_t e = run_as_graph(be, r, work, ctx);
    if (e != cudaSuccess) give_up(all, e);
    cross_border(be);
    if (e != cudaSuccess) work(ctx);
}

void cuda_record_ops(backend_t *be) { be->recorded = recorded; }

void cuda_records_open(cuda_impl_t *impl) { impl->records = (cuda_records_t *)xcalloc(1, sizeof *impl->records); }

void cuda_records_close(cuda_impl_t *impl) {
    for (record_t &r : impl->records->record) drop(&r);
    free(impl->records);
}
