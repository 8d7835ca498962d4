/* NCCL between processes of one machine, through a file that all of them map. A group is one exchange: a part that
 * leaves what is sent in the file, and one that takes what is received from there; both are work of the stream.
 *
 * The first part is run at the call, with all that the stream was given before: a GPU goes on while its process waits for
 * another process in some other way, which a queue that is only run by its own process does not. The second part waits,
 * like all work of a stream, for somebody to need it. What would hang or give wrong sums on GPUs is a fault. */
#include "nccl.h"

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <string>
#include <sys/mman.h>
#include <unistd.h>
#include <vector>

#include "memory.h"

using cuda_host::fault;

namespace {

enum { MAX_RANKS = 32, PAGE = 4096, DEVICE_BYTES = 64 << 10 /* what joining takes of the device's memory */ };
const size_t SLOT_BYTES = (size_t)16 << 20; /* of one exchange of one rank; pages that nobody writes are none */
const std::chrono::seconds PATIENCE(60);
const cuda_host::site_t HERE = {"NCCL", 0};

/* The file: this, and then two slots for each rank, used in turn. A rank begins exchange s + 2 when it has ended s + 1,
 * for which all others had to end s: nobody reads the slot any more. */
struct shared_t {
    std::atomic<int> present, left;
    struct {
        int device;
        std::atomic<uint64_t> sent; /* exchanges */
    } rank[MAX_RANKS];
};
static_assert(sizeof(shared_t) <= PAGE, "one page");

/* A slot: how many messages, where each is, and the messages. */
struct message_t {
    int peer;
    size_t at, bytes;
};
struct slot_t {
    size_t n;
    message_t message[MAX_RANKS];
};

struct transfer_t {
    void *p;
    size_t bytes;
    int peer;
    bool send;
};

std::vector<transfer_t> group;
ncclComm_t group_comm;
cudaStream_t group_stream;
int group_depth;
const char *library;
bool library_set;
std::atomic<bool> broken;
std::string last_error;

ncclResult_t fails(ncclResult_t result, const std::string &why) {
    last_error = why;
    return result;
}

} // namespace

struct ncclComm {
    int rank, ranks;
    shared_t *shared;
    size_t mapped;
    uint64_t given; /* exchanges */
    void *memory;   /* on the device */
};

/* ---- what tests set --------------------------------------------------------------------------------------------- */
void cuda_host_set_nccl(const char *name) {
    library = name;
    library_set = true;
}

const char *cuda_host_nccl() { return library_set ? library : getenv("CUDA_HOST_NCCL"); }

void cuda_host_break_nccl() { broken = true; }

/* ---- joining ------------------------------------------------------------------------------------------------------ */
ncclResult_t ncclGetUniqueId(ncclUniqueId *id) {
    const char *directory = getenv("TMPDIR");
    std::string path = std::string(directory && *directory ? directory : "/tmp") + "/cuda-host-nccl-XXXXXX";
    if (path.size() >= sizeof id->internal) return fails(ncclSystemError, "TMPDIR is too long");
    memset(id, 0, sizeof *id);
    memcpy(id->internal, path.c_str(), path.size());
    int fd = mkstemp(id->internal);
    if (fd < 0) return fails(ncclSystemError, path + ": " + strerror(errno));
    close(fd);
    return ncclSuccess;
}

static bool wait_until(const std::function<bool()> &happened) {
    const auto end = std::chrono::steady_clock::now() + PATIENCE;
    while (!happened()) {
        if (std::chrono::steady_clock::now() > end) return false;
        usleep(100);
    }
    return true;
}

static ncclResult_t map_file(ncclComm_t c, const char *path) {
    c->mapped = PAGE + (size_t)c->ranks * 2 * SLOT_BYTES;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0 || ftruncate(fd, (off_t)c->mapped)) return fails(ncclSystemError, std::string(path) + strerror(errno));
    void *p = mmap(nullptr, c->mapped, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (p == MAP_FAILED) return fails(ncclSystemError, std::string(path) + strerror(errno));
    c->shared = (shared_t *)p;
    return ncclSuccess;
}

/* As NCCL, which finds two ranks on one GPU and fails on them. */
static ncclResult_t find_duplicate(const ncclComm *c) {
    for (int k = 0; k < c->ranks; k++)
        if (k != c->rank && c->shared->rank[k].device == c->shared->rank[c->rank].device)
            return fails(ncclInvalidUsage,
                         "Duplicate GPU detected : rank " + std::to_string(c->rank) + " and rank " + std::to_string(k));
    return ncclSuccess;
}

static ncclResult_t meet(ncclComm_t c, const char *path) {
    if (ncclResult_t e = map_file(c, path)) return e;
    c->shared->rank[c->rank].device = cuda_host::physical_device();
    c->shared->present++;
    bool all = wait_until([=] { return c->shared->present >= c->ranks; });
    if (c->rank == 0) unlink(path);
    if (!all) return fails(ncclSystemError, "not all ranks have come");
    return find_duplicate(c);
}

static void free_comm(ncclComm_t c) {
    if (c->memory) cudaFree(c->memory);
    if (c->shared) munmap(c->shared, c->mapped);
    delete c;
}

