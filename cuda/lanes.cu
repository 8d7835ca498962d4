/* Lanes and tickets: streams and events. */
#include "cuda/cuda_impl.h"

static ticket_t mark(backend_t *be, lane_t lane) {
    lane_state_t *l = &cuda_impl(be)->lane[lane];
    l->n++;
    CUDA_CHECK(cudaEventRecord(l->event[l->n % LANE_EVENTS], l->stream));
    return ticket_t{lane, l->n};
}

/* Adds the oldest pair's time; waits for it if need be. */
static void take_stall(stalls_t *s) {
    float ms;
    CUDA_CHECK(cudaEventSynchronize(s->end[s->first]));
    CUDA_CHECK(cudaEventElapsedTime(&ms, s->begin[s->first], s->end[s->first]));
    s->seconds += 1e-3 * ms;
    s->first = (s->first + 1) % STALL_PAIRS;
    s->n--;
}

/* LANE_COMPUTE waits for a copy. So does the dequant stream, which would else read a weight before it is there. */
static void wait_for_copy(cuda_impl_t *impl, cudaEvent_t copied) {
    stalls_t *s = &impl->stalls;
    cudaStream_t compute = impl->lane[LANE_COMPUTE].stream;
    if (s->n == STALL_PAIRS) take_stall(s);
    size_t i = (s->first + s->n++) % STALL_PAIRS;
    CUDA_CHECK(cudaEventRecord(s->begin[i], compute));
    CUDA_CHECK(cudaStreamWaitEvent(compute, copied, 0));
    CUDA_CHECK(cudaEventRecord(s->end[i], compute));
    CUDA_CHECK(cudaStreamWaitEvent(impl->dequant, copied, 0));
}

static void wait(backend_t *be, lane_t lane, ticket_t t) {
    cuda_impl_t *impl = cuda_impl(be);
    if (t.n == 0 || t.lane == lane) return;
    CHECK(t.n <= impl->lane[t.lane].n);
    cudaEvent_t done = impl->lane[t.lane].event[t.n % LANE_EVENTS];
    if (lane == LANE_COMPUTE) wait_for_copy(impl, done);
    else CUDA_CHECK(cudaStreamWaitEvent(impl->lane[lane].stream, done, 0));
}

static double stalled(backend_t *be) {
    stalls_t *s = &cuda_impl(be)->stalls;
    while (s->n) take_stall(s);
    double seconds = s->seconds;
    s->seconds = 0;
    return seconds;
}

static void sync(backend_t *be) {
    cuda_impl_t *impl = cuda_impl(be);
    for (int i = 0; i < LANES; i++) CUDA_CHECK(cudaStreamSynchronize(impl->lane[i].stream));
    CUDA_CHECK(cudaStreamSynchronize(impl->dequant));
}

static void copy_in(backend_t *be, void *dst, const void *host_src, size_t bytes) {
    CUDA_CHECK(cudaMemcpyAsync(dst, host_src, bytes, cudaMemcpyHostToDevice, cuda_impl(be)->lane[LANE_IN].stream));
}

static void copy_out(backend_t *be, void *host_dst, const void *src, size_t bytes) {
    CUDA_CHECK(cudaMemcpyAsync(host_dst, src, bytes, cudaMemcpyDeviceToHost, cuda_impl(be)->lane[LANE_OUT].stream));
}

void cuda_lane_ops(backend_t *be) {
    be->mark = mark;
    be->wait = wait;
    be->stalled = stalled;
    be->sync = sync;
    be->copy_in = copy_in;
    be->copy_out = copy_out;
}

/* ---- opening ----------------------------------------------------------------------------------------- */

static int open_events(cudaEvent_t *event, size_t n, unsigned flags, err_t *err) {
    for (size_t i = 0; i < n; i++)
        if (CUDA_TRY(cudaEventCreateWithFlags(&event[i], flags), err)) return err->code;
    return 0;
}

static void close_events(cudaEvent_t *event, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (event[i]) CUDA_CHECK(cudaEventDestroy(event[i]));
}

int cuda_lanes_open(cuda_impl_t *impl, err_t *err) {
    for (int i = 0; i < LANES; i++) {
        lane_state_t *l = &impl->lane[i];
        if (CUDA_TRY(cudaStreamCreateWithFlags(&l->stream, cudaStreamNonBlocking), err)) return err->code;
        if (open_events(l->event, LANE_EVENTS, cudaEventDisableTiming, err)) return err->code;
    }
    /* Blocks of a dequantization go first where a product leaves room for one: the next product waits for them. */
    int least = 0, greatest = 0;
    if (CUDA_TRY(cudaDeviceGetStreamPriorityRange(&least, &greatest), err)) return err->code;
    if (CUDA_TRY(cudaStreamCreateWithPriority(&impl->dequant, cudaStreamNonBlocking, greatest), err)) return err->code;
    for (int i = 0; i < 2; i++) {
        if (open_events(&impl->slot[i].filled, 1, cudaEventDisableTiming, err)) return err->code;
        if (open_events(&impl->slot[i].read, 1, cudaEventDisableTiming, err)) return err->code;
    }
    if (open_events(&impl->touched, 1, cudaEventDisableTiming, err)) return err->code;
    if (open_events(impl->stalls.begin, STALL_PAIRS, cudaEventDefault, err)) return err->code;
    return open_events(impl->stalls.end, STALL_PAIRS, cudaEventDefault, err);
}

void cuda_lanes_close(cuda_impl_t *impl) {
    for (int i = 0; i < LANES; i++) {
        close_events(impl->lane[i].event, LANE_EVENTS);
        if (impl->lane[i].stream) CUDA_CHECK(cudaStreamDestroy(impl->lane[i].stream));
    }
    for (int i = 0; i < 2; i++) {
        close_events(&impl->slot[i].filled, 1);
        close_events(&impl->slot[i].read, 1);
    }
    close_events(&impl->touched, 1);
    close_events(impl->stalls.begin, STALL_PAIRS);
    close_events(impl->stalls.end, STALL_PAIRS);
    if (impl->dequant) CUDA_CHECK(cudaStreamDestroy(impl->dequant));
}
