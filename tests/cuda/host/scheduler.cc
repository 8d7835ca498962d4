/* Runs the threads of one block. Which thread goes on at a synchronisation is drawn per block: in order, by random
 * priorities of the warps, redrawn at each barrier, or uniformly. Random priorities find most: a warp that runs far
 * ahead of another meets what a missing barrier leaves open. In order alone finds no write after read. */
#include "scheduler.h"

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <tuple>
#include <unistd.h>

#include "control.h"
#include "fiber.h"
#include "sanitizer.h"

namespace cuda_host {

place_t *self;
uint3 block_index;
dim3 block_size, grid_size;

enum policy_t { IN_ORDER, WARP_PRIORITY, UNIFORM };
enum { WARPS = 32, LANES = 32 };

struct warp_t {
    uint32_t ready, arrived, exist; /* lanes */
    int rank;                       /* its priority; 0 goes first */
};

static const grid_t *grid;
static const void *arguments;
static std::vector<thread_t> threads;
static warp_t warps[WARPS];
static int by_rank[WARPS], n_warps, n_live, n_at_barrier;
static uint32_t ready_ranks; /* bit r: the warp of rank r has a lane that can run */
static policy_t policy;
static met_t met; /* of the latest barrier */
static uint64_t n_launches, block_number;
/* Marks that ThreadSanitizer orders accesses by. Threads of a block follow the launch, not the block before: two
 * blocks that write the same place are a race. */
static char tag_launch, tag_exit, tag_barrier[2], tag_warp[WARPS];
static unsigned barrier_parity;

void fault(site_t at, const char *format, ...) {
    char text[512];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    fflush(stdout);
    if (at.file) fprintf(stderr, "cuda_host: %s:%d: %s\n", at.file, at.line, text);
    else fprintf(stderr, "cuda_host: %s\n", text);
    if (grid && self) {
        uint3 t = self->thread;
        fprintf(stderr, "  in %s, block (%u,%u,%u), thread (%u,%u,%u)\n", grid->kernel, block_index.x, block_index.y,
                block_index.z, t.x, t.y, t.z);
    }
    fprintf(stderr, "  schedule seed %llu\n", (unsigned long long)schedule_seed());
    fflush(stderr);
    _exit(99);
}

/* ---- which thread is next ---------------------------------------------------------------------------- */
static void make_ready(thread_t *t) {
    warp_t *w = &warps[t->warp];
    t->state = STATE_READY;
    w->ready |= 1u << t->lane;
    ready_ranks |= 1u << w->rank;
}

static void draw_ranks() {
    for (int i = 0; i < n_warps; i++) by_rank[i] = i;
    if (policy != IN_ORDER)
        for (int i = n_warps - 1; i > 0; i--) std::swap(by_rank[i], by_rank[draw((uint32_t)i + 1)]);
    ready_ranks = 0;
    for (int i = 0; i < n_warps; i++) {
        warps[by_rank[i]].rank = i;
        if (warps[by_rank[i]].ready) ready_ranks |= 1u << i;
    }
}

static int pick_bit(uint32_t bits, bool at_random) {
    if (!at_random) return __builtin_ctz(bits);
    uint32_t by = draw(32), turned = bits >> by | bits << ((32 - by) & 31);
    return (__builtin_ctz(turned) + (int)by) & 31;
}

static thread_t *pick() {
    if (!ready_ranks) return nullptr;
    int rank = pick_bit(ready_ranks, policy == UNIFORM);
    warp_t *w = &warps[by_rank[rank]];
    int lane = pick_bit(w->ready, policy != IN_ORDER);
    w->ready &= ~(1u << lane);
    if (!w->ready) ready_ranks &= ~(1u << rank);
    return &threads[(size_t)(by_rank[rank] * LANES + lane)];
}

[[noreturn]] static void deadlock() {
    static const char *const names[] = {"not started", "ready", "running", "at a barrier", "at", "exited"};
    std::map<std::tuple<int, const char *, int, op_t, uint32_t>, std::vector<int>> groups;
    for (thread_t &t : threads) {
        bool waits = t.state == STATE_COLLECTIVE;
        groups[{t.state, t.at.file, t.at.line, waits ? t.op : OP_BARRIER, waits ? t.mask : 0}].push_back(t.id);
    }
    for (auto &[key, ids] : groups) {
        auto [state, file, line, op, mask] = key;
        fprintf(stderr, "  %zu threads (first %d) %s", ids.size(), ids[0], names[state]);
        if (state == STATE_COLLECTIVE) fprintf(stderr, " %s, mask %08x", op_name(op), mask);
        fprintf(stderr, ", %s:%d\n", file ? file : "before any synchronisation", line);
    }
    fault(thread_running()->at, "deadlock: no thread of the block can go on");
}

/* ---- changing hands ------------------------------------------------------------------------------------ */
static void thread_ended();

static void fiber_body() {
    fiber_entered();
    for (;;) {
        order_acquire(&tag_launch);
        grid->body(arguments);
        thread_ended();
    }
}

static void hand_over(thread_t *to) {
    if (!to->fiber) to->fiber = fiber_take(fiber_body);
    to->state = STATE_RUNNING;
    self = to;
    fiber_switch(to->fiber);
}

static void wait_for_others(state_t state) {
    thread_t *me = thread_running();
    me->state = state;
    thread_t *next = pick();
    if (!next) deadlock();
    if (next == me) me->state = STATE_RUNNING;
    else hand_over(next);
}

static void barrier_release() {
    const thread_t *first = nullptr;
    met = {0, 0};
    for (const thread_t &t : threads) {
        if (t.state != STATE_BARRIER) continue;
        if (!first) first = &t;
        if (t.op != first->op || t.at.line != first->at.line)
            fault(first->at, "thread %d of the block is at this barrier while thread %d is at that of line %d",
                  first->id, t.id, t.at.line);
        met.count += t.predicate;
        met.threads++;
    }
    for (thread_t &t : threads)
        if (t.state == STATE_BARRIER) make_ready(&t);
    n_at_barrier = 0;
    barrier_parity ^= 1;
    draw_ranks();
}

met_t block_barrier(op_t op, int predicate, site_t at) {
    thread_t *t = thread_running();
    if (!t) fault(at, "a barrier outside a kernel");
    t->at = at;
    t->op = op;
    t->predicate = predicate;
    copies_settle();
    char *tag = &tag_barrier[barrier_parity];
    order_release(tag);
    t->state = STATE_BARRIER;
    if (++n_at_barrier == n_live) barrier_release();
    wait_for_others(t->state);
    order_acquire(tag);
    return met;
}

/* An exited lane can no longer be met: who waits for it waits forever. */
static void check_nobody_waits_for(const thread_t *gone) {
    thread_t *warp = &threads[(size_t)(gone->warp * LANES)];
    for (int i = 0; i < LANES; i++) {
        if (!(warps[gone->warp].exist >> i & 1) || warp[i].state != STATE_COLLECTIVE) continue;
        if (warp[i].mask >> gone->lane & 1)
            fault(warp[i].at, "%s of lane %d with mask %08x names lane %d, which has exited", op_name(warp[i].op), i,
                  warp[i].mask, gone->lane);
    }
}

static void thread_ended() {
    thread_t *me = thread_running();
    order_release(&tag_exit);
    me->state = STATE_EXITED;
    me->copies.clear();
    n_live--;
    check_nobody_waits_for(me);
    if (n_live && n_at_barrier == n_live) barrier_release();
    thread_t *next = pick();
    if (!next && n_live) deadlock();
#ifndef CUDA_HOST_TSAN
    /* This fiber is free: it runs a thread that has not begun without a switch. ThreadSanitizer must see a thread
     * in each; there fibers are released after the block. */
    if (next && next->state == STATE_NEW) {
        next->fiber = me->fiber;
        next->state = STATE_RUNNING;
        self = next;
        return;
    }
    fiber_release(me->fiber);
#endif
    if (next) hand_over(next);
    else fiber_switch(fiber_main());
}

/* ---- collectives of a warp --------------------------------------------------------------------------------- */
/* Matrix instructions are of the .aligned kind: one instruction for the whole warp. */
static bool is_aligned(op_t op) { return op == OP_MMA || op == OP_LDMATRIX || op == OP_LDMATRIX_TRANS; }

static void check_arrival(const thread_t *t, const thread_t *warp) {
    const warp_t *w = &warps[t->warp];
    if (!(t->mask >> t->lane & 1))
        fault(t->at, "%s: lane %d is not in its own mask %08x", op_name(t->op), t->lane, t->mask);
    if (t->mask & ~w->exist)
        fault(t->at, "%s: mask %08x names lanes that the block does not have (it has %08x)", op_name(t->op), t->mask,
              w->exist);
    for (int i = 0; i < LANES; i++)
        if ((t->mask >> i & 1) && warp[i].state == STATE_EXITED)
            fault(t->at, "%s of lane %d with mask %08x names lane %d, which has exited", op_name(t->op), t->lane,
                  t->mask, i);
}

static void check_meeting(const thread_t *t, const thread_t *other) {
    bool same_place = t->op == OP_SYNCWARP || (t->at.line == other->at.line && strcmp(t->at.file, other->at.file) == 0);
    if (other->op == t->op && other->mask == t->mask && same_place) return;
    fault(t->at, "%s of lane %d with mask %08x meets %s of lane %d with mask %08x at %s:%d", op_name(t->op), t->lane,
          t->mask, op_name(other->op), other->lane, other->mask, other->at.file, other->at.line);
}

void collective(op_t op, uint32_t mask, void *payload, complete_t *complete, site_t at) {
    thread_t *t = thread_running();
    if (!t) fault(at, "%s outside a kernel", op_name(op));
    t->at = at;
    t->op = op;
    t->mask = mask;
    t->payload = payload;
    copies_settle();
    warp_t *w = &warps[t->warp];
    if (is_aligned(op) && mask != w->exist) fault(at, "%s needs all 32 lanes of the warp", op_name(op));
    thread_t *warp = &threads[(size_t)(t->warp * LANES)];
    check_arrival(t, warp);
    w->arrived |= 1u << t->lane;
    if ((w->arrived & mask) != mask) {
        wait_for_others(STATE_COLLECTIVE);
        return;
    }
    for (int i = 0; i < LANES; i++)
        if (mask >> i & 1) check_meeting(t, &warp[i]);
    complete(warp, mask);
    w->arrived &= ~mask;
    for (int i = 0; i < LANES; i++)
        if ((mask >> i & 1) && &warp[i] != t) make_ready(&warp[i]);
}

void warp_barrier(uint32_t mask, site_t at) {
    thread_t *t = thread_running();
    char *tag = t ? &tag_warp[t->warp] : nullptr;
    if (t) order_release(tag);
    collective(
        OP_SYNCWARP, mask, nullptr, [](thread_t *, uint32_t) {}, at);
    order_acquire(tag);
}

/* ---- shared memory --------------------------------------------------------------------------------------------- */
static shared_t dynamic_memory;
static size_t shared_bytes; /* of the block, so far */
static std::vector<shared_t *> shared_arrays;

/* Heap blocks, so that AddressSanitizer sees one element beyond; anew for each block of the grid where a sanitizer
 * keeps a history of them. */
static void shared_renew(shared_t *s, size_t bytes) {
    unseen_t unseen;
#ifdef CUDA_HOST_TSAN
    bool renew = true;
#else
    bool renew = !s->memory || s->bytes != bytes;
#endif
    if (renew) {
        free(s->memory);
        s->memory = nullptr;
        if (posix_memalign(&s->memory, 128, bytes ? bytes : 1)) abort();
        s->bytes = bytes;
    }
    memset(s->memory, 0xff, bytes); /* NaN, as fp32 and as bf16 */
    s->block = block_number;
}

void *shared_memory(shared_t *s, size_t bytes) {
    if (!self) fault({}, "shared memory outside a kernel");
    if (s->block == block_number) return s->memory;
    if (!s->memory) shared_arrays.push_back(s); /* reachable for LeakSanitizer */
    shared_renew(s, bytes);
    shared_bytes += bytes;
    shared_check(grid, shared_bytes);
    return s->memory;
}

void *dynamic_shared() { return dynamic_memory.memory; }

/* ---- blocks and grids -------------------------------------------------------------------------------------------- */
static void threads_resize(size_t n) {
    unseen_t unseen; /* kernels read their own indices there */
    threads.resize(n);
}

static void block_run() {
    static const policy_t policies[] = {IN_ORDER, WARP_PRIORITY, WARP_PRIORITY, UNIFORM};
    int n = (int)(block_size.x * block_size.y * block_size.z);
    policy = policies[draw(4)];
    n_warps = (n + LANES - 1) / LANES;
    n_live = n;
    n_at_barrier = 0;
    shared_bytes = 0;
    block_number++;
    shared_renew(&dynamic_memory, grid->dynamic);
    threads_resize((size_t)n);
    for (warp_t &w : warps) w = {0, 0, 0, 0};
    for (int i = 0; i < n; i++) {
        thread_t *t = &threads[(size_t)i];
        unsigned u = (unsigned)i;
        t->thread = {u % block_size.x, u / block_size.x % block_size.y, u / (block_size.x * block_size.y)};
        t->id = i;
        t->warp = i / LANES;
        t->lane = i % LANES;
        t->state = STATE_NEW;
        t->at = {nullptr, 0};
#ifdef CUDA_HOST_TSAN
        /* Taken here: a fiber that another thread made would follow that thread. */
        t->fiber = fiber_take(fiber_body);
#else
        t->fiber = nullptr;
#endif
        t->copies.clear();
        t->open_group = 0;
        warps[t->warp].ready |= 1u << t->lane;
        warps[t->warp].exist |= 1u << t->lane;
    }
    draw_ranks();
    hand_over(pick());
    self = nullptr;
    order_acquire(&tag_exit);
#ifdef CUDA_HOST_TSAN
    /* Taken back last in, first out: thread i of the next block is another one to ThreadSanitizer. */
    for (thread_t &t : threads) fiber_release(t.fiber);
#endif
}

/* Blocks in the order offset + i * step (mod their number), step coprime to it: a shuffle that needs no memory. */
void grid_run(const grid_t *g, const void *args) {
    grid = g;
    arguments = args;
    block_size = g->block;
    grid_size = g->grid;
    n_launches++;
    uint64_t n = (uint64_t)g->grid.x * g->grid.y * g->grid.z, offset = 0, step = 1;
    if (n > 1 && !draw_chance(4)) {
        uint32_t range = (uint32_t)std::min<uint64_t>(n, UINT32_MAX);
        offset = draw(range);
        do step = 1 + draw(range - 1);
        while (std::__gcd(step, n) != 1);
    }
    order_release(&tag_launch);
    for (uint64_t i = 0; i < n; i++) {
        uint64_t b = (offset + i * step) % n;
        block_index = {(unsigned)(b % g->grid.x), (unsigned)(b / g->grid.x % g->grid.y),
                       (unsigned)(b / g->grid.x / g->grid.y)};
        block_run();
    }
    grid = nullptr;
}

} // namespace cuda_host

uint64_t cuda_host_launches(void) { return cuda_host::n_launches; }
