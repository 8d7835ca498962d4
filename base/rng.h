/* Counter-based random numbers: a value is a pure function of (key, counter), so that masks, shuffles and
 * initial values do not depend on threads, backends, recomputation or how often a run was resumed.
 * The mixer is SplitMix64's finaliser (Steele, Lea & Flood 2014), applied once per 64-bit word of input.
 * Usable from C, C++ and CUDA. */
#ifndef BASE_RNG_H
#define BASE_RNG_H

#include "base/dtype.h"

HOSTDEV uint64_t rng_mix(uint64_t z) {
    z += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* A new key from a key and one more coordinate. Keys of different depth do not collide by construction
 * of the callers: each use starts from rng_mix(seed ^ a constant of its own). */
HOSTDEV uint64_t rng_fold(uint64_t key, uint64_t word) { return rng_mix(key ^ rng_mix(word)); }

/* Uniform in [0, 1), 24 bits. */
HOSTDEV float rng_uniform(uint64_t key, uint64_t counter) {
    return (float)(uint32_t)(rng_fold(key, counter) >> 40) * (1.0f / 16777216.0f); /* 32 bits: cheaper on a GPU */
}

#endif
