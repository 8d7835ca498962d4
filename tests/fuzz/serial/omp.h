/* OpenMP of one thread, for the fuzzers: their libFuzzer and sanitizers then see all of a run, and each run alike. The
 * pragmas are comments to a compiler without -fopenmp. */
#ifndef TESTS_FUZZ_OMP_H
#define TESTS_FUZZ_OMP_H

static inline int omp_get_max_threads(void) { return 1; }
static inline int omp_get_num_procs(void) { return 1; }
static inline int omp_get_thread_num(void) { return 0; }
static inline void omp_set_num_threads(int n) { (void)n; }

/* Of no place that threads would be bound to. */
typedef enum { omp_proc_bind_false } omp_proc_bind_t;
static inline omp_proc_bind_t omp_get_proc_bind(void) { return omp_proc_bind_false; }
static inline int omp_get_num_places(void) { return 0; }
static inline int omp_get_place_num_procs(int place) { return 0 * place; }
static inline void omp_get_place_proc_ids(int place, int *ids) { (void)place, (void)ids; }

#endif
