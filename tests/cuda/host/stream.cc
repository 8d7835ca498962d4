/* Streams, events and copies. Each stream is a queue that may stand still for as long as nobody waits for it: how
 * eagerly it runs by itself is drawn for each, so that some runs see a copy far behind the kernels of another stream
 * and some far ahead. A wait for an event runs the other stream up to it; so the queues cannot deadlock.
 *
 * Serialized, nothing of two streams overlaps: the device takes one piece of work after the other, of the streams that
 * do not wait the one that goes first; which that is and how far the device lags behind the host is drawn. */
#include <chrono>
#include <cstring>
#include <deque>
#include <memory>
#include <vector>

#include "control.h"
#include "cuda_host.h"
#include "graph.h"
#include "memory.h"
#include "scheduler.h"

namespace cuda_host {

struct piece_t {
    std::function<void()> work;
    struct stream_t *after; /* waits until that stream has done `at`; NULL: for nothing */
    uint64_t at, issued;
};

struct stream_t {
    std::deque<piece_t> queue;
    uint64_t given, done; /* pieces of work */
    bool blocking;        /* ordered with the default stream */
    uint32_t eagerness;   /* of 4 */
    uint32_t rank;        /* serialized: the greatest goes first */
    unsigned schedule;    /* that these were drawn under */
    captured_t captured;
};

struct event_t {
    stream_t *stream; /* NULL: never recorded */
    uint64_t at;      /* done when the stream has done that many */
    bool timed;
    std::chrono::steady_clock::time_point time;
    captured_t captured; /* recorded in a capture: it stands for nodes */
};

static uint64_t submissions;

/* Kept to the end: events may outlive their stream. The first is the default stream. */
static std::vector<std::unique_ptr<stream_t>> *streams = new std::vector<std::unique_ptr<stream_t>>;

static stream_t *stream_new(bool blocking) {
    streams->push_back(std::make_unique<stream_t>());
    stream_t *s = streams->back().get();
    s->blocking = blocking;
    return s;
}

static stream_t *default_stream() {
    if (streams->empty()) stream_new(false);
    return streams->front().get();
}

static stream_t *stream_of(stream_t *s) { return s ? s : default_stream(); }

captured_t &captured_of(stream_t *s) { return stream_of(s)->captured; }

static bool serialized;
static uint64_t n_issued, n_overtaken;

static void draw_for(stream_t *s) {
    if (s->schedule == schedule_number()) return;
    s->schedule = schedule_number();
    s->eagerness = draw(5);
    s->rank = draw(1u << 31);
}

static void run_until(stream_t *s, uint64_t at);

static void run_front(stream_t *s) {
    piece_t p = std::move(s->queue.front());
    s->queue.pop_front();
    device_enter();
    if (p.after) run_until(p.after, p.at);
    else p.work();
    device_leave();
    s->done++;
}

/* ---- one piece after the other -------------------------------------------------------------------------- */
static bool can_go_on(const stream_t *s) {
    if (s->queue.empty()) return false;
    const piece_t &p = s->queue.front();
    return !p.after || p.after->done >= p.at;
}

/* False: all that was given is done. */
static bool run_first() {
    stream_t *first = nullptr;
    bool idle = true;
    for (auto &s : *streams) {
        draw_for(s.get());
        idle = idle && s->queue.empty();
        if (can_go_on(s.get()) && (!first || s->rank > first->rank)) first = s.get();
    }
    if (idle) return false;
    if (!first) fault({}, "deadlock: each stream waits for another");
    for (auto &s : *streams)
        n_overtaken += s.get() != first && can_go_on(s.get()) && s->queue.front().issued < first->queue.front().issued;
    run_front(first);
    return true;
}

/* ---- */

/* Moves that stream on. */
static void run_one(stream_t *s) {
    if (serialized) run_first();
    else run_front(s);
}

static void run_until(stream_t *s, uint64_t at) {
    device_enter();
    while (s->done < at && !s->queue.empty()) run_one(s);
    device_leave();
}

static void run_by_itself() {
    if (device_guarded()) return;
    if (serialized) {
        draw_for(default_stream());
        while (draw(4) < default_stream()->eagerness && run_first()) {}
        return;
    }
    for (size_t i = 0; i < streams->size(); i++) {
        stream_t *s = (*streams)[i].get();
        draw_for(s);
        while (!s->queue.empty() && draw(4) < s->eagerness) run_one(s);
    }
}

static void push(stream_t *s, piece_t p) {
    p.issued = n_issued++;
    s->queue.push_back(std::move(p));
    s->given++;
}

static void push_wait(stream_t *s, stream_t *other, uint64_t at) {
    if (other->done < at) push(s, {nullptr, other, at, 0});
}

/* Work on the default stream follows all that blocking streams were given, and they follow it. */
static void push_in_order(stream_t *s, std::function<void()> work) {
    if (s == default_stream()) {
        for (auto &other : *streams)
            if (other->blocking) push_wait(s, other.get(), other->given);
    } else if (s->blocking) {
        push_wait(s, default_stream(), default_stream()->given);
    }
    push(s, {std::move(work), nullptr, 0, 0});
}

void enqueue(stream_t *s, std::function<void()> work, work_kind_t kind, unsigned cluster) {
    check_device();
    if (captured_of(s).capture) {
        capture_add(&captured_of(s), kind, cluster, std::move(work));
        return;
    }
    submissions++;
    push_in_order(stream_of(s), std::move(work));
    run_by_itself();
}

/* ---- copies ------------------------------------------------------------------------------------------------ */
static void check_side(const char *side, const void *p, size_t bytes, bool must_be_device, bool known) {
    size_t left;
    memory_kind_t kind = memory_kind(p, &left);
    if (known && must_be_device != (kind == MEMORY_DEVICE))
        fault({}, "copy: its %s %p is %s memory, against its kind", side, p, kind == MEMORY_DEVICE ? "device" : "host");
    if (kind != MEMORY_PAGEABLE && bytes > left)
        fault({}, "copy: its %s has %zu bytes to the end of the allocation, of %zu", side, left, bytes);
}

static void check_copy(const void *to, const void *from, size_t bytes, cudaMemcpyKind kind) {
    bool known = kind != cudaMemcpyDefault;
    check_side("destination", to, bytes, kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice, known);
    check_side("source", from, bytes, kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice, known);
    if ((const char *)to < (const char *)from + bytes && (const char *)from < (const char *)to + bytes)
        fault({}, "copy: its source and destination overlap");
}

static memory_kind_t kind_of(const void *p) {
    size_t left;
    return memory_kind(p, &left);
}

/* From pageable memory the driver takes the bytes before it returns, and writes them later; into pageable memory it
 * has written them when it returns. Only pinned memory is read and written later. */
static void copy(void *to, const void *from, size_t bytes, cudaMemcpyKind kind, stream_t *s) {
    if (bytes == 0) return;
    check_copy(to, from, bytes, kind);
    if (captured_of(s).capture) { /* pageable memory too is read and written when the graph runs */
        enqueue(
            s, [=] { memcpy(to, from, bytes); }, WORK_COPY);
        return;
    }
    if (kind_of(from) == MEMORY_PAGEABLE && kind_of(to) == MEMORY_DEVICE) {
        auto taken = std::make_shared<std::vector<char>>((const char *)from, (const char *)from + bytes);
        enqueue(s, [=] { memcpy(to, taken->data(), bytes); });
        return;
    }
    enqueue(s, [=] { memcpy(to, from, bytes); });
    if (kind_of(to) == MEMORY_PAGEABLE) run_until(stream_of(s), stream_of(s)->given);
}

} // namespace cuda_host

