/* Random numbers of the bounded runs without libFuzzer: xorshift64*, from a fixed seed, so that a failure comes again. */
#ifndef FUZZ_DRAWS_H
#define FUZZ_DRAWS_H

#include <stddef.h>
#include <stdint.h>

/* One of 0 .. n - 1. */
static inline size_t below(size_t n) {
    static uint64_t seed = 88172645463325252u;
    seed ^= seed >> 12;
    seed ^= seed << 25;
    seed ^= seed >> 27;
    return (size_t)(seed * 2685821657736338717u >> 11) % n;
}

#endif
