#include <cstdlib>

#include "control.h"
#include "scheduler.h"

namespace cuda_host {

static uint64_t seed, state;
static unsigned n_schedules; /* begun */

static void begin(uint64_t s) {
    n_schedules++;
    seed = s;
    state = s;
}

static void begin_once() {
    if (n_schedules) return;
    const char *s = getenv("CUDA_HOST_SEED");
    begin(s ? strtoull(s, nullptr, 0) : 1);
}

uint64_t schedule_seed() {
    begin_once();
    return seed;
}

unsigned schedule_number() {
    begin_once();
    return n_schedules;
}

/* SplitMix64. */
uint32_t draw(uint32_t below) {
    begin_once();
    uint64_t z = state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (uint32_t)(((z ^ (z >> 31)) >> 32) * below >> 32);
}

bool draw_chance(uint32_t of) { return draw(of) == 0; }

} // namespace cuda_host

void cuda_host_seed(uint64_t seed) { cuda_host::begin(seed); }