using namespace cuda_host;

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind, cudaStream_t s) {
    copy(to, from, bytes, kind, s);
    return capture_status(s);
}

cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, cudaMemcpyKind kind) {
    copy(to, from, bytes, kind, nullptr);
    return cudaStreamSynchronize(nullptr);
}

cudaError_t cudaMemcpy2DAsync(void *to, size_t to_pitch, const void *from, size_t from_pitch, size_t width,
                              size_t height, cudaMemcpyKind kind, cudaStream_t s) {
    for (size_t i = 0; i < height; i++)
        copy((char *)to + i * to_pitch, (const char *)from + i * from_pitch, width, kind, s);
    return capture_status(s);
}

cudaError_t cudaMemsetAsync(void *p, int byte, size_t bytes, cudaStream_t s) {
    if (bytes == 0) return cudaSuccess;
    check_side("destination", p, bytes, true, true);
    enqueue(
        s, [=] { memset(p, byte, bytes); }, WORK_SET);
    return capture_status(s);
}

cudaError_t cudaMemset(void *p, int byte, size_t bytes) { return cudaMemsetAsync(p, byte, bytes, nullptr); }

cudaError_t cudaLaunchHostFunc(cudaStream_t s, cudaHostFn_t f, void *argument) {
    enqueue(
        s, [=] { f(argument); }, WORK_HOST);
    return capture_status(s);
}

