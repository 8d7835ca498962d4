/* The emulator of tests/cuda/host finds faults: each of tests/cuda/host/faults runs in a process of its own
 * under many schedules, beside the same kernels without a fault. */
#include "testing.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "program.h"

#if defined(__SANITIZE_ADDRESS__)
enum { ASAN = 1 };
#else
enum { ASAN = 0 };
#endif

enum { SEEDS = 20 };

typedef struct {
    const char *name;
    int found_least;       /* of SEEDS schedules; 0: the result is always right */
    const char *says;      /* the message that stops it, in each; NULL: a wrong result is what shows it */
    const char *asan_says; /* where AddressSanitizer sees it first */
    enum { EVERYWHERE, ONLY_ASAN, NOT_ASAN } where;
} fault_t;

static const fault_t faults[] = {
    {.name = "sum"},
    {"sum-no-barrier-after-write", SEEDS / 2, NULL, NULL, EVERYWHERE},
    {"sum-no-barrier-after-read", SEEDS / 4, NULL, NULL, EVERYWHERE},
    {"sum-barriers-apart", SEEDS, "of the block is at this barrier while thread", NULL, EVERYWHERE},
    {.name = "warp"},
    {"warp-mask", SEEDS, "mask 0000ffff", NULL, EVERYWHERE},
    {"warp-diverged", SEEDS, "__shfl_", NULL, EVERYWHERE},
    {"warp-exited", SEEDS, "names lane 7, which has exited", NULL, EVERYWHERE},
    {"warp-other-mask", SEEDS, "mask fffffffe", NULL, EVERYWHERE},
    {"warp-deadlock", SEEDS, "deadlock: no thread of the block can go on", NULL, EVERYWHERE},
    {.name = "memory"},
    {"memory-beyond", SEEDS, "access to byte 512 of a device allocation of 512", "heap-buffer-overflow", EVERYWHERE},
    {"memory-shared-beyond", SEEDS, NULL, "heap-buffer-overflow", ONLY_ASAN},
    {"memory-misaligned", SEEDS, "misaligned address", NULL, EVERYWHERE},
    {"memory-uninitialised", SEEDS, NULL, NULL, EVERYWHERE},
    {"memory-host-argument", SEEDS, "argument 2 is", NULL, EVERYWHERE},
    {"memory-read-by-host", SEEDS, "host code touched device memory, at byte 20 of 512", NULL, NOT_ASAN},
    {"memory-freed", SEEDS, "argument 2 is", NULL, EVERYWHERE},
    {"memory-bad-index", SEEDS, "device_check() failed", NULL, EVERYWHERE},
    {.name = "pipe"},
    {"pipe-no-wait", SEEDS, NULL, NULL, EVERYWHERE},
    {"pipe-no-barrier", SEEDS / 4, NULL, NULL, EVERYWHERE},
    {.name = "stream"},
    {"stream-no-wait", SEEDS / 4, NULL, NULL, EVERYWHERE},
    {"stream-no-wait-before-reuse", SEEDS / 4, NULL, NULL, EVERYWHERE},
    {"stream-source-reused", SEEDS / 4, NULL, NULL, EVERYWHERE},
    {.name = "serial"},
    {"serial-no-wait", SEEDS / 4, NULL, NULL, EVERYWHERE},
    {"serial-no-wait-before-reuse", SEEDS / 4, NULL, NULL, EVERYWHERE},
    {"serial-source-reused", SEEDS / 4, NULL, NULL, EVERYWHERE},
    {.name = "graph"},
    {"graph-no-wait", SEEDS / 4, NULL, NULL, EVERYWHERE},
    {"graph-not-joined", SEEDS, "cudaErrorStreamCaptureUnjoined", NULL, EVERYWHERE},
    {"graph-outside-event", SEEDS, "cudaErrorStreamCaptureIsolation", NULL, EVERYWHERE},
    {"graph-synchronized", SEEDS, "cudaErrorStreamCaptureUnsupported", NULL, EVERYWHERE},
    {"graph-allocated", SEEDS, "cudaErrorStreamCaptureUnsupported", NULL, EVERYWHERE},
    {"graph-event-outside", SEEDS, "cudaErrorCapturedEvent", NULL, EVERYWHERE},
    {"graph-error-left", SEEDS, "nobody has taken the error of an earlier call", NULL, EVERYWHERE},
    {.name = "join"},
    {"join-early", SEEDS / 4, NULL, NULL, EVERYWHERE},
    {"join-not-waited-for", SEEDS / 4, NULL, NULL, EVERYWHERE},
    {"launch-threads", SEEDS, "block of (1025,1,1) threads", NULL, EVERYWHERE},
    {"launch-blocks", SEEDS, "grid of (1,65536,1) blocks", NULL, EVERYWHERE},
    {"launch-shared", SEEDS, "49153 bytes of dynamic shared memory", NULL, EVERYWHERE},
    {"launch-static-shared", SEEDS, "53248 bytes of static shared memory", NULL, EVERYWHERE},
    {.name = "launch-large-dynamic"},
    {"launch-dynamic-of-another-card", SEEDS, "a block has 101376 on this device", NULL, EVERYWHERE},
    {.name = "launch-both"},
    {"launch-both-beyond", SEEDS, "4096 bytes of static and 98304 of dynamic shared memory", NULL, EVERYWHERE},
    {"launch-both-not-asked", SEEDS, "a block has 49152 without cudaFuncSetAttribute()", NULL, EVERYWHERE},
    {.name = "race-atomic"},
    {.name = "product-layouts"},
    {.name = "product-types"},
    {.name = "product-alignments"},
    {.name = "product-attributes"},
    {.name = "product"},
    {"product-misaligned", SEEDS, "operand 1 at multiples of 16", NULL, EVERYWHERE},
    {"product-on-host", SEEDS, "is not device memory", NULL, EVERYWHERE},
    {"product-null", SEEDS, "A, (nil), is not device memory", NULL, EVERYWHERE},
    {"product-beyond", SEEDS, "A takes 2496 bytes; the allocation has 2048 more", NULL, EVERYWHERE},
    {"product-overlap", SEEDS, "D overlaps an operand", NULL, EVERYWHERE},
    {.name = "product-beside"},
    {"product-columns-overlap", SEEDS, "D overlaps an operand", NULL, EVERYWHERE},
    {"product-workspace-misaligned", SEEDS, "is not at a multiple of 256 bytes", NULL, EVERYWHERE},
    {"product-workspace-short", SEEDS, "takes 4096 bytes of workspace; given 4095", NULL, EVERYWHERE},
    {"product-workspace-overlap", SEEDS, "the workspace overlaps an operand", NULL, EVERYWHERE},
    {"product-other-layout", SEEDS, "was chosen for another product", NULL, EVERYWHERE},
};

