/* Stream capture and graphs: what streams are given while they are captured becomes nodes instead of work. */
#ifndef CUDA_HOST_GRAPH_H
#define CUDA_HOST_GRAPH_H

#include <functional>
#include <memory>
#include <vector>

#include "runtime_api.h"

namespace cuda_host {

struct node_t {
    work_kind_t kind;
    unsigned cluster; /* blocks of a kernel's cluster; 0: it has none */
    std::function<void()> work;
    std::vector<size_t> after; /* nodes that come first, in the order in which the capture met them */
};

struct capture_t {
    std::vector<node_t> nodes;
    stream_t *origin;
    std::vector<stream_t *> streams; /* that take part */
    cudaError_t spoiled;             /* what was done to it that may not be; or cudaSuccess */
    bool live;                       /* not ended */
};

/* Where a stream or an event stands in a capture: what it is given next comes after these nodes. */
struct captured_t {
    std::shared_ptr<capture_t> capture; /* NULL: in none */
    std::vector<size_t> after;
};

/* In stream.cc. */
captured_t &captured_of(stream_t *s);

/* Adds a node that the stream is given; a spoiled capture takes none. */
void capture_add(captured_t *at, work_kind_t kind, unsigned cluster, std::function<void()> work);
/* What the stream is given from now on comes after the event, which stands in a capture, or the stream does. */
cudaError_t capture_wait(stream_t *s, const captured_t &event);
/* For calls that return before their work is done: an error if the stream is in a capture that is spoiled. */
cudaError_t capture_status(stream_t *s);
/* For calls that may not be made while the thread captures: they spoil the capture. Stricter than CUDA, which lets some
 * of them pass for streams that take no part. */
cudaError_t capture_forbids();
/* Whether a stream is captured. */
bool capturing();
/* Whether the test wants this call to fail. */
bool call_fails(const char *name);

} // namespace cuda_host

#endif
