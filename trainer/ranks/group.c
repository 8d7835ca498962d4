#include "trainer/ranks/group.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "trainer/ranks/launcher.h"
#include "trainer/ranks/module_load.h"
#include "trainer/ranks/processors.h"
#include "trainer/ranks/ranks.h"

#define HOST_NAME_SIZE 65

/* What each tells of itself. */
typedef struct {
    char host[HOST_NAME_SIZE];
    int first_of_host;
    processors_t processors;
} process_t;

static const ranks_module_t *module; /* NULL: alone, or closed */
static ranks_place_t place = {.ranks = 1, .locals = 1};
static host_share_t share = {0, 1, 0};

typedef struct {
    char host[HOST_NAME_SIZE];
    char name[HOST_NAME_SIZE + 32];
} called_t;
static called_t *called; /* by rank */

static called_t call(int rank, const char *host) {
    called_t c;
    snprintf(c.host, sizeof c.host, "%s", host);
    snprintf(c.name, sizeof c.name, "rank %d (%s)", rank, c.host);
    return c;
}

/* The first part of its name. */
static const char *this_host(void) {
    static char name[HOST_NAME_SIZE];
    if (gethostname(name, sizeof name - 1) != 0) return "?";
    name[strcspn(name, ".")] = '\0';
    return name;
}

/* ---- joining ------------------------------------------------------------------------------------------------- */

static int join_mpi(const launcher_t *by, err_t *err) {
    char why[512];
    if (module->open(why, sizeof why)) return err_set(err, ERR_FAILED, "MPI does not start: %s", why);
    module->place(&place);
    if (by->processes == 0 || by->processes == place.ranks) return 0;
    err_set(err, ERR_USAGE,
            "%s started %d processes, but %s finds %d; expected a launcher of that MPI: its own mpirun, or srun "
            "--mpi=pmix",
            by->name, by->processes, module->library(), place.ranks);
    module->close();
    return err->code;
}

/* Those of the same host, in the order of ranks, are given to processors_share(). */
static void meet(void) {
    process_t me = {.first_of_host = place.host}, *all = xmalloc((size_t)place.ranks * sizeof *all);
    processors_t *here = xmalloc((size_t)place.locals * sizeof *here);
    int n = 0;
    snprintf(me.host, sizeof me.host, "%s", this_host());
    processors_of_process(&me.processors);
    ranks_gather(&me, sizeof me, all);
    called = xcalloc((size_t)place.ranks, sizeof *called);
    for (int k = 0; k < place.ranks; k++) {
        called[k] = call(k, all[k].host);
        if (all[k].first_of_host == place.host && n < place.locals) here[n++] = all[k].processors;
    }
    CHECK(n == place.locals);
    share = (host_share_t){place.local, place.locals, processors_share(here, n, place.local)};
    free(here);
    free(all);
}

int group_join(err_t *err) {
    launcher_t by = launcher_find();
    if (by.processes == 1) return 0;
    if (!by.joins)
        return err_set(err, ERR_USAGE,
                       "srun started %d processes and gave them no way to find each other; expected srun --mpi=pmix "
                       "(srun --mpi=list says what it has), or mpirun in the job's script; for one process --ntasks=1",
                       by.processes);
    if (module_load(&module, err) || join_mpi(&by, err)) {
        module = NULL;
        return err->code;
    }
    meet();
    return 0;
}

bool group_joined(void) { return module != NULL; }
bool group_beside_first(void) { return place.host == 0; }

void group_leave(void) {
    if (module) module->close();
    module = NULL;
}

/* ---- who is who ---------------------------------------------------------------------------------------------- */

int ranks_rank(void) { return place.rank; }
int ranks_size(void) { return place.ranks; }
bool ranks_first(void) { return place.rank == 0; }
host_share_t ranks_share(void) { return share; }
const char *ranks_library(void) { return module ? module->library() : ""; }

/* Of a process that is alone. */
static const called_t *self(void) {
    static called_t c;
    if (!c.name[0]) c = call(0, this_host());
    return &c;
}

const char *ranks_host(int rank) { return called ? called[rank].host : self()->host; }
const char *ranks_name(int rank) { return called ? called[rank].name : self()->name; }

/* ---- what all do together ------------------------------------------------------------------------------------ */

