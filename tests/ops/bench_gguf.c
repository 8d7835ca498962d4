/* Times the decoding of every GGUF tensor type from memory, 1024 values at a time into a buffer that stays in the
 * first-level cache, with one thread and with two.
 *
 *   bench_gguf [MiB [repetitions]]      (target bench_gguf; not a test)
 *
 * A line: type, instruction set, threads; then of decoding GB/s of file bytes, that as part of what a memcpy of the same
 * bytes to such a buffer reaches, and G values/s; then G values/s with rounding to BF16. Machines are shared: a thread's
 * time is the sum over slices of the file, each short enough to be undisturbed in the best of all repetitions; of two
 * threads the slower counts. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "model/formats/kernels/gguf_kernels.h"

enum { CHUNK = 1024, SLICE = 512 /* chunks */, MAX_THREADS = 2 };

static int repetitions = 15;
static size_t file_bytes = (size_t)256 << 20;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

typedef enum { COPY, DECODE, DECODE_AND_ROUND } work_t;

/* Chunks [from, to) of the file. */
static void read_chunks(const uint8_t *file, size_t from, size_t to, uint32_t type, const gguf_kernels_t *k,
                        work_t work) {
    float x[CHUNK];
    bf16_t rounded[CHUNK];
    size_t blocks = CHUNK / gguf_block_len(type), bytes = blocks * gguf_block_bytes(type);
    for (size_t i = from; i < to; i++) {
        if (work == COPY) memcpy(x, file + i * bytes, bytes);
        else k->decode[type](file + i * bytes, blocks, x);
        if (work == DECODE_AND_ROUND) k->round_bf16(x, CHUNK, rounded);
        __asm__ volatile("" : : "r"(x), "r"(rounded) : "memory"); /* what was written is not optimized away */
    }
}

/* Seconds that one thread takes for chunks [from, to). */
static double measure_thread(const uint8_t *file, size_t from, size_t to, uint32_t type, const gguf_kernels_t *k,
                             work_t work) {
    size_t n = (to - from) / SLICE;
    double *best = xmalloc(n * sizeof *best), sum = 0;
    for (size_t i = 0; i < n; i++) best[i] = 1e9;
    for (int r = 0; r < repetitions; r++) {
        for (size_t i = 0; i < n; i++) {
            double start = now();
            read_chunks(file, from + i * SLICE, from + (i + 1) * SLICE, type, k, work);
            double s = now() - start;
            if (s < best[i]) best[i] = s;
        }
    }
    for (size_t i = 0; i < n; i++) sum += best[i];
    free(best);
    return sum * (double)(to - from) / (double)(n * SLICE);
}

static double measure(const uint8_t *file, uint32_t type, const gguf_kernels_t *k, work_t work, int threads) {
    size_t chunks = file_bytes / (CHUNK / gguf_block_len(type) * gguf_block_bytes(type)), n = (size_t)threads;
    double slowest = 0;
#pragma omp parallel for schedule(static, 1) num_threads(threads) reduction(max : slowest)
    for (size_t t = 0; t < n; t++) {
        double s = measure_thread(file, chunks * t / n, chunks * (t + 1) / n, type, k, work);
        slowest = s > slowest ? s : slowest;
    }
    return slowest;
}

static void report(const uint8_t *file, uint32_t type, const gguf_kernels_t *k, int threads) {
    double bytes = 1e-9 * (double)file_bytes;
    double values = bytes * (double)gguf_block_len(type) / (double)gguf_block_bytes(type);
    double copy = measure(file, type, k, COPY, threads), decode = measure(file, type, k, DECODE, threads);
    double rounded = measure(file, type, k, DECODE_AND_ROUND, threads);
    printf("%-7s %-7s %d   %5.1f GB/s %4.0f%% of memcpy %5.1f G values/s   to BF16 %5.1f G values/s\n",
           gguf_type_name(type), k->isa, threads, bytes / decode, 100 * copy / decode, values / decode,
           values / rounded);
    fflush(stdout);
}

int main(int argc, char **argv) {
    if (argc > 1) file_bytes = strtoul(argv[1], NULL, 10) << 20;
    if (argc > 2) repetitions = atoi(argv[2]);
    uint8_t *file = xmalloc(file_bytes);
    uint64_t state = 1;
    for (size_t i = 0; i + 8 <= file_bytes; i += 8) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        uint64_t v = state ^ state >> 32;
        memcpy(file + i, &v, 8);
    }
    for (uint32_t type = 0; type < GGUF_TYPES; type++)
        if (gguf_type_readable(type))
            for (int i = 0; gguf_kernels_nth(i); i++)
                for (int threads = 1; threads <= MAX_THREADS; threads++)
                    report(file, type, gguf_kernels_nth(i), threads);
    free(file);
    return 0;
}
