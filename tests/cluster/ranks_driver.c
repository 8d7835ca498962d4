/* A program of several ranks that does what a training asks of trainer/ranks, for tests/cluster/ranks.sh.
 *
 *   ranks_driver check        sums, gathering, broadcasting, agreement: "as expected" from rank 0
 *   ranks_driver run DIR      takes steps, each a sum, until the file DIR/enough is there. Each rank writes its process id
 *                             to DIR/RANK.process when all have joined, and the steps taken to DIR/RANK.steps. DIR/RANK.stop
 *                             and DIR/RANK.end, made while it runs, have that rank tell the others to stop or to end */
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "trainer/ranks/ranks.h"

#define STATUS_OF_END 75

/* ---- check --------------------------------------------------------------------------------------------------- */

/* Any value of any size: their sum depends on the order. */
static double value(size_t i, int rank) {
    uint64_t h = (i + 1) * 0x9e3779b97f4a7c15u + (uint64_t)rank * 0xd1342543de82ef95u;
    h = (h ^ h >> 29) * 0xbf58476d1ce4e5b9u;
    return ((double)(h >> 11) / (double)(1ull << 53) - 0.5) * (h & 64 ? 1e9 : 1.0);
}

static void check_sum(size_t n) {
    double *x = xmalloc(n * sizeof *x + 1);
    float *y = xmalloc(n * sizeof *y + 1);
    for (size_t i = 0; i < n; i++) x[i] = value(i, ranks_rank()), y[i] = (float)value(i, ranks_rank());
    ranks_sum(x, n);
    ranks_sum_f32(y, n);
    for (size_t i = 0; i < n; i++) {
        double sum = value(i, 0), of_floats = (float)value(i, 0);
        for (int k = 1; k < ranks_size(); k++) sum += value(i, k), of_floats += (float)value(i, k);
        float rounded = (float)of_floats;
        CHECK(memcmp(&x[i], &sum, sizeof sum) == 0);
        CHECK(memcmp(&y[i], &rounded, sizeof rounded) == 0);
    }
    free(x);
    free(y);
}

static void check_exchange(size_t bytes) {
    unsigned char *mine = xmalloc(bytes + 1), *all = xmalloc(bytes * (size_t)ranks_size() + 1);
    memset(mine, ranks_rank() + 1, bytes);
    ranks_gather(mine, bytes, all);
    for (size_t i = 0; i < bytes * (size_t)ranks_size(); i++) CHECK(all[i] == i / bytes + 1);
    ranks_broadcast(mine, bytes);
    for (size_t i = 0; i < bytes; i++) CHECK(mine[i] == 1);
    free(mine);
    free(all);
}

/* The ranks from `first` on fail, with messages of their own. */
static void check_agree(int first) {
    err_t err = {0};
    char expected[256] = "";
    if (ranks_rank() >= first) err_set(&err, first % 2 ? ERR_FAILED : ERR_USAGE, "rank %d's message", ranks_rank());
    int code = ranks_agree(&err);
    if (first == ranks_size()) {
        CHECK(code == 0 && err.code == 0);
        return;
    }
    CHECK(code == (first % 2 ? ERR_FAILED : ERR_USAGE) && err.code == code);
    if (first > 0) snprintf(expected, sizeof expected, "%s: ", ranks_name(first));
    snprintf(expected + strlen(expected), sizeof expected - strlen(expected), "rank %d's message", first);
    CHECK(strcmp(err.msg, expected) == 0);
}

static void check(void) {
    static const size_t lengths[] = {0, 1, 7, 64, 1000003, 2500000};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) check_sum(lengths[i]);
    check_exchange(1);
    check_exchange(3000001);
    for (int k = 0; k <= ranks_size(); k++) check_agree(k);
    host_share_t share = ranks_share();
    CHECK(share.index >= 0 && share.index < share.count && share.count <= ranks_size());
    CHECK(ranks_size() == 1 || share.processors >= 1);
    log_info("as expected: %d ranks, %d on this host with %d processors each, %s", ranks_size(), share.count,
             share.processors, ranks_library());
}

/* ---- run ----------------------------------------------------------------------------------------------------- */

static char *file_of(const char *directory, const char *what) {
    return xasprintf("%s/%d.%s", directory, ranks_rank(), what);
}

static void note(const char *directory, const char *what, long value) {
    char *path = file_of(directory, what), *made = xasprintf("%s.new", path);
    FILE *f = fopen(made, "w");
    CHECK(f && fprintf(f, "%ld\n", value) > 0 && fclose(f) == 0 && rename(made, path) == 0);
    free(path);
    free(made);
}

static bool is_asked(const char *directory, const char *what) {
    char *path = file_of(directory, what);
    bool asked = path_exists(path);
    free(path);
    return asked;
}

static atomic_int stop;
static void take_stop(int sig) { atomic_store(&stop, sig); }

static void run(const char *directory) {
    char *enough = xasprintf("%s/enough", directory);
    bool told = false;
    signal(SIGTERM, SIG_IGN); /* which mpirun sends when a rank has ended: a training takes it for a request to stop */
    ranks_on_stop(take_stop);
    note(directory, "process", (long)getpid());
    double wanted[2] = {0};
    for (long step = 1; wanted[0] == 0 && wanted[1] == 0; step++) {
        nanosleep(&(struct timespec){0, 5000000}, NULL);
        if (is_asked(directory, "end")) {
            ranks_tell_end(STATUS_OF_END);
            _exit(STATUS_OF_END);
        }
        if (!told && is_asked(directory, "stop")) {
            ranks_tell_stop(SIGUSR1);
            told = true;
        }
        /* Nobody goes by its own request: all have to have been told. */
        wanted[0] = ranks_first() && path_exists(enough);
        wanted[1] = atomic_load(&stop) == SIGUSR1 || told;
        ranks_sum(wanted, 2);
        if (wanted[1] < ranks_size()) wanted[1] = 0;
        note(directory, "steps", step);
    }
    if (wanted[1] > 0) log_info("all were told to stop");
    free(enough);
}

int main(int argc, char **argv) {
    err_t err = {0};
    if (argc != 2 + (argc > 1 && strcmp(argv[1], "run") == 0)) {
        log_error("usage: ranks_driver check | run DIR");
        return ERR_USAGE;
    }
    if (ranks_open(&err)) {
        log_error("%s", err.msg);
        return err.code;
    }
    if (argc == 2) check();
    else run(argv[2]);
    ranks_close();
    return 0;
}
