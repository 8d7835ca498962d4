/* Stream capture, graphs and executable graphs. The nodes of a graph run in any order that their edges allow, drawn at
 * each launch: an edge that is missing shows as another result. */
#include "graph.h"

#include <algorithm>
#include <cstring>

#include "control.h"
#include "scheduler.h"

namespace cuda_host {

struct graph_t {
    std::vector<node_t> nodes;
};

struct graph_exec_t {
    std::shared_ptr<std::vector<node_t>> nodes; /* shared with the launches that have not run yet */
    bool half_updated, other_clusters;          /* of the latest update */
};

static std::shared_ptr<capture_t> under_way;
static const char *failing_call;
static cuda_host_graphs_t figures;

bool call_fails(const char *name) {
    if (!failing_call || strcmp(failing_call, name) != 0) return false;
    failing_call = nullptr;
    return true;
}

/* ---- capture ------------------------------------------------------------------------------------------------- */
static cudaError_t spoil(capture_t *c, cudaError_t why) {
    if (c->spoiled == cudaSuccess) c->spoiled = why;
    return device_error(why);
}

void capture_add(captured_t *at, work_kind_t kind, unsigned cluster, std::function<void()> work) {
    capture_t *c = at->capture.get();
    if (call_fails("a node")) spoil(c, cudaErrorStreamCaptureUnsupported);
    if (c->spoiled != cudaSuccess) return;
    c->nodes.push_back({kind, cluster, std::move(work), at->after});
    at->after = {c->nodes.size() - 1};
}

cudaError_t capture_wait(stream_t *s, const captured_t &event) {
    captured_t &at = captured_of(s);
    if (at.capture && at.capture != event.capture) return spoil(at.capture.get(), cudaErrorStreamCaptureIsolation);
    if (!event.capture->live) return device_error(cudaErrorCapturedEvent);
    if (!at.capture) {
        at = event;
        at.capture->streams.push_back(s);
        return capture_status(s);
    }
    for (size_t node : event.after)
        if (std::find(at.after.begin(), at.after.end(), node) == at.after.end()) at.after.push_back(node);
    return capture_status(s);
}

cudaError_t capture_status(stream_t *s) {
    const captured_t &at = captured_of(s);
    if (!at.capture || at.capture->spoiled == cudaSuccess) return cudaSuccess;
    return device_error(cudaErrorStreamCaptureInvalidated);
}

cudaError_t capture_forbids() {
    return under_way ? spoil(under_way.get(), cudaErrorStreamCaptureUnsupported) : cudaSuccess;
}

bool capturing() { return under_way != nullptr; }

/* Whether all that the capture was given comes before what its origin would be given next. */
static bool joined(const capture_t &c) {
    std::vector<bool> before(c.nodes.size());
    for (size_t node : captured_of(c.origin).after) before[node] = true;
    for (size_t i = c.nodes.size(); i-- > 0;)
        for (size_t node : c.nodes[i].after)
            if (before[i]) before[node] = true;
    return std::find(before.begin(), before.end(), false) == before.end();
}

/* ---- runs ---------------------------------------------------------------------------------------------------- */
static void run_nodes(const std::vector<node_t> &nodes) {
    std::vector<size_t> waits_for(nodes.size()), ready;
    std::vector<std::vector<size_t>> followers(nodes.size());
    for (size_t i = 0; i < nodes.size(); i++) {
        waits_for[i] = nodes[i].after.size();
        for (size_t node : nodes[i].after) followers[node].push_back(i);
        if (waits_for[i] == 0) ready.push_back(i);
    }
    while (!ready.empty()) {
        std::swap(ready[draw((uint32_t)ready.size())], ready.back());
        size_t i = ready.back();
        ready.pop_back();
        nodes[i].work();
        for (size_t follower : followers[i])
            if (--waits_for[follower] == 0) ready.push_back(follower);
    }
}

static bool same_clusters(const std::vector<node_t> &a, const std::vector<node_t> &b) {
    for (size_t i = 0; i < a.size(); i++)
        if (a[i].cluster != b[i].cluster) return false;
    return true;
}

static bool same_topology(const std::vector<node_t> &a, const std::vector<node_t> &b) {
    if (a.size() != b.size()) return false;
    for (size_t i = 0; i < a.size(); i++)
        if (a[i].kind != b[i].kind || a[i].after != b[i].after) return false;
    return true;
}

} // namespace cuda_host

using namespace cuda_host;

void cuda_host_fail_call(const char *name) { failing_call = name; }

