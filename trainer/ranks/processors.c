#define _GNU_SOURCE /* syscall */
#include "trainer/ranks/processors.h"

#include <omp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/mem.h"

static void add(processors_t *p, int id) {
    if (id >= 0 && id < PROCESSORS_MAX) p->bits[id / 64] |= (uint64_t)1 << id % 64;
}

/* OMP_PROC_BIND bound the main thread to one of the places before main() was called: its mask says no more. */
static void add_places(processors_t *p) {
    for (int place = 0; place < omp_get_num_places(); place++) {
        int n = omp_get_place_num_procs(place), *ids = xmalloc((size_t)n * sizeof *ids + 1);
        omp_get_place_proc_ids(place, ids);
        for (int i = 0; i < n; i++) add(p, ids[i]);
        free(ids);
    }
}

void processors_of_process(processors_t *mine) {
    memset(mine, 0, sizeof *mine);
    if (omp_get_proc_bind() != omp_proc_bind_false) add_places(mine);
    else syscall(SYS_sched_getaffinity, 0, sizeof mine->bits, mine->bits);
}

static int count(const processors_t *p) {
    int n = 0;
    for (size_t i = 0; i < PROCESSORS_MAX / 64; i++) n += __builtin_popcountll(p->bits[i]);
    return n;
}

static bool overlap(const processors_t *a, const processors_t *b) {
    for (size_t i = 0; i < PROCESSORS_MAX / 64; i++)
        if (a->bits[i] & b->bits[i]) return true;
    return false;
}

int processors_share(const processors_t *all, int n, int index) {
    int sharers = 1;
    for (int i = 0; i < n; i++) sharers += i != index && overlap(&all[i], &all[index]);
    int share = count(&all[index]) / sharers;
    return share > 0 ? share : 1;
}
