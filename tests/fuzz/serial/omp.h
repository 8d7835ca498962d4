/* OpenMP of one thread, for the fuzzers: their libFuzzer and sanitizers then see all of a run, and each run alike. The
 * pragmas are comments to a compiler without -fopenmp. */
#ifndef TESTS_FUZZ_OMP_H
#define TESTS_FUZZ_OMP_H

static inline int omp_get_max_threads(void) { return 1; }
static inline int omp_get_num_procs(void) { return 1; }
static inline int omp_get_thread_num(void) { return 0; }
static inline void omp_set_num_threads(int n) { (void)n; }

#endif