cuda_host_graphs_t cuda_host_graphs(void) { return figures; }

cudaError_t cudaStreamBeginCapture(cudaStream_t s, cudaStreamCaptureMode) {
    if (call_fails("cudaStreamBeginCapture") || !s) return device_error(cudaErrorStreamCaptureUnsupported);
    captured_t &at = captured_of(s);
    if (at.capture) return device_error(cudaErrorIllegalState);
    if (under_way) fault({}, "the emulator knows one capture at a time");
    under_way = at.capture = std::make_shared<capture_t>(capture_t{{}, s, {s}, cudaSuccess, true});
    return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t s, cudaGraph_t *graph) {
    *graph = nullptr;
    std::shared_ptr<capture_t> c = captured_of(s).capture;
    if (!c) return device_error(cudaErrorIllegalState);
    if (c->origin != s) return spoil(c.get(), cudaErrorStreamCaptureUnmatched);
    bool all_joined = joined(*c);
    under_way = nullptr;
    c->live = false;
    for (stream_t *stream : c->streams) captured_of(stream) = {};
    if (call_fails("cudaStreamEndCapture") || c->spoiled != cudaSuccess)
        return device_error(cudaErrorStreamCaptureInvalidated);
    if (!all_joined) return device_error(cudaErrorStreamCaptureUnjoined);
    *graph = new graph_t{std::move(c->nodes)};
    return cudaSuccess;
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
    delete graph;
    return cudaSuccess;
}

/* On a device it takes memory, and may wait until that is there. */
cudaError_t cudaGraphInstantiate(cudaGraphExec_t *exec, cudaGraph_t graph, unsigned long long) {
    *exec = nullptr;
    cudaError_t e = capture_forbids();
    if (e != cudaSuccess) return e;
    if (call_fails("cudaGraphInstantiate")) return device_error(cudaErrorMemoryAllocation);
    *exec = new graph_exec_t{std::make_shared<std::vector<node_t>>(graph->nodes), false, false};
    figures.instantiated++;
    figures.alive++;
    return cudaSuccess;
}

cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t *nodes, size_t *n) {
    for (size_t i = 0; nodes && i < *n; i++) nodes[i] = &graph->nodes[i];
    *n = graph->nodes.size();
    return cudaSuccess;
}

cudaError_t cudaGraphNodeGetType(cudaGraphNode_t node, cudaGraphNodeType *type) {
    static const cudaGraphNodeType types[] = {cudaGraphNodeTypeKernel, cudaGraphNodeTypeMemcpy, cudaGraphNodeTypeMemset,
                                              cudaGraphNodeTypeHost};
    *type = types[node->kind];
    return cudaSuccess;
}

cudaError_t cudaGraphKernelNodeGetAttribute(cudaGraphNode_t node, cudaLaunchAttributeID id,
                                            cudaLaunchAttributeValue *value) {
    if (node->kind != WORK_KERNEL || id != cudaLaunchAttributeClusterDimension)
        return device_error(cudaErrorInvalidValue);
    *value = {{node->cluster, node->cluster > 0, node->cluster > 0}};
    return cudaSuccess;
}

/* Launches that were made before keep what they were given. Of the new kernels all is taken over but the shape of their
 * clusters, and CUDA says nothing of it. */
cudaError_t cudaGraphExecUpdate(cudaGraphExec_t exec, cudaGraph_t graph, cudaGraphExecUpdateResultInfo *info) {
    *info = {};
    if (call_fails("cudaGraphExecUpdate")) return device_error(cudaErrorUnknown);
    if (!same_topology(*exec->nodes, graph->nodes)) {
        exec->half_updated = true;
        info->result = cudaGraphExecUpdateErrorTopologyChanged;
        return device_error(cudaErrorGraphExecUpdateFailure);
    }
    exec->other_clusters = !same_clusters(*exec->nodes, graph->nodes);
    exec->nodes = std::make_shared<std::vector<node_t>>(graph->nodes);
    figures.updated++;
    return cudaSuccess;
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t s) {
    if (call_fails("cudaGraphLaunch")) return device_error(cudaErrorMemoryAllocation);
    if (exec->half_updated) fault({}, "launch of a graph whose update failed");
    if (exec->other_clusters) fault({}, "launch of a kernel in clusters of another one's shape");
    std::shared_ptr<std::vector<node_t>> nodes = exec->nodes;
    enqueue(s, [=] { run_nodes(*nodes); });
    figures.launched++;
    return cudaSuccess;
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
    delete exec;
    figures.alive--;
    return cudaSuccess;
}
