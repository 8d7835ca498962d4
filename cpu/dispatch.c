/* Which kernels this processor runs. */
#include <pthread.h>

#include "cpu/features.h"
#include "cpu/kernels/kernels.h"
#include "cpu/kernels/tiles.h"

#if defined(__x86_64__)
cpu_features_t cpu_features(void) {
#define HAS(feature) (__builtin_cpu_supports(feature) != 0)
    return (cpu_features_t){
        .avx2 = HAS("avx2") && HAS("fma") && HAS("f16c"),
        .avx512 = HAS("avx512f") && HAS("avx512bw") && HAS("avx512vl") && HAS("avx512dq"),
        .avx512_bf16 = HAS("avx512bf16"),
        .amd = __builtin_cpu_is("amd") != 0,
    };
#undef HAS
}
#else
cpu_features_t cpu_features(void) { return (cpu_features_t){0}; }
#endif

void kernels_exact_base(cpu_kernels_t *k);
void kernels_rows_base(cpu_kernels_t *k);
void kernels_attention_base(cpu_kernels_t *k);
void kernels_exact_avx2(cpu_kernels_t *k);
void kernels_rows_avx2(cpu_kernels_t *k);
void kernels_attention_avx2(cpu_kernels_t *k);
void kernels_exact_avx512(cpu_kernels_t *k);
void kernels_rows_avx512(cpu_kernels_t *k);
void kernels_attention_avx512(cpu_kernels_t *k);

extern const tiles_t tiles_f32_base, tiles_f32_avx2, tiles_f32_avx512, tiles_bf16_avx512;

enum { MAX_SETS = 3 };
static cpu_kernels_t sets[MAX_SETS];
static int n_sets;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void add_set(const char *isa, void (*exact)(cpu_kernels_t *), void (*rows)(cpu_kernels_t *),
                    void (*attention)(cpu_kernels_t *)) {
    cpu_kernels_t *k = &sets[n_sets++];
    k->isa = isa;
    exact(k);
    rows(k);
    attention(k);
}

static void find_sets(void) {
#if defined(__x86_64__)
    add_set("SSE2", kernels_exact_base, kernels_rows_base, kernels_attention_base);
    cpu_features_t has = cpu_features();
    if (has.avx2) add_set("AVX2", kernels_exact_avx2, kernels_rows_avx2, kernels_attention_avx2);
    if (has.avx512) add_set("AVX-512", kernels_exact_avx512, kernels_rows_avx512, kernels_attention_avx512);
#else
    add_set("baseline", kernels_exact_base, kernels_rows_base, kernels_attention_base);
#endif
}

const cpu_kernels_t *kernels_nth(int i) {
    pthread_once(&once, find_sets);
    return i < n_sets ? &sets[i] : NULL;
}

const cpu_kernels_t *kernels_best(void) {
    pthread_once(&once, find_sets);
    return &sets[n_sets - 1];
}

const tiles_t *tiles_f32_best(void) {
#if defined(__x86_64__)
    cpu_features_t has = cpu_features();
    return has.avx512 ? &tiles_f32_avx512 : has.avx2 ? &tiles_f32_avx2 : &tiles_f32_base;
#else
    return &tiles_f32_base;
#endif
}

const tiles_t *tiles_bf16_best(void) {
#if defined(__x86_64__)
    cpu_features_t has = cpu_features();
    if (has.avx512 && has.avx512_bf16) return &tiles_bf16_avx512;
#endif
    return NULL;
}