/* A rank that has ended is the usual reason, and the lifeline says so, and ends this process, while it waits here. */
static void must(const char *failure) {
    if (!failure) return;
    struct timespec left = {LIFELINE_SECONDS + 5, 0};
    while (nanosleep(&left, &left) != 0) continue;
    log_error("%s: %s: %s", ranks_name(place.rank), module->library(), failure);
    _exit(ERR_FAILED);
}

void ranks_broadcast(void *p, size_t bytes) {
    if (module) must(module->broadcast(p, bytes));
}

void ranks_gather(const void *mine, size_t bytes, void *all) {
    CHECK(bytes <= INT_MAX);
    if (module) must(module->gather(mine, bytes, all));
    else memmove(all, mine, bytes);
}

int ranks_agree(err_t *err) {
    if (!module) return err->code;
    int *codes = xmalloc((size_t)place.ranks * sizeof *codes), failed = 0;
    ranks_gather(&err->code, sizeof *codes, codes);
    while (failed < place.ranks && codes[failed] == 0) failed++;
    free(codes);
    if (failed == place.ranks) return 0;
    err_t *all = xmalloc((size_t)place.ranks * sizeof *all);
    ranks_gather(err, sizeof *err, all);
    *err = all[failed];
    free(all);
    return failed ? err_prefix(err, "%s", ranks_name(failed)) : err->code;
}

/* ---- sums ---------------------------------------------------------------------------------------------------- */

/* Each rank adds up one part of x, which the others give it, and gives all the sum: every sum is made once, in one order.
 * x goes through in rounds, so that the space for it stays small. */
#define ROUND_BYTES ((size_t)4 << 20)

/* out[n] = the sum of `ranks` times n elements. */
typedef void (*add_up_t)(const void *pieces, size_t n, void *out);

static void add_up_f64(const void *pieces, size_t n, void *out) {
    double *sum = out;
    memcpy(sum, pieces, n * sizeof *sum);
    for (int k = 1; k < place.ranks; k++) {
        const double *piece = (const double *)pieces + (size_t)k * n;
        for (size_t i = 0; i < n; i++) sum[i] += piece[i];
    }
}

/* In double, rounded once: of hundreds of ranks a sum in float would lose digits. */
static void add_up_f32(const void *pieces, size_t n, void *out) {
    enum { BLOCK = 256 };
    double sum[BLOCK];
    float *to = out;
    for (size_t at = 0, m; at < n; at += m) {
        m = n - at < BLOCK ? n - at : BLOCK;
        for (size_t i = 0; i < m; i++) sum[i] = ((const float *)pieces)[at + i];
        for (int k = 1; k < place.ranks; k++) {
            const float *piece = (const float *)pieces + (size_t)k * n + at;
            for (size_t i = 0; i < m; i++) sum[i] += piece[i];
        }
        for (size_t i = 0; i < m; i++) to[at + i] = (float)sum[i];
    }
}

/* x: one piece for each rank. */
static void sum_round(void *x, size_t piece, size_t size, add_up_t add_up, void *pieces, void *sum) {
    must(module->exchange(x, piece * size, pieces));
    add_up(pieces, piece, sum);
    ranks_gather(sum, piece * size, x);
}

static void sum_all(void *x, size_t n, size_t size, add_up_t add_up) {
    if (!module || n == 0) return;
    size_t ranks = (size_t)place.ranks, most = ROUND_BYTES / size / ranks, piece = (n + ranks - 1) / ranks;
    if (most == 0) most = 1;
    if (piece > most) piece = most;
    char *pieces = xmalloc(2 * ranks * piece * size), *padded = pieces + ranks * piece * size;
    char *sum = xmalloc(piece * size), *at = x;
    for (; n >= ranks * piece; n -= ranks * piece, at += ranks * piece * size)
        sum_round(at, piece, size, add_up, pieces, sum);
    if (n > 0) {
        piece = (n + ranks - 1) / ranks;
        memset(padded, 0, ranks * piece * size);
        memcpy(padded, at, n * size);
        sum_round(padded, piece, size, add_up, pieces, sum);
        memcpy(at, padded, n * size);
    }
    free(sum);
    free(pieces);
}

void ranks_sum(double *x, size_t n) { sum_all(x, n, sizeof *x, add_up_f64); }
void ranks_sum_f32(float *x, size_t n) { sum_all(x, n, sizeof *x, add_up_f32); }
