/* Times the decoding of every GGUF tensor type from memory, as the loader does it: 1024 values at a time into a buffer
 * that stays in the first-level cache.
 *
 *   bench_gguf [MiB [repetitions]]      (target bench_gguf; not a test)
 *
 * A line: type, instruction set; then for one thread and for two GB/s of file bytes and G values/s, and the former as
 * part of what a memcpy of the same bytes to such a buffer reaches. Best of the repetitions, since machines are shared. */
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"
#include "model/formats/kernels/gguf_kernels.h"

enum { CHUNK = 1024, MAX_THREADS = 2 };

static int repetitions = 15;
static size_t file_bytes = (size_t)256 << 20;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Chunks [from, to) of the file; decode NULL: copied. */
static void read_chunks(const uint8_t *file, size_t from, size_t to, uint32_t type, gguf_decode_fn *decode) {
    float x[CHUNK];
    size_t blocks = CHUNK / gguf_block_len(type), bytes = blocks * gguf_block_bytes(type);
    for (size_t i = from; i < to; i++) {
        if (decode) decode(file + i * bytes, blocks, x);
        else memcpy(x, file + i * bytes, bytes);
        __asm__ volatile("" : : "r"(x) : "memory"); /* what was written is not optimized away */
    }
}

/* Seconds, the best of all repetitions. */
static double measure(const uint8_t *file, uint32_t type, gguf_decode_fn *decode, int threads) {
    size_t chunks = file_bytes / (CHUNK / gguf_block_len(type) * gguf_block_bytes(type));
    double best = 1e9;
    for (int r = 0; r < repetitions; r++) {
        double start = now();
#pragma omp parallel for schedule(static, 1) num_threads(threads)
        for (int t = 0; t < threads; t++)
            read_chunks(file, chunks * (size_t)t / (size_t)threads, chunks * (size_t)(t + 1) / (size_t)threads, type,
                        decode);
        double s = now() - start;
        if (s < best) best = s;
    }
    return best;
}

static void report(const uint8_t *file, uint32_t type, const gguf_kernels_t *k) {
    double per_byte = (double)gguf_block_len(type) / (double)gguf_block_bytes(type);
    printf("%-8s %-8s", gguf_type_name(type), k->isa);
    for (int threads = 1; threads <= MAX_THREADS; threads++) {
        double copy = measure(file, type, NULL, threads), s = measure(file, type, k->decode[type], threads);
        double rate = 1e-9 * (double)file_bytes / s;
        printf("   %7.1f GB/s %7.1f G values/s %4.0f%% of memcpy", rate, rate * per_byte, 100 * copy / s);
    }
    printf("\n");
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
            for (int i = 0; gguf_kernels_nth(i); i++) report(file, type, gguf_kernels_nth(i));
    free(file);
    return 0;
}
