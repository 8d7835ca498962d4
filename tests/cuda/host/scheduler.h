/* The block that runs: its threads, and how they wait. Internal to the runtime. */
#ifndef CUDA_HOST_SCHEDULER_H
#define CUDA_HOST_SCHEDULER_H

#include <vector>

#include "engine.h"

namespace cuda_host {

enum state_t { STATE_NEW, STATE_READY, STATE_RUNNING, STATE_BARRIER, STATE_COLLECTIVE, STATE_EXITED };

struct copy_t {
    void *to;
    const void *from; /* NULL: zeros */
    unsigned group;
};

struct thread_t : place_t {
    int id, warp, lane;
    state_t state;
    struct fiber_t *fiber;
    site_t at; /* its latest synchronisation */
    op_t op;
    uint32_t mask; /* the lanes it meets with */
    void *payload; /* what it brings to a collective */
    int predicate;
    std::vector<copy_t> copies; /* issued, not landed */
    unsigned open_group;        /* the group that the next copy belongs to */
};

static inline thread_t *thread_running() { return static_cast<thread_t *>(self); }

/* The last lane of `mask` to arrive calls `complete` for all: warp[lane].payload is what each brought. */
typedef void complete_t(thread_t *warp, uint32_t mask);
void collective(op_t op, uint32_t mask, void *payload, complete_t *complete, site_t at);

/* Copies of the running thread that happen to land now. */
void copies_settle();

const char *op_name(op_t op);

/* ---- random numbers of the schedule (random.cc) ---- */
uint32_t draw(uint32_t below);
bool draw_chance(uint32_t of); /* 1 in `of` */
uint64_t schedule_seed();
unsigned schedule_number(); /* counts the seeds that were set */

} // namespace cuda_host

#endif
