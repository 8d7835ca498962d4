/* Under a sanitizer a test takes many times as long, and tells what the same test in the Release build does not: which
 * memory is touched, by whom. So where each of many cases runs in several ways (types, threads, instruction sets), it
 * runs in some of them there, which others follow in turn: every case runs each time, every way over a few runs. */
#ifndef TESTS_TURNS_H
#define TESTS_TURNS_H

#include <stdbool.h>
#include <stddef.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED true
#endif
#endif
#if !defined(SANITIZED) && (defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || defined(CUDA_HOST_TSAN))
#define SANITIZED true
#endif
#ifndef SANITIZED
#define SANITIZED false
#endif

/* The number that the turns begin with: QLORA_TEST_SEED, or one drawn anew, and printed, by each run. */
size_t turns_seed(void);

/* Whether case i runs in a way: outside of sanitizers always, else in one of every `of`. */
static inline bool takes_turn(size_t i, size_t way, size_t of) {
    return !SANITIZED || (i + way + turns_seed()) % of == 0;
}

#endif