/* ---- streams --------------------------------------------------------------------------------------------------- */
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *s, unsigned flags) {
    check_device();
    default_stream();
    *s = stream_new(!(flags & cudaStreamNonBlocking));
    return cudaSuccess;
}

cudaError_t cudaStreamCreate(cudaStream_t *s) { return cudaStreamCreateWithFlags(s, cudaStreamDefault); }

cudaError_t cudaStreamCreateWithPriority(cudaStream_t *s, unsigned flags, int) {
    return cudaStreamCreateWithFlags(s, flags);
}

cudaError_t cudaDeviceGetStreamPriorityRange(int *least, int *greatest) {
    *least = 0;
    *greatest = -5;
    return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t s) {
    cudaError_t e = capture_forbids();
    if (e != cudaSuccess) return e;
    run_until(stream_of(s), stream_of(s)->given);
    return cudaSuccess;
}

cudaError_t cudaStreamDestroy(cudaStream_t s) { return cudaStreamSynchronize(s); }

/* Who asks again and again must see an end: each question moves the stream on. */
cudaError_t cudaStreamQuery(cudaStream_t s) {
    cudaError_t e = capture_forbids();
    if (e != cudaSuccess) return e;
    s = stream_of(s);
    if (s->queue.empty()) return cudaSuccess;
    run_one(s);
    return cudaErrorNotReady;
}

cudaError_t cudaDeviceSynchronize() {
    cudaError_t e = capture_forbids();
    if (e != cudaSuccess) return e;
    device_enter();
    for (size_t i = 0; i < streams->size(); i++) run_until((*streams)[i].get(), (*streams)[i]->given);
    device_leave();
    return cudaSuccess;
}

/* ---- events ---------------------------------------------------------------------------------------------------- */
cudaError_t cudaEventCreateWithFlags(cudaEvent_t *e, unsigned flags) {
    check_device();
    *e = new event_t{nullptr, 0, !(flags & cudaEventDisableTiming), {}, {}};
    return cudaSuccess;
}

cudaError_t cudaEventCreate(cudaEvent_t *e) { return cudaEventCreateWithFlags(e, cudaEventDefault); }

/* The driver lets an event be destroyed before it is reached. */
cudaError_t cudaEventDestroy(cudaEvent_t e) {
    if (e->stream) run_until(e->stream, e->at);
    delete e;
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t e, cudaStream_t s) {
    s = stream_of(s);
    e->captured = s->captured;
    if (s->captured.capture) return capture_status(s);
    push_in_order(s, [=] { e->time = std::chrono::steady_clock::now(); });
    e->stream = s;
    e->at = s->given;
    run_by_itself();
    return cudaSuccess;
}

/* Waits for what the event stands for now; recording it again later changes nothing. */
cudaError_t cudaStreamWaitEvent(cudaStream_t s, cudaEvent_t e, unsigned) {
    if (captured_of(s).capture || e->captured.capture) return capture_wait(s, e->captured);
    if (e->stream && e->stream != stream_of(s)) push_wait(stream_of(s), e->stream, e->at);
    return cudaSuccess;
}

static cudaError_t may_ask(cudaEvent_t e) {
    return e->captured.capture ? device_error(cudaErrorCapturedEvent) : capture_forbids();
}

cudaError_t cudaEventSynchronize(cudaEvent_t e) {
    cudaError_t error = may_ask(e);
    if (error != cudaSuccess) return error;
    if (e->stream) run_until(e->stream, e->at);
    return cudaSuccess;
}

cudaError_t cudaEventQuery(cudaEvent_t e) {
    cudaError_t error = may_ask(e);
    if (error != cudaSuccess) return error;
    if (!e->stream || e->stream->done >= e->at) return cudaSuccess;
    run_one(e->stream);
    return cudaErrorNotReady;
}

cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t from, cudaEvent_t to) {
    if (from->captured.capture || to->captured.capture) return device_error(cudaErrorCapturedEvent);
    if (!from->stream || !to->stream || !from->timed || !to->timed) return device_error(cudaErrorInvalidResourceHandle);
    if (from->stream->done < from->at || to->stream->done < to->at) return cudaErrorNotReady;
    *milliseconds = std::chrono::duration<float, std::milli>(to->time - from->time).count();
    return cudaSuccess;
}

void cuda_host_serialize(bool on) {
    cudaDeviceSynchronize();
    serialized = on;
}

uint64_t cuda_host_overtaken() { return n_overtaken; }

uint64_t cuda_host_submissions(void) { return submissions; }