/* Whether this schedule shows the fault, in the way that is expected of it. */
static bool shows(const fault_t *f, unsigned seed) {
    char number[16];
    const char *says = ASAN && f->asan_says ? f->asan_says : f->says;
    snprintf(number, sizeof number, "%u", seed);
    ran_t r = program_run_other(FAULTS_PROGRAM, (const char *const[]){f->name, number, NULL});
    bool stopped = r.status != 0 && r.status != 1;
    if (r.status == 1 && strstr(r.err, "runtime error")) stopped = true; /* UndefinedBehaviorSanitizer */
    if (r.status == 1 && strstr(r.err, "AddressSanitizer")) stopped = true;
    if (stopped != (says != NULL && r.status != 0) || (stopped && !strstr(r.err, says)))
        fail_msg("%s under seed %u: status %d, expected %s; it wrote: %s", f->name, seed, r.status,
                 says ? says : "a wrong result", r.err);
    bool shown = r.status != 0;
    ran_free(&r);
    return shown;
}

static void test_faults(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        const fault_t *f = &faults[i];
        int found = 0;
        if (f->where == (ASAN ? NOT_ASAN : ONLY_ASAN)) continue;
        /* What is stopped at each launch needs no second schedule to show it. */
        int seeds = f->found_least == SEEDS && f->says ? 3 : SEEDS;
        for (int seed = 1; seed <= seeds; seed++) found += shows(f, (unsigned)seed);
        print_message("  %-28s found under %2d of %2d schedules\n", f->name, found, seeds);
        int least = f->found_least < seeds ? f->found_least : seeds;
        if (found < least || (f->found_least == 0 && found))
            fail_msg("%s: found under %d of %d schedules, expected at least %d", f->name, found, seeds, least);
    }
}

#ifdef RACES_PROGRAM
/* Under ThreadSanitizer a fault needs no schedule that makes it a wrong result: also one between blocks shows. */
static void test_races(void **state) {
    (void)state;
    static const struct {
        const char *name;
        bool race;
    } cases[] = {
        {"sum", false},
        {"sum-no-barrier-after-write", true},
        {"sum-no-barrier-after-read", true},
        {"warp", false},
        {"pipe", false},
        {"pipe-no-wait", true},
        {"pipe-no-barrier", true},
        {"race", true},
        {"race-atomic", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ran_t r = program_run_other(RACES_PROGRAM, (const char *const[]){cases[i].name, "1", NULL});
        bool found = strstr(r.err, "ThreadSanitizer: data race") != NULL;
        if (found != cases[i].race || (!found && r.status != 0))
            fail_msg("%s: status %d, expected %s race; it wrote: %s", cases[i].name, r.status,
                     cases[i].race ? "a" : "no", r.err);
        ran_free(&r);
    }
}
#endif

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_faults),
#ifdef RACES_PROGRAM
        cmocka_unit_test(test_races),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