ncclResult_t ncclCommInitRank(ncclComm_t *comm, int ranks, ncclUniqueId id, int rank) {
    if (ranks < 1 || ranks > MAX_RANKS || rank < 0 || rank >= ranks) return fails(ncclInvalidArgument, "ranks");
    ncclComm_t c = *comm = new ncclComm{rank, ranks, nullptr, 0, 0, nullptr};
    ncclResult_t result = meet(c, id.internal);
    if (result == ncclSuccess && cudaMalloc(&c->memory, DEVICE_BYTES)) result = fails(ncclSystemError, "no memory");
    if (result != ncclSuccess) {
        free_comm(c);
        *comm = nullptr;
    }
    return result;
}

/* "An intra-node collective call, which all ranks on the same node should call to avoid a hang." */
ncclResult_t ncclCommDestroy(ncclComm_t c) {
    c->shared->left++;
    cudaFree(c->memory);
    c->memory = nullptr;
    wait_until([=] { return c->shared->left >= c->ranks; });
    free_comm(c);
    return ncclSuccess;
}

ncclResult_t ncclCommGetAsyncError(ncclComm_t, ncclResult_t *error) {
    *error = broken ? ncclRemoteError : ncclSuccess;
    return ncclSuccess;
}

const char *ncclGetErrorString(ncclResult_t result) {
    switch (result) {
    case ncclSuccess: return "no error";
    case ncclSystemError: return "unhandled system error";
    case ncclInvalidArgument: return "invalid argument";
    case ncclInvalidUsage: return "invalid usage";
    case ncclRemoteError: return "remote process exited or there was a network error";
    default: return "unknown result code";
    }
}

const char *ncclGetLastError(ncclComm_t) { return last_error.c_str(); }

/* ---- exchanges ---------------------------------------------------------------------------------------------------- */
static slot_t *slot_of(const ncclComm *c, int rank, uint64_t exchange) {
    size_t at = ((size_t)rank * 2 + exchange % 2) * SLOT_BYTES;
    return (slot_t *)((char *)c->shared + PAGE + at);
}

static void leave_messages(const ncclComm *c, uint64_t exchange, const std::vector<transfer_t> &all) {
    slot_t *slot = slot_of(c, c->rank, exchange);
    size_t at = sizeof *slot;
    slot->n = 0;
    for (const transfer_t &t : all) {
        if (!t.send) continue;
        if (slot->n == MAX_RANKS || t.bytes > SLOT_BYTES - at)
            fault(HERE, "a group sends more than the emulator holds");
        slot->message[slot->n++] = {t.peer, at, t.bytes};
        memcpy((char *)slot + at, t.p, t.bytes);
        at += t.bytes;
    }
    c->shared->rank[c->rank].sent = exchange + 1;
}

/* The message to this rank in what `peer` has left. */
static const message_t *message_from(const ncclComm *c, int peer, uint64_t exchange) {
    std::atomic<uint64_t> &sent = c->shared->rank[peer].sent;
    if (!wait_until([&] { return sent > exchange; })) fault(HERE, "rank %d does not come to an exchange", peer);
    const slot_t *slot = slot_of(c, peer, exchange);
    for (size_t i = 0; i < slot->n; i++)
        if (slot->message[i].peer == c->rank) return &slot->message[i];
    fault(HERE, "rank %d sends nothing to rank %d, which waits for it", peer, c->rank);
}

static void take_messages(const ncclComm *c, uint64_t exchange, const std::vector<transfer_t> &all) {
    for (const transfer_t &t : all) {
        if (t.send) continue;
        const message_t *m = message_from(c, t.peer, exchange);
        if (m->bytes != t.bytes)
            fault(HERE, "rank %d sends %zu bytes, rank %d takes %zu", t.peer, m->bytes, c->rank, t.bytes);
        memcpy(t.p, (const char *)slot_of(c, t.peer, exchange) + m->at, m->bytes);
    }
}

ncclResult_t ncclGroupStart() {
    if (group_depth++ == 0) group.clear();
    return ncclSuccess;
}

ncclResult_t ncclGroupEnd() {
    if (--group_depth > 0 || group.empty()) return ncclSuccess;
    ncclComm_t c = group_comm;
    const std::vector<transfer_t> all = std::move(group);
    uint64_t exchange = c->given++;
    cuda_host::enqueue(group_stream, [=] { leave_messages(c, exchange, all); });
    cudaStreamSynchronize(group_stream);
    cuda_host::enqueue(group_stream, [=] { take_messages(c, exchange, all); });
    return ncclSuccess;
}

static ncclResult_t add_transfer(void *p, size_t n, int peer, ncclComm_t comm, cudaStream_t stream, bool send) {
    size_t left, bytes = n * sizeof(float);
    if (cuda_host::memory_kind(p, &left) != cuda_host::MEMORY_DEVICE || bytes > left)
        fault(HERE, "%p is not %zu bytes of device memory", p, bytes);
    if (peer < 0 || peer >= comm->ranks) fault(HERE, "there is no rank %d", peer);
    if (!group_depth || (!group.empty() && (group_comm != comm || group_stream != stream)))
        fault(HERE, "the emulator knows groups of one communicator on one stream");
    group_comm = comm;
    group_stream = stream;
    group.push_back({p, bytes, peer, send});
    return ncclSuccess;
}

ncclResult_t ncclSend(const void *from, size_t n, ncclDataType_t, int peer, ncclComm_t comm, cudaStream_t stream) {
    return add_transfer(const_cast<void *>(from), n, peer, comm, stream, true);
}

ncclResult_t ncclRecv(void *to, size_t n, ncclDataType_t, int peer, ncclComm_t comm, cudaStream_t stream) {
    return add_transfer(to, n, peer, comm, stream, false);
}
